"""What the study of other draws counts."""

from typing import Any

import polars as pl
import pytest

from cv_assets.spec.schema import Spec
from demo.figures import WORDS
from demo.seeds import SEASONS, Gate, kept, show_drift

GOOD = {"roc_auc": 0.9, "escape_rate": 0.1, "overkill": 0.05, "calibration_error": 0.1}


def golden(**slices: dict[str, float]) -> dict[str, dict[str, float]]:
    """Figures by slice: good ones, changed where a slice says so."""
    mono = {**GOOD, **slices.get("mono", {})}
    return {
        "out_of_fold": {"roc_auc": 0.9},
        "all": {**GOOD, **slices.get("all", {})},
        "product=mono": mono,
        **({"product=poly": {**GOOD, **slices["poly"]}} if "poly" in slices else {}),
    }


def test_a_candidate_that_meets_everything_misses_nothing(spec: Spec):
    assert Gate(golden(), None).missed(spec) == []
    assert Gate(golden(poly={}), golden()).missed(spec) == []


@pytest.mark.parametrize(
    ("slices", "missed"),
    [
        ({"all": {"roc_auc": 0.5}}, ["roc_auc all"]),
        ({"all": {"escape_rate": float("nan")}}, ["escape_rate all"]),
        ({"poly": {"overkill": 0.3}}, ["overkill product=poly"]),
    ],
)
def test_a_missed_criterion_is_named(spec: Spec, slices: dict[str, dict[str, float]], missed: list[str]):
    assert Gate(golden(**slices), None).missed(spec) == missed


def test_what_is_lost_against_the_release_before_is_named(spec: Spec):
    worse = golden(mono={"roc_auc": 0.8}, poly={})
    assert Gate(worse, golden()).missed(spec) == ["roc_auc product=mono lost"]
    assert Gate(golden(poly={}), golden(mono={"roc_auc": 0.7})).missed(spec) == []


def draw(seed: int, **changed: Any) -> dict[str, Any]:
    """A draw that keeps every claim, changed as told."""
    figures = {f"{season}.{name}": 0.05 for season in SEASONS for name in WORDS}
    said = {"first_warns": True, "second_alarms": True, "first_missed": "", "second_missed": ""}
    counted = ("mono", "again", "later", "all_later")
    quiet = {f"{name}_warnings": 0 for name in counted} | {f"{name}_alarm": False for name in counted}
    of = {f"{name}_deliveries": 4 for name in ("mono", "poly", "later", "all_later")}
    row = {"seed": seed, **figures, "season3.overkill": 0.8, **said, **quiet, **of, "poly_drifted": 4}
    return row | changed


def test_each_claim_is_counted_over_the_draws(spec: Spec):
    rows = pl.DataFrame(
        [draw(0), draw(1, mono_alarm=True), draw(2, **{"season3.overkill": 0.1}), draw(3, second_missed="x")]
    )
    held = {words: one for words, (one, _) in kept(rows, spec).items()}
    assert held["season 2 opens no drift alarm"] == 3
    assert held["the second poly delivery makes it an alarm"] == 4
    assert held["season 3: overkill jumps by 0.15 or more"] == 3
    assert held["v1.1.0 meets every criterion, and loses no more than it may"] == 3
    assert all(of == 4 for _, of in kept(rows, spec).values())


def test_drifted_deliveries_are_counted_with_their_share():
    table = show_drift(pl.DataFrame([draw(0), draw(1, mono_warnings=2)]))
    assert list(table.columns[1].cells)[:2] == ["2 of 8 (25.0%)", "8 of 8 (100.0%)"]
