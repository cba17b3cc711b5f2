"""Agreement beyond chance, against hand-worked values and an independent implementation."""

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import aggregate_raters
from statsmodels.stats.inter_rater import fleiss_kappa as reference_kappa

from cv_assets.labels.agreement import cohen_kappas, fleiss_kappa

some = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def votes(**said):
    """Votes of each annotator, one letter per frame: s(ound), c(rack), d(irt: stain), - for none."""
    names = {"s": "sound", "c": "crack", "d": "stain"}
    rows = [
        {"frame_id": f"f{place}", "annotator": who, "label": names.get(letter)}
        for who, letters in said.items()
        for place, letter in enumerate(letters)
    ]
    return pl.DataFrame(rows, schema={"frame_id": pl.String, "annotator": pl.String, "label": pl.String})


def test_cohen_s_kappa_of_a_hand_worked_table():
    # 20 sound by both, 15 crack by both, 5 and 10 apart: observed 0.7, chance 0.5, kappa 0.4.
    table = cohen_kappas(
        votes(ann="s" * 20 + "s" * 5 + "c" * 10 + "c" * 15, bob="s" * 20 + "c" * 5 + "s" * 10 + "c" * 15)
    )
    assert table.select("annotator", "other", "frames").row(0) == ("ann", "bob", 50)
    assert table["observed"][0] == pytest.approx(0.7)
    assert table["kappa"][0] == pytest.approx(0.4)


def test_every_pair_is_compared_on_the_frames_they_share():
    table = cohen_kappas(votes(ann="sscc", bob="ss--", cy="--cc"))
    assert table.select("annotator", "other", "frames").rows() == [("ann", "bob", 2), ("ann", "cy", 2)]


def test_a_kappa_that_is_not_defined_is_none():
    assert cohen_kappas(votes(ann="sss", bob="sss"))["kappa"].to_list() == [None]
    assert cohen_kappas(votes(ann="s", bob="-")).is_empty()
    assert fleiss_kappa(votes(ann="sss", bob="sss")).kappa is None
    assert fleiss_kappa(votes(ann="s-", bob="-c")).observed is None
    assert fleiss_kappa(votes()).frames == 0


def test_fleiss_kappa_with_unequal_votes_counts_pairs_of_votes():
    # Frame 0: s s s, frame 1: s c, frame 2: c c; frame 3 has one vote and says nothing about agreement.
    # Observed (1 + 0 + 1) / 3; 4 of 7 votes are s: chance (16 + 9) / 49.
    result = fleiss_kappa(votes(ann="sscs", bob="scc-", cy="s---"))
    assert (result.frames, result.votes) == (3, 7)
    assert result.observed == pytest.approx(2 / 3)
    assert result.kappa == pytest.approx((2 / 3 - 25 / 49) / (1 - 25 / 49))


@some
@given(
    st.integers(2, 4).flatmap(
        lambda n: st.lists(st.tuples(*[st.integers(0, 2)] * n), min_size=2, max_size=12)
    )
)
def test_with_equal_votes_fleiss_kappa_is_the_library_s(codes):
    said = {f"r{rater}": "".join("scd"[row[rater]] for row in codes) for rater in range(len(codes[0]))}
    ours = fleiss_kappa(votes(**said)).kappa
    if len({code for row in codes for code in row}) > 1:
        counts, _ = aggregate_raters(np.array(codes))
        assert ours == pytest.approx(reference_kappa(counts))
    else:
        assert ours is None


@some
@given(st.lists(st.tuples(*[st.sampled_from("scd-")] * 3), min_size=1, max_size=8), st.permutations("scd"))
def test_renaming_classes_or_swapping_annotators_changes_no_kappa(rows, letters):
    ann, bob, cy = ("".join(column) for column in zip(*rows, strict=True))
    new = str.maketrans("scd", "".join(letters))
    before = fleiss_kappa(votes(ann=ann, bob=bob, cy=cy))
    after = fleiss_kappa(votes(ann=cy.translate(new), bob=ann.translate(new), cy=bob.translate(new)))
    assert (after.kappa is None) == (before.kappa is None)
    assert after.kappa is None or after.kappa == pytest.approx(before.kappa)


@some
@given(st.lists(st.tuples(*[st.sampled_from("scd-")] * 3), min_size=1, max_size=8))
def test_kappas_are_numbers_in_range_or_none(rows):
    ann, bob, cy = ("".join(column) for column in zip(*rows, strict=True))
    said = votes(ann=ann, bob=bob, cy=cy)
    kappas = [*cohen_kappas(said)["kappa"], fleiss_kappa(said).kappa]
    assert all(kappa is None or -1 - 1e-9 <= kappa <= 1 + 1e-9 for kappa in kappas)
