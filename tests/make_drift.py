"""Makes small tables of drift: what a candidate's training frames look like, and how deliveries differ from them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from cv_assets.drift.schema import DriftMetrics
from cv_assets.reference.schema import NOVELTY, DriftReference

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def reference_row(statistic: str = NOVELTY, **changed: Any) -> dict[str, Any]:
    """A statistic of 400 training frames of 12 deliveries: a quarter each below 1, from 1 to 2, 2 to 3 and above."""
    row = {
        "statistic": statistic, "role": "alarms" if statistic == NOVELTY else "warns",
        "side": "above" if statistic == NOVELTY else "both", "frames": 400, "deliveries": 12, "median": 2.0,
        "edges": [1.0, 2.0, 3.0], "counts": [100, 100, 100, 100],
        "psi": [step / 10 for step in range(1, 13)], "kl": [step / 20 for step in range(1, 13)],
        "psi_level": 1.1, "kl_level": 0.55, "quantile": 0.9, "least_false_alarms": 1 / 13, "calibrated": True,
    }  # fmt: skip
    return {**row, **changed}


def share_row(statistic: str = "rejected", **changed: Any) -> dict[str, Any]:
    """A share of the captures of 12 deliveries: most have none, one has 8 %."""
    row = {
        "role": "station", "side": "above", "median": 0.0, "edges": [], "counts": [],
        "psi": [0.0] * 6 + [0.01, 0.02, 0.03, 0.04, 0.06, 0.08], "kl": [], "psi_level": 0.06, "kl_level": None,
    }  # fmt: skip
    return reference_row(statistic, **{**row, **changed})


def metric_row(
    delivery: str, verdict: str = "ok", *, hour: float = 0, statistic: str = NOVELTY, **changed: Any
) -> dict[str, Any]:
    """A statistic of a delivery captured so many hours after noon, and measured an hour later."""
    psi, rank = (4.0, 1.0) if verdict == "drifted" else (0.6, 0.5)
    captured = NOON + timedelta(hours=hour)
    row = {
        "delivery": delivery, "statistic": statistic, "role": "alarms" if statistic == NOVELTY else "warns",
        "station": "line1", "captured_from": captured, "captured_to": captured + timedelta(minutes=30),
        "release": "v1.0.0", "release_number": 1, "candidate": "first", "frames": 60, "value": 2.5,
        "reference_value": 2.0, "psi": psi, "kl": psi / 2, "psi_level": 1.1, "kl_level": 0.55, "tolerance": 0.2,
        "rank": rank, "verdict": verdict, "why": f"PSI {psi} beside the level 1.1.",
        "values": f"drift_metrics/{delivery}/values.parquet", "measured_at": captured + timedelta(hours=1),
    }  # fmt: skip
    return {**row, **changed}


def reference(*rows: Mapping[str, Any]) -> pl.DataFrame:
    """The rows as a table of `DriftReference`; what a row does not say is null."""
    return _table(rows, DriftReference)


def metrics(*rows: Mapping[str, Any]) -> pl.DataFrame:
    """The rows as a table of `DriftMetrics`; what a row does not say is null."""
    return _table(rows, DriftMetrics)


def _table(rows: tuple[Mapping[str, Any], ...], schema: Any) -> pl.DataFrame:
    columns = schema.create_empty().schema
    return pl.DataFrame([{name: row.get(name) for name in columns} for row in rows], schema=columns)
