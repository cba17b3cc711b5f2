"""Whether the release in force can be held against a candidate."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cv_assets.evaluation.released import Released, how_compared, release_of, released_scores, unlike
from cv_assets.spec.load import load_spec

SPEC = load_spec(Path(__file__).parents[3] / "specs" / "solar_cells.yaml")
RELEASE = {"version": "v1.0.0", "pass_class": "sound"}
CHECKPOINT = {"classes": ["sound", "defective"], "preparation": "pass-1"}


def split(**groups: str) -> pl.DataFrame:
    """Two frames of each group, which has this role."""
    rows = [
        {"frame_id": f"{group}-{number}", "group": group, "role": role, "label": "sound", "attributes": "{}"}
        for group, role in groups.items()
        for number in (1, 2)
    ]
    return pl.DataFrame(rows)


HISTORY = pl.DataFrame(
    [
        ("released", "v1.0.0", "first", 0.2),
        ("released", "v1.1.0", "second", 0.3),
        ("refused", None, "third", 0.4),
        ("rolled_back", "v1.0.0", "first", 0.25),
    ],
    schema=["outcome", "version", "candidate", "lower"],
    orient="row",
)


def test_the_release_is_the_row_that_last_put_that_version_in_force():
    assert release_of(HISTORY, "v1.1.0")["candidate"] == "second"
    assert release_of(HISTORY, "v1.0.0")["lower"] == 0.25


def test_a_version_that_the_history_does_not_know_is_an_error():
    with pytest.raises(ValueError, match=r"v2\.0\.0 was in force when the candidate was requested, and"):
        release_of(HISTORY, "v2.0.0")


@pytest.mark.parametrize(
    ("release", "checkpoint", "why"),
    [
        ({}, {}, ""),
        ({}, {"classes": ["defective", "sound"]}, ""),
        (
            {},
            {"classes": ["sound", "crack"]},
            "v1.0.0 knows the classes sound, crack, and by the spec they are sound, defective by now",
        ),
        (
            {"pass_class": "defective"},
            {},
            "v1.0.0 was released with `defective` as the class that passes, and by the spec it is `sound` by now",
        ),
        (
            {},
            {"preparation": "pass-0"},
            "v1.0.0 was trained on the pass pass-0, and the frames went through pass-1",
        ),
    ],
)
def test_a_release_is_comparable_by_the_same_classes_passing_class_and_pass(release, checkpoint, why):
    assert unlike({**RELEASE, **release}, {**CHECKPOINT, **checkpoint}, ["pass-1", "pass-1"], SPEC) == why


def test_scores_are_put_in_the_specs_order_of_classes():
    turned = Released(RELEASE, {"classes": ["defective", "sound"]}, unlike="")
    rows = released_scores(turned, split(m1="golden"), np.array([[0.9, 0.1], [0.2, 0.8]]), SPEC)
    assert rows.select("model", "set", "frame_id", "scores").rows() == [
        ("released", "golden", "m1-1", [0.1, 0.9]),
        ("released", "golden", "m1-2", [0.8, 0.2]),
    ]


ITS_OWN = split(m1="train", m2="val", m3="golden")
V1 = Released(RELEASE, CHECKPOINT, unlike="")


def test_a_release_is_measured_fairly_on_groups_that_it_never_trained_on():
    assert how_compared(V1, ITS_OWN, split(m1="train", m3="golden", m4="challenge"), asked=True) == (
        True,
        "v1.0.0 was measured on the same 4 golden and challenge frames.",
    )


def test_a_benchmark_that_the_release_had_trained_on_is_told():
    renamed = split(m9="golden").with_columns(frame_id=pl.Series(["m1-1", "m9-2"]))
    judging = pl.concat([split(m2="golden", m4="golden"), renamed])
    fair, why = how_compared(V1, ITS_OWN, judging, asked=True)
    assert not fair
    assert why.startswith(
        "3 of the 6 golden and challenge frames are of groups that v1.0.0 trained on: m2, m9. Its figures are too good"
    )


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (True, "take `evaluation.regression` out of the spec for one release"),
        (False, "no regression criterion, so nothing depends on it"),
    ],
)
def test_what_to_do_when_no_comparison_is_possible_is_told(asked, told):
    fair, why = how_compared(Released(RELEASE, CHECKPOINT, "it is old"), ITS_OWN, ITS_OWN, asked=asked)
    assert not fair
    assert why.startswith("v1.0.0 cannot be measured on these frames: it is old. ")
    assert told in why
