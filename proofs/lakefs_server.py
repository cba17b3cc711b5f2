"""A lakeFS server of a proof's own that may be killed, and is started again on the same data and port."""

import os
import secrets
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from demo import lakes
from demo.server import HOST, free_port
from resources.lakefs_lake import LakeFSLake


@dataclass
class Server:
    """The `lakefs` program on PATH with all of its data in `folder`; it runs inside a `with` block."""

    folder: Path
    endpoint: str = field(default_factory=lambda: f"http://{HOST}:{free_port()}")
    access_key_id: str = field(default_factory=lakes.access_key)
    secret_access_key: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)
    starts: int = 0

    def __enter__(self) -> "Server":
        self.folder.mkdir(parents=True)
        keys = {
            "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": self.access_key_id,
            "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": self.secret_access_key,
        }
        # Once: what was encrypted with one key is not read with another.
        self._environment = {**os.environ, **lakes.settings(self.folder, self.endpoint, keys)}
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        """The process to kill."""
        return self._process.pid

    def keep_alive(self) -> None:
        """Start it again when it died."""
        if self._process.poll() is not None:
            self._start()

    def new_lake(self, cache: Path) -> LakeFSLake:
        """A repository that nobody has yet."""
        name = f"crash-{uuid.uuid4().hex}"
        return LakeFSLake(self.endpoint, self.access_key_id, self.secret_access_key, name, cache)

    def _start(self) -> None:
        self.starts += 1
        with (self.folder / "lakefs.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["lakefs", "run"], cwd=self.folder, env=self._environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + lakes.START_SECONDS
        while not lakes.is_healthy(self.endpoint):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"lakeFS did not start: see {self.folder / 'lakefs.log'}")
            time.sleep(0.05)
