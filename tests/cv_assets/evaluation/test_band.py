"""The operating band: which thresholds bound escapes and what fails."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.evaluation.band import UNREACHABLE, OperatingBand, choose_band, verdict
from cv_assets.spec.evaluation import Band

FRAMES = st.lists(st.tuples(st.integers(0, 20).map(lambda n: n / 20), st.booleans()), min_size=2).filter(
    lambda frames: len({defective for _, defective in frames}) == 2
)
SHARES = st.integers(0, 20).map(lambda n: n / 20)


def band(frames, **bounds) -> OperatingBand:
    scores, defective = (np.array(column) for column in zip(*frames, strict=True))
    return choose_band(scores, defective, Band(**bounds))


def told(frames, chosen) -> tuple[float, float, float | None]:
    """Escapes, overkill and precision of FAIL, as the verdicts say."""
    said = [(verdict(score, chosen), defective) for score, defective in frames]
    defects = [word for word, defective in said if defective]
    sound = [word for word, defective in said if not defective]
    failed = [defective for word, defective in said if word == "FAIL"]
    precision = sum(failed) / len(failed) if failed else None
    return defects.count("PASS") / len(defects), sound.count("FAIL") / len(sound), precision


#     ten defective frames at 0.1, 0.2 … 1.0 and four sound ones
WORKED = [(n / 10, True) for n in range(1, 11)] + [(0.05, False), (0.15, False), (0.45, False), (0.75, False)]


def test_the_lower_threshold_is_the_highest_that_lets_few_enough_escape():
    assert band(WORKED, max_escape=0.2, min_fail_precision=0.5).lower == 0.3
    assert band(WORKED, max_escape=0.29, min_fail_precision=0.5).lower == 0.3
    assert band(WORKED, max_escape=0.0, min_fail_precision=0.5).lower == 0.1


def test_the_upper_threshold_is_the_lowest_that_fails_precisely_enough():
    # From 0.3 on 8 of 10 are defective, from 0.5 on (the 0.45 left out) 6 of 7, from 0.8 on 3 of 3.
    assert band(WORKED, max_escape=0.2, min_fail_precision=0.8).upper == 0.3
    assert band(WORKED, max_escape=0.2, min_fail_precision=0.85).upper == 0.5
    assert band(WORKED, max_escape=0.2, min_fail_precision=0.9).upper == 0.8


def test_the_upper_threshold_can_bound_overkill_instead():
    assert band(WORKED, max_escape=0.2, max_overkill=0.25).upper == 0.5
    assert band(WORKED, max_escape=0.2, max_overkill=0.0).upper == 0.8


@given(FRAMES, SHARES, SHARES)
def test_the_bounds_hold_on_the_very_scores(frames, max_escape, bound):
    chosen = band(frames, max_escape=max_escape, min_fail_precision=bound)
    escapes, _, precision = told(frames, chosen)
    assert escapes <= max_escape + 1e-9
    assert precision is None or precision >= bound - 1e-9
    _, overkill, _ = told(frames, band(frames, max_escape=max_escape, max_overkill=bound))
    assert overkill <= bound + 1e-9


@given(FRAMES, SHARES, SHARES)
def test_no_wider_band_of_automatic_decisions_meets_the_bounds(frames, max_escape, bound):
    chosen = band(frames, max_escape=max_escape, min_fail_precision=bound)
    for higher in {score for score, _ in frames if score > chosen.lower}:
        assert told(frames, OperatingBand(higher, UNREACHABLE))[0] > max_escape
    for other in {score for score, _ in frames if chosen.lower <= score < chosen.upper}:
        assert told(frames, OperatingBand(chosen.lower, other))[2] < bound


@given(FRAMES, SHARES, SHARES, SHARES)
def test_looser_bounds_decide_more_by_themselves(frames, one, other, fixed):
    strict, loose = sorted([one, other])
    tight = band(frames, max_escape=strict, min_fail_precision=fixed)
    assert tight.lower <= band(frames, max_escape=loose, min_fail_precision=fixed).lower
    precise = band(frames, max_escape=fixed, min_fail_precision=loose)
    assert band(frames, max_escape=fixed, min_fail_precision=strict).upper <= precise.upper
    careful = band(frames, max_escape=fixed, max_overkill=strict)
    assert band(frames, max_escape=fixed, max_overkill=loose).upper <= careful.upper


def test_where_no_threshold_is_precise_enough_nothing_fails_and_the_words_say_so():
    chosen = band([(0.9, False), (0.5, True)], max_escape=0.0, min_fail_precision=0.9)
    assert chosen == OperatingBand(0.5, UNREACHABLE)
    assert verdict(1.0, chosen) == "REVIEW"
    assert "nothing fails by itself" in chosen.words


def test_all_may_escape_when_the_spec_says_so():
    chosen = band([(0.9, False), (0.5, True)], max_escape=1.0, min_fail_precision=0.9)
    assert verdict(1.0, chosen) == "PASS"
    assert "every part passes" in chosen.words


@pytest.mark.parametrize(
    ("score", "word"), [(0.29, "PASS"), (0.3, "REVIEW"), (0.69, "REVIEW"), (0.7, "FAIL")]
)
def test_a_threshold_belongs_to_the_graver_side(score, word):
    assert verdict(score, OperatingBand(0.3, 0.7)) == word


def test_a_score_that_is_no_number_has_no_verdict():
    with pytest.raises(ValueError, match="NaN"):
        verdict(float("nan"), OperatingBand(0.3, 0.7))


def test_thresholds_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match=r"lower must be at most upper, got 0\.7 and 0\.3"):
        OperatingBand(0.7, 0.3)


def test_a_band_needs_both_kinds_of_frames():
    with pytest.raises(ValueError, match="got 2 and 0"):
        band([(0.1, True), (0.2, True)], max_escape=0.1, max_overkill=0.1)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (
            OperatingBand(0.25, 0.75),
            "below 0.250 a part passes, from 0.750 on it fails, between them a person looks",
        ),
        (OperatingBand(0.5, 0.5), "below 0.500 a part passes, from there on it fails; nobody has to look"),
        (
            OperatingBand(0.0, 0.5),
            "no part passes by itself, from 0.500 on it fails, between them a person looks",
        ),
    ],
)
def test_a_band_is_told_in_words(chosen, words):
    assert chosen.words == words
