"""The logistic head."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cv_assets.training.arrays import read_arrays
from cv_assets.training.fitting import fit_head, out_of_fold_heads
from cv_assets.training.folds import grouped_folds
from cv_assets.training.heads import Head
from cv_assets.training.tensors import to_bytes

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(60, 5)).astype(np.float32) * [1, 10, 100, 1, 1]
TWO = (FEATURES[:, 0] + RANDOM.normal(size=60) > 0.8).astype(np.intp)
THREE = np.digitize(FEATURES[:, 0], [-0.5, 0.5]).astype(np.intp)


@pytest.mark.parametrize("labels", [TWO, THREE], ids=["two classes", "three classes"])
@pytest.mark.parametrize("balance", [True, False])
def test_scores_are_those_of_a_standardised_logistic_regression(labels: np.ndarray, balance: bool):
    fitted = fit_head(FEATURES, labels, int(labels.max()) + 1, C=0.3, balance=balance)
    regression = LogisticRegression(C=0.3, max_iter=5000, class_weight="balanced" if balance else None)
    theirs = make_pipeline(StandardScaler(), regression).fit(FEATURES.astype(np.float64), labels)
    np.testing.assert_allclose(fitted.head.scores(FEATURES), theirs.predict_proba(FEATURES), atol=1e-6)
    assert fitted.converged


def test_balancing_moves_a_rare_class_up():
    rare = (np.arange(60) % 12 == 0).astype(np.intp)
    plain, balanced = (fit_head(FEATURES, rare, 2, C=1.0, balance=balance) for balance in (False, True))
    assert balanced.head.scores(FEATURES)[:, 1].mean() > 2 * plain.head.scores(FEATURES)[:, 1].mean()


def test_a_class_that_was_never_seen_has_probability_zero():
    scores = fit_head(FEATURES, TWO * 2, 3, C=1.0, balance=True).head.scores(FEATURES)
    assert (scores[:, 1] == 0).all()
    np.testing.assert_allclose(scores.sum(axis=1), 1)


def test_a_head_that_saw_one_class_names_that_class():
    scores = fit_head(FEATURES, np.ones(60, dtype=np.intp), 2, C=1.0, balance=True).head.scores(FEATURES)
    assert scores.tolist() == [[0.0, 1.0]] * 60


def test_a_constant_feature_does_no_harm():
    features = np.column_stack([FEATURES, np.full(60, 7.0)])
    assert np.isfinite(fit_head(features, TWO, 2, C=1.0, balance=True).head.scores(features)).all()


def test_the_loss_is_the_mean_of_minus_log_of_the_true_class():
    head = Head(np.zeros(1), np.ones(1), np.array([[0.0], [0.0]]), np.log([0.25, 0.75]))
    assert head.loss(np.zeros((2, 1)), np.array([0, 1])) == pytest.approx(-np.log([0.25, 0.75]).mean())


def test_a_head_survives_its_stored_form_to_the_bit(tmp_path):
    head = fit_head(FEATURES, TWO * 2, 3, C=1.0, balance=True).head
    (tmp_path / "head.safetensors").write_bytes(head.to_bytes())
    again = Head.from_arrays(read_arrays(tmp_path / "head.safetensors"))
    assert np.array_equal(head.scores(FEATURES), again.scores(FEATURES))


def test_a_head_is_stored_as_pytorch_would_store_it():
    head = fit_head(FEATURES, TWO * 2, 3, C=1.0, balance=True).head
    assert head.to_bytes() == to_bytes({name: torch.from_numpy(one) for name, one in vars(head).items()})


def test_arrays_that_are_no_head_are_refused():
    with pytest.raises(ValueError, match=r"\['bias', 'mean', 'scale', 'weight'\], got \['bias'\]"):
        Head.from_arrays({"bias": np.zeros(1)})


def test_out_of_fold_scores_are_complete_and_no_model_saw_the_group():
    groups = [f"m{number // 10}" for number in range(60)]
    folds = grouped_folds(TWO, groups, 3, 0)
    scored = out_of_fold_heads(FEATURES, TWO, groups, folds, 2, C=1.0, balance=True)
    assert scored.missing() == []
    assert scored.leaks(groups) == []
    fold = folds[1]
    alone = fit_head(FEATURES[fold.train], TWO[fold.train], 2, C=1.0, balance=True).head
    assert np.array_equal(scored.scores[fold.held_out], alone.scores(FEATURES[fold.held_out]))


def test_a_leak_and_a_gap_are_found():
    groups = [f"m{number // 10}" for number in range(60)]
    scored = out_of_fold_heads(
        FEATURES, TWO, groups, grouped_folds(TWO, groups, 3, 0), 2, C=1.0, balance=True
    )
    held_out = groups[int(np.flatnonzero(scored.fold == 0)[0])]
    scored.seen_groups[0] |= {held_out}
    scored.scores[3] = np.nan
    assert {groups[index] for index in scored.leaks(groups)} == {held_out}
    assert scored.missing() == [3]


def test_labels_that_carry_no_signal_score_no_better_than_chance():
    """Were a frame scored by a model that saw it, 200 features would tell 120 random labels apart."""
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(1)
    features, labels = random.normal(size=(120, 200)), random.integers(0, 2, 120)
    groups = [f"m{number // 10}" for number in range(120)]
    scored = out_of_fold_heads(
        features, labels, groups, grouped_folds(labels, groups, 6, 0), 2, C=1.0, balance=True
    )
    assert 0.3 < roc_auc_score(labels, scored.scores[:, 1]) < 0.7
