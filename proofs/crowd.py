"""A crowd on one branch: runs of at most 8 processes publish at once, through the real IO manager.

First each run has a table of its own, then all have the same one. Every table has bytes beside it that say the same, so
that a publication that is seen in part, or mixed with another one, is told from a whole one.
"""

import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import dagster as dg
import dataframely as dy
import polars as pl

from proofs import lakes
from proofs.proof import Proof, verdict
from resources.contracts import Audited, TableAsset
from resources.deployments import current, open_lake
from resources.lake import Lake
from resources.tables import Snapshot, Tables, table_path

ASKED: Final = (
    "Runs in 8 processes publish at once onto one branch: 100 disjoint tables, then one table by 16. No "
    "update is lost, none is seen in part, and each loser is told so in a sentence."
)

_PROCESSES: Final = 8
_RETRY_WORDS: Final = ("changed on main", "nothing is published", "re-execute it from failure")


class Numbers(dy.Schema):
    """Who published."""

    number = dy.Int64(primary_key=True)


OWN: Final = TableAsset(
    "own_table", Numbers, step="frames", partitions=dg.DynamicPartitionsDefinition(name="crowd")
)
SHARED: Final = TableAsset("shared_table", Numbers, step="frames")


class Who(dg.Config):
    """The number of the run."""

    number: int


@dg.asset(**OWN.arguments)
def own_table(context: dg.AssetExecutionContext, config: Who) -> Audited:
    """A table that nobody else writes."""
    yield from OWN.audited(
        _rows([config.number]), files={f"own/{context.partition_key}": _beside([config.number])}
    )


@dg.asset(**SHARED.arguments)
def shared_table(context: dg.AssetExecutionContext, config: Who, tables: dg.ResourceParam[Tables]) -> Audited:
    """Everybody who published so far: computed from what is there, so an update that is lost is missed for good."""
    before = tables.snapshot(context).table("shared_table", or_empty=Numbers)["number"].to_list()
    numbers = sorted({*before, config.number})
    yield from SHARED.audited(_rows(numbers), files={"shared/beside": _beside(numbers)})


def prove(disjoint: int = 100, same: int = 16, processes: int = _PROCESSES) -> Proof:
    """So many runs at once on each lake."""
    figures = lakes.on_each(partial(crowd, disjoint=disjoint, same=same, processes=processes))
    tried = {kind: one for kind, one in figures.items() if isinstance(one, dict)}
    wrong = [f"{kind}: {mistake}" for kind, one in tried.items() for mistake in mistakes(one)]
    skipped = [one for one in figures.values() if isinstance(one, str)]
    whole = f"On {' and '.join(tried)} every publication is there whole, or its run was told why not."
    why = " ".join(wrong or [whole, *skipped])
    return Proof(ASKED, verdict(bool(wrong), bool(skipped)), why, figures)


def mistakes(figures: Mapping[str, Any]) -> list[str]:
    """What the figures of one lake say against the claim, each in a sentence."""
    own, shared = figures["disjoint"], figures["same"]
    found = {
        f"{own['refused']} of {own['runs']} runs with a table of their own failed": own["refused"],
        f"{own['lost'] + shared['lost']} updates were lost": own["lost"] or shared["lost"],
        f"{own['partial'] + shared['partial']} publications were seen in part": own["partial"]
        or shared["partial"],
        f"{shared['unexplained']} losers were not told why": shared["unexplained"],
        f"the branches {figures['left']} were left": figures["left"],
        "the reader never looked": not (own["looks"] and shared["looks"]),
    }
    return [f"{sentence}." for sentence, holds in found.items() if holds]


def crowd(
    _: Path, variables: Mapping[str, str], *, disjoint: int, same: int, processes: int
) -> dict[str, Any]:
    """Both crowds on the lake that the variables name, and what a reader saw meanwhile."""
    spawned = multiprocessing.get_context("spawn")
    with (
        _environment(variables),
        ProcessPoolExecutor(processes, spawned, initializer=_enter, initargs=(variables,)) as pool,
    ):
        lake = open_lake(current())
        lake.resolve("main")
        return {
            "disjoint": _publish(pool, lake, publish_own, disjoint),
            "same": _publish(pool, lake, publish_shared, same),
            "left": sorted(lake.branches().keys() - {"main"}),
        }


