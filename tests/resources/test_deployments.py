"""Where the line and people read: a folder that is there, and on an experiment's branch another one."""

from dataclasses import replace

import dagster as dg
import pytest

from resources.deployments import current, open_lake, writing
from resources.lake import LakeError


@pytest.mark.parametrize("name", ["outbox", "line/outbox", "../data/outbox"])
def test_a_folder_in_the_data_folder_is_made(deployment, name):
    folder = deployment.told_in(name)
    assert folder.is_dir()
    assert folder.samefile(deployment.data_dir / name)


def test_a_folder_elsewhere_that_is_missing_is_not_made_for_it_may_be_unmounted(deployment, tmp_path):
    for name in ("../mounted/outbox", str(tmp_path / "mounted" / "outbox")):
        with pytest.raises(FileNotFoundError, match=r"mounted/outbox is not there, perhaps unmounted"):
            deployment.told_in(name)
    assert not (tmp_path / "mounted").exists()
    (tmp_path / "mounted" / "outbox").mkdir(parents=True)
    assert deployment.told_in("../mounted/outbox") == tmp_path / "mounted" / "outbox"


def test_a_file_in_the_folder_s_place_is_named(deployment):
    (deployment.data_dir / "outbox").touch()
    with pytest.raises(NotADirectoryError, match="outbox is a file, expected a folder"):
        deployment.told_in("outbox")


def test_another_data_branch_than_main_has_a_folder_of_its_own(deployment):
    experiment = replace(deployment, branch="other-band")
    assert experiment.told_in("outbox") == deployment.told_in("outbox") / "other-band"


def test_what_the_machine_refuses_ends_the_step_in_words():
    with pytest.raises(dg.Failure) as caught, writing("d1.json"):
        raise OSError("the disk is full")
    assert caught.value.description == (
        "d1.json cannot be written now: the disk is full. Nothing is lost: mend it and re-execute the run from failure."
    )


def test_links_to_the_ui_have_no_double_slash(monkeypatch):
    monkeypatch.setenv("DAGSTER_URL", "http://127.0.0.1:3000/")
    assert current().dagster_url == "http://127.0.0.1:3000"


@pytest.mark.parametrize(
    "missing", ["LAKECTL_CREDENTIALS_ACCESS_KEY_ID", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"]
)
@pytest.mark.parametrize("empty", [True, False])
def test_a_key_of_the_lakefs_that_is_not_set_is_named_with_what_to_do(
    deployment, monkeypatch, missing, empty
):
    monkeypatch.setenv("LAKEFS_ENDPOINT", "http://127.0.0.1:8000")
    for variable in ("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "key")
    monkeypatch.setenv(missing, "") if empty else monkeypatch.delenv(missing)
    with pytest.raises(LakeError, match=f"{missing} is not set: set it .* or unset"):
        open_lake(deployment)


@pytest.mark.parametrize("name", ["ab", "a" * 64])
def test_a_project_whose_name_no_lakefs_repository_can_have_says_so(name, deployment, monkeypatch, tmp_path):
    for variable in (
        "LAKEFS_ENDPOINT",
        "LAKECTL_CREDENTIALS_ACCESS_KEY_ID",
        "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY",
    ):
        monkeypatch.setenv(variable, "http://127.0.0.1:8000")
    monkeypatch.delenv("LAKEFS_REPOSITORY", raising=False)
    (tmp_path / "spec.yaml").write_text(f"name: {name}\n")
    with pytest.raises(LakeError, match="a lakeFS repository's has 3 to 63: name a repository"):
        open_lake(replace(deployment, spec_file=tmp_path / "spec.yaml"))


@pytest.mark.parametrize("variable", ["CV_APPROVAL_KEY", "CV_PROXY_SECRET"])
def test_a_secret_that_can_be_guessed_is_refused_and_none_is_ever_shown(monkeypatch, variable):
    monkeypatch.setenv(variable, "hunter2")
    with pytest.raises(
        ValueError, match=rf"{variable} has 7 characters and could be guessed: give it 32"
    ) as refused:
        current()
    assert "hunter2" not in str(refused.value)
    monkeypatch.setenv(variable, "0123456789abcdef" * 2)
    assert "0123456789abcdef" not in repr(current())


def test_the_door_launches_runs_at_the_ui_unless_told_otherwise(monkeypatch):
    monkeypatch.setenv("DAGSTER_URL", "http://127.0.0.1:3000/")
    assert current().graphql_url == "http://127.0.0.1:3000/graphql"
    monkeypatch.setenv("CV_GRAPHQL_URL", "http://webserver:3000/graphql")
    assert current().graphql_url == "http://webserver:3000/graphql"
