"""The second plant: its pictures, their names and its exports. `make prove PROOF=second_project` plays it."""

import csv
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from cv_assets.spec.load import load_spec
from demo.digits import SPEC_FILE, Plant, export, failed_runs, lots, main
from demo.watch import StoryError


@pytest.fixture(scope="module")
def stamped():
    return lots()


def test_each_part_is_stamped_once_and_every_lot_shows_both_kinds(stamped):
    parts = [part for lot in stamped for part in lot]
    assert (
        len({part.file_name for part in parts}) == len({part.picture for part in parts}) == len(parts) == 312
    )
    for lot in stamped:
        labels = [part.label for part in lot]
        assert (labels.count("eight"), labels.count("other")) == (13, 11)


def test_the_spec_reads_what_the_camera_writes(stamped):
    pattern = load_spec(SPEC_FILE).acquisition.file_name
    for lot in stamped:
        assert {int(re.fullmatch(pattern, part.file_name)["count"]) for part in lot} == {len(lot)}
        assert len({re.fullmatch(pattern, part.file_name)["group"] for part in lot}) == 1


def test_an_export_says_who_saw_what(stamped, tmp_path):
    export(tmp_path, "golden-1", stamped[0][:1], "1", benchmark="golden", verified_by="eva")
    (row,) = csv.DictReader((tmp_path / "golden-1.csv").read_text().splitlines())
    assert (row["class"], row["benchmark"], row["verified_by"]) == ("eight", "golden", "eva")


def test_a_place_of_another_project_is_never_written_to(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CV_DATA", str(tmp_path))
    assert main() == 1
    assert capsys.readouterr().err.startswith("CV_DATA is for one project: unset it")
    assert list(tmp_path.iterdir()) == []


def test_only_what_failed_since_the_beginning_ends_the_story(deployment):
    runs = [SimpleNamespace(id="old", status="FAILURE")]
    dagster = SimpleNamespace(runs=lambda: runs, run_url=str, failure=lambda _: "the lens is dirty")
    plant = Plant(deployment, load_spec(SPEC_FILE), dagster)
    plant = replace(plant, failed_before=failed_runs(dagster))
    answers = iter([False, True])
    plant._until("nothing", lambda: next(answers))
    runs.append(SimpleNamespace(id="new", status="CANCELED"))
    with pytest.raises(StoryError, match="Run new: the lens is dirty"):
        plant._until("nothing", lambda: False)
