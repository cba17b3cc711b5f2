"""Both of infra's dagster.yaml are configurations that Dagster takes."""

from pathlib import Path

import pytest
import yaml
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config_schema
from dagster._core.instance.ref import InstanceRef

from resources.run_launcher import CodeServerRunLauncher

INFRA = Path(__file__).parent.parent.parent / "infra"
TEAM = INFRA / "team" / "dagster.yaml"


@pytest.mark.parametrize("file", [INFRA / "dagster.yaml", TEAM], ids=["laptop", "team"])
def test_dagster_takes_the_file(file, monkeypatch):
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql://dagster:secret@127.0.0.1:1/dagster")
    taken = process_config(dagster_instance_config_schema(), yaml.safe_load(file.read_text()))
    assert taken.success, taken.errors


@pytest.mark.parametrize("file", [INFRA / "dagster.yaml", TEAM], ids=["laptop", "team"])
def test_nothing_is_sent_anywhere(file):
    settings = yaml.safe_load(file.read_text())
    assert settings["telemetry"] == {"enabled": False} == settings["nux"]


def test_the_parts_of_the_team_s_instance_can_be_made(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql://dagster:secret@127.0.0.1:1/dagster")
    (tmp_path / "dagster.yaml").write_text(TEAM.read_text())
    ref = InstanceRef.from_dir(str(tmp_path))
    assert isinstance(ref.run_launcher, CodeServerRunLauncher)


def test_the_password_of_the_database_is_only_in_the_environment():
    assert yaml.safe_load(TEAM.read_text())["storage"]["postgres"]["postgres_url"] == {
        "env": "DAGSTER_POSTGRES_URL"
    }


def test_runs_that_vanished_are_found_and_their_places_freed():
    settings = yaml.safe_load(TEAM.read_text())
    assert settings["run_monitoring"]["enabled"]
    assert settings["run_monitoring"]["free_slots_after_run_end_seconds"] > 0
    assert settings["run_retries"] == {"enabled": True, "max_retries": 0}
    assert settings["concurrency"]["pools"]["default_limit"] == 1
