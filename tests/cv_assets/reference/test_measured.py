"""The frames of a candidate with the value of every statistic."""

import polars as pl
import pytest

from cv_assets.frames.schema import STATISTICS, PreparedFrames
from cv_assets.reference.measured import measured_frames, statistics_of, unmeasured, with_scores
from cv_assets.reference.statistics import PLAIN


def _captures(**deliveries: str) -> pl.DataFrame:
    """Accepted captures by the name of their delivery."""
    rows = [
        {
            "capture_id": capture,
            "delivery": delivery,
            "accepted": True,
            "decoded": dict.fromkeys(STATISTICS, 1.0),
            "prepared": dict.fromkeys(STATISTICS, 2.0),
        }
        for capture, delivery in deliveries.items()
    ]
    schema = PreparedFrames.create_empty().schema
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


def _split(*frames: tuple[str, str, str]) -> pl.DataFrame:
    """Frames as (frame, capture, role)."""
    split = pl.DataFrame(frames, schema=["frame_id", "capture_id", "role"], orient="row")
    return split.with_columns(path=pl.col("frame_id") + ".png")


def _checkpoint(model: str, classes: list[str], **scores: list[float]) -> dict:
    of = [{"frame_id": frame, "fold": 0, "scores": said} for frame, said in scores.items()]
    return {"model": model, "classes": classes, "out_of_fold": of}


def test_frames_of_a_role_are_measured_where_they_were_captured_first():
    split = _split(("f2", "c2", "train"), ("f1", "c1", "train"), ("f3", "c3", "golden"))
    frames = measured_frames(split, _captures(c1="d1", c2="d2", c3="d2", other="d9"), "train")
    assert frames.columns == ["frame_id", "path", "capture_id", "delivery", *PLAIN]
    assert frames.select("frame_id", "delivery", "decoded.focus", "prepared.focus").rows() == [
        ("f1", "d1", 1, 2),
        ("f2", "d2", 1, 2),
    ]


def test_a_frame_that_no_delivery_holds_is_refused():
    with pytest.raises(ValueError, match=r"1 of 2 frames of the role train are in no delivery: \['f2'\]"):
        measured_frames(_split(("f1", "c1", "train"), ("f2", "lost", "train")), _captures(c1="d1"), "train")


def test_a_defect_score_is_one_less_the_probability_of_the_pass_class_whatever_its_place():
    frames = pl.DataFrame({"frame_id": ["f1", "f2"]})
    trained = pl.DataFrame(
        [
            _checkpoint("cnn", ["sound", "defective"], f1=[0.9, 0.1], f2=[0.25, 0.75]),
            _checkpoint("vit", ["crack", "sound", "chip"], f2=[0.1, 0.7, 0.2], f1=[0.5, 0.25, 0.25]),
        ]
    )
    scored = with_scores(frames, trained, "sound")
    assert scored["score.cnn"].to_list() == pytest.approx([0.1, 0.75])
    assert scored["score.vit"].to_list() == pytest.approx([0.75, 0.3])


def test_a_value_that_is_missing_is_named_unless_it_is_a_novelty():
    plain = {name: [1.0, 1.0] for name in PLAIN}
    frames = pl.DataFrame(
        {
            "frame_id": ["f1", "f2"],
            "delivery": ["d1", "d2"],
            **plain,
            "novelty": [None, 1.0],
            "score.cnn": [0.1, None],
        },
        schema_overrides={"novelty": pl.Float64},
    )
    assert statistics_of(frames) == ["novelty", *PLAIN, "score.cnn"]
    assert unmeasured(frames).rows() == [("f2", "d2", "score.cnn")]
