"""What a replayed band does to escapes, overkill, precision and review load."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_replay import WORKED, WORKED_BENCHMARK, WORKED_LABELS, inspections, labels, scored

from cv_assets.evaluation.band import UNREACHABLE, OperatingBand
from cv_assets.lookback.effects import (
    ESCAPES,
    FAIL_PRECISION,
    OVERKILL,
    REVIEW_LOAD,
    as_table,
    bounds_are_met,
    effects,
    enough_is_known,
)
from cv_assets.lookback.replay import answers_by_verdict, replay
from cv_assets.reference.quantiles import Interval
from cv_assets.review.answers import known_truth
from cv_assets.spec.evaluation import Band, Criterion, Evaluation

TRUTH = known_truth(WORKED_LABELS, WORKED_BENCHMARK)
THRESHOLDS = st.integers(0, 20).map(lambda n: n / 20)
FEWER = settings(max_examples=40)


def asking(**bounds: float) -> Evaluation:
    """An evaluation that asks for at most one escape in ten, and for other bounds."""
    return Evaluation(
        band=Band(max_escape=0.1, **(bounds or {"min_fail_precision": 0.9})),
        acceptance=(Criterion(metric="roc_auc", at_least=0.5),),
    )


def found(stored, truth, band, asked=None):
    rows = replay(stored, truth, band)
    return {one.name: one for one in effects(rows, asked or asking(), "sound")}


def values(stored, truth, band):
    """Each effect, before and after."""
    return {
        name: (one.before.interval.value, one.after.interval.value)
        for name, one in found(stored, truth, band).items()
    }


def test_effects_are_what_one_counts_by_hand():
    # Of four in REVIEW three are answered: each stands for 4/3.
    # Defective: b stands for 4, f for 4/3, g for 4/3, i for 4. Sound: a for 4, e for 4/3, j for 4.
    # Before b passes and j and i fail; with the other band b is reviewed, and g fails beside i and j.
    assert values(WORKED, TRUTH, OperatingBand(0.2, 0.55)) == {
        ESCAPES: (pytest.approx(12 / 32), 0),
        OVERKILL: (pytest.approx(12 / 28), pytest.approx(12 / 28)),
        FAIL_PRECISION: (pytest.approx(4 / 8), pytest.approx(16 / 28)),
        REVIEW_LOAD: (pytest.approx(4 / 11), pytest.approx(4 / 11)),
    }


def test_a_label_that_nobody_asked_for_moves_no_estimate():
    # c passes and nobody was asked about it; had it been found defective by another way, that was no random draw.
    also = known_truth(pl.concat([WORKED_LABELS, labels(c="defective")]), WORKED_BENCHMARK)
    band = OperatingBand(0.22, 0.55)
    assert values(WORKED, also, band) == values(WORKED, TRUTH, band)


def test_captures_and_groups_behind_an_estimate_are_told():
    stored = WORKED.with_columns(group=pl.Series([*"xxxxyyyyzzz"]))
    one = found(stored, TRUTH, OperatingBand(0.2, 0.55))
    assert (one[ESCAPES].after.samples, one[ESCAPES].after.groups) == (4, 3)
    assert (one[FAIL_PRECISION].before.samples, one[FAIL_PRECISION].before.groups) == (2, 1)
    assert (one[FAIL_PRECISION].after.samples, one[FAIL_PRECISION].after.groups) == (3, 2)
    assert as_table(list(one.values()))["rests on"].to_list() == [
        "4 captures, 3 groups",
        "3 captures, 3 groups",
        "3 captures, 2 groups",
        "11 captures, 3 groups",
    ]


def test_where_no_group_is_known_the_delivery_is_the_group():
    stored = WORKED.with_columns(group=pl.lit(None, dtype=pl.String), delivery=pl.Series([*"xxxxyyyyzzz"]))
    assert found(stored, TRUTH, OperatingBand(0.2, 0.55))[ESCAPES].after.groups == 3


CAPTURES = st.lists(
    st.tuples(THRESHOLDS, st.sampled_from(["sound", "defective", None]), st.booleans(), st.integers(1, 4)),
    min_size=1,
    max_size=40,
)


def drawn(captures):
    """Stored verdicts and the truth of captures given as (score, class, asked, group)."""
    named = {f"c{number}": one for number, one in enumerate(captures)}
    stored = inspections(
        *(
            scored(name, score, asked=asked, group=f"m{group}")
            for name, (score, _, asked, group) in named.items()
        )
    )
    return stored, known_truth(labels(**{name: one[1] for name, one in named.items()}), WORKED_BENCHMARK)


@FEWER
@given(CAPTURES)
def test_the_band_in_effect_has_no_effect(captures):
    for one in found(*drawn(captures), OperatingBand(0.3, 0.7)).values():
        assert one.before == one.after


@FEWER
@given(CAPTURES, THRESHOLDS, THRESHOLDS, THRESHOLDS)
def test_a_higher_lower_threshold_never_lets_fewer_escape_nor_sends_more_to_people(
    captures, one, other, third
):
    low, high, upper = sorted([one, other, third])
    stored, truth = drawn(captures)
    less, more = (found(stored, truth, OperatingBand(lower, upper)) for lower in (low, high))
    escapes = [each[ESCAPES].after.interval.value for each in (less, more)]
    assert None in escapes or escapes[0] <= escapes[1] + 1e-12
    assert less[REVIEW_LOAD].after.interval.value >= more[REVIEW_LOAD].after.interval.value
    assert less[OVERKILL].after == more[OVERKILL].after


@FEWER
@given(CAPTURES, THRESHOLDS, THRESHOLDS, THRESHOLDS)
def test_a_higher_upper_threshold_never_fails_more_sound_captures(captures, one, other, third):
    lower, low, high = sorted([one, other, third])
    stored, truth = drawn(captures)
    overkill = [
        found(stored, truth, OperatingBand(lower, upper))[OVERKILL].after.interval.value
        for upper in (low, high)
    ]
    assert None in overkill or overkill[0] >= overkill[1] - 1e-12


@FEWER
@given(CAPTURES, THRESHOLDS, THRESHOLDS)
def test_an_estimate_is_a_share_within_its_interval_or_says_why_there_is_none(captures, one, other):
    for effect in found(*drawn(captures), OperatingBand(*sorted([one, other]))).values():
        for estimate in (effect.before, effect.after):
            value, low, high = estimate.interval.value, estimate.interval.low, estimate.interval.high
            assert (value is None or estimate.exact) == bool(estimate.why)
            assert value is None or estimate.exact or 0 <= low <= value <= high <= 1
            assert estimate.words


def test_the_weighted_estimate_is_right_on_average_and_the_unweighted_is_not():
    """1,000 captures, all of REVIEW and one in five of the others asked about, drawn again and again."""
    random = np.random.default_rng(5)
    defective = random.uniform(size=1000) < 0.3
    score = np.round(np.clip(random.normal(0.3 + 0.25 * defective, 0.2), 0, 1), 3)
    truly = (score[defective] < 0.3).mean()
    stored = inspections(*(scored(f"c{number}", one) for number, one in enumerate(score)))
    stored = stored.with_columns(review_probability=pl.when(verdict="REVIEW").then(1.0).otherwise(0.2))
    truth = pl.DataFrame({"frame_id": stored["frame_id"], "truth": np.where(defective, "defective", "sound")})
    weighted, unweighted = [], []
    for _ in range(60):
        audited = stored.with_columns(audit=pl.Series(random.uniform(size=1000) < 0.2))
        rows = replay(audited, truth, OperatingBand(0.3, 0.7))
        weighted.append(effects(rows, asking(), "sound")[0].before.interval.value)
        answered = rows.filter(pl.col("weight").is_not_null(), pl.col("truth") == "defective")
        unweighted.append((answered["verdict"] == "PASS").mean())
    error = np.std(weighted) / np.sqrt(len(weighted))
    assert np.mean(weighted) == pytest.approx(truly, abs=4 * error)
    assert error < 0.01
    assert np.mean(unweighted) < truly / 2


def test_where_nobody_answered_for_what_passes_no_escape_is_no_result():
    stored = inspections(scored("a", 0.1), scored("b", 0.5), scored("c", 0.8, asked=True))
    one = found(
        stored, known_truth(labels(b="defective", c="defective"), WORKED_BENCHMARK), OperatingBand(0.4, 0.7)
    )
    for estimate in (one[ESCAPES].before, one[ESCAPES].after):
        assert estimate.words == "not known: people answered for none of the captures that got PASS (1)"
    # Of what fails enough is known.
    assert one[FAIL_PRECISION].before.interval.value == 1


def test_an_answer_on_the_wrong_side_of_the_new_threshold_says_nothing_of_it():
    stored = inspections(scored("a", 0.1, asked=True), scored("b", 0.5), scored("c", 0.65))
    truth = known_truth(labels(a="sound", b="defective"), WORKED_BENCHMARK)
    assert found(stored, truth, OperatingBand(0.3, 0.6))[OVERKILL].after.words == (
        "not known: people answered for none of the captures that get FAIL (1)"
    )


def test_without_a_defective_capture_escapes_are_not_defined():
    stored = inspections(scored("a", 0.1, asked=True), scored("b", 0.5))
    one = found(stored, known_truth(labels(a="sound", b="sound"), WORKED_BENCHMARK), OperatingBand(0.2, 0.7))
    assert one[ESCAPES].after.words == "not known: none of the 2 captures answered for is defective"


def test_a_band_that_passes_and_fails_nothing_needs_no_truth():
    one = found(WORKED, TRUTH.clear(), OperatingBand(0, UNREACHABLE))
    assert one[ESCAPES].after.words == "0.000 (exact: no capture gets PASS)"
    assert one[OVERKILL].after.words == "0.000 (exact: no capture gets FAIL)"
    assert one[FAIL_PRECISION].after.words == "not defined: no capture gets FAIL"
    assert one[REVIEW_LOAD].after.words == "1.000 (exact: all captures are counted)"
    assert bounds_are_met(list(one.values()))[0]
    assert all(effect.decided for effect in one.values())


def answers_of(stored, truth, band):
    return answers_by_verdict(stored, replay(stored, truth, band))


def test_the_spec_s_bounds_are_held_against_the_estimates_and_told_with_their_intervals():
    band = OperatingBand(0.2, 0.55)
    passed, told = bounds_are_met(list(found(WORKED, TRUTH, band).values()))
    assert not passed
    assert told.startswith("With the replayed band: escapes 0.000 [0.000, ")
    assert "at most 0.1 is met; precision of FAIL 0.571 [" in told
    assert told.endswith("at least 0.9 is not met.")
    overkill = found(WORKED, TRUTH, band, asking(max_overkill=0.5))
    assert bounds_are_met(list(overkill.values()))[0]
    assert "overkill 0.429" in bounds_are_met(list(overkill.values()))[1]


def test_what_is_not_known_meets_no_bound_and_is_not_said_to_miss_it():
    passed, told = bounds_are_met(list(found(WORKED, TRUTH.clear(), OperatingBand(0.2, 0.7)).values()))
    assert not passed
    assert (
        "escapes not known: people answered for none of the captures that got PASS (4), at most 0.1 is asked for"
        in told
    )
    assert "not met" not in told


def test_few_answers_cannot_tell_and_the_words_say_what_was_asked_and_answered():
    band = OperatingBand(0.2, 0.55)
    enough, told = enough_is_known(list(found(WORKED, TRUTH, band).values()), answers_of(WORKED, TRUTH, band))
    assert not enough
    assert told.startswith(
        "Of 11 captures people were asked about 8 and answered for 7 (PASS 2 of 2, REVIEW 3 of 4, FAIL 2 of 2). The "
        "unanswered are taken to be like the answered of their verdict. 2 more were labelled without being asked about"
    )
    assert "Too little to tell: escapes 0.000 [0.000, " in told


def test_where_nobody_answered_nothing_is_said_of_the_unanswered():
    band, nothing = OperatingBand(0.2, 0.55), TRUTH.clear()
    _, told = enough_is_known(list(found(WORKED, nothing, band).values()), answers_of(WORKED, nothing, band))
    assert told.startswith("Of 11 captures people were asked about 8 and answered for 0")
    assert "taken to be like" not in told


def test_many_answers_on_one_side_of_the_bounds_are_enough():
    named = [
        (f"c{n}", score, "defective" if score > 0.5 else "sound")
        for n in range(100)
        for score in (0.1, 0.5, 0.9)
    ]
    stored = inspections(
        *(
            scored(f"{name}-{score}", score, asked=True, group=name, review_probability=1.0)
            for name, score, _ in named
        )
    )
    truth = known_truth(
        labels(**{f"{name}-{score}": label for name, score, label in named}), WORKED_BENCHMARK
    )
    band = OperatingBand(0.3, 0.8)
    enough, told = enough_is_known(list(found(stored, truth, band).values()), answers_of(stored, truth, band))
    assert enough, told
    assert "That is enough" in told


@pytest.mark.parametrize(
    ("low", "high", "decided"), [(0.0, 0.1, True), (0.0, 0.11, False), (0.1, 0.2, True), (0.05, 0.2, False)]
)
def test_an_interval_on_one_side_of_its_bound_decides(low, high, decided):
    one = found(WORKED, TRUTH, OperatingBand(0.2, 0.55))[ESCAPES]
    estimate = type(one.after)(Interval(low, low, high), 10, 3)
    assert type(one)(ESCAPES, estimate, estimate, bound=0.1).decided is decided
