"""A lakeFS of a benchmark's own, and what a publication on it is made of."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figure import NotMeasuredError
from demo import lakes
from resources.lakefs_lake import LakeFSLake

SAID = {"asset": "raw_frames", "run_id": "1", "data_version": "1f", "input_commit": "0c"}
"""What the server's hook asks of each merge."""


@contextmanager
def fresh_lake() -> Iterator[LakeFSLake]:
    """A repository on a server that is gone afterwards. Raises NotMeasuredError where no `lakefs` is on PATH."""
    if shutil.which("lakefs") is None:
        raise NotMeasuredError("no `lakefs` program is on PATH")
    with tempfile.TemporaryDirectory() as folder, lakes.lake(lakes.LAKEFS, Path(folder) / "server") as found:
        lake = LakeFSLake(
            endpoint=found["LAKEFS_ENDPOINT"],
            access_key_id=found["LAKECTL_CREDENTIALS_ACCESS_KEY_ID"],
            secret_access_key=found["LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"],
            repository=found["LAKEFS_REPOSITORY"],
            cache=Path(folder) / "cache",
            storage_namespace=found["LAKEFS_STORAGE_NAMESPACE"],
        )
        lake.init()
        yield lake
