"""A real PostgreSQL for tests: what DAGSTER_POSTGRES_URL names, else one of its own by the programs on PATH."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from proofs.postgres_server import execute, missing, postgres

CONFIGURATION = """
telemetry: {enabled: false}
storage:
  postgres:
    postgres_url: {env: DAGSTER_POSTGRES_URL}
run_coordinator:
  module: dagster._core.run_coordinator
  class: DefaultRunCoordinator
"""


@contextmanager
def database() -> Iterator[str]:
    """The URL of an empty database, gone when the block ends."""
    name = f"test_{secrets.token_hex(6)}"
    if url := os.environ.get("DAGSTER_POSTGRES_URL"):
        execute(url, f"CREATE DATABASE {name}")
        yield f"{url.rpartition('/')[0]}/{name}"
        execute(url, f"DROP DATABASE {name} WITH (FORCE)")
    elif why := missing():
        pytest.skip(why)
    else:
        with postgres(name) as urls:
            yield urls[name]


@contextmanager
def dagster_on(url: str, home: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster with its storage there and its home in `home`; DAGSTER_POSTGRES_URL must name it meanwhile."""
    home.mkdir()
    (home / "dagster.yaml").write_text(CONFIGURATION)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance
