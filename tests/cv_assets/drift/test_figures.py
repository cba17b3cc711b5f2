import cv2
import make_frames
import numpy as np
import polars as pl
import pytest

from cv_assets.drift.figures import distributions_figure, most_changed, most_novel
from cv_assets.drift.schema import DriftMetrics
from cv_assets.inspection.schema import Inspections
from cv_assets.reference.schema import DriftReference


def _table(schema, *rows):
    empty = schema.create_empty().schema
    return pl.DataFrame([{name: row.get(name) for name in empty} for row in rows], schema=empty)


def _measured(statistic, psi, level=1.0):
    return {"statistic": statistic, "psi": psi, "psi_level": level, "tolerance": 0.2, "verdict": "ok"}


def _reference(statistic, edges, counts):
    return {"statistic": statistic, "edges": edges, "counts": counts}


def test_the_novelty_is_drawn_first_and_then_what_changed_most_beside_its_level():
    rows = _table(
        DriftMetrics,
        _measured("decoded.focus", 2.0, level=4.0),
        _measured("decoded.contrast", 1.0, level=1.0),
        _measured("decoded.entropy", 0.1, level=0.0),
        _measured("score.cnn", 3.0, level=1.0),
        _measured("prepared.focus", None),
        _measured("novelty", 0.1),
    )
    assert most_changed(rows) == ["novelty", "score.cnn", "decoded.contrast", "decoded.entropy"]


def test_where_nothing_was_measured_nothing_is_drawn():
    rows = _table(DriftMetrics, _measured("novelty", None))
    assert distributions_figure(rows, pl.DataFrame(), _table(DriftReference)) is None


def test_shares_are_drawn_in_the_bins_of_the_reference():
    rows = _table(DriftMetrics, _measured("novelty", 0.5))
    values = pl.DataFrame({"novelty": [0.5, 1.5, 1.5, None, float("nan")]})
    figure = distributions_figure(
        rows, values, _table(DriftReference, _reference("novelty", [1.0], [10, 30]))
    )
    (axis,) = figure.axes
    assert [bar.get_height() for bar in axis.patches] == pytest.approx([0.25, 0.75, 1 / 3, 2 / 3])


def test_a_bin_of_one_value_has_one_tick():
    constant = [0.0, float(np.nextafter(0, 1))]
    rows = _table(DriftMetrics, _measured("novelty", 0.0))
    values = pl.DataFrame({"novelty": [0.0]})
    figure = distributions_figure(
        rows, values, _table(DriftReference, _reference("novelty", constant, [0, 9, 0]))
    )
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["0", ""]


def test_the_most_novel_frames_come_first_with_their_part(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), make_frames.cell(1))
    captures = [{"capture_id": f"c{one}", "part": f"p{one}", "prepared_path": "a.png"} for one in range(4)]
    values = pl.DataFrame({"capture_id": ["c0", "c1", "c2", "c3"], "novelty": [1.0, float("nan"), 3.0, None]})
    shown = most_novel(values, _table(Inspections, *captures), lambda path: tmp_path / path, 10**6)
    assert shown.captions == ["p2: 3", "p0: 1"]
    assert [image.shape for image in shown.images] == [(64, 64), (64, 64)]


def test_without_a_novelty_no_frame_is_shown(tmp_path):
    values = pl.DataFrame({"capture_id": ["c0"]})
    assert most_novel(values, _table(Inspections), lambda path: tmp_path / path, 10**6).images == []
