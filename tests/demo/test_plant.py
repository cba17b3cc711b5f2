import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.labels.exports import read_export
from cv_assets.review.queue import waiting
from cv_assets.review.schema import ReviewQueue
from cv_assets.review.worklist import FILE, PICTURES, tasks_json, worklist
from cv_assets.spec.schema import Spec
from demo.modules import Cell, Module
from demo.plant import (
    ANNOTATORS,
    BETWEEN_MODULES,
    Camera,
    Shot,
    Task,
    asked_cells,
    benchmark_export,
    drop,
    misshown,
    read_worklist,
    votes,
    votes_export,
)
from demo.seasons import OPENING, opening

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def module(tmp_path: Path) -> Module:
    """Four cells, one for each step of the expert's confidence."""
    image = tmp_path / "cell.png"
    image.write_bytes(b"not opened by the plant" * 100)
    steps = (0.0, 1 / 3, 2 / 3, 1.0)
    return Module(7, "mono", tuple(Cell(7, place, step, image) for place, step in enumerate(steps)))


def names(module: Module) -> dict[Cell, str]:
    return {cell: Camera(Path("inbox")).file_name(module, cell, OPENING) for cell in module.cells}


def test_a_file_name_says_what_the_spec_reads_from_it(module: Module, spec: Spec):
    name = Camera(Path("inbox")).file_name(module, module.cells[3], OPENING + 2 * BETWEEN_MODULES)
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
    delivered = list(Camera(inbox).deliver(module, OPENING, renames=renames))
    assert sorted(inbox.iterdir()) == sorted(delivered)
    assert [file.name for file in delivered] == list(names(module).values())
    assert all(file.read_bytes() == module.cells[0].image.read_bytes() for file in delivered)


def test_no_two_cells_of_the_plant_have_the_same_name_or_time(module: Module):
    whole = Module(8, "mono", tuple(Cell(8, place, 0.0, Path("x")) for place in range(72)))
    camera = Camera(Path("inbox"))
    begins = (OPENING, OPENING + BETWEEN_MODULES)
    written = [
        camera.file_name(one, cell, at)
        for at, one in zip(begins, (whole, module), strict=True)
        for cell in one.cells
    ]
    assert len(set(written)) == len({name.split("_")[2] for name in written}) == 76


def test_all_of_season_1_is_imaged_before_season_2_begins():
    assert opening(2) > OPENING + 14 * BETWEEN_MODULES


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
    drop(votes_export("cells", names(module), "1", NOW), file)
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
    drop(benchmark_export("golden-1", names(module), "1", NOW), file)
    rows = read_export(file.read_bytes(), file=file.name, export="golden", evidence="x", received_at=NOW)
    assert [objects[0]["class"] for objects in rows["objects"]] == [
        "sound",
        "sound",
        "defective",
        "defective",
    ]
    assert set(rows["benchmark"]) == {"golden"}
    assert set(rows["verified_by"]) == {"eva.golden"}


def test_hard_cells_are_verified_for_the_challenge_set(module: Module, tmp_path: Path):
    file = tmp_path / "challenge.json"
    drop(benchmark_export("challenge-2", names(module), "1", NOW, set_="challenge"), file)
    rows = read_export(file.read_bytes(), file=file.name, export="challenge", evidence="x", received_at=NOW)
    assert set(rows["benchmark"]) == {"challenge"}


def test_a_module_that_is_imaged_again_elsewhere_gives_other_captures_of_the_same_pictures(
    module: Module, tmp_path: Path
):
    first = Shot(module, Camera(tmp_path), OPENING, renames=False)
    again = Shot(module, Camera(tmp_path, "line2"), opening(4), renames=True)
    assert not first.files.keys() & again.files.keys()
    assert list(first.files.values()) == list(again.files.values())
    assert sorted(file.name for file in again.deliver()) == sorted(again.files)


