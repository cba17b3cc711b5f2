"""Backups are taken while publications go on, everything is destroyed, and what is brought back is whole.

The embedded lake by `lake backup`. lakeFS and Dagster on PostgreSQL by the commands of docs/runbook.md: each database
is dumped, Dagster first, and the objects of lakeFS are copied last. The sensors are in test_backup.py.
"""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import dagster as dg

from cv_assets.upkeep.backup import copy_lake
from cv_assets.upkeep.verification import verify
from demo import lakes
from demo.server import HOST, free_port
from proofs.postgres_server import missing, plain, postgres
from proofs.proof import Proof, verdict
from resources.dagster_storage import DagsterStorage
from resources.git_lake import GitLake
from resources.lake import Lake
from resources.lakefs_connection import ensure_user
from resources.lakefs_lake import LakeFSLake

ASKED: Final = (
    "A backup that is taken under load, of the embedded lake and of lakeFS and Dagster on PostgreSQL, is whole: all "
    "that was published before it began is there, every object is as written, and publications go on from it."
)

_REPOSITORY: Final = "restored"
_CONFIGURATION: Final = (
    "storage: {postgres: {postgres_url: {env: DAGSTER_POSTGRES_URL}}}\ntelemetry: {enabled: false}\n"
)


def prove(seconds: float = 15.0) -> Proof:
    """So long publications go on around each backup."""
    lacking = missing() or (
        "" if shutil.which("lakefs") else "Skipped: there is no `lakefs` program on PATH."
    )
    figures: dict[str, Any] = {}
    with TemporaryDirectory(prefix="proof-restore-", ignore_cleanup_errors=True) as name:
        figures["embedded"] = _embedded(Path(name) / "embedded", seconds)
        figures["lakeFS and PostgreSQL"] = lacking or _on_postgres(Path(name) / "lakefs", seconds)
    tried = {kind: one for kind, one in figures.items() if isinstance(one, dict)}
    wrong = [f"{kind}: {mistake}" for kind, one in tried.items() for mistake in mistakes(one)]
    why = "What was published before a backup began is there, and nothing is damaged."
    return Proof(
        ASKED, verdict(bool(wrong), bool(lacking)), " ".join(wrong or [why, lacking]).strip(), figures
    )


def mistakes(figures: Mapping[str, Any]) -> list[str]:
    """What the figures of one lake say against the claim, each in a sentence."""
    found = {
        f"{figures['problems']} problems were found": figures["problems"],
        f"{figures['lost']} publications from before the backup are lost": figures["lost"],
        "nothing was published while the backup was taken": not figures["meanwhile"],
        "nothing can be published any more": not figures["goes on"],
        f"{figures.get('runs lost', 0)} runs of Dagster are lost": figures.get("runs lost", 0),
    }
    return [f"{sentence}." for sentence, holds in found.items() if holds]


def _embedded(folder: Path, seconds: float) -> dict[str, Any]:
    lake, copy = GitLake(folder / "lake"), folder / "backup"
    lake.init()
    with _publishing(lake) as published:
        before, meanwhile = _around(published, seconds, lambda: copy_lake(lake.root, copy))
    shutil.rmtree(lake.root)
    copy_lake(copy, folder / "elsewhere")
    return {**_measured(GitLake(folder / "elsewhere"), before), "meanwhile": meanwhile}


def _on_postgres(folder: Path, seconds: float) -> dict[str, Any]:
    endpoint, keys = f"http://{HOST}:{free_port()}", _keys()
    with postgres("dagster", "lakefs", "dagster2", "lakefs2") as urls:
        first, second, copy = folder / "first", folder / "second", folder / "backup"
        settings = lakes.settings(first, endpoint, keys)
        runs = _some_runs(folder / "home", urls["dagster"])
        lake = _lake(endpoint, keys, folder)

        def back_up() -> None:
            DagsterStorage(folder / "home", urls["dagster"]).copy(copy / "dagster")
            dump = ("--format=custom", "--file", str(copy / "lakefs.dump"), plain(urls["lakefs"]))
            _program("pg_dump", *dump)
            shutil.copytree(first / "block", copy / "block", dirs_exist_ok=True)

        with _serving(first, settings, urls["lakefs"], endpoint):
            ensure_user(lake.connection)
            with _publishing(lake) as published:
                before, meanwhile = _around(published, seconds, back_up)
        shutil.rmtree(first)
        DagsterStorage(folder / "home", urls["dagster2"]).bring_back(copy / "dagster")
        _program(
            "pg_restore", "--exit-on-error", "--dbname", plain(urls["lakefs2"]), str(copy / "lakefs.dump")
        )
        shutil.copytree(copy / "block", second / "block")
        moved = {**settings, "LAKEFS_BLOCKSTORE_LOCAL_PATH": str(second / "block")}
        with _serving(second, moved, urls["lakefs2"], endpoint):
            figures = _measured(_lake(endpoint, keys, folder / "elsewhere"), before)
        lost = runs - _runs(folder / "home", urls["dagster2"])
    return {**figures, "meanwhile": meanwhile, "runs": len(runs), "runs lost": len(lost)}


