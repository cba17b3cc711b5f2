"""A real lakeFS server for the tests that are marked `lakefs`: the one in the environment, or one of their own."""

import os
import shutil
import uuid

import pytest

from demo import lakes
from resources.lakefs_lake import LakeFSLake


@pytest.fixture(scope="session")
def lakefs_variables(tmp_path_factory):
    """The variables by which the product finds the server."""
    if not os.environ.get("LAKEFS_ENDPOINT") and shutil.which("lakefs") is None:
        pytest.skip("no lakeFS server: LAKEFS_ENDPOINT is not set and no `lakefs` program is on PATH")
    with lakes.lake(lakes.LAKEFS, tmp_path_factory.mktemp("lakefs") / "server") as found:
        yield {**os.environ, **found}


@pytest.fixture
def new_repository(lakefs_variables, tmp_path):
    """Lakes in a repository each, made on first use."""

    def make():
        name = f"test-{uuid.uuid4().hex}"
        return LakeFSLake(
            endpoint=lakefs_variables["LAKEFS_ENDPOINT"],
            access_key_id=lakefs_variables["LAKECTL_CREDENTIALS_ACCESS_KEY_ID"],
            secret_access_key=lakefs_variables["LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"],
            repository=name,
            cache=tmp_path / "cache",
            storage_namespace=f"{lakefs_variables['LAKEFS_STORAGE_NAMESPACE'].rpartition('/')[0]}/{name}",
        )

    return make
