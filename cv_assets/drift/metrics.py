"""The rows of drift_metrics of one delivery: per statistic the change, the verdict, and why in words."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from cv_assets.drift.inspected import Inspected
from cv_assets.drift.schema import DriftMetrics
from cv_assets.reference.judgement import MEASURES, Judgement, judge, known, median
from cv_assets.reference.levels import rank
from cv_assets.reference.schema import NOVELTY, REJECTED, REPEATED
from cv_assets.reference.statistics import PLAIN
from cv_assets.spec.schema import Spec
from cv_assets.words import apart, figure, listed

Row = Mapping[str, Any]


def expected(reference: pl.DataFrame, model: str | None) -> list[str]:
    """The statistics of frames that a delivery is measured by: of the reference, or without one all that there are.

    Defect scores are those of the released model alone: the others do not look at deliveries.
    """
    if reference.is_empty():
        return [*PLAIN, NOVELTY, *([f"score.{model}"] if model else [])]
    of_frames = reference.filter(pl.col("role") != "station")["statistic"]
    return [name for name in of_frames if not name.startswith("score.") or name == f"score.{model}"]


def metrics(
    about: Inspected,
    values: pl.DataFrame,
    shares: Mapping[str, float],
    reference: pl.DataFrame,
    *,
    lacks: str,
    spec: Spec,
    stored: str | None,
    measured_at: datetime,
) -> pl.DataFrame:
    """The rows of `DriftMetrics` of one delivery, in the order of the reference.

    `values` are `comparable`, `shares` those of its captures. `reference` is the drift_reference of the release that
    judged it; an empty one says in `lacks` why there is none. `stored` is where the values are.
    """
    normal = {row["statistic"]: row for row in reference.iter_rows(named=True)}
    station = [name for name, row in normal.items() if row["role"] == "station"]
    rows = [
        {
            "statistic": name,
            "values": stored,
            **_of_frames(name, values, normal.get(name), about, lacks, spec),
        }
        for name in expected(reference, about.model)
    ]
    rows += [
        {"statistic": name, **_of_captures(name, shares, normal.get(name), about.captures, spec)}
        for name in dict.fromkeys([*shares, *station])
    ]
    said = {
        name: getattr(about, name)
        for name in (
            "delivery",
            "station",
            "captured_from",
            "captured_to",
            "release",
            "release_number",
            "candidate",
        )
    }
    schema = DriftMetrics.create_empty().schema
    whole = [{**said, **row, "measured_at": measured_at} for row in rows]
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in whole], schema=schema)


def _of_frames(
    name: str, values: pl.DataFrame, row: Row | None, about: Inspected, lacks: str, spec: Spec
) -> dict[str, Any]:
    values_N = known(values, name)
    middle = median(values_N)
    facts = {
        "role": row["role"] if row else "alarms" if name == NOVELTY else "warns",
        "frames": len(values_N),
        "value": middle if np.isfinite(middle) else None,
        "tolerance": spec.drift.tolerance,
    }
    if row is None or not sum(row["counts"]):
        why = lacks or f"the training frames of {about.release} have no value of it"
        return {**facts, "verdict": "no_reference", "why": f"There is no reference: {why}."}
    facts |= {"reference_value": row["median"], "psi_level": row["psi_level"], "kl_level": row["kl_level"]}
    if len(values_N) < spec.drift.min_frames:
        return {**facts, "verdict": "not_enough", "why": _too_few(name, len(values_N), about, spec)}
    found = judge(row, values_N, spec.drift)
    verdicts = {"not_calibrated": "not_calibrated", "beyond": "drifted"}
    return {
        **facts,
        **found.differences,
        **{f"{measure}_level": level for measure, level in found.levels.items()},
        "rank": found.rank,
        "verdict": verdicts.get(found.outcome, "ok"),
        "why": _why(found, row, len(values_N), spec),
    }


def _too_few(name: str, frames: int, about: Inspected, spec: Spec) -> str:
    depends_on_pass = not name.startswith("decoded.")
    why = (
        f"; {about.other_pass} went through another pass than the training frames"
        if about.other_pass and depends_on_pass
        else ""
    )
    return f"{frames} frames have a value{why}; a verdict needs {spec.drift.min_frames}."


def _why(judged: Judgement, row: Row, frames: int, spec: Spec) -> str:
    measure = spec.drift.measure
    found, level, more = (
        judged.differences[measure],
        judged.levels[measure] or 0.0,
        judged.noise[measure],
    )
    medians = "median {}, in training {}".format(*apart(judged.median, judged.usual))
    raised = f"raised by {figure(more)} as {frames} frames are fewer than the usual {row.get('usual_frames')}"
    told, limit = apart(found, spec.drift.tolerance if judged.outcome == "tolerated" else level)
    said = f"{MEASURES[measure]} {told}"
    match judged.outcome:
        case "not_calibrated":
            return (
                f"{MEASURES[measure]} {figure(found)}, but {row['deliveries']} deliveries of the reference are too few "
                "to say how much ordinary ones differ."
            )
        case "tolerated":
            return f"{said} is within the tolerance {limit}."
        case "lower":
            return f"{said}, but its values are lower than in training: no drift; {medians}."
        case "within":
            return f"{said} is within its level {limit}{f' ({raised})' if more else ''}."
        case "beyond":
            because = f"{row['quantile']:.3g} quantile of {row['deliveries']} reference deliveries"
            return f"{said} exceeds its level {limit} ({because}{f', {raised}' if more else ''}); {medians}."


def _of_captures(
    name: str, shares: Mapping[str, float], row: Row | None, captures: int, spec: Spec
) -> dict[str, Any]:
    allowed = spec.drift.max_repeated if name == REPEATED else spec.acquisition.max_rejected
    level = row["psi_level"] if row and row["calibrated"] else None
    bound, share = max(level or 0.0, allowed), shares.get(name, 0.0)
    facts = {
        "role": "station",
        "frames": captures,
        "value": share,
        "reference_value": row["median"] if row else None,
        "psi_level": row["psi_level"] if row else None,
        "tolerance": allowed,
    }
    if captures < spec.drift.min_frames:
        why = f"{captures} captures came; a verdict needs {spec.drift.min_frames}."
        return {**facts, "verdict": "not_enough", "why": why}
    unusual = None if row is None or level is None else rank(row["psi"], share)
    told, limit = apart(100 * share, 100 * bound)
    counts = f"{round(share * captures)} of {captures} captures{_reasons(name, shares, captures)}"
    where = f"the {limit} % of {'its level' if bound > allowed else 'the spec'}"
    return {
        **facts,
        "rank": 0.0 if unusual is not None and share <= allowed else unusual,
        "verdict": "drifted" if share > bound else "ok",
        "why": f"{counts} ({told} %), {'more than' if share > bound else 'within'} {where}.",
    }


def _reasons(name: str, shares: Mapping[str, float], captures: int) -> str:
    """What captures were rejected for, where `name` is the share of all that were."""
    of_each = [
        f"{round(share * captures)} for {reason.removeprefix(f'{REJECTED}.')}"
        for reason, share in shares.items()
        if name == REJECTED and share and reason.startswith(f"{REJECTED}.")
    ]
    return f", {listed(of_each)}" if of_each else ""
