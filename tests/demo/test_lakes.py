import os
import shutil
from pathlib import Path

import httpx
import pytest

from demo.lakes import EMBEDDED, LAKEFS, lake, left_over
from demo.server import ServerError

KEYS = {"LAKECTL_CREDENTIALS_ACCESS_KEY_ID", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"}


def test_the_embedded_lake_is_taken_even_where_a_server_is_named(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LAKEFS_ENDPOINT", "http://127.0.0.1:1")
    with lake(EMBEDDED, tmp_path) as found:
        assert found == {"LAKEFS_ENDPOINT": ""}


def test_a_server_that_is_named_gets_a_repository_of_its_own_each_time(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LAKEFS_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("LAKEFS_STORAGE_NAMESPACE", "s3://bucket/demos/")
    with lake(LAKEFS, tmp_path) as one, lake(LAKEFS, tmp_path) as other:
        assert one["LAKEFS_ENDPOINT"] == "http://127.0.0.1:1"
        assert one["LAKEFS_REPOSITORY"] != other["LAKEFS_REPOSITORY"]
        assert one["LAKEFS_STORAGE_NAMESPACE"] == f"s3://bucket/demos/{one['LAKEFS_REPOSITORY']}"


def test_another_lake_is_refused_with_those_there_are(tmp_path: Path):
    with (
        pytest.raises(ServerError, match="LAKE is 'lakeFS', expected embedded or lakefs"),
        lake("lakeFS", tmp_path),
    ):
        pass


def test_without_the_program_it_says_what_to_do(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("LAKEFS_ENDPOINT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerError, match="install lakeFS, or name a running server"), lake(LAKEFS, tmp_path):
        pass


@pytest.mark.lakefs
@pytest.mark.skipif(shutil.which("lakefs") is None, reason="no `lakefs` program is on PATH")
def test_the_program_serves_while_the_block_lasts_and_leaves_nothing_running(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("LAKEFS_ENDPOINT", raising=False)
    with lake(LAKEFS, tmp_path / "lakefs") as found:
        assert httpx.get(f"{found['LAKEFS_ENDPOINT']}/_health").is_success
        assert found.keys() >= KEYS
        assert not KEYS & os.environ.keys()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{found['LAKEFS_ENDPOINT']}/_health")
    assert left_over(tmp_path / "lakefs") == []
