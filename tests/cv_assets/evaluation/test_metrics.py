"""Metrics, against hand-worked values and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from cv_assets.evaluation.band import OperatingBand
from cv_assets.evaluation.intervals import score_interval
from cv_assets.evaluation.metrics import (
    Judged,
    balanced_accuracy,
    calibration_bins,
    calibration_error,
    measure,
    of_class,
    overall,
    roc_auc,
    share,
    weighted_share,
)
from cv_assets.spec.evaluation import Band, Criterion, Evaluation

BAND = OperatingBand(0.3, 0.7)
SETTINGS = Evaluation(
    band=Band(max_escape=0.1, max_overkill=0.1), acceptance=(Criterion(metric="roc_auc", at_least=0.5),)
)


def judged(defect_scores, truth, groups=None) -> Judged:
    """Two classes: 0 is sound and passes, 1 is defective."""
    defect = np.asarray(defect_scores, dtype=float)
    names = [f"g{n}" for n in (groups if groups is not None else range(len(defect)))]
    return Judged(
        np.stack([1 - defect, defect], axis=1),
        np.asarray(truth, dtype=np.intp),
        np.array(names, dtype=np.str_),
        ("sound", "defective"),
        0,
    )


#       sound: PASS REVIEW FAIL FAIL | defective: PASS REVIEW FAIL FAIL FAIL
HAND = judged(
    [0.1, 0.4, 0.7, 0.9, 0.2, 0.6, 0.8, 0.9, 1.0], [0, 0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 0, 1, 1, 2, 2]
)

BY_HAND = {
    # Pairs of (defective, sound) ranked right: 0.2 beats 1; 0.6 beats 2; 0.8 beats 3; 0.9 beats 3.5; 1.0 beats 4.
    "roc_auc": (13.5 / 20, 9, 3),
    "escape_rate": (1 / 5, 5, 3),
    "overkill": (2 / 4, 4, 2),
    "review_share": (2 / 9, 9, 3),
    "fail_precision": (3 / 5, 5, 2),
    "precision": (4 / 6, 6, 2),
    "recall": (4 / 5, 5, 3),
    "f1": (8 / 11, 7, 3),
    "balanced_accuracy": ((2 / 4 + 4 / 5) / 2, 9, 3),
    # Nine frames are one bin: mean score 5.6 / 9, share defective 5 / 9.
    "calibration_error": (0.6 / 9, 9, 3),
}


@pytest.mark.parametrize("metric", BY_HAND)
def test_metrics_are_what_one_counts_by_hand(metric):
    one, (value, samples, groups) = overall(HAND, BAND, 10)[metric], BY_HAND[metric]
    assert (one.value, one.samples, one.groups) == (pytest.approx(value), samples, groups)


def test_a_class_is_measured_against_the_rest_and_by_what_becomes_of_its_frames():
    scores = np.array(
        [[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6], [0.75, 0.05, 0.2], [0.05, 0.2, 0.75]]
    )
    three = Judged(scores, np.array([0, 1, 1, 2, 2]), np.array(list("abcde")), ("sound", "crack", "dark"), 0)
    crack, dark = (of_class(three, number, BAND, 10) for number in (1, 2))
    assert (crack["precision"].value, crack["recall"].value, crack["f1"].value) == (
        1,
        0.5,
        pytest.approx(2 / 3),
    )
    assert (dark["precision"].value, dark["recall"].value) == (0.5, 0.5)
    assert (crack["escape_rate"].value, crack["escape_rate"].samples) == (0, 2)
    assert (dark["escape_rate"].value, dark["escape_rate"].samples) == (0.5, 2)
    assert dark["overkill"].samples == 0
    # Scores of crack: 0.5 and 0.3 against 0.1, 0.05 and 0.2.
    assert crack["roc_auc"].value == 1
    assert np.isnan(dark["overkill"].value)


FEWER = settings(max_examples=30, deadline=None)
FRAMES = st.lists(
    st.tuples(st.integers(0, 20).map(lambda n: n / 20), st.booleans(), st.integers(0, 4)),
    min_size=1,
    max_size=60,
)


def of(frames) -> Judged:
    return judged(*(list(column) for column in zip(*frames, strict=True)))


@FEWER
@given(FRAMES)
def test_metrics_are_those_of_scikit_learn(frames):
    one = of(frames)
    mine, defective, called = overall(one, BAND, 10), one.defective, one.called == 1
    if 0 < defective.sum() < len(defective):
        assert mine["roc_auc"].value == pytest.approx(sklearn.roc_auc_score(defective, one.defect))
        assert mine["balanced_accuracy"].value == pytest.approx(
            sklearn.balanced_accuracy_score(defective, called)
        )
    if called.any():
        assert mine["precision"].value == pytest.approx(sklearn.precision_score(defective, called))
    if defective.any():
        assert mine["recall"].value == pytest.approx(sklearn.recall_score(defective, called))
    if (called | defective).any():
        assert mine["f1"].value == pytest.approx(sklearn.f1_score(defective, called))


@FEWER
@given(FRAMES)
def test_leaving_out_a_group_is_the_metric_of_the_other_groups(frames):
    one = of(frames)
    everything = overall(one, BAND, 10)
    for number, name in enumerate(np.unique(one.groups)):
        rest = overall(one.where(one.groups != name), BAND, 10)
        for metric in everything.keys() - {"calibration_error", "balanced_accuracy"}:
            expected = pytest.approx(rest[metric].value, nan_ok=True)
            assert everything[metric].without[number] == expected, (metric, name)


@FEWER
@given(FRAMES)
def test_no_frames_break_a_metric_and_every_interval_holds_its_estimate(frames):
    slices = {"none": np.zeros(len(frames), dtype=bool), "first": np.arange(len(frames)) == 0}
    for one in measure(of(frames), BAND, slices, SETTINGS):
        value, low, high = one.interval.value, one.interval.low, one.interval.high
        assert (value is None) == (low is None) == (high is None)
        assert value is None or 0 <= low <= value <= high <= 1, one
        assert 0 <= one.groups <= one.samples <= len(frames) or one.samples == 0
        assert one.slice != "none" or (value is None and one.samples == 0)


@FEWER
@given(FRAMES, st.randoms())
def test_the_order_of_frames_does_not_matter(frames, random):
    mixed = frames.copy()
    random.shuffle(mixed)
    for one, other in zip(
        measure(of(frames), BAND, {}, SETTINGS), measure(of(mixed), BAND, {}, SETTINGS), strict=True
    ):
        assert one.interval.value == pytest.approx(other.interval.value)
        assert one.interval.low == pytest.approx(other.interval.low, abs=1e-6)


@FEWER
@given(FRAMES)
def test_every_frame_passes_fails_or_is_reviewed(frames):
    one = of(frames)
    shares = {
        name: 0.0 if np.isnan(value.value) else value.value for name, value in overall(one, BAND, 10).items()
    }
    defective, failed = one.defective.sum(), (one.defect >= BAND.upper).sum()
    passed_sound = (~one.defective & (one.defect < BAND.lower)).sum()
    passed = shares["escape_rate"] * defective + passed_sound
    assert passed + failed + shares["review_share"] * len(frames) == pytest.approx(len(frames))


def test_one_class_alone_has_no_area_and_no_balanced_accuracy():
    alone = judged([0.1, 0.9], [0, 0])
    for one in (roc_auc(alone.defect, alone.defective, alone.group), balanced_accuracy(alone)):
        assert score_interval(one, 0.95, 0.1).value is None


def test_a_calibrated_model_has_a_small_error_and_an_overconfident_one_a_large():
    random = np.random.default_rng(3)
    truth = random.uniform(size=20_000)
    defective = random.uniform(size=20_000) < truth
    group = np.arange(20_000) % 50
    assert calibration_error(truth, defective, group, 10).value < 0.015
    overconfident = np.round(truth)
    # |score - rate| is 1/4 on average when a rate in [0, 1] is rounded to 0 or 1.
    assert calibration_error(overconfident, defective, group, 10).value == pytest.approx(0.25, abs=0.01)


def test_frames_of_equal_probability_share_a_bin():
    probability, truth = np.full(100, 0.5), np.arange(100) % 2 == 0
    assert calibration_error(probability, truth, np.arange(100), 10).value == 0


@pytest.mark.parametrize(
    ("frames", "most", "bins"), [(600, 10, 10), (600, 4, 4), (600, 1, 1), (60, 10, 4), (9, 10, 1)]
)
def test_there_are_as_many_bins_as_asked_for_where_each_holds_enough_frames(frames, most, bins):
    assert set(calibration_bins(np.linspace(0, 1, frames), most)) == set(range(bins))


def test_the_interval_of_the_area_covers_the_truth_about_as_often_as_it_says():
    """Eight groups of 40 frames; a group shifts all its scores, as a module's grain does."""
    random, covered, trials = np.random.default_rng(4), 0, 300
    group, area = np.repeat(np.arange(8), 40), 0.8089
    for _ in range(trials):
        defective = random.uniform(size=320) < 0.3
        score = random.normal(size=320) + 1.5 * defective + random.normal(0, 0.7, 8)[group]
        interval = score_interval(roc_auc(score, defective, group), 0.9, 0.1)
        covered += interval.low <= area <= interval.high
    assert covered / trials >= 0.87


