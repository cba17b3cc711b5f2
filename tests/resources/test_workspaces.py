"""Several projects in one Dagster: each is loaded by its own file, and none takes what is another's."""

import json
import re
import subprocess
import sys

import pytest
from ruamel.yaml import YAML

from cv_assets.spec.__main__ import main
from resources.deployments import ROOT, current
from resources.workspaces import write_workspace

SPECS = ROOT / "specs"

LOADS = """
import json, runpy, sys
graph = (defs := runpy.run_path(sys.argv[1])["defs"]).resolve_asset_graph()
nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
print(json.dumps({
    "assets": ["/".join(one.key.path) for one in nodes],
    "groups": [one.group_name for one in nodes],
    "partitions": [one.partitions_def.name for one in nodes if one.partitions_def],
    "runs": [job.tags["project"] for job in defs.jobs],
    "data": [str(defs.resources["deployment"].data_dir)],
}))
"""
SHOWN = ("assets", "groups", "partitions", "runs", "data")


def loading(location):
    """Loads the code location in a process of its own, as Dagster does, and prints what it shows there."""
    command = [sys.executable, "-c", LOADS, str(location)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.fixture(autouse=True)
def no_place_is_named(monkeypatch):
    for variable in ("CV_SPEC", "CV_DATA", "CV_LAKE", "LAKEFS_REPOSITORY", "LAKEFS_STORAGE_NAMESPACE"):
        monkeypatch.delenv(variable, raising=False)


def test_two_projects_share_no_asset_no_partition_no_run_and_no_folder(tmp_path, capsys):
    assert (
        main([str(SPECS / "solar_cells.yaml"), str(SPECS / "digits.yaml"), "--workspace", str(tmp_path)]) == 0
    )
    told = capsys.readouterr().out
    assert f"digits: frames go into {ROOT}/.data/digits/inbox, label exports into" in told
    workspace = YAML(typ="safe").load(tmp_path / "workspace.yaml")
    files = {one["python_file"]["location_name"]: one["python_file"] for one in workspace["load_from"]}
    both = [loading(files[name]["relative_path"]) for name in ("solar_cells", "digits")]
    cells, digits = (json.loads(process.communicate()[0]) for process in both)
    for what in SHOWN:
        assert cells[what]
        assert not set(cells[what]) & set(digits[what]), what
    assert digits["data"] == [str(ROOT / ".data" / "digits")]
    assert "digits/cnn_checkpoint" in digits["assets"]
    assert "digits/vit_checkpoint" not in digits["assets"]


def test_the_mistakes_of_every_spec_are_told_and_nothing_is_written(tmp_path, capsys):
    for name in ("one", "other"):
        text = (SPECS / "digits.yaml").read_text().replace("min_focus: 8.0", f"min_{name}: 8.0")
        (tmp_path / f"{name}.yaml").write_text(text)
    given = [str(tmp_path / "one.yaml"), str(tmp_path / "other.yaml"), "--workspace", str(tmp_path / "home")]
    assert main(given) == 1
    told = capsys.readouterr().err
    assert "min_one" in told
    assert "min_other" in told
    assert not (tmp_path / "home").exists()


def test_two_specs_of_one_name_are_refused(tmp_path, capsys):
    (tmp_path / "copy.yaml").write_text((SPECS / "digits.yaml").read_text())
    assert main([str(SPECS / "digits.yaml"), str(tmp_path / "copy.yaml")]) == 1
    assert "are both named digits: give one of them another `name`." in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["CV_DATA", "CV_LAKE", "LAKEFS_REPOSITORY", "LAKEFS_STORAGE_NAMESPACE"])
def test_a_place_of_one_project_is_not_shared_by_two(variable, monkeypatch, capsys):
    monkeypatch.setenv(variable, "there")
    assert main([str(SPECS / "digits.yaml")]) == 0
    assert main([str(SPECS / "digits.yaml"), str(SPECS / "solar_cells.yaml")]) == 1
    assert capsys.readouterr().err == f"{variable} is for one project: unset it to show several.\n"


@pytest.mark.parametrize(
    ("line", "of_the_other"),
    [
        ("inbox: ../solar_cells/inbox", "digits's `acquisition.inbox` is .*solar_cells/inbox"),
        ("inbox: /mnt/plant/inbox", ""),
    ],
)
def test_two_projects_with_one_folder_are_refused(line, of_the_other, tmp_path, capsys):
    text = (SPECS / "digits.yaml").read_text()
    (tmp_path / "digits.yaml").write_text(re.sub(r"(?m)^acquisition:$", f"acquisition:\n  {line}", text))
    other = SPECS / "solar_cells.yaml"
    if not of_the_other:
        other = tmp_path / "third.yaml"
        third = (tmp_path / "digits.yaml").read_text().replace("name: digits", "name: third", 1)
        other.write_text(third.replace(line, "inbox: /mnt/plant"))
    assert main([str(tmp_path / "digits.yaml"), str(other), "--workspace", str(tmp_path / "home")]) == 1
    told = capsys.readouterr().err
    assert re.search(of_the_other or "digits's `acquisition.inbox` is /mnt/plant/inbox, third's", told)
    assert "neither hold nor lie in the other's" in told
    assert not (tmp_path / "home").exists()


def test_data_of_an_earlier_version_are_not_passed_over(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("resources.deployments.ROOT", tmp_path)
    (tmp_path / ".data" / "lake").mkdir(parents=True)
    given = [str(SPECS / "digits.yaml"), "--workspace", str(tmp_path / "home")]
    assert main(given) == 1
    where = tmp_path / ".data"
    told = f"Data of an earlier version lies in {where}: move it to {where}/digits.\n"
    assert capsys.readouterr().err == told
    (where / "digits").mkdir()
    assert main(given) == 0


def test_an_earlier_workspace_s_projects_are_left_out(tmp_path):
    write_workspace(tmp_path, {"one": SPECS / "one.yaml", "other": SPECS / "other.yaml"})
    found = YAML(typ="safe").load(write_workspace(tmp_path, {"one": SPECS / "one.yaml"}))
    assert [one["python_file"]["location_name"] for one in found["load_from"]] == ["one"]


@pytest.mark.parametrize(
    "line", ["name: mine", "name:  'mine' ", 'name: "mine" # the project', "name: mine\r"]
)
def test_a_deployment_knows_its_project_by_the_name_in_the_spec(line, tmp_path, monkeypatch):
    (tmp_path / "spec.yaml").write_text(f"# name: not_this\n{line}\npurpose: none\n", newline="")
    monkeypatch.setenv("CV_SPEC", str(tmp_path / "spec.yaml"))
    assert current().project == "mine"
    assert current().data_dir == ROOT / ".data" / "mine"


@pytest.mark.parametrize("text", ["purpose: none", "name: Mine", "name: [mine]", "deep:\n  name: mine"])
def test_without_a_name_that_can_be_used_it_is_unnamed(text, tmp_path, monkeypatch):
    (tmp_path / "spec.yaml").write_text(text)
    monkeypatch.setenv("CV_SPEC", str(tmp_path / "spec.yaml"))
    assert current().project == "unnamed"
    monkeypatch.setenv("CV_SPEC", str(tmp_path / "none.yaml"))
    assert current().project == "unnamed"
