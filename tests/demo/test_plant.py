import json
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.labels.exports import read_export
from cv_assets.spec.schema import Spec
from demo.modules import Cell, Module
from demo.plant import ANNOTATORS, Camera, benchmark_export, drop, labelling_export, votes

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def module(tmp_path: Path) -> Module:
    """Four cells, one for each step of the expert's confidence."""
    image = tmp_path / "cell.png"
    image.write_bytes(b"not opened by the plant" * 100)
    steps = (0.0, 1 / 3, 2 / 3, 1.0)
    return Module(7, "mono", tuple(Cell(7, place, step, image) for place, step in enumerate(steps)))


def names(module: Module) -> dict[Cell, str]:
    return {cell: Camera(Path("inbox")).file_name(module, cell, 0) for cell in module.cells}


def test_a_file_name_says_what_the_spec_reads_from_it(module: Module, spec: Spec):
    name = Camera(Path("inbox")).file_name(module, module.cells[3], turn=2)
    assert name == "line1_cam1_20260302T064030_mono_m07of4_m07c003.png"
    read = re.fullmatch(spec.acquisition.file_name, name)
    assert read is not None
    assert read.groupdict() == {
        "station": "line1",
        "camera": "cam1",
        "time": "20260302T064030",
        "product": "mono",
        "group": "m07",
        "count": "4",
        "part": "m07c003",
    }


@pytest.mark.parametrize("renames", [True, False])
def test_a_camera_leaves_whole_files_under_their_final_names_and_nothing_else(
    module: Module, tmp_path: Path, renames: bool
):
    inbox = tmp_path / "inbox"
    delivered = list(Camera(inbox).deliver(module, turn=0, renames=renames))
    assert sorted(inbox.iterdir()) == sorted(delivered)
    assert [file.name for file in delivered] == list(names(module).values())
    assert all(file.read_bytes() == module.cells[0].image.read_bytes() for file in delivered)


def test_no_two_cells_of_the_plant_have_the_same_name_or_time(module: Module):
    whole = Module(8, "mono", tuple(Cell(8, place, 0.0, Path("x")) for place in range(72)))
    camera = Camera(Path("inbox"))
    written = [
        camera.file_name(one, cell, turn) for turn, one in enumerate([whole, module]) for cell in one.cells
    ]
    assert len(set(written)) == len({name.split("_")[2] for name in written}) == 76


@given(module=st.integers(0, 43), position=st.integers(0, 71), steps=st.integers(0, 3))
def test_the_experts_confidence_is_read_as_so_many_votes_of_three(module: int, position: int, steps: int):
    said = votes(Cell(module, position, steps / 3, Path("x")))
    assert tuple(said) == ANNOTATORS
    assert sum(said.values()) == steps
    assert votes(Cell(module, position, steps / 3, Path("x"))) == said


def test_nobody_is_always_the_one_who_disagrees():
    alone = Counter(
        name
        for number in range(20)
        for place in range(60)
        for name, defective in votes(Cell(number, place, 1 / 3, Path("x"))).items()
        if defective
    )
    assert set(alone) == set(ANNOTATORS)
    assert all(300 < count < 500 for count in alone.values())


def test_the_votes_are_an_export_that_the_product_reads_without_loss(module: Module, tmp_path: Path):
    file = tmp_path / "exports" / "cells.json"
    drop(labelling_export([module], names(module), "1"), file)
    rows = read_export(file.read_bytes(), file=file.name, export="cells", evidence="x", received_at=NOW)
    assert rows.height == 12
    assert rows["unread"].null_count() == 12
    assert set(rows["guideline"]) == {"1"}
    assert rows["benchmark"].null_count() == 12
    said = Counter((row["image"][-7:-4], row["objects"][0]["class"]) for row in rows.iter_rows(named=True))
    assert {key: said[key, "defective"] for key in ("000", "001", "002", "003")} == {
        "000": 0, "001": 1, "002": 2, "003": 3,
    }  # fmt: skip


def test_golden_labels_are_verified_by_a_person_and_keep_the_unsure_cells(module: Module, tmp_path: Path):
    file = tmp_path / "golden.json"
    drop(benchmark_export([module], names(module), "1"), file)
    rows = read_export(file.read_bytes(), file=file.name, export="golden", evidence="x", received_at=NOW)
    assert [objects[0]["class"] for objects in rows["objects"]] == [
        "sound",
        "sound",
        "defective",
        "defective",
    ]
    assert set(rows["benchmark"]) == {"golden"}
    assert set(rows["verified_by"]) == {"eva.golden"}


def test_an_export_is_dropped_whole_and_is_the_same_whenever_it_is_made(module: Module, tmp_path: Path):
    export = labelling_export([module], names(module), "1")
    drop(export, tmp_path / "exports" / "cells.json")
    assert json.loads((tmp_path / "exports" / "cells.json").read_text()) == export
    assert [file.name for file in (tmp_path / "exports").iterdir()] == ["cells.json"]
    assert labelling_export([module], names(module), "1") == export
