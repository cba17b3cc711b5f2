"""What verdicts did to parts, estimated from those that people answered for: weights, intervals, what is not known."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_labels import demo_spec

from cv_assets.review.estimates import FAIL, PASS, REVIEW, Sample, estimate, group_numbers, weights
from cv_assets.spec.drift import KPIS

SETTINGS = demo_spec().evaluation
BY_VERDICT = np.array(
    [
        [0.62, 0.10, 0.03],  # sound: PASS, REVIEW, FAIL
        [0.03, 0.10, 0.12],  # defective
    ]
)
"""How often a capture is so, of all captures."""
TRULY = {
    "escape_rate": 0.03 / 0.25,
    "overkill": 0.03 / 0.75,
    "fail_precision": 0.12 / 0.15,
    "review_share": 0.2,
}


def weighed(*captures):
    """The weights of captures given as (verdict, probability, asked, known)."""
    stored, probability, asked, known = (np.array(one) for one in zip(*captures, strict=True))
    return weights(stored, probability.astype(float), asked.astype(bool), known.astype(bool)).tolist()


def sample(stored, defective, weight=None, group=None):
    stored_N = np.array(stored)
    weight_N = np.ones(len(stored_N)) if weight is None else np.array(weight, dtype=float)
    group_N = np.arange(len(stored_N)) if group is None else np.array(group)
    return Sample(stored_N, stored_N, weight_N, np.array(defective, dtype=bool) & (weight_N > 0), group_N)


def test_an_answer_stands_for_as_many_captures_as_its_probability_of_being_asked_for_says():
    assert weighed((PASS, 0.1, 1, 1), (PASS, 0.1, 0, 0), (REVIEW, 1, 1, 1), (FAIL, 0.5, 1, 1)) == [
        10,
        0,
        1,
        2,
    ]


def test_a_label_that_nobody_asked_for_stands_for_none():
    assert weighed((PASS, 0.1, 0, 1), (PASS, 0.1, 1, 1)) == [0, 10]


def test_the_unanswered_are_taken_to_be_like_the_answered_of_their_verdict_and_probability():
    three_of_four = [(FAIL, 1, 1, 1), (FAIL, 1, 1, 1), (FAIL, 1, 1, 1), (FAIL, 1, 1, 0)]
    drawn = [(FAIL, 0.1, 1, 1), (PASS, 1, 1, 1)]
    assert weighed(*three_of_four, *drawn) == pytest.approx([4 / 3, 4 / 3, 4 / 3, 0, 10, 1])


def test_where_nobody_answered_for_a_probability_the_others_of_the_verdict_stand_for_it():
    assert weighed((FAIL, 0.1, 1, 1), (FAIL, 1, 1, 0), (FAIL, 1, 1, 0), (PASS, 1, 1, 1)) == [12, 0, 0, 1]


CAPTURES = st.lists(
    st.tuples(
        st.sampled_from([PASS, REVIEW, FAIL]), st.sampled_from([0.05, 0.1, 1]), st.booleans(), st.booleans()
    ),
    min_size=1,
    max_size=40,
)


@given(CAPTURES)
def test_answers_together_stand_for_all_that_was_asked_about(captures):
    found = weighed(*captures)
    for verdict in (PASS, REVIEW, FAIL):
        mine = [
            (one, weight) for one, weight in zip(captures, found, strict=True) if one[0] == verdict and one[2]
        ]
        if any(known for (_, _, _, known), _ in mine):
            asked = sum(1 / probability for (_, probability, _, _), _ in mine)
            assert sum(weight for _, weight in mine) == pytest.approx(asked)
    for (_, _, asked, known), weight in zip(captures, found, strict=True):
        assert weight >= 1 if asked and known else weight == 0


def draw(random, captures, groups=0):
    """Verdicts and truth of captures, as often as `BY_VERDICT` says; those of one group are all alike."""
    many = groups or captures
    kind = random.choice(6, size=many, p=BY_VERDICT.ravel())
    group = np.arange(captures) if not groups else np.sort(random.integers(groups, size=captures))
    return kind[group] % 3, kind[group] // 3 == 1, group


def drawn(random, captures=600, audit=0.2, groups=0):
    """What is estimated from a random draw of them; every REVIEW is asked about."""
    stored, defective, group = draw(random, captures, groups)
    probability = np.where(stored == REVIEW, 1.0, audit)
    asked = random.uniform(size=captures) < probability
    weight = weights(stored, probability, asked, np.ones(captures, dtype=bool))
    found = sample(stored, defective, weight, group)
    return {metric: estimate(metric, found, SETTINGS).interval for metric in KPIS}


@pytest.mark.parametrize("groups", [0, 60])
def test_estimates_are_right_on_average_and_their_intervals_hold_the_truth_about_as_often_as_they_say(groups):
    random = np.random.default_rng(7)
    found = [drawn(random, groups=groups) for _ in range(250)]
    for metric, truly in TRULY.items():
        intervals = [one[metric] for one in found if one[metric].value is not None]
        assert len(intervals) > 240
        values = np.array([one.value for one in intervals])
        assert values.mean() == pytest.approx(truly, abs=4 * values.std() / np.sqrt(len(values)) + 0.01)
        covered = np.mean([one.low <= truly <= one.high for one in intervals])
        assert covered >= SETTINGS.confidence - 0.04


def test_a_drifted_delivery_of_which_only_the_audit_is_answered_yet_is_not_read_as_mostly_reviews():
    """People answered what they were asked about first; that they are asked about all came later."""
    random = np.random.default_rng(3)
    plain, adjusted = [], []
    for _ in range(200):
        stored, defective, group = draw(random, 400)
        known = (stored == REVIEW) | (random.uniform(size=400) < 0.1)
        one, asked = np.ones(400), np.ones(400, dtype=bool)
        plain.append(estimate("overkill", sample(stored, defective, known * one, group), SETTINGS))
        answered = sample(stored, defective, weights(stored, one, asked, known), group)
        adjusted.append(estimate("overkill", answered, SETTINGS))
    means = [
        np.mean([one.interval.value for one in each if one.interval.value is not None])
        for each in (plain, adjusted)
    ]
    assert means[1] == pytest.approx(TRULY["overkill"], abs=0.01)
    assert means[0] < TRULY["overkill"] - 0.01


def test_fewer_groups_say_less():
    many = sample([PASS, FAIL] * 30, [False, True] * 30, group=range(60))
    few = sample([PASS, FAIL] * 30, [False, True] * 30, group=[number // 20 for number in range(60)])
    widths = [
        one.interval.high - one.interval.low
        for one in (estimate("review_share", each, SETTINGS) for each in (many, few))
    ]
    assert widths[0] < widths[1]


def test_where_all_pass_no_answer_is_needed_to_say_that_none_fails():
    all_pass = sample([PASS] * 5, [False] * 5, weight=[0] * 5)
    assert estimate("overkill", all_pass, SETTINGS).words == "0.000 (exact: no capture gets FAIL)"
    assert estimate("fail_precision", all_pass, SETTINGS).words == "not defined: no capture gets FAIL"
    assert estimate("review_share", all_pass, SETTINGS).words == "0.000 (exact: all captures are counted)"
    said = "not known: people answered for none of the captures that got PASS (5)"
    assert estimate("escape_rate", all_pass, SETTINGS).words == said


def test_no_answer_on_what_passes_is_no_sign_that_none_escapes():
    one = sample([PASS, REVIEW, FAIL], [True, True, True], weight=[0, 1, 10])
    assert estimate("escape_rate", one, SETTINGS).interval.value is None
    assert estimate("fail_precision", one, SETTINGS).interval.value == 1


def test_of_none_defective_no_share_passes():
    one = sample([PASS, REVIEW], [False, False])
    assert estimate("escape_rate", one, SETTINGS).words == (
        "not known: none of the 2 captures answered for is defective"
    )


def test_where_no_group_is_known_the_delivery_is_the_group():
    rows = pl.DataFrame({"group": ["m1", None, "m1", None], "delivery": ["d1", "d1", "d2", "d2"]})
    numbers = group_numbers(rows).tolist()
    assert numbers[0] == numbers[2]
    assert len(set(numbers)) == 3
