"""One delivery beside the reference of the release that judged it: per statistic the change and the verdict.

A frame counts once however often it was delivered: a camera that repeats its picture is the station's matter, and says
nothing about what it sees.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cv_assets.drift.schema import DriftMetrics
from cv_assets.reference.bins import counts_in, kl, psi
from cv_assets.reference.levels import noise_of_fewer, rank
from cv_assets.reference.schema import NOVELTY, REPEATED
from cv_assets.reference.statistics import PLAIN
from cv_assets.spec.schema import Spec

Values = NDArray[np.float64]
Row = Mapping[str, Any]

TOLERANCE: Final = 1e-6
"""Figures that differ relatively by no more than this are the same: other processors round in other places."""

_MEASURES: Final = {"psi": "PSI", "kl": "KL divergence"}
_FIGURES: Final = ("frames", "value", "psi", "kl")
_LEAST_PLAIN: Final = 1e-4
_FIRST_LONG: Final = 1e6


@dataclass(frozen=True)
class Inspected:
    """A delivery that has its verdicts, and the release that gave them; None before the first one."""

    delivery: str
    station: str | None
    captured_from: datetime
    captured_to: datetime
    captures: int
    release: str | None
    release_number: int | None
    candidate: str | None
    model: str | None
    undecided: str
    """Why no release judged it, in words; empty when one did."""
    other_pass: int
    """Frames that went through another pass than the model's training frames."""


def inspected(inspections: pl.DataFrame) -> Inspected | None:
    """What the verdicts on one delivery say of it; None when it has no capture."""
    if inspections.is_empty():
        return None
    first = inspections.row(0, named=True)
    stations = inspections["station"].unique().to_list()
    times = inspections["captured_at"].sort()
    reasons = inspections.filter(reason="no_release")["why"]
    return Inspected(
        delivery=first["delivery"],
        station=stations[0] if len(stations) == 1 else None,
        captured_from=times[0],
        captured_to=times[-1],
        captures=inspections.height,
        release=first["release"],
        release_number=first["release_number"],
        candidate=first["candidate"],
        model=first["model"],
        undecided="" if first["candidate"] else (reasons[0] if len(reasons) else "no release was in force"),
        other_pass=inspections.filter(reason="preparation_changed").height,
    )


