"""The picture of a reference."""

import numpy as np
import polars as pl
import pytest
from make_drift import reference, reference_row, share_row

from cv_assets.reference.figures import levels_figure


def _differences(deliveries: int) -> pl.DataFrame:
    names = [f"d{number}" for number in range(deliveries)]
    return pl.DataFrame({"statistic": "novelty", "delivery": names, "psi": np.linspace(0.1, 1.2, deliveries)})


@pytest.mark.parametrize(("deliveries", "named"), [(12, True), (40, False)])
def test_each_delivery_stands_beside_the_level_and_is_named_while_there_is_room(deliveries, named):
    rows = reference(reference_row(psi_level_low=0.8), reference_row("decoded.focus"), share_row())
    left, right = levels_figure(rows, _differences(deliveries), tolerance=0.2).axes
    assert len(left.patches) == deliveries + 1  # the interval of the level is drawn like a bar
    assert ([label.get_text() for label in left.get_xticklabels()][:2] == ["d0", "d1"]) is named
    assert [label.get_text() for label in right.get_yticklabels()] == ["novelty", "decoded.focus"]


def test_a_reference_without_levels_is_drawn_all_the_same():
    rows = reference(reference_row(psi=[], kl=[], psi_level=None, kl_level=None, deliveries=0))
    left, _ = levels_figure(rows, _differences(0), tolerance=0.2).axes
    assert left.get_title() == "novelty: 0 deliveries"


def test_deliveries_that_do_not_differ_at_all_are_drawn():
    rows = reference(reference_row(psi=[0.0] * 3, kl=[0.0] * 3, psi_level=0.0, kl_level=0.0), share_row())
    left, _ = levels_figure(rows, _differences(3).with_columns(psi=pl.lit(0.0)), tolerance=0.2).axes
    assert [bar.get_height() for bar in left.patches][:3] == [0, 0, 0]