def _around(published: list[int], seconds: float, back_up: Callable[[], object]) -> tuple[set[int], int]:
    """What was published before the backup began, and how much while it was taken."""
    time.sleep(seconds)
    before = list(published)
    back_up()
    meanwhile = len(published) - len(before)
    time.sleep(seconds / 5)
    return set(before), meanwhile


@contextmanager
def _publishing(lake: Lake) -> Iterator[list[int]]:
    """Somebody publishes one thing after the other meanwhile; the numbers of what is published."""
    done, published = threading.Event(), list[int]()

    def publish() -> None:
        while not done.is_set():
            _publish(lake, len(published))
            published.append(len(published))

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        yield published
    finally:
        done.set()
        publisher.join()


def _publish(lake: Lake, number: int) -> None:
    lake.create_branch("work", lake.resolve("main"))
    audited = lake.commit("work", {f"frames/{number}": b"%d" % number * 10_000}, "a frame", {})
    lake.merge(audited, "main", "a frame", {})
    lake.delete_branch("work")


def _measured(lake: Lake, before: set[int]) -> dict[str, Any]:
    found = verify(lake)
    there = {int(Path(path).name) for path in lake.paths(lake.resolve("main"), "frames/")}
    if "work" in lake.branches():
        lake.delete_branch("work")  # of the publication that the backup came between
    _publish(lake, -1)
    return {
        "published before": len(before),
        "lost": len(before - there),
        "objects read": found.objects,
        "problems": found.problems.height,
        "goes on": "frames/-1" in lake.paths(lake.resolve("main")),
    }


def _keys() -> dict[str, str]:
    names = ("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY")
    return dict(zip(names, (lakes.access_key(), os.urandom(20).hex()), strict=True))


def _lake(endpoint: str, keys: Mapping[str, str], folder: Path) -> LakeFSLake:
    access, secret = keys.values()
    return LakeFSLake(endpoint, access, secret, _REPOSITORY, folder / "cache")


@contextmanager
def _serving(folder: Path, settings: Mapping[str, str], url: str, endpoint: str) -> Iterator[None]:
    """A lakeFS whose metadata is in PostgreSQL; it is killed when the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    variables = _variables(settings, url)
    with (
        (folder / "lakefs.log").open("ab") as log,
        subprocess.Popen(["lakefs", "run"], cwd=folder, env=variables, stdout=log, stderr=log) as process,
    ):
        try:
            deadline = time.monotonic() + lakes.START_SECONDS
            while not lakes.is_healthy(endpoint):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"lakeFS did not start: {(folder / 'lakefs.log').read_text()[-2000:]}")
                time.sleep(0.1)
            yield
        finally:
            process.kill()


def _variables(settings: Mapping[str, str], url: str) -> dict[str, str]:
    database = {"LAKEFS_DATABASE_TYPE": "postgres", "LAKEFS_DATABASE_POSTGRES_CONNECTION_STRING": plain(url)}
    return {**os.environ, **settings, **database}


def _some_runs(home: Path, url: str) -> set[str]:
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text(_CONFIGURATION)
    with _instance(home, url) as instance:
        job = dg.job(name="nothing")(lambda: None)
        return {job.execute_in_process(instance=instance).run_id for _ in range(3)}


def _runs(home: Path, url: str) -> set[str]:
    with _instance(home, url) as instance:
        return {run.run_id for run in instance.get_runs() if run.is_success and instance.all_logs(run.run_id)}


@contextmanager
def _instance(home: Path, url: str) -> Iterator[dg.DagsterInstance]:
    os.environ["DAGSTER_POSTGRES_URL"] = url
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def _program(*command: str, environment: Mapping[str, str] | None = None) -> None:
    subprocess.run(command, check=True, capture_output=True, env=environment)
