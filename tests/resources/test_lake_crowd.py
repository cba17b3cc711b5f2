"""Many processes at once on one branch of the embedded lake: each publication is there whole, or was refused aloud."""

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import pytest

from resources.git_lake import GitLake
from resources.lake import MergeConflictError

WORKERS = 8
PUBLICATIONS = 16
# By hand: `resources.tables` would have every process import Dagster and Polars.
COUNTER = "tables/counter.parquet"


def publish(lake: GitLake, work: str, pin: str, files: dict[str, bytes]) -> str:
    """As a step does it: on a branch of its own, cut where its inputs were read."""
    lake.create_branch(work, pin)
    try:
        return lake.merge(lake.commit(work, files, work, {}), "main", work, {})
    finally:
        lake.delete_branch(work)


def publish_partition(lake: GitLake, number: int) -> str:
    """Of 16 at once none is anybody else's."""
    table, picture = partition(number)
    content = b"%d" % number
    files = {table: content * 50_000, picture: content}
    return publish(lake, f"work-{number}", lake.resolve("main"), files)


def partition(number: int) -> tuple[str, str]:
    """Its table and the bytes beside it."""
    return f"tables/frames/d{number}.parquet", f"frames/d{number}/0.png"


def publish_from(lake: GitLake, number: int, pin: str) -> str | tuple[str, ...]:
    """The commit, or the paths that it was refused for."""
    try:
        return publish(lake, f"work-{number}", pin, {COUNTER: b"%d" % number, "counter/by": b"%d" % number})
    except MergeConflictError as conflict:
        return conflict.paths


def add_one(lake: GitLake, number: int) -> int:
    """Compute again from the new head until the publication stands. How often it was refused."""
    for attempt in range(WORKERS):
        pin = lake.resolve("main")
        content = b"%d" % (int(lake.read(pin, COUNTER)) + 1)
        try:
            # Its own file too: otherwise two who computed the same would both be right.
            publish(lake, f"work-{number}", pin, {COUNTER: content, "counter/by": b"%d" % number})
        except MergeConflictError:
            continue
        return attempt
    raise AssertionError(f"{number} was refused {WORKERS} times, but every time somebody else finished")


@pytest.fixture(scope="module")
def crowd() -> Iterator[ProcessPoolExecutor]:
    """Spawned: threads of another library would be lost by a fork."""
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@contextmanager
def watched(lake: GitLake, pairs: list[tuple[str, str]]) -> Iterator[list[str]]:
    """What a reader of `main` sees meanwhile: each pair is there whole or not at all."""
    torn: list[str] = []
    looks, done = 0, threading.Event()

    def look() -> None:
        nonlocal looks
        while not done.is_set():
            head = lake.resolve("main")
            paths = set(lake.paths(head))
            for table, beside in pairs:
                contents = {(lake.read(head, path) or b"?")[:1] for path in (table, beside) if path in paths}
                if len(paths & {table, beside}) == 1 or len(contents) > 1:
                    torn.append(table)
            looks += 1

    reader = threading.Thread(target=look)
    reader.start()
    try:
        yield torn
    finally:
        done.set()
        reader.join()
    assert looks > 0


def test_no_publication_of_a_crowd_is_lost_or_seen_in_part(git_lake, crowd):
    start, numbers = git_lake.resolve("main"), range(PUBLICATIONS)
    pairs = [partition(number) for number in numbers]
    with watched(git_lake, pairs) as torn:
        merged = list(crowd.map(publish_partition, [git_lake] * PUBLICATIONS, numbers))
    assert torn == []
    assert sorted(git_lake.paths("main")) == sorted(path for pair in pairs for path in pair)
    for number, (table, _) in enumerate(pairs):
        assert git_lake.read("main", table) == (b"%d" % number) * 50_000
    history = [commit.id for commit in git_lake.log("main")]
    assert (sorted(history[:-1]), history[-1]) == (sorted(merged), start)
    assert git_lake.branches().keys() == {"main"}


def test_of_a_crowd_that_publishes_one_table_one_wins_and_each_other_is_told(git_lake, crowd):
    pin = publish(git_lake, "start", git_lake.resolve("main"), {COUNTER: b"-", "counter/by": b"-"})
    with watched(git_lake, [(COUNTER, "counter/by")]) as torn:
        answers = list(crowd.map(publish_from, [git_lake] * WORKERS, range(WORKERS), [pin] * WORKERS))
    assert torn == []
    assert answers.count(("counter/by", COUNTER)) == WORKERS - 1
    (winner,) = [number for number, answer in enumerate(answers) if answer == git_lake.resolve("main")]
    assert git_lake.read("main", COUNTER) == b"%d" % winner


def test_of_a_crowd_that_counts_in_one_table_each_is_counted_once(git_lake, crowd):
    publish(git_lake, "start", git_lake.resolve("main"), {COUNTER: b"0"})
    refused = list(crowd.map(add_one, [git_lake] * WORKERS, range(WORKERS)))
    assert git_lake.read("main", COUNTER) == b"%d" % WORKERS
    assert len(list(git_lake.log("main", COUNTER))) == WORKERS + 1
    assert git_lake.branches().keys() == {"main"}
    assert max(refused) < WORKERS
