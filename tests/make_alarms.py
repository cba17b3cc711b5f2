"""Makes the tables that alarms follow from: drift metrics, KPIs, releases, requests, verdicts and labels."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from cv_assets.alarms.fresh_labels import CAPTURE_FACTS
from cv_assets.alarms.table import alarms
from cv_assets.drift.schema import DriftMetrics
from cv_assets.inspection.schema import Inspections
from cv_assets.labels.schema import BenchmarkFrames, LabelTable
from cv_assets.release.schema import Releases
from cv_assets.requests.schema import TrainingRequest
from cv_assets.review.schema import Kpis
from cv_assets.spec.schema import Spec

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def hours(number: float) -> datetime:
    """So many hours after noon."""
    return NOON + timedelta(hours=number)


def frame(name: str) -> str:
    """The frame id of a frame that the test calls by a name."""
    return hashlib.sha256(name.encode()).hexdigest()


def measured(delivery: str, verdict: str = "ok", *, hour: float, **changed: Any) -> dict[str, Any]:
    """A row of DriftMetrics: the novelty of a delivery that was captured at that hour and measured an hour later."""
    psi, rank = (4.0, 1.0) if verdict == "drifted" else (1.0, 0.5)
    row = {
        "delivery": delivery, "statistic": "novelty", "role": "alarms", "station": "line1",
        "captured_from": hours(hour), "captured_to": hours(hour + 0.5), "release": "v1.0.0", "release_number": 1,
        "candidate": "first", "frames": 60, "value": 5.0, "reference_value": 4.0, "psi": psi, "kl": psi / 2,
        "psi_level": 2.0, "kl_level": 1.0, "tolerance": 0.2, "rank": rank, "verdict": verdict,
        "why": f"PSI {psi} against the level 2.0", "values": f"drift_metrics/{delivery}/values.parquet",
        "measured_at": hours(hour + 1),
    }  # fmt: skip
    return {**row, **changed}


def rejected(delivery: str, verdict: str = "ok", *, hour: float, **changed: Any) -> dict[str, Any]:
    """A row of DriftMetrics: the share of rejected captures."""
    share = {"statistic": "rejected", "role": "station", "psi": None, "kl": None, "kl_level": None}
    row = {**share, "value": 0.3, "psi_level": 0.05, "why": "30 % of 60 captures against the level 5 %"}
    return measured(delivery, verdict, hour=hour, **{**row, **changed})


def kpi(
    until: str, verdict: str = "met", *, hour: float, deliveries: int = 1, **changed: Any
) -> dict[str, Any]:
    """A row of Kpis: overkill over so many deliveries, the last captured until that hour, answered an hour later."""
    row = {
        "release_number": 1, "metric": "overkill", "until": until, "release": "v1.0.0", "captured_to": hours(hour),
        "deliveries": deliveries, "captures": 60, "asked": 20, "answered": 20, "samples": 20, "groups": 2,
        "value": 0.5, "low": 0.4, "high": 0.6, "bound": 0.25, "verdict": verdict, "why": "0.5 (0.4 to 0.6) of 20",
        "answered_at": hours(hour + 1),
    }  # fmt: skip
    return {**row, **changed}


def release(
    number: int, version: str, candidate: str, *, hour: float, outcome: str = "released", why: str = "all met"
):
    """A row of Releases: a candidate concluded at that hour, or rolled back to."""
    return {
        "number": number, "outcome": outcome, "version": None if outcome == "refused" else version,
        "candidate": candidate, "trigger": "person", "why": why, "approver": "quality.lead",
        "concluded_at": hours(hour), "model": "cnn", "candidate_commit": "c" * 40, "lower": 0.2, "upper": 0.8,
        "pass_class": "sound", "spec_digest": "s",
    }  # fmt: skip


FIRST = release(1, "v1.0.0", "first", hour=-24)


def request(
    candidate: str, evidence: str, *, hour: float, reason: str = "drift", base: str = "b"
) -> dict[str, Any]:
    """A row of TrainingRequest, requested at that hour."""
    return {
        "candidate": candidate, "reason": reason, "evidence": evidence, "requested_by": f"retrain_on_{reason}",
        "requested_at": hours(hour), "base_commit": base, "spec_digest": "s", "benchmark_version": 1,
        "released_version": "v1.0.0", "run": None,
    }  # fmt: skip


def verdict(name: str, delivery: str, *, hour: float, **changed: Any) -> dict[str, Any]:
    """A row of Inspections: the verdict of v1.0.0 on a poly cell that is captured at that hour."""
    row = {
        "capture_id": f"{delivery}-{name}", "part": name, "captured_at": hours(hour), "station": "line1",
        "camera": "cam1", "group": f"module of {delivery}", "attributes": '{"product": "poly"}', "delivery": delivery,
        "frame_id": frame(name), "raw_path": "r", "prepared_path": f"p/{frame(name)}.png", "preparation": "p",
        "verdict": "REVIEW",
        "reason": "low_confidence", "why": "between", "defect_score": 0.5, "classes": ["sound", "defective"],
        "scores": [0.5, 0.5], "release": "v1.0.0", "release_number": 1, "candidate": "first", "model": "cnn",
        "weights_sha256": "w", "lower": 0.2, "upper": 0.8, "audit": False, "review_probability": 1.0,
        "decided_at": hours(hour + 1),
    }  # fmt: skip
    return {**row, **changed}


def label(name: str, *, hour: float, agreed: str | None = "sound") -> dict[str, Any]:
    """A row of LabelTable: what people said of a frame at that hour."""
    return {
        "frame_id": frame(name), "objects": [], "label": agreed, "status": "agreed" if agreed else "review",
        "resolution": "unanimous" if agreed else "too_few_votes", "disputed": False, "votes": 3, "agreement": 1.0,
        "annotations": [f"tool/p/{name}/1"], "annotators": ["ada"], "labelled_at": hours(hour),
    }  # fmt: skip


def verified(name: str, *, hour: float = 0, set_: str = "golden") -> dict[str, Any]:
    """A row of BenchmarkFrames."""
    return {
        "frame_id": frame(name), "set": set_, "label": "sound", "objects": [], "verified_by": "quality.lead",
        "verified_at": hours(hour), "version": 1, "annotation_id": f"tool/golden/{name}/1",
    }  # fmt: skip


def as_frames(captures: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """What is read of raw_frames and prepared_frames, of captures as verdicts tell them."""
    accepted = captures.filter(pl.col("prepared_path").is_not_null())
    return {
        "raw_frames": captures.select(*CAPTURE_FACTS, received_at="captured_at"),
        "prepared_frames": accepted.select("capture_id", path="prepared_path"),
    }


SCHEMAS: dict[str, Any] = {
    "metrics": DriftMetrics,
    "kpis": Kpis,
    "releases": Releases,
    "requests": TrainingRequest,
    "captures": Inspections,
    "label_table": LabelTable,
    "benchmark_frames": BenchmarkFrames,
}


def tables(**rows: Sequence[Mapping[str, Any]]) -> dict[str, pl.DataFrame]:
    """The tables that `alarms` takes, by its names for them; those that are not given are empty."""
    return {
        name: pl.DataFrame(list(rows.get(name, ())), schema=schema.create_empty().schema)
        for name, schema in SCHEMAS.items()
    }


def made(
    spec: Spec,
    *,
    seen: Sequence[tuple[str, str]] | Mapping[str, Sequence[tuple[str, str]]] = (),
    **rows: Sequence[Mapping[str, Any]],
) -> pl.DataFrame:
    """The table of alarms; `seen` are the frames and labels that every training, or each by its name, could see."""

    def labels_of(candidate: str) -> pl.DataFrame:
        mine = seen[candidate] if isinstance(seen, Mapping) else seen
        known = [{"frame_id": frame(name), "label": said} for name, said in mine]
        return pl.DataFrame(known, schema={"frame_id": pl.String, "label": pl.String})

    return alarms(**tables(**rows), spec=spec, spec_digest="s", labels_of=labels_of)


def by_id(spec: Spec, **arguments: Any) -> dict[str, dict[str, Any]]:
    """The same, a row by its alarm."""
    return {row["alarm_id"]: row for row in made(spec, **arguments).iter_rows(named=True)}


def short(spec: Spec, **retraining: Any) -> Spec:
    """The spec with a retraining after two fresh labels and one golden frame of a condition."""
    settings = {"min_new_labels": 2, "cooldown_hours": 24.0, **retraining}
    return spec.model_copy(
        update={
            "retraining": spec.retraining.model_copy(update=settings),
            "evaluation": spec.evaluation.model_copy(update={"new_condition_frames": 1}),
        }
    )