def test_scores_that_are_no_probabilities_are_refused():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\].*at frame 1"):
        judged([0.5, np.nan], [0, 1])
    with pytest.raises(ValueError, match="scores must be"):
        judged([0.5, 0.5], [0, 1, 1])


WEIGHTED = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.sampled_from([1.0, 2.5, 20.0]), st.integers(0, 4)),
    min_size=1,
    max_size=40,
)


def columns(frames):
    hits, among, weights, groups = (np.array(column) for column in zip(*frames, strict=True))
    return hits, among, weights, np.unique(groups, return_inverse=True)[1]


def test_a_weighted_share_is_a_ratio_of_sums_of_weights():
    hits, among = np.array([True, False, True, False]), np.array([True, True, False, True])
    one = weighted_share(hits, among, np.array([4.0, 1, 9, 3]), np.array([0, 0, 1, 1]))
    assert one.value == 4 / 8
    assert one.without.tolist() == [0, 4 / 5]
    assert (one.samples, one.groups) == (3, 2)
    # What a hit weighs: (16 + 81) / 13, anything else: (1 + 9) / 4. Kish's size is 64 / 26.
    assert one.independent == pytest.approx(8 / (0.5 * 97 / 13 + 0.5 * 2.5))
    assert one.independent < 64 / 26


