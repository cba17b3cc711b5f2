"""Fresh labels: what people said of the frames that an alarm is about, and that no training asked for by it has seen.

Only what can train counts: frames that were accepted, and whose group is not kept for the benchmark.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from cv_assets.alarms.opening import Opening
from cv_assets.frames.captures import attribute
from cv_assets.splits.roles import captures_with_groups

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
    "release_number",
    "prepared_path",
)
"""All that is read here of inspections, which may be millions of rows."""


@dataclass(frozen=True)
class Labelled:
    """Captures with their agreed labels, and the golden frames.

    `can_train` has a row per capture of a frame with an agreed label that may train; `deliveries` each delivery's
    station, null when it is unknown or mixed, and first capture; `golden` the attributes of the golden frames.
    """

    can_train: pl.DataFrame
    deliveries: pl.DataFrame
    golden: pl.DataFrame

    @property
    def places(self) -> dict[str, tuple[datetime, str]]:
        """Where each delivery stands in the order of captures."""
        rows = self.deliveries.select("delivery", "captured_from").iter_rows()
        return {name: (captured_from, name) for name, captured_from in rows}


def labelled(
    captures: pl.DataFrame, label_table: pl.DataFrame, benchmark_frames: pl.DataFrame, group_by: Sequence[str]
) -> Labelled:
    """What people said of `captures`, rows of inspections of which `CAPTURE_FACTS` are read."""
    groups = captures_with_groups(captures, group_by).select("capture_id", split_group="group")
    grouped = captures.join(groups, on="capture_id")
    judged = grouped.join(benchmark_frames, on="frame_id", how="semi")
    agreed = label_table.filter(pl.col("status") == "agreed").select("frame_id", "label")
    one_station = pl.col("station").n_unique() == 1
    return Labelled(
        can_train=grouped.filter(pl.col("prepared_path").is_not_null())
        .join(agreed, on="frame_id")
        .join(benchmark_frames, on="frame_id", how="anti")
        .join(judged, on="split_group", how="anti"),
        deliveries=captures.group_by("delivery").agg(
            pl.when(one_station).then(pl.col("station").first()), captured_from=pl.col("captured_at").min()
        ),
        golden=_first_captures(judged.join(benchmark_frames.filter(set="golden"), on="frame_id", how="semi")),
    )


def fresh_labels(opening: Opening, known: Labelled, seen: pl.DataFrame | None) -> pl.DataFrame:
    """The frames with a fresh label of this alarm: frame_id, label, attributes.

    They were inspected by its release, at its stations, in its first delivery or one captured later. `seen` are the
    labels that the newest training asked for by it could see; a label that changed since is fresh again.
    """
    first = next(iter(opening.deliveries), "")
    if first not in known.places:
        return known.can_train.clear().select("frame_id", "label", "attributes")
    captured_from, _ = known.places[first]
    later = pl.col("captured_from") > captured_from
    at_once = (pl.col("captured_from") == captured_from) & (pl.col("delivery") >= first)
    about = known.deliveries.filter(later | at_once)
    if opening.stations:
        about = about.filter(pl.col("station").is_in(opening.stations, nulls_equal=True))
    mine = known.can_train.filter(release_number=opening.release_number).join(
        about, on="delivery", how="semi"
    )
    if seen is not None:
        mine = mine.join(seen, on=["frame_id", "label"], how="anti")
    return _first_captures(mine).select("frame_id", "label", "attributes")


def golden_frames(
    fresh: pl.DataFrame, known: Labelled, conditions: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    """How many golden frames there are of each condition of the fresh labels, as `ATTRIBUTE=VALUE`."""
    return {
        f"{name}={value}": known.golden.filter(attribute(name) == value).height
        for name, values in conditions.items()
        for value in values
        if not fresh.filter(attribute(name) == value).is_empty()
    }


def _first_captures(captures: pl.DataFrame) -> pl.DataFrame:
    """One row per frame, as splits take it: its first capture."""
    return captures.sort("captured_at", "capture_id").unique("frame_id", keep="first", maintain_order=True)
