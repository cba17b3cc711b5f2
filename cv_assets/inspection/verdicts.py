"""Verdicts: what becomes of each capture, by the release in force. Every capture gets exactly one.

A *defect score* is 1 - the probability of the class that passes, 0 to 1.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl

from cv_assets.evaluation.band import OperatingBand, verdict
from cv_assets.inspection.schema import REASONS, Inspections
from cv_assets.release.history import another_passes
from cv_assets.spec.schema import Spec

_BY_BAND: Final = {"PASS": "below_lower", "REVIEW": "low_confidence", "FAIL": "above_upper"}

_AT_MOST: Final = ("too_bright", "too_large")
"""Rejections whose bound is an upper one; the others with a bound fell below it."""

_OUTSIDE: Final = 1e-6
"""So far below 0 or above 1 a probability may lie by rounding."""

_SUM_OFF: Final = 1e-3
"""So far from 1 the sum of all probabilities may lie by rounding."""


@dataclass(frozen=True)
class Decider:
    """What decides: the release in force (a row of `releases`) and its checkpoint (the row of its model's table)."""

    release: Mapping[str, Any]
    checkpoint: Mapping[str, Any]

    @property
    def band(self) -> OperatingBand:
        """The thresholds in effect."""
        return OperatingBand(self.release["lower"], self.release["upper"])

    @property
    def pass_class(self) -> str:
        """The class whose parts pass: the one for which these thresholds were chosen."""
        return str(self.release["pass_class"])


@dataclass(frozen=True)
class Scored:
    """What the model said of a frame: a probability per class, and the time from the decoded frame to them."""

    scores: Sequence[float]
    latency_ms: float


def why_none_decides(decider: Decider | None, spec: Spec) -> str | None:
    """Why no release can decide, in words; None when `decider` can."""
    if decider is None:
        return "no release is in force"
    known = decider.checkpoint["classes"]
    if spec.pass_class not in known:
        return (
            f"the class that passes is {spec.pass_class} by now, and {decider.release['model']} of "
            f"{decider.release['version']}, which is in force, knows {', '.join(known)}"
        )
    return another_passes(decider.release, spec.pass_class) or None


def to_score(prepared_frames: pl.DataFrame, decider: Decider | None, spec: Spec) -> pl.DataFrame:
    """The rows of `prepared_frames` that the released model is to score."""
    if decider is None or why_none_decides(decider, spec):
        return prepared_frames.clear()
    return prepared_frames.filter("accepted", pl.col("preparation") == decider.checkpoint["preparation"])


def inspect(
    raw_frames: pl.DataFrame,
    prepared_frames: pl.DataFrame,
    decider: Decider | None,
    scored: Mapping[str, Scored],
    *,
    spec: Spec,
    decided_at: datetime,
) -> pl.DataFrame:
    """The verdicts on one delivery, as rows of `Inspections`, in the order of `raw_frames`.

    `decider` is None while nothing is in force. `scored` holds every frame of `to_score`, by capture id.
    """
    unable = why_none_decides(decider, spec)
    able = None if unable else decider
    prepared = prepared_frames.select(
        "capture_id", "accepted", "reason", "score", "bound", "detail", "preparation", prepared_path="path"
    )
    captures = raw_frames.rename({"path": "raw_path"}).join(prepared, on="capture_id", maintain_order="left")
    rows = []
    for capture in captures.iter_rows(named=True):
        judged = _judged(capture, able, unable or "", scored)
        decision = REASONS[judged["reason"]]
        rows.append(
            {
                **capture,
                **_in_effect(able),
                **judged,
                "verdict": decision,
                "audit": is_audited(capture["capture_id"], spec.review.audit_share),
                "review_probability": 1.0 if decision == "REVIEW" else spec.review.audit_share,
                "decided_at": decided_at,
            }
        )
    schema = Inspections.create_empty().schema
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


def is_audited(capture_id: str, share: float) -> bool:
    """Whether a capture is drawn for the random audit, as a `share` of all captures is; always the same answer."""
    digest = hashlib.blake2b(capture_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64


def _judged(
    capture: Mapping[str, Any], decider: Decider | None, unable: str, scored: Mapping[str, Scored]
) -> dict[str, Any]:
    """The reason of the verdict, why in words, and the scores behind it; without a `decider`, `unable` says why."""
    if not capture["accepted"]:
        return {"reason": "frame_rejected", "why": _rejection(capture)}
    if decider is None:
        return {"reason": "no_release", "why": unable}
    release, checkpoint = decider.release, decider.checkpoint
    if capture["preparation"] != checkpoint["preparation"]:
        why = (
            f"the frame went through the pass {capture['preparation']}, {release['model']} of "
            f"{release['version']} was trained on {checkpoint['preparation']}"
        )
        return {"reason": "preparation_changed", "why": why}
    said = scored[capture["capture_id"]]
    looked = {"weights_sha256": checkpoint["weights_sha256"], "latency_ms": said.latency_ms}
    return {**looked, **_by_scores(decider, said.scores)}


def _by_scores(decider: Decider, scores: Sequence[float]) -> dict[str, Any]:
    classes = list(decider.checkpoint["classes"])
    if not _are_probabilities(scores, len(classes)):
        gave = ", ".join(f"{one:.7g}" for one in scores) or "nothing"
        why = f"the model gave {gave}; expected one probability for each of {', '.join(classes)}"
        return {"reason": "no_score", "why": why}
    score = float(np.clip(1 - scores[classes.index(decider.pass_class)], 0, 1))
    reason = _BY_BAND[verdict(score, decider.band)]
    return {
        "reason": reason,
        "why": _comparison(reason, score, decider.band),
        "defect_score": score,
        "classes": classes,
        "scores": list(scores),
    }


def _are_probabilities(scores: Sequence[float], classes: int) -> bool:
    """Whether the scores are one probability for each of so many classes; what is not a number is none."""
    values = np.asarray(scores, dtype=np.float64)
    inside = (values >= -_OUTSIDE) & (values <= 1 + _OUTSIDE)
    return len(values) == classes and bool(inside.all()) and abs(float(values.sum()) - 1) <= _SUM_OFF


def _in_effect(decider: Decider | None) -> dict[str, Any]:
    """What the row of every capture says of the release that decides, also where no model saw the frame."""
    if decider is None:
        return {}
    names = ("candidate", "model", "lower", "upper")
    release = decider.release
    return {
        "release": release["version"],
        "release_number": release["number"],
        **{name: release[name] for name in names},
    }


def _rejection(capture: Mapping[str, Any]) -> str:
    reason, score, bound, detail = (capture[name] for name in ("reason", "score", "bound", "detail"))
    if detail:
        return f"{reason}: {detail}"
    if score is None or bound is None:
        return str(reason)
    figures = _told_apart(score, bound, decimals=2)
    return f"{reason} {figures[0]}, at {'most' if reason in _AT_MOST else 'least'} {figures[1]}"


def _comparison(reason: str, score: float, band: OperatingBand) -> str:
    """The defect score beside the thresholds, in words. Scores end at 1: a higher threshold is out of reach."""
    if band.lower > 1:
        return f"defect score {score:.3f}; by this band every part passes"
    told, lower, upper = _told_apart(score, band.lower, band.upper)
    match reason:
        case "below_lower":
            return f"defect score {told} is below {lower}"
        case "above_upper":
            return f"defect score {told} is at least {upper}"
    if band.upper > 1:
        return f"defect score {told} is at least {lower}, and by this band nothing fails by itself"
    return f"defect score {told} lies between {lower} and {upper}"


def _told_apart(*values: float, decimals: int = 3) -> list[str]:
    """The values with as many decimals as it takes to see which differ; by less than a billionth, none do."""
    for count in range(decimals, 10):
        told = [f"{value:.{count}f}" for value in values]
        if len(set(told)) == len(set(values)):
            return told
    return [f"{value:.{decimals}f}" for value in values]