@FEWER
@given(WEIGHTED, st.sampled_from([1.0, 3.0, 8.0]))
def test_equal_weights_are_no_weights(frames, weight):
    hits, among, _, group = columns(frames)
    weighted = weighted_share(hits, among, np.full(len(hits), weight), group)
    plain = share(hits, among, group)
    assert weighted.value == pytest.approx(plain.value, nan_ok=True)
    assert weighted.independent == pytest.approx(plain.independent)
    one, other = (score_interval(each, 0.95, 0.1) for each in (weighted, plain))
    assert (one.low, one.high) == pytest.approx((other.low, other.high))


@FEWER
@given(WEIGHTED)
def test_a_frame_of_weight_n_is_n_frames_but_says_no_more_than_one(frames):
    hits, among, weights, group = columns(frames)
    weights = np.ceil(weights).astype(int)
    weighted = weighted_share(hits, among, 1.0 * weights, group)
    repeated = share(np.repeat(hits, weights), np.repeat(among, weights), np.repeat(group, weights))
    assert weighted.value == pytest.approx(repeated.value, nan_ok=True)
    assert weighted.without == pytest.approx(repeated.without, nan_ok=True)
    assert weighted.independent <= among.sum() + 1e-9


@FEWER
@given(WEIGHTED)
def test_leaving_out_a_group_is_the_weighted_share_of_the_others(frames):
    hits, among, weights, group = columns(frames)
    everything = weighted_share(hits, among, weights, group)
    for number in range(group.max() + 1):
        rest = group != number
        if rest.any():
            others = np.unique(group[rest], return_inverse=True)[1]
            expected = weighted_share(hits[rest], among[rest], weights[rest], others).value
            assert everything.without[number] == pytest.approx(expected, nan_ok=True)


def test_no_hit_among_a_few_heavy_frames_is_no_proof_that_there_is_none():
    # 40 reviewed defects, none of which could pass; of what passes 5 of 100 were looked at, all sound.
    passes, defective = np.repeat([False, True], [40, 5]), np.repeat([True, False], [40, 5])
    weight, group = np.repeat([1.0, 20.0], [40, 5]), np.arange(45) % 12
    one = weighted_share(passes, defective, weight, group)
    # A single defect among the five would have been 20 beside 40: two frames' worth of evidence, not 40.
    assert one.independent == 2
    assert score_interval(one, 0.95, 0.1).high > 20 / 60


def test_the_interval_of_a_weighted_share_covers_the_truth_about_as_often_as_it_says():
    """Thirty groups with rates of their own; of what passes by itself one in twenty is looked at, all of the rest."""
    random, covered, trials, group = np.random.default_rng(6), 0, 300, np.repeat(np.arange(30), 30)
    escape = 0.0774  # measured on 2,000,000 such frames
    for _ in range(trials):
        defective, score = plant(random, 30, 30)
        review = (score >= 0.3) & (score < 0.7)
        asked = review | (random.uniform(size=len(score)) < 0.05)
        weight = np.where(review, 1.0, 20.0)[asked]
        one = weighted_share((score < 0.3)[asked], defective[asked], weight, group[asked])
        interval = score_interval(one, 0.9, 0.1)
        covered += interval.low <= escape <= interval.high
    assert covered / trials >= 0.87


def plant(random, groups, frames):
    """Which frames are defective, and their scores: groups differ in both."""
    group = np.repeat(np.arange(groups), frames)
    defective = random.uniform(size=len(group)) < random.beta(2.7, 6.3, groups)[group]
    logit = 1.2 * random.normal(size=len(group)) + 3 * defective - 2 + random.normal(0, 0.5, groups)[group]
    return defective, 1 / (1 + np.exp(-logit))


@FEWER
@given(FRAMES)
def test_without_weights_no_metric_is_held_to_fewer_frames_than_its_groups_count_for(frames):
    for name, one in overall(of(frames), BAND, 10).items():
        counts = one.counts[:, one.counts.sum(axis=0) > 0].astype(float)
        if not np.isnan(one.value):
            least = (counts.sum(axis=1) ** 2 / (counts**2).sum(axis=1)).min()
            assert one.independent >= least - 1e-9, name
