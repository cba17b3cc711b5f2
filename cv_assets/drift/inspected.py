"""A delivery that has its verdicts, and which of its frames count.

A frame counts once however often it was delivered: a camera that repeats its picture is the station's matter, and says
nothing about what it sees.
"""

from dataclasses import dataclass
from datetime import datetime

import polars as pl


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
