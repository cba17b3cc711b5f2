"""Makes what a threshold replay reads: stored verdicts with their scores, labels, verified frames, a history."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
from make_labels import frame

from cv_assets.inspection.schema import Inspections
from cv_assets.labels.schema import BenchmarkFrames, LabelTable
from cv_assets.release.schema import Releases

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
IN_EFFECT = (0.3, 0.7)
AUDIT_SHARE = 0.25
PICTURE = "prepared_frames/d1/picture.png"


def scored(name: str, score: float, *, asked: bool = False, **other: Any) -> dict[str, Any]:
    """A row of Inspections by v1.0.0, whose band is `IN_EFFECT`. A REVIEW is always asked about, others by chance."""
    lower, upper = IN_EFFECT
    verdict, reason = ("REVIEW", "low_confidence")
    if score < lower:
        verdict, reason = ("PASS", "below_lower")
    if score >= upper:
        verdict, reason = ("FAIL", "above_upper")
    row = {
        "capture_id": name,
        "part": f"part {name}",
        "captured_at": NOON,
        "group": "m1",
        "attributes": "{}",
        "delivery": "d1",
        "frame_id": frame(name),
        "raw_path": f"raw_frames/d1/{name}.png",
        "prepared_path": PICTURE,
        "preparation": "p",
        "verdict": verdict,
        "reason": reason,
        "why": reason,
        "defect_score": score,
        "classes": ["sound", "defective"],
        "scores": [1 - score, score],
        "release": "v1.0.0",
        "release_number": 1,
        "candidate": "first",
        "model": "cnn",
        "weights_sha256": "w",
        "lower": lower,
        "upper": upper,
        "audit": asked,
        "review_probability": 1.0 if verdict == "REVIEW" else AUDIT_SHARE,
        "decided_at": NOON,
        "latency_ms": 1.0,
    }
    return {**row, **other}


def rejected(name: str) -> dict[str, Any]:
    """A row of Inspections that no model scored."""
    by_model = ("prepared_path", "defect_score", "classes", "scores", "weights_sha256")
    nothing = dict.fromkeys(by_model)
    return scored(name, 0.5, verdict="REVIEW", reason="frame_rejected", **nothing)


def inspections(*rows: dict[str, Any]) -> pl.DataFrame:
    """The rows as a table."""
    return pl.DataFrame(list(rows), schema=Inspections.create_empty().schema)


def labels(**classes: str | None) -> pl.DataFrame:
    """The label table of these frames; None: the votes do not decide."""
    rows = [
        {
            "frame_id": frame(name),
            "objects": [],
            "label": label,
            "status": "agreed" if label else "review",
            "resolution": "unanimous" if label else "too_few_votes",
            "disputed": False,
            "votes": 3,
            "agreement": 1.0,
            "annotations": [],
            "annotators": ["ada"],
            "labelled_at": NOON,
        }
        for name, label in classes.items()
    ]
    return pl.DataFrame(rows, schema=LabelTable.create_empty().schema)


def verified(**classes: str) -> pl.DataFrame:
    """The benchmark of these frames."""
    rows = [
        {
            "frame_id": frame(name),
            "set": "golden",
            "label": label,
            "objects": [],
            "verified_by": "ada",
            "verified_at": NOON,
            "version": 1,
            "annotation_id": f"{name}/1",
        }
        for name, label in classes.items()
    ]
    return pl.DataFrame(rows, schema=BenchmarkFrames.create_empty().schema)


def released(*versions: str) -> pl.DataFrame:
    """The history of these releases, all with the band `IN_EFFECT`."""
    rows = [
        {
            "number": number,
            "outcome": "released",
            "version": version,
            "candidate": f"candidate {number}",
            "trigger": "person",
            "why": "all criteria are met",
            "approver": "quality.lead",
            "concluded_at": NOON,
            "model": "cnn",
            "candidate_commit": "c" * 40,
            "lower": IN_EFFECT[0],
            "upper": IN_EFFECT[1],
            "pass_class": "sound",
            "spec_digest": "s",
        }
        for number, version in enumerate(versions, start=1)
    ]
    return pl.DataFrame(rows, schema=Releases.create_empty().schema)


#   name: score, and whether chance asked people about it; a REVIEW (0.3 to 0.7) is asked about anyway
WORKED = inspections(
    scored("a", 0.10, asked=True),
    scored("b", 0.25, asked=True),
    scored("c", 0.20),
    scored("d", 0.05),
    scored("e", 0.40),
    scored("f", 0.50),
    scored("g", 0.60),
    scored("h", 0.60),
    scored("i", 0.80, asked=True),
    scored("j", 0.90, asked=True),
    scored("k", 0.95),
)
"""Eleven captures: four PASS, four REVIEW, three FAIL. Chance asks about one in four automatic ones."""

WORKED_LABELS = labels(
    a="sound", b="defective", d="sound", e="sound", f="defective", h=None, i="defective", j="sound"
)
WORKED_BENCHMARK = verified(g="defective", k="defective")
"""Nobody answered for c (never asked) and h; d and k are labelled although nobody was asked about them."""
