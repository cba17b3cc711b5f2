"""What wired tests share: one deployment, its lake and an instance, all in the test's own folder."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import hypothesis
import pytest

from cv_assets.spec.load import load_spec
from cv_assets.spec.schema import Spec
from resources.deployments import ROOT, Deployment
from resources.git_lake import GitLake
from resources.lake import Lake
from resources.tables import Tables

# A slow example on a busy machine is no slow function. For more examples: HYPOTHESIS_PROFILE=thorough make test
hypothesis.settings.register_profile("shared_machine", deadline=None, max_examples=30)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "shared_machine"))

Materialize = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """A deployment in `tmp_path`; its spec file is a copy of the demo's, free to be edited."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    spec_file = tmp_path / "spec.yaml"
    shutil.copyfile(ROOT / "specs" / "solar_cells.yaml", spec_file)
    return Deployment(spec_file, data_dir, "main", "http://127.0.0.1:3000")


@pytest.fixture
def spec(deployment: Deployment) -> Spec:
    """The deployment's spec."""
    return load_spec(deployment.spec_file)


@pytest.fixture
def tables(deployment: Deployment) -> Tables:
    """The IO manager over a fresh embedded lake."""
    return Tables(deployment, GitLake(deployment.data_dir / "lake"))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance that keeps everything in memory and knows no partition yet."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def resources(tables: Tables, deployment: Deployment) -> dict[str, Any]:
    """What the definitions give to assets and jobs."""
    return {"io_manager": tables, "tables": tables, "deployment": deployment}


@pytest.fixture
def materialize(resources: dict[str, Any], instance: dg.DagsterInstance) -> Materialize:
    """`materialize(assets, partition_key=…, run_config=…, selection=…)`: run and raise what a step raised.

    Assets that are given but not selected are read from the lake. With `raise_on_error=False` the failed run
    is returned instead.
    """

    def run(assets: Sequence[Any], **arguments: Any) -> dg.ExecuteInProcessResult:
        return dg.materialize(assets, **{"resources": resources, "instance": instance, **arguments})

    return run


@dataclass(frozen=True)
class Server:
    """A running lakeFS, and the variables by which the product finds it."""

    variables: Mapping[str, str]
    block: Path | None = None
    """The folder of its storage, when that is on this machine."""

    @property
    def endpoint(self) -> str:
        return self.variables["LAKEFS_ENDPOINT"]

    @property
    def access_key_id(self) -> str:
        return self.variables["LAKECTL_CREDENTIALS_ACCESS_KEY_ID"]

    @property
    def secret_access_key(self) -> str:
        return self.variables["LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"]


@pytest.fixture(scope="session")
def lakefs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server in the environment, or one for all tests of this process."""
    from demo import lakes

    is_ours = not os.environ.get("LAKEFS_ENDPOINT")
    if is_ours and shutil.which("lakefs") is None:
        pytest.skip("no lakeFS server: LAKEFS_ENDPOINT is not set and no `lakefs` program is on PATH")
    folder = tmp_path_factory.mktemp("lakefs") / "server"
    with lakes.lake(lakes.LAKEFS, folder) as found:
        yield Server({**os.environ, **found}, folder / "block" if is_ours else None)


@pytest.fixture
def new_repository(lakefs_server: Server, tmp_path: Path) -> Callable[[], Lake]:
    """Lakes in a repository each, made on first use."""
    from resources.lakefs_lake import LakeFSLake

    def make() -> Lake:
        name = f"test-{uuid.uuid4().hex}"
        folder = lakefs_server.variables["LAKEFS_STORAGE_NAMESPACE"].rpartition("/")[0]
        return LakeFSLake(
            endpoint=lakefs_server.endpoint,
            access_key_id=lakefs_server.access_key_id,
            secret_access_key=lakefs_server.secret_access_key,
            repository=name,
            cache=tmp_path / "cache",
            storage_namespace=f"{folder}/{name}",
        )

    return make


@pytest.fixture(scope="session")
def postgres_database() -> Iterator[str]:
    """The URL of an empty database of a real PostgreSQL, one for all tests of this process."""
    from make_postgres import database

    with database() as url:
        yield url