def test_an_export_is_dropped_whole_and_says_when_it_was_answered(module: Module, tmp_path: Path):
    export = votes_export("cells", names(module), "1", NOW)
    drop(export, tmp_path / "exports" / "cells.json")
    assert json.loads((tmp_path / "exports" / "cells.json").read_text()) == export
    assert [file.name for file in (tmp_path / "exports").iterdir()] == ["cells.json"]
    assert {one["annotated_at"] for one in export["annotations"]} == {NOW.isoformat()}


def test_the_worklist_is_read_as_the_product_writes_it(module: Module, tmp_path: Path):
    first, second = (
        item(part, reason) for part, reason in (("m07c001", "low_confidence"), ("m07c003", "random_audit"))
    )
    queue = pl.concat([first, second.with_columns(due_at=pl.lit(NOW)), item("m07c000", None)])
    file = tmp_path / FILE
    file.write_bytes(tasks_json(worklist(waiting(queue), "1"), lambda path: f"lake://{path}"))
    assert read_worklist(file) == [
        Task("m07c001", "raw_frames/d1/m07c001.png", "low_confidence", tmp_path / PICTURES / "m07c001.png"),
        Task("m07c003", "raw_frames/d1/m07c003.png", "random_audit", tmp_path / PICTURES / "m07c003.png"),
    ]


def item(part: str, reason: str | None) -> pl.DataFrame:
    """A row of the product's review queue; without a reason it is answered."""
    said = {
        "frame_id": part.encode().hex().ljust(64, "0"),
        "part": part,
        "path": f"raw_frames/d1/{part}.png",
        "reason": reason or "low_confidence",
        "state": "open" if reason else "answered",
        "due_at": NOW - timedelta(hours=1),
        "answered_by": [],
    }
    rows = pl.concat([ReviewQueue.create_empty(), pl.DataFrame([said])], how="diagonal_relaxed")
    return rows.cast(ReviewQueue.create_empty().schema)


def test_while_there_is_no_worklist_nobody_is_asked(tmp_path: Path):
    assert read_worklist(tmp_path / "worklist.json") == []


def test_annotators_answer_exactly_the_cells_on_the_worklist_by_the_path_it_names(
    module: Module, tmp_path: Path
):
    tasks = [
        Task("m07c003", "raw_frames/d1/ab.png", "random_audit", Path()),
        Task("m07c001", "raw_frames/d1/cd.png", "low_confidence", Path()),
    ]
    file = tmp_path / "review.json"
    drop(votes_export("review", asked_cells(tasks, module.cells), "1", NOW), file)
    rows = read_export(file.read_bytes(), file=file.name, export="review", evidence="x", received_at=NOW)
    said = Counter((row["image"], row["objects"][0]["class"]) for row in rows.iter_rows(named=True))
    assert said == {
        ("raw_frames/d1/ab.png", "defective"): 3,
        ("raw_frames/d1/cd.png", "defective"): 1,
        ("raw_frames/d1/cd.png", "sound"): 2,
    }


def test_answers_of_two_projects_are_different_annotations(module: Module, tmp_path: Path):
    ids = []
    for project in ("cells", "review"):
        file = tmp_path / f"{project}.json"
        drop(votes_export(project, names(module), "1", NOW), file)
        rows = read_export(file.read_bytes(), file=file.name, export=project, evidence="x", received_at=NOW)
        ids += rows["annotation_id"].to_list()
    assert len(set(ids)) == len(ids) == 24


def test_a_part_that_the_plant_never_made_is_an_error(module: Module):
    tasks = [task("m07c000", Path()), task("m99c000", Path())]
    with pytest.raises(ValueError, match="never made: m99c000"):
        asked_cells(tasks, module.cells)


def test_a_picture_that_is_missing_or_of_another_part_is_noticed(module: Module, tmp_path: Path):
    other = tmp_path / "other.png"
    other.write_bytes(b"another part")
    right = module.cells[0].image
    tasks = [task("m07c000", right), task("m07c001", other), task("m07c002", tmp_path / "gone.png")]
    assert misshown(tasks, module.cells) == ["m07c001", "m07c002"]


def task(part: str, picture: Path) -> Task:
    return Task(part, "x.png", "low_confidence", picture)
