"""The product's decisions on cells in memory: four tight clouds of features, one far away, nothing embedded."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from cv_assets.evaluation.band import OperatingBand
from cv_assets.reference.schema import NOVELTY
from cv_assets.spec.schema import Spec
from cv_assets.training.heads import Head
from demo.modules import Cell, Module
from demo.trials import Cells, Trained, drift, inspect, train

SIZE = 40
TRAINED, LIKE_THEM, FAR = range(12), 12, 13


def module(number: int) -> Module:
    """Every other cell is defective."""
    cells = tuple(Cell(number, place, place % 2, Path("x")) for place in range(SIZE))
    return Module(number, "mono", cells)


@pytest.fixture(scope="module")
def modules() -> list[Module]:
    return [module(number) for number in (*TRAINED, LIKE_THEM, FAR)]


@pytest.fixture(scope="module")
def cells(modules: list[Module]) -> Cells:
    """Feature 0 tells defects; the last module is far from all others in every feature."""
    accepted = tuple(cell for one in modules for cell in one.cells)
    noise = np.random.default_rng(0).normal(size=(len(accepted), 6)).astype(np.float32)
    noise[:, 0] += [8 * cell.defective for cell in accepted]
    noise[[cell.module == FAR for cell in accepted]] += 30
    return Cells(accepted, (), {"cnn": noise, "vit": noise, NOVELTY: noise})


def test_a_module_like_the_reference_is_ordinary_and_a_far_one_drifted(
    cells: Cells, modules: list[Module], spec: Spec
):
    metrics = drift(cells, modules[:12], modules[12:], spec, release=1)
    assert metrics["verdict"].to_list() == ["ok", "drifted"]
    assert metrics["rank"][1] == 1
    assert metrics["psi"][1] > metrics["psi_level"][1] > 0


def test_what_is_nearer_than_usual_is_not_drifted(cells: Cells, modules: list[Module], spec: Spec):
    still = dict(cells.features)
    still[NOVELTY] = np.where(cells.of(modules[12:])[:, None], 0, still[NOVELTY])
    metrics = drift(dataclasses.replace(cells, features=still), modules[:12], modules[12:], spec, release=1)
    assert metrics["verdict"].to_list() == ["ok", "ok"]
    assert metrics["rank"].to_list() == [0, 0]


def test_a_training_tells_the_defects_that_its_features_show(cells: Cells, modules: list[Module], spec: Spec):
    trained = train(cells, modules[:12], spec)
    assert trained.out_of_fold_auc > 0.99
    rows = inspect(cells, trained, [modules[12]])
    decided = dict(rows.select("frame_id", "verdict").iter_rows())
    assert {decided[f"m12c{place:03d}"] for place in range(0, SIZE, 2)} <= {"PASS", "REVIEW"}
    of_defects = [decided[f"m12c{place:03d}"] for place in range(1, SIZE, 2)]
    # The band lets one defect in ten of the training modules pass.
    assert of_defects.count("PASS") < len(of_defects) / 2


def test_a_rejected_cell_goes_to_people(cells: Cells, modules: list[Module]):
    rejected = (Cell(LIKE_THEM, 99, 0.0, Path("x")), Cell(FAR, 99, 0.0, Path("x")))
    head = Head(np.zeros(6), np.ones(6), np.zeros((2, 6)), np.zeros(2))
    passes_all = Trained("cnn", head, OperatingBand(2.0, 2.0), cells.judged(cells.of([]), np.zeros((0, 2))))
    rows = inspect(dataclasses.replace(cells, rejected=rejected), passes_all, [modules[12]])
    assert dict(rows["verdict"].value_counts().iter_rows()) == {"PASS": SIZE, "REVIEW": 1}
    assert set(rows["group"]) == {"m12"}
