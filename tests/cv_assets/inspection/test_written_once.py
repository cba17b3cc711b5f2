"""What would be another than it was."""

from datetime import UTC, datetime

import polars as pl
import pytest
from make_labels import demo_spec
from make_releases import checkpoint, delivered, release_row

from cv_assets.inspection.verdicts import Decider, Scored, inspect
from cv_assets.inspection.written_once import differences, refusal

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
CELLS = {"p1": 1, "p2": 2, "p3": "low_focus"}


def given(version="v1.0.0", scores=(0.1, 0.412), *, cells=CELLS, digest="a", hour=12, share=0.1, **release):
    """The verdicts on a delivery; parts p1, p2, … have these defect scores."""
    raw, prepared, _ = delivered("d1", cells, digest)
    rows, _ = checkpoint("first", digest)
    row = release_row(1, version, "first") | release
    by = Decider(row, rows.row(0, named=True)) if version else None
    said = {f"d1-p{n}": Scored([1 - one, one], float(hour)) for n, one in enumerate(scores, start=1)}
    spec = demo_spec()
    spec = spec.model_copy(update={"review": spec.review.model_copy(update={"audit_share": share})})
    return inspect(raw, prepared, by, said, spec=spec, decided_at=NOON.replace(hour=hour))


def refused(before, now, *, told=True):
    return refusal(before, now, differences(before, now), told=told)


def test_another_time_and_latency_are_no_difference():
    assert differences(given(), given(hour=13)).is_empty()


@pytest.mark.parametrize(("shift", "same"), [(9e-7, True), (2e-6, False)])
def test_scores_may_differ_by_a_millionth_also_where_their_words_then_do(shift, same):
    # 0.4124996 is told as 0.412, a millionth more as 0.413.
    before, now = given(scores=(0.1, 0.4124996)), given(scores=(0.1, 0.4124996 + shift))
    assert before["why"][1] != now["why"][1]
    assert differences(before, now).is_empty() == same


def test_a_score_on_the_other_side_of_a_threshold_is_another_verdict_however_near_it_is():
    found = differences(given(scores=(0.1, 0.6409999)), given(scores=(0.1, 0.6410001)))
    assert found.select("part", "before", "now").rows() == [
        ("p2", "REVIEW (low_confidence)", "FAIL (above_upper)")
    ]


def test_a_refusal_names_the_verdicts_both_releases_and_what_to_do_instead():
    before, now = given("v1.0.0"), given("v1.1.0", lower=0.05, upper=0.4)
    said = refused(before, now)
    assert said.startswith(
        "2 of 3 verdicts would be others: p1 PASS (below_lower) → REVIEW (low_confidence), "
        "p2 REVIEW (low_confidence) → FAIL (above_upper). They were given under v1.0.0; v1.1.0 is in force now. "
    )
    assert "run the job `replay_thresholds` (asset `threshold_replay`)" in said


def test_a_first_release_does_not_judge_what_people_were_asked_to_judge():
    before, now = given(version="", scores=()), given("v1.0.0")
    assert "They were given under no release; v1.0.0 is in force now." in refused(before, now)


def test_verdicts_stand_when_nothing_can_decide_any_more():
    assert "They were given under v1.0.0; no release decides now." in refused(
        given("v1.0.0"), given(version="", scores=())
    )


def test_many_verdicts_are_counted_and_the_first_are_shown():
    cells = {f"p{n}": n for n in range(1, 9)}
    before, now = (given(scores=[score] * 8, cells=cells) for score in (0.1, 0.9))
    assert "p3 PASS (below_lower) → FAIL (above_upper) and 5 more." in refused(before, now)


def test_the_same_verdicts_from_another_model_are_refused_too():
    before = given()
    now = before.with_columns(candidate=pl.lit("second"), release_number=pl.lit(2, pl.Int64))
    found = differences(before, now)
    assert found["differs"].unique().to_list() == ["release_number, candidate"]
    assert refused(before, now).startswith(
        "The verdicts would be the same, but 3 of them with another candidate and release_number."
    )


def test_frames_that_were_prepared_anew_are_said_to_be():
    before, now = given(digest="a"), given(digest="b")
    assert "the frames were prepared anew by another pass" in refused(before, now)


def test_a_rollback_to_the_same_release_is_no_difference():
    assert differences(given(number=1), given(number=3)).is_empty()
    assert not differences(given(number=1), given(number=3, lower=0.2)).is_empty()


def test_what_a_model_gave_instead_of_probabilities_may_differ_in_its_words_only():
    before, now = given(scores=(0.1, 1.7)), given(scores=(0.1, 1.7000001))
    assert before["reason"][1] == "no_score"
    assert before["why"][1] != now["why"][1]
    assert differences(before, now).is_empty()


def test_captures_that_only_one_of_them_has_are_told_as_such():
    cells = {"p1": 1, "p2": 2, "p4": "low_focus"}
    before, now = given(), given(cells=cells)
    assert differences(before, now).rows() == [
        ("p3", "REVIEW (frame_rejected)", None, "capture", "d1-p3"),
        ("p4", None, "REVIEW (frame_rejected)", "capture", "d1-p4"),
    ]
    assert refused(before, now) == (
        "The captures themselves are others: 1 gone (p3), 1 new (p4). Find out what changed raw_frames. A verdict is "
        "written once, and those that were given stay as they are."
    )
    both = refused(before, given(cells=cells, lower=0.05))
    assert "1 of 4 verdicts would be others: p1 PASS (below_lower) → REVIEW (low_confidence)." in both


def test_another_share_of_audits_is_told_without_pointing_to_the_replay():
    said = refused(given(share=0.1), given(share=0.5))
    assert said.startswith(
        "The verdicts would be the same, but captures would be drawn for the audit by another share"
    )
    assert "replay" not in said


def test_a_refusal_says_how_the_line_is_told_of_the_verdicts_that_stand_when_it_was_not():
    before, now = given("v1.0.0"), given("v1.1.0", lower=0.05)
    assert refused(before, now, told=False) == (
        refused(before, now)
        + " The line was not told of those yet: to tell it, materialize `outbox` of this delivery alone."
    )
