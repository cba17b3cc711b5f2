"""The second plant: its pictures, their names and its exports. `make prove PROOF=second_project` plays it."""

import csv
import re

import pytest

from cv_assets.spec.load import load_spec
from demo.digits import SPEC_FILE, export, lots


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