def comparable(values: pl.DataFrame, inspections: pl.DataFrame, model: str | None) -> pl.DataFrame:
    """`values` (a row per capture, a column per statistic) as they may be held against the reference.

    Each accepted frame once, with the defect score that the released model gave it. What depends on the pass is null
    for a frame of another pass than that of the training frames.
    """
    prepared = [name for name in values.columns if name.startswith("prepared.")]
    about = inspections.filter(pl.col("prepared_path").is_not_null()).select(
        "capture_id", "frame_id", "defect_score", same_pass=pl.col("reason") != "preparation_changed"
    )
    joined = values.join(about, on="capture_id", maintain_order="left").unique(
        "frame_id", keep="first", maintain_order=True
    )
    scores = {} if model is None else {f"score.{model}": pl.col("defect_score").cast(pl.Float64)}
    return joined.with_columns(pl.when("same_pass").then(pl.col(prepared)).name.keep(), **scores).drop(
        "frame_id", "defect_score", "same_pass"
    )


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
    known = {row["statistic"]: row for row in reference.iter_rows(named=True)}
    station = [name for name, row in known.items() if row["role"] == "station"]
    rows = [
        {"statistic": name, "values": stored, **_of_frames(name, values, known.get(name), about, lacks, spec)}
        for name in expected(reference, about.model)
    ]
    rows += [
        {
            "statistic": name,
            **_of_captures(name, shares.get(name, 0.0), known.get(name), about.captures, spec),
        }
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


def unmeasured(rows: pl.DataFrame, reference: pl.DataFrame, model: str | None) -> pl.DataFrame:
    """The statistics of `reference` that `rows` lack or hold more than once, with how often they do."""
    shares = reference.filter(role="station")["statistic"].to_list()
    found = rows["statistic"].to_list()
    wrong = [
        (name, times)
        for name in dict.fromkeys([*expected(reference, model), *shares, *found])
        if (times := found.count(name)) != 1
    ]
    return pl.DataFrame(wrong, schema={"statistic": pl.String, "rows": pl.Int64}, orient="row")


def changed_figures(before: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """What was measured before against the same reference, and is another figure now; columns statistic, before, now.

    What the spec decides (levels that count, tolerance, verdict) may change; frames and their values may not.
    """
    pairs = before.join(now, on=["statistic", "candidate"], suffix=" now", nulls_equal=True)
    found = []
    for row in pairs.iter_rows(named=True):
        for figure in _FIGURES:
            was, is_now = row[figure], row[f"{figure} now"]
            if was is not None and is_now is not None and not _same(was, is_now):
                found.append((row["statistic"], figure, float(was), float(is_now)))
    names = {"statistic": pl.String, "figure": pl.String, "before": pl.Float64, "now": pl.Float64}
    return pl.DataFrame(found, schema=names, orient="row")


def says_the_same(before: pl.DataFrame, now: pl.DataFrame) -> bool:
    """Whether `now` differs from `before` by rounding, by its time, and by where the values lie, at most."""
    names = [name for name in DriftMetrics.column_names() if name not in ("why", "values", "measured_at")]
    if before.height != now.height or not set(names) <= set(before.columns):
        return False
    pairs = zip(before.select(names).rows(), now.select(names).rows(), strict=True)
    return all(_same(was, is_now) for old, new in pairs for was, is_now in zip(old, new, strict=True))


def figure(value: float, digits: int = 3) -> str:
    """A figure in words, to so many significant digits; with an exponent where it would be long."""
    if value and not _LEAST_PLAIN <= abs(value) < _FIRST_LONG:
        return f"{value:.{digits}g}"
    return np.format_float_positional(value, precision=digits, fractional=False, unique=False, trim="-")


def _of_frames(
    name: str, values: pl.DataFrame, row: Row | None, about: Inspected, lacks: str, spec: Spec
) -> dict[str, Any]:
    values_N = _known(values, name)
    median = _median(values_N)
    facts = {
        "role": row["role"] if row else _role(name),
        "frames": len(values_N),
        "value": median if np.isfinite(median) else None,
        "tolerance": spec.drift.tolerance,
    }
    if row is None or not sum(row["counts"]):
        why = lacks or f"the training frames of {about.release} have no value of it"
        return {**facts, "verdict": "no_reference", "why": f"There is no reference: {why}."}
    facts |= {"reference_value": row["median"], "psi_level": row["psi_level"], "kl_level": row["kl_level"]}
    if len(values_N) < spec.drift.min_frames:
        return {**facts, "verdict": "not_enough", "why": _too_few(name, len(values_N), about, spec)}
    counts_B = counts_in(row["edges"], values_N)
    differences = {"psi": psi(row["counts"], counts_B), "kl": kl(row["counts"], counts_B)}
    noise = _noise(row, len(values_N))
    facts |= {f"{name}_level": _raised(row[f"{name}_level"], extra) for name, extra in noise.items()}
    return {**facts, **differences, **_judged(differences, noise, median, len(values_N), row, spec)}


def _noise(row: Row, frames: int) -> dict[str, float]:
    # A reference of an earlier version does not say what is usual.
    usual = row.get("usual_frames")
    return {name: noise_of_fewer(name, row["counts"], frames, usual) for name in _MEASURES}


def _raised(level: float | None, noise: float) -> float | None:
    return None if level is None else level + noise


def _known(values: pl.DataFrame, name: str) -> Values:
    """The values of a statistic; NaN is none."""
    if name not in values.columns:
        return np.empty(0)
    return values[name].cast(pl.Float64).fill_nan(None).drop_nulls().to_numpy()


def _median(values_N: Values) -> float:
    """The middle value; of an even number the lower one of two, so that infinities have no mean. NaN of none."""
    return float(np.sort(values_N)[(len(values_N) - 1) // 2]) if len(values_N) else np.nan


def _role(name: str) -> str:
    return "alarms" if name == NOVELTY else "warns"


def _too_few(name: str, frames: int, about: Inspected, spec: Spec) -> str:
    depends_on_pass = not name.startswith("decoded.")
    why = (
        f"; {about.other_pass} went through another pass than the training frames"
        if about.other_pass and depends_on_pass
        else ""
    )
    return f"{frames} frames have a value{why}; a verdict needs {spec.drift.min_frames}."


def _judged(
    differences: Mapping[str, float],
    noise: Mapping[str, float],
    median: float,
    frames: int,
    row: Row,
    spec: Spec,
) -> dict[str, Any]:
    """Verdict, rank and why of a statistic that differs by these. `noise` is what its level is raised by."""
    measure = spec.drift.measure
    found, more, name = differences[measure], noise[measure], _MEASURES[measure]
    level = _raised(row[f"{measure}_level"], more)
    if not row["calibrated"] or level is None:
        return {
            "verdict": "not_calibrated",
            "why": f"{name} {figure(found)}, but {row['deliveries']} deliveries of the reference are too few to say "
            "how much ordinary ones differ.",
        }
    if found <= spec.drift.tolerance:
        told, limit = _apart(found, spec.drift.tolerance)
        return {"verdict": "ok", "rank": 0.0, "why": f"{name} {told} is within the tolerance {limit}."}
    told, limit = _apart(found, level)
    # A reference of infinite values has no median: nothing lies below it.
    usual = -np.inf if row["median"] is None else row["median"]
    medians = "median {}, in training {}".format(*_apart(median, usual))
    if row["side"] == "above" and median <= usual:
        why = f"{name} {told}, but its values are lower than in training: no drift; {medians}."
        return {"verdict": "ok", "rank": 0.0, "why": why}
    unusual = rank(row[measure], found - more)
    raised = f"raised by {figure(more)} as {frames} frames are fewer than the usual {row.get('usual_frames')}"
    if found <= level:
        because = f" ({raised})" if more else ""
        return {
            "verdict": "ok",
            "rank": unusual,
            "why": f"{name} {told} is within its level {limit}{because}.",
        }
    return {
        "verdict": "drifted",
        "rank": unusual,
        "why": f"{name} {told} exceeds its level {limit} ({row['quantile']:.3g} quantile of {row['deliveries']} "
        f"reference deliveries{f', {raised}' if more else ''}); {medians}.",
    }


def _of_captures(name: str, share: float, row: Row | None, captures: int, spec: Spec) -> dict[str, Any]:
    allowed = spec.drift.max_repeated if name == REPEATED else spec.acquisition.max_rejected
    level = row["psi_level"] if row and row["calibrated"] else None
    bound = max(level or 0.0, allowed)
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
    drifted = share > bound
    unusual = None if row is None or level is None else rank(row["psi"], share)
    told, limit = _apart(100 * share, 100 * bound)
    return {
        **facts,
        "rank": 0.0 if unusual is not None and share <= allowed else unusual,
        "verdict": "drifted" if drifted else "ok",
        "why": f"{round(share * captures)} of {captures} captures ({told} %), {'more than' if drifted else 'within'} "
        f"the {limit} % of {'its level' if bound > allowed else 'the spec'}.",
    }


def _apart(one: float, other: float) -> tuple[str, str]:
    """Two figures with as many digits as it takes to see which is greater, three at least."""
    for digits in range(3, 10):
        told = figure(one, digits), figure(other, digits)
        if one == other or told[0] != told[1]:
            break
    return told


def _same(was: Any, is_now: Any) -> bool:
    if isinstance(was, float) and isinstance(is_now, float):
        return bool(np.isclose(was, is_now, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))
    return bool(was == is_now)