def _enter(variables: Mapping[str, str]) -> None:
    os.environ.update(variables)


def publish_own(number: int) -> str:
    """Run it; empty, or what its failure says."""
    return _run(own_table, number, partition_key=f"p{number:03}")


def publish_shared(number: int) -> str:
    """Run it; empty, or what its failure says."""
    return _run(shared_table, number)


def _run(asset: dg.AssetsDefinition, number: int, **arguments: Any) -> str:
    tables = Tables(current())
    (name,) = asset.key.path
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("crowd", [f"p{number:03}"])
        result = dg.materialize(
            [asset],
            instance=instance,
            resources={"io_manager": tables, "tables": tables},
            run_config={"ops": {name: {"config": {"number": number}}}},
            raise_on_error=False,
            **arguments,
        )
    if result.success:
        return ""
    (failed,) = (event for event in result.all_events if event.is_step_failure)
    error = failed.step_failure_data.error
    return f"{error.cls_name}: {error.message}" if error else "no reason"


def _publish(pool: ProcessPoolExecutor, lake: Lake, publish: Any, runs: int) -> dict[str, Any]:
    start = lake.resolve("main")
    begun = time.monotonic()
    with _watched(lake, start) as seen:
        said = list(pool.map(publish, range(runs)))
    seconds = time.monotonic() - begun
    won = {number for number, words in enumerate(said) if not words}
    refused = [words for words in said if words]
    return {
        "runs": runs,
        "published": len(won),
        "lost": len(won - _in_the_lake(lake, publish is publish_shared)),
        "refused": len(refused),
        "unexplained": sum(not _is_clear(words) for words in refused),
        "partial": seen.partial + sum(_partial_publications(lake, start)),
        "looks": seen.looks,
        "seconds": round(seconds, 1),
        "refusals": dict(Counter(words.strip().replace("\n", " ")[:300] for words in refused)),
    }


def _in_the_lake(lake: Lake, shared: bool) -> set[int]:
    head = Snapshot(lake, lake.resolve("main"))
    rows = (
        head.table("shared_table", or_empty=Numbers) if shared else head.tables("own_table", or_empty=Numbers)
    )
    return set(rows["number"])


def _is_clear(refusal: str) -> bool:
    return refusal.startswith("Failure:") and all(words in refusal.lower() for words in _RETRY_WORDS)


def _partial_publications(lake: Lake, start: str) -> Iterator[int]:
    """In every state that `main` ever had since."""
    for commit in lake.log("main"):
        if commit.id == start:
            return
        yield _torn(lake, commit.parents[0], commit.id)


@dataclass
class _Seen:
    looks: int = 0
    partial: int = 0
    done: threading.Event = field(default_factory=threading.Event)


@contextmanager
def _watched(lake: Lake, start: str) -> Iterator[_Seen]:
    """A reader of `main` meanwhile."""
    seen = _Seen()

    def look() -> None:
        before = start
        while not seen.done.is_set():
            head = lake.resolve("main")
            seen.partial += _torn(lake, before, head)
            seen.looks += 1
            before = head
            seen.done.wait(0.01)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        yield seen
    finally:
        seen.done.set()
        reader.join()


def _torn(lake: Lake, before: str, now: str) -> int:
    """How many of the tables that changed do not say what the bytes beside them say."""
    changed = {_table_of(change.path) for change in lake.diff(before, now)}
    return sum(not _is_whole(lake, now, *one) for one in changed)


def _table_of(path: str) -> tuple[str, str]:
    """The table and the bytes beside it, whichever of them `path` is."""
    key = Path(path).stem
    if key in ("shared_table", "beside"):
        return table_path("shared_table"), "shared/beside"
    return table_path("own_table", key), f"own/{key}"


def _is_whole(lake: Lake, commit: str, table: str, beside: str) -> bool:
    try:
        rows = pl.read_parquet(lake.fetch(commit, table))
        return _beside(rows["number"].to_list()) == lake.read(commit, beside)
    except FileNotFoundError:
        return False


def _rows(numbers: list[int]) -> pl.DataFrame:
    return pl.DataFrame({"number": numbers}, schema=Numbers.create_empty().schema)


def _beside(numbers: list[int]) -> bytes:
    """More than one write can carry."""
    return ",".join(map(str, numbers)).encode() * 1000


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
