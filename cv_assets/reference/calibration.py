"""Calibration: from the values of training frames and the shares of their deliveries to the rows of the reference."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from cv_assets.reference.bins import Counts, Vector, counts_in, edges_of
from cv_assets.reference.judgement import judge, known, median
from cv_assets.reference.levels import Differences, corrected, least_false_alarms, left_one_out
from cv_assets.reference.measured import statistics_of
from cv_assets.reference.quantiles import quantile_interval
from cv_assets.reference.schema import NOVELTY, DriftReference
from cv_assets.reference.statistics import SHARES, station_shares
from cv_assets.spec.drift import Drift

_ROWS: Final = pl.Schema({"statistic": pl.String, "delivery": pl.String, "psi": pl.Float64})


@dataclass(frozen=True)
class Calibrated:
    """The rows of the reference, and what each of its deliveries differs by: columns statistic, delivery, psi."""

    rows: pl.DataFrame
    differences: pl.DataFrame


def delivery_shares(captures: pl.DataFrame) -> pl.DataFrame:
    """One row per delivery of `captures` (rows of PreparedFrames): delivery, captures and `SHARES`, by delivery."""
    rows = [
        {"delivery": name, "captures": part.height, **station_shares(part, part)}
        for (name,), part in captures.group_by("delivery")
    ]
    schema = {"delivery": pl.String, "captures": pl.Int64, **dict.fromkeys(SHARES, pl.Float64)}
    return pl.DataFrame(rows, schema=schema).sort("delivery")


def calibrate(
    frames: pl.DataFrame, shares: pl.DataFrame, drift: Drift, confidence: float, values: str, arrays: str
) -> Calibrated:
    """What is normal, statistic by statistic.

    `frames` are training frames with a column delivery and one per statistic, `shares` the `delivery_shares` of their
    deliveries. `values` and `arrays` are where the values and the novelty reference are stored. Levels have intervals
    of this `confidence`.
    """
    names = statistics_of(frames)
    watched = sum(name != NOVELTY for name in names)
    rows: list[dict[str, Any]] = []
    differences = []
    for name in names:
        quantile = drift.level if name == NOVELTY else corrected(drift.level, watched)
        found, row = _of_frames(frames, name, drift)
        stored = {"values": values, "arrays": arrays if name == NOVELTY else None}
        rows.append({**row, **stored, **_levels(found, drift, quantile, confidence)})
        differences.append(_long(name, found))
    for name in SHARES:
        found, row = _of_captures(shares, name, drift)
        rows.append({**row, **_levels(found, drift, drift.level, confidence)})
        differences.append(_long(name, found))
    schema = DriftReference.create_empty().schema
    table = pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)
    return Calibrated(table, pl.concat(differences))


def beyond_level(rows: pl.DataFrame, frames: pl.DataFrame, drift: Drift) -> dict[str, bool]:
    """Statistic -> whether these frames, taken as one delivery, lie beyond its level; only those that can be judged."""
    found = {}
    for row in rows.filter("calibrated").iter_rows(named=True):
        known_N = known(frames, row["statistic"])
        if len(known_N) >= drift.min_frames:
            found[row["statistic"]] = judge(row, known_N, drift).outcome == "beyond"
    return found


def _of_frames(frames: pl.DataFrame, name: str, drift: Drift) -> tuple[Differences, dict[str, Any]]:
    values_N = frames[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
    found = left_one_out(values_N, frames["delivery"].to_list(), bins=drift.bins, min_frames=drift.min_frames)
    edges, known_N = edges_of(values_N, drift.bins), values_N[~np.isnan(values_N)]
    return found, {
        "statistic": name,
        "role": "alarms" if name == NOVELTY else "warns",
        # Frames nearer to the training frames than these are to each other are nothing to be alarmed by.
        "side": "above" if name == NOVELTY else "both",
        "frames": len(known_N),
        "usual_frames": _usual(found.frames),
        "median": _median(known_N),
        "edges": edges.tolist(),
        "counts": counts_in(edges, values_N).tolist(),
    }


def _of_captures(shares: pl.DataFrame, name: str, drift: Drift) -> tuple[Differences, dict[str, Any]]:
    enough = shares.filter(pl.col("captures") >= drift.min_frames)
    shares_K = enough[name].to_numpy()
    captures_K = enough["captures"].to_numpy()
    return Differences(tuple(enough["delivery"]), shares_K, np.zeros(0), captures_K), {
        "statistic": name,
        "role": "station",
        "side": "above",
        "frames": int(shares["captures"].sum()),
        "median": _median(shares_K),
        "edges": [],
        "counts": [],
    }


def _levels(found: Differences, drift: Drift, quantile: float, confidence: float) -> dict[str, Any]:
    count = len(found.deliveries)
    of_psi = quantile_interval(found.psi, quantile, confidence)
    return {
        "deliveries": count,
        "psi": np.sort(found.psi).tolist(),
        "kl": np.sort(found.kl).tolist(),
        "psi_level": of_psi.value,
        "kl_level": quantile_interval(found.kl, quantile, confidence).value,
        "quantile": quantile,
        "psi_level_low": of_psi.low,
        "psi_level_high": of_psi.high,
        "least_false_alarms": least_false_alarms(count) if count else None,
        "calibrated": count >= drift.min_deliveries,
    }


def _long(name: str, found: Differences) -> pl.DataFrame:
    columns = {"statistic": [name] * len(found.psi), "delivery": list(found.deliveries), "psi": found.psi}
    return pl.DataFrame(columns, schema=_ROWS)


def _usual(frames_K: Counts) -> int | None:
    """The median, of an even number the lower one of two; None of none."""
    return int(median(frames_K)) if len(frames_K) else None


def _median(values_N: Vector) -> float | None:
    """None of none, and for infinity."""
    middle = median(values_N)
    return middle if np.isfinite(middle) else None
