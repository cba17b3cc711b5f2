"""One small publication on a real lakeFS: our door's time over that of the fewest raw requests that are safe.

Raw are the same requests in the quickest of three ways: the vendor's calls one after the other, these with the
uploads at once, and bare HTTP with the uploads at once. Each makes a branch, uploads with metadata that makes each
object unique, commits, looks at the difference that shows conflicts which a merge of lakeFS can miss, merges the
audited commit and ends the branch. Ours do besides what a lake promises: nothing left behind by a killed writer is
committed, no path becomes a file and a folder, crossed histories are refused, and what was committed and merged is
compared with what was written.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode, urlsplit

import lakefs
import lakefs_sdk
import urllib3
from lakefs_sdk.client import LakeFSClient

from benchmarks.figure import Figure
from benchmarks.lakefs_servers import SAID, fresh_lake
from resources.lake import Lake
from resources.lakefs_lake import LakeFSLake
from resources.tables import Work, publish

ROUNDS = 60
WARM_UP = 5
UPLOADS = 3

Files = Mapping[str, bytes]
Publish = Callable[[str, Files, str], None]
"""A key that makes names, files, and the commit that the publication starts from."""


def measure() -> Figure:
    """Median of the ratios of alternating publications of three objects, each 2 kB, from the head of `main`."""
    with fresh_lake() as lake:
        ours, peers = _door(lake), _raw(lake)
        for number in range(WARM_UP):
            _round(lake, ours, peers, -number - 1)
        rounds = [_round(lake, ours, peers, number) for number in range(ROUNDS)]
    ratios = {name: statistics.median(one["ours"] / one[name] for one in rounds) for name in peers}
    milliseconds = 1000 * statistics.median(one["ours"] for one in rounds)
    told = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    unit = f"times the time of the quickest way, 3 objects ({milliseconds:.0f} ms; {told})"
    return Figure(max(ratios.values()), unit, "the fewest safe calls, raw", "<= 1.2")


def _round(lake: Lake, ours: Publish, peers: Mapping[str, Publish], number: int) -> dict[str, float]:
    """The seconds of each way; who goes first alternates."""
    ways = list({"ours": ours, **peers}.items())
    turned = ways[number % len(ways) :] + ways[: number % len(ways)]
    return {name: _seconds(lake, way, f"{way.__name__}{number}") for name, way in turned}


def _seconds(lake: Lake, publish_files: Publish, key: str) -> float:
    paths = (f"frames/{key}/a.png", f"frames/{key}/b.png", f"tables/raw_frames/{key}.parquet")
    files, pin = {path: os.urandom(2000) for path in paths}, lake.resolve("main")
    start = time.perf_counter()
    publish_files(key, files, pin)
    return time.perf_counter() - start


def _door(lake: Lake) -> Publish:
    def door(key: str, files: Files, pin: str) -> None:
        publish(lake, Work(key, pin), "main", files, key, SAID)

    return door


def _raw(lake: LakeFSLake) -> dict[str, Publish]:
    """Past our connection: as the vendor's client comes, and as a script would send the same requests."""
    client = lakefs.Client(host=lake.endpoint, username=lake.access_key_id, password=lake.secret_access_key)
    sdk: LakeFSClient = client.sdk_client
    repository, pool = lake.repository, ThreadPoolExecutor(UPLOADS)
    place = f"/api/v1/repositories/{repository}"
    address = urlsplit(lake.endpoint)
    keys = urllib3.make_headers(basic_auth=f"{lake.access_key_id}:{lake.secret_access_key}")
    connections = urllib3.HTTPConnectionPool(
        str(address.hostname), address.port, maxsize=UPLOADS + 1, headers=keys
    )

    def vendor(key: str, files: Files, pin: str, upload_all: Callable[..., object] = map) -> None:
        sdk.branches_api.create_branch(repository, lakefs_sdk.BranchCreation(name=key, source=pin))
        branch = lakefs.Branch(repository, key, client)

        def upload(path: str) -> None:
            branch.object(path).upload(files[path], pre_sign=False, metadata={"path": path})

        list(upload_all(upload, files))
        written = lakefs_sdk.CommitCreation(message=key, metadata=SAID)
        commit = sdk.commits_api.commit(repository, key, written).id
        changes = sdk.refs_api.diff_refs(repository, "main", commit, type="three_dot").results
        if any(change.type == "conflict" for change in changes):
            raise RuntimeError(f"{key} is in conflict with main")
        sdk.refs_api.merge_into_branch(
            repository, commit, "main", merge=lakefs_sdk.Merge(message=key, metadata=SAID)
        )
        sdk.branches_api.delete_branch(repository, key)

    def vendor_at_once(key: str, files: Files, pin: str) -> None:
        vendor(key, files, pin, pool.map)

    def send(method: str, path: str, **sent: Any) -> Any:
        answer = connections.request(method, place + path, **sent)
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status}")
        return json.loads(answer.data) if answer.data.startswith(b"{") else None

    def http_at_once(key: str, files: Files, pin: str) -> None:
        send("POST", "/branches", json={"name": key, "source": pin})

        def upload(path: str) -> None:
            headers = keys | {"x-lakefs-meta-path": path}
            send(
                "POST",
                f"/branches/{key}/objects?{urlencode({'path': path})}",
                body=files[path],
                headers=headers,
            )

        list(pool.map(upload, files))
        commit = send("POST", f"/branches/{key}/commits", json={"message": key, "metadata": SAID})["id"]
        changes = send("GET", f"/refs/main/diff/{commit}?type=three_dot")["results"]
        if any(change["type"] == "conflict" for change in changes):
            raise RuntimeError(f"{key} is in conflict with main")
        send("POST", f"/refs/{commit}/merge/main", json={"message": key, "metadata": SAID})
        send("DELETE", f"/branches/{key}")

    return {
        "vendor's calls": vendor,
        "these with uploads at once": vendor_at_once,
        "HTTP with uploads at once": http_at_once,
    }
