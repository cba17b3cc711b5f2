import pytest

from cv_assets.upkeep.__main__ import COMMANDS, main
from resources.deployments import open_lake


@pytest.fixture
def embedded(monkeypatch):
    monkeypatch.delenv("LAKEFS_ENDPOINT", raising=False)


@pytest.fixture
def served(monkeypatch, new_repository):
    """A repository on a real server, which nobody has made yet and the environment names."""
    lake = new_repository()
    monkeypatch.setenv("LAKEFS_ENDPOINT", lake.endpoint)
    monkeypatch.setenv("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", lake.access_key_id)
    monkeypatch.setenv("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY", lake.secret_access_key)
    monkeypatch.setenv("LAKEFS_REPOSITORY", lake.repository)
    monkeypatch.setenv("LAKEFS_STORAGE_NAMESPACE", lake.storage_namespace)
    return lake


def test_init_makes_the_embedded_lake_once_and_says_so(deployment, embedded, capsys):
    assert main(["init"], deployment) == 0
    assert capsys.readouterr().out == f"Made the embedded lake in {deployment.data_dir / 'lake'}.\n"
    assert main(["init"], deployment) == 0
    assert capsys.readouterr().out == "Nothing was to be done.\n"
    assert open_lake(deployment).branches().keys() == {"main"}


@pytest.mark.lakefs
def test_init_makes_the_repository_and_locks_main_once_and_says_so(deployment, served, capsys):
    assert main(["init"], deployment) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"Made the repository {served.repository} on {served.endpoint}.",
        "Protected main: it only takes merges.",
        "Installed _lakefs_actions/pre_merge.yaml: the server refuses a merge into main that no run made.",
    ]
    assert main(["init"], deployment) == 0
    assert capsys.readouterr().out == "Nothing was to be done.\n"


def test_a_lake_that_cannot_be_had_ends_the_command_with_one_sentence(deployment, monkeypatch, capsys):
    monkeypatch.setenv("LAKEFS_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.delenv("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", raising=False)
    assert main(["init"], deployment) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert told.err.startswith("LAKECTL_CREDENTIALS_ACCESS_KEY_ID is not set: set it to the key")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: lake {command}")
    assert (COMMANDS[command].__doc__ or "").splitlines()[0].endswith(".")
