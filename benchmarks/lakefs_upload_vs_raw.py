"""10,000 frames onto a real lakeFS: the time of the best raw client, over that of a commit through our door.

Raw is what is left when nothing is promised: the API's own uploads by urllib3 from a pool of threads, each file read
whole, no answer looked at beyond its status; or the server's S3 gateway through pyarrow, where that is quicker on a
trial. One commit ends either. Ours also hashes what it sends and compares with it what was committed.
"""

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import lakefs
import lakefs_sdk
import urllib3
from pyarrow import fs

from benchmarks.figure import Figure
from benchmarks.lakefs_servers import SAID, fresh_lake
from benchmarks.many_frames import FRAME_BYTES, contents, write_frames
from resources.lake import Content
from resources.lakefs_lake import LakeFSLake

FRAMES = 10_000
ROUNDS = 2
TRIAL = 500
THREADS = 8

Files = dict[str, Content]
Send = Callable[[LakeFSLake, str, Files], None]
Put = Callable[[str], None]


def measure() -> Figure:
    """Over all rounds, in which the two take turns. Raises NotMeasuredError without a `lakefs` program."""
    with fresh_lake() as lake, tempfile.TemporaryDirectory() as folder:
        files = write_frames(Path(folder) / "frames", FRAMES)
        trials = {name: _seconds(lake, send, files[:TRIAL], "trial") for name, send in RAW.items()}
        best = min(trials, key=trials.__getitem__)
        _seconds(lake, _door, files[:TRIAL], "trial")
        raw = ours = 0.0
        for number in range(ROUNDS):
            raw += _seconds(lake, RAW[best], files, f"raw{number}")
            ours += _seconds(lake, _door, files, f"ours{number}")
    unit = f"of the speed, {FRAMES} objects of {FRAME_BYTES // 1000} kB ({ours / ROUNDS:.0f} s)"
    return Figure(raw / ours, unit, f"{best}, {THREADS} threads", ">= 0.8")


def _seconds(lake: LakeFSLake, send: Send, files: list[Path], key: str) -> float:
    branch = f"{key}-{send.__name__}"
    lake.create_branch(branch, "main")
    start = time.perf_counter()
    send(lake, branch, contents(files, branch))
    return time.perf_counter() - start


def _door(lake: LakeFSLake, branch: str, files: Files) -> None:
    lake.commit(branch, files, "frames", SAID)


def _by_urllib3(lake: LakeFSLake, branch: str, files: Files) -> None:
    address = urlsplit(lake.endpoint)
    keys = urllib3.make_headers(basic_auth=f"{lake.access_key_id}:{lake.secret_access_key}")
    place = f"/api/v1/repositories/{lake.repository}/branches/{branch}/objects?"
    with urllib3.HTTPConnectionPool(address.hostname, address.port, maxsize=THREADS, headers=keys) as pool:

        def put(path: str) -> None:
            answer = pool.request("POST", place + urlencode({"path": path}), body=_bytes(files[path]))
            if answer.status != 201:
                raise RuntimeError(f"lakeFS took no {path}: {answer.status}")

        _send_all(lake, branch, files, put)


def _by_gateway(lake: LakeFSLake, branch: str, files: Files) -> None:
    gateway = fs.S3FileSystem(
        access_key=lake.access_key_id,
        secret_key=lake.secret_access_key,
        endpoint_override=lake.endpoint.removeprefix("http://"),
        scheme="http",
        region="us-east-1",
    )

    def put(path: str) -> None:
        with gateway.open_output_stream(f"{lake.repository}/{branch}/{path}") as stream:
            stream.write(_bytes(files[path]))

    _send_all(lake, branch, files, put)


def _send_all(lake: LakeFSLake, branch: str, files: Files, put: Put) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(put, files))
    client = lakefs.Client(host=lake.endpoint, username=lake.access_key_id, password=lake.secret_access_key)
    written = lakefs_sdk.CommitCreation(message="frames", metadata=SAID)
    client.sdk_client.commits_api.commit(lake.repository, branch, written)


def _bytes(content: Content) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


RAW: dict[str, Send] = {"the API through urllib3": _by_urllib3, "the S3 gateway through pyarrow": _by_gateway}
