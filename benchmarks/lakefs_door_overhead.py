"""One small publication on a real lakeFS: our door's time over that of the fewest raw calls that are safe.

Raw are the vendor's own calls: a branch, three uploads with metadata that makes each unique, a commit, the difference
that shows conflicts which a merge of lakeFS can miss, the merge of the audited commit, the end of the branch. Ours do
besides what a lake promises: nothing left behind by a killed writer is committed, no path becomes a file and a folder,
crossed histories are refused, and what was committed and merged is compared with what was written.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping

import lakefs
import lakefs_sdk
from lakefs_sdk.client import LakeFSClient

from benchmarks.figure import Figure
from benchmarks.lakefs_servers import SAID, fresh_lake
from resources.lake import Lake
from resources.lakefs_lake import LakeFSLake
from resources.tables import Work, publish

ROUNDS = 60
WARM_UP = 5

Files = Mapping[str, bytes]
Publish = Callable[[str, Files, str], None]
"""A key that makes names, files, and the commit that the publication starts from."""


def measure() -> Figure:
    """Median of the ratios of alternating publications of three objects, each 2 kB, from the head of `main`."""
    with fresh_lake() as lake:
        ours, peer = _door(lake), _raw(lake)
        for number in range(WARM_UP):
            _pair(lake, ours, peer, -number - 1)
        pairs = [_pair(lake, ours, peer, number) for number in range(ROUNDS)]
    ratio = statistics.median(mine / raw for mine, raw in pairs)
    milliseconds = 1000 * statistics.median(mine for mine, _ in pairs)
    unit = f"times the time, 3 objects ({milliseconds:.0f} ms)"
    return Figure(ratio, unit, "the fewest safe calls of lakefs_sdk", "<= 1.2")


def _pair(lake: Lake, ours: Publish, peer: Publish, number: int) -> tuple[float, float]:
    """Who goes first alternates too."""
    if number % 2:
        raw = _seconds(lake, peer, f"raw{number}")
        return _seconds(lake, ours, f"ours{number}"), raw
    return _seconds(lake, ours, f"ours{number}"), _seconds(lake, peer, f"raw{number}")


def _seconds(lake: Lake, publish_files: Publish, key: str) -> float:
    paths = (f"frames/{key}/a.png", f"frames/{key}/b.png", f"tables/raw_frames/{key}.parquet")
    files, pin = {path: os.urandom(2000) for path in paths}, lake.resolve("main")
    start = time.perf_counter()
    publish_files(key, files, pin)
    return time.perf_counter() - start


def _door(lake: Lake) -> Publish:
    def through(key: str, files: Files, pin: str) -> None:
        publish(lake, Work(key, pin), "main", files, key, SAID)

    return through


def _raw(lake: LakeFSLake) -> Publish:
    """Past our connection: as the vendor's client comes, with a writer that sends what it is given."""
    client = lakefs.Client(host=lake.endpoint, username=lake.access_key_id, password=lake.secret_access_key)
    sdk: LakeFSClient = client.sdk_client
    repository = lake.repository

    def through(key: str, files: Files, pin: str) -> None:
        sdk.branches_api.create_branch(repository, lakefs_sdk.BranchCreation(name=key, source=pin))
        branch = lakefs.Branch(repository, key, client)
        for path, content in files.items():
            branch.object(path).upload(content, pre_sign=False, metadata={"path": path})
        written = lakefs_sdk.CommitCreation(message=key, metadata=SAID)
        commit = sdk.commits_api.commit(repository, key, written).id
        changes = sdk.refs_api.diff_refs(repository, "main", commit, type="three_dot").results
        if any(change.type == "conflict" for change in changes):
            raise RuntimeError(f"{key} is in conflict with main")
        sdk.refs_api.merge_into_branch(
            repository, commit, "main", merge=lakefs_sdk.Merge(message=key, metadata=SAID)
        )
        sdk.branches_api.delete_branch(repository, key)

    return through
