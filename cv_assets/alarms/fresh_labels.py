"""Fresh labels: what people said of the frames that an alarm is about, and that no judged training has seen.

What counts is what a training that starts now would take: the split table that it would have says so.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import polars as pl

from cv_assets.alarms.opening import Opening
from cv_assets.frames.captures import attribute
from cv_assets.frames.schema import PreparedFrames, RawFrames
from cv_assets.inspection.schema import Inspections
from cv_assets.spec.training import Splits
from cv_assets.splits.roles import DEALT, assemble_splits

CAPTURE_FACTS: Final = (
    "capture_id",
    "frame_id",
    "delivery",
    "station",
    "camera",
    "part",
    "group",
    "attributes",
    "captured_at",
)
"""All that is read here of raw_frames, which may be millions of rows."""


_LABEL: Final = ["frame_id", "label"]

_ANY_PASS: Final = ""
"""Which pass prepared a frame decides nothing here; the split table of a training refuses another one."""


class Columns(Protocol):
    """Reads some columns of all partitions of an asset."""

    def __call__(self, asset: str, names: Any, *, schema: Any) -> pl.DataFrame:
        """The columns `names` of `asset`, whose contract is `schema`."""
        ...


@dataclass(frozen=True)
class Labelled:
    """Captures with their agreed labels, as a training that starts now would take them.

    `split` is the split table that it would have. `can_train` has a row per accepted capture of a frame in it that is
    no benchmark's; `deliveries` each delivery's station, null when it is unknown or mixed, and first capture.
    """

    captures: pl.DataFrame
    split: pl.DataFrame
    can_train: pl.DataFrame
    deliveries: pl.DataFrame

    @property
    def places(self) -> dict[str, tuple[datetime, str]]:
        """Where each delivery stands in the order of captures."""
        rows = self.deliveries.select("delivery", "captured_from").iter_rows()
        return {name: (captured_from, name) for name, captured_from in rows}


def captures(columns: Columns) -> pl.DataFrame:
    """Every capture: `CAPTURE_FACTS`, `prepared_path` (null unless accepted) and `release_number`.

    Not every capture was inspected: golden frames may have come before there was an inspection.
    """
    accepted = columns("prepared_frames", ("capture_id", "path"), schema=PreparedFrames)
    judged = columns("inspections", ("capture_id", "release_number"), schema=Inspections)
    raw = columns("raw_frames", (*CAPTURE_FACTS, "received_at"), schema=RawFrames)
    # A camera whose clock runs ahead takes no picture after it was received.
    rows = raw.with_columns(captured_at=pl.min_horizontal("captured_at", "received_at")).drop("received_at")
    return rows.join(accepted.rename({"path": "prepared_path"}), on="capture_id", how="left").join(
        judged, on="capture_id", how="left"
    )


def labelled(
    captures: pl.DataFrame, label_table: pl.DataFrame, benchmark_frames: pl.DataFrame, splits: Splits
) -> Labelled:
    """What people said of `captures`, rows of what the function of that name gives."""
    split = _split_table(captures, label_table, benchmark_frames, splits)
    trains = split.filter(pl.col("role").is_in(DEALT)).select("frame_id", "label")
    one_station = pl.col("station").n_unique() == 1
    return Labelled(
        captures=captures,
        split=split,
        can_train=captures.filter(pl.col("prepared_path").is_not_null()).join(trains, on="frame_id"),
        deliveries=captures.group_by("delivery").agg(
            pl.when(one_station).then(pl.col("station").first()), captured_from=pl.col("captured_at").min()
        ),
    )


def _split_table(
    captures: pl.DataFrame, label_table: pl.DataFrame, benchmark_frames: pl.DataFrame, splits: Splits
) -> pl.DataFrame:
    # Groups that only an unlabelled picture makes one stay two here: reading all pictures each minute costs more.
    named = pl.concat([label_table.select("frame_id"), benchmark_frames.select("frame_id")])
    mine = captures.join(named, on="frame_id", how="semi")
    prepared = mine.select(
        "capture_id",
        "delivery",
        accepted=pl.col("prepared_path").is_not_null(),
        path="prepared_path",
        preparation=pl.lit(_ANY_PASS),
    )
    return assemble_splits(label_table, benchmark_frames, mine, prepared, splits, _ANY_PASS).rows


def fresh_labels(opening: Opening, known: Labelled, seen: pl.DataFrame | None) -> pl.DataFrame:
    """The fresh labels of an alarm from its own release: frame_id and label.

    Their frames were inspected by its release, at its stations, in its first delivery or one captured later. `seen` are
    the labels that a training asked for by it has spent; a label that changed since is fresh again.
    """
    first = next(iter(opening.deliveries), "")
    if first not in known.places:
        return known.can_train.clear().select(_LABEL)
    captured_from, _ = known.places[first]
    later = pl.col("captured_from") > captured_from
    at_once = (pl.col("captured_from") == captured_from) & (pl.col("delivery") >= first)
    about = _at_its_stations(known.deliveries.filter(later | at_once), opening)
    mine = known.can_train.filter(release_number=opening.release_number)
    return _unseen(mine.join(about, on="delivery", how="semi"), seen)


def labels_left_over(
    opening: Opening,
    known: Labelled,
    drifted: Collection[str],
    conditions: Iterable[str],
    seen: pl.DataFrame | None,
) -> pl.DataFrame:
    """The labels from deliveries that `drifted` under earlier releases that are fresh to a drift alarm too.

    Only frames at its stations count that have the conditions (attributes by these names) of a frame of its own
    deliveries: labels of another drift say nothing of this one. `seen` are the labels that any training has spent.
    """
    before = known.can_train.filter(
        pl.col("release_number") < opening.release_number, pl.col("delivery").is_in(list(drifted))
    )
    before = before.join(_at_its_stations(known.deliveries, opening), on="delivery", how="semi")
    own = known.captures.filter(pl.col("delivery").is_in(list(opening.deliveries)))
    if by := {f"condition:{name}": attribute(name) for name in conditions}:
        alike = own.select(**by).unique()
        before = before.with_columns(**by).join(alike, on=list(by), how="semi", nulls_equal=True)
    return _unseen(before, seen)


def _at_its_stations(deliveries: pl.DataFrame, opening: Opening) -> pl.DataFrame:
    if not opening.stations:
        return deliveries
    return deliveries.filter(pl.col("station").is_in(opening.stations, nulls_equal=True))


def _unseen(captures: pl.DataFrame, seen: pl.DataFrame | None) -> pl.DataFrame:
    labels = captures.select(_LABEL).unique("frame_id")
    return labels if seen is None else labels.join(seen, on=_LABEL, how="anti")
