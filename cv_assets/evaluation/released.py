"""The release in force when a candidate was requested, which the candidate is held against on the same frames.

What was measured of it before its release tells little: the benchmark has grown since. Shapes: N frames, C classes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cv_assets.evaluation.band import OperatingBand
from cv_assets.evaluation.report import judging_scores
from cv_assets.spec.schema import Spec
from cv_assets.spec.training import RELEASED

COMPARED: Final = ("golden", "challenge")
"""Sets on which a candidate is held against the release in force."""


@dataclass(frozen=True)
class Released:
    """A release (a row of `releases`) and its checkpoint (the row of its model's table).

    `unlike` says why it cannot be held against the candidate, in words; empty when it can.
    """

    release: Mapping[str, Any]
    checkpoint: Mapping[str, Any]
    unlike: str

    @property
    def version(self) -> str:
        """The version in force."""
        return str(self.release["version"])

    @property
    def band(self) -> OperatingBand:
        """The thresholds that it decides by."""
        return OperatingBand(self.release["lower"], self.release["upper"])

    @property
    def words(self) -> str:
        """Which model decides, and how, for people."""
        return f"{self.version} ({self.release['model']} of {self.release['candidate']}): {self.band.words}"


def release_of(releases: pl.DataFrame, version: str) -> dict[str, Any]:
    """The row that last put `version` in force. Raises ValueError when none did."""
    found = releases.filter(pl.col("outcome") != "refused", pl.col("version") == version)
    if found.is_empty():
        raise ValueError(
            f"{version} was in force when the candidate was requested, and releases has no such row"
        )
    return found.row(-1, named=True)


def unlike(
    release: Mapping[str, Any], checkpoint: Mapping[str, Any], preparations: Iterable[str], spec: Spec
) -> str:
    """Why a release cannot be held against a candidate whose frames went through `preparations`; empty when it can."""
    version, classes = release["version"], checkpoint["classes"]
    if sorted(classes) != sorted(spec.class_names):
        known = f"{version} knows the classes {', '.join(classes)}"
        return f"{known}, and by the spec they are {', '.join(spec.class_names)} by now"
    if release["pass_class"] != spec.pass_class:
        return (
            f"{version} was released with `{release['pass_class']}` as the class that passes, and by the spec it is "
            f"`{spec.pass_class}` by now"
        )
    if others := sorted(set(preparations) - {checkpoint["preparation"]}):
        return (
            f"{version} was trained on the pass {checkpoint['preparation']}, and the frames went through "
            f"{', '.join(others)}"
        )
    return ""


def released_scores(
    released: Released, frames: pl.DataFrame, scores_NC: NDArray[np.float64], spec: Spec
) -> pl.DataFrame:
    """What the released model said of `frames`, rows of the split table, as rows of `SCORES` in the spec's order."""
    order = [list(released.checkpoint["classes"]).index(name) for name in spec.class_names]
    return judging_scores(RELEASED, frames, scores_NC[:, order])


def compared_frames(split_table: pl.DataFrame) -> pl.DataFrame:
    """The frames on which a candidate is held against the release in force."""
    return split_table.filter(pl.col("role").is_in(COMPARED)).sort("role", "frame_id")


def how_compared(
    released: Released, own_split: pl.DataFrame, split_table: pl.DataFrame, *, asked: bool
) -> tuple[bool, str]:
    """Whether the release is measured on the candidate's frames as on any others, and why not, in words.

    `own_split` is the release's own split table, `split_table` the candidate's; `asked` says that the spec has
    regression criteria.
    """
    if released.unlike:
        return (
            False,
            f"{released.version} cannot be measured on these frames: {released.unlike}. {_BLOCKED[asked]}",
        )
    frames = compared_frames(split_table)
    known = _known_to(own_split, frames)
    if known.is_empty():
        return (
            True,
            f"{released.version} was measured on the same {frames.height} golden and challenge frames.",
        )
    groups = known["group"].unique().sort()
    shown = ", ".join(groups.head(5)) + (" and others" if len(groups) > 5 else "")
    return False, (
        f"{known.height} of the {frames.height} golden and challenge frames are of groups that {released.version} "
        f"trained on: {shown}. Its figures are too good there, so that a regression criterion asks for more than it "
        "says. Verify frames of groups that never trained."
    )


_BLOCKED: Final = {
    True: "No regression criterion can be met so: take `evaluation.regression` out of the spec for one release, or "
    "bring back what changed; then request a new candidate.",
    False: "The spec has no regression criterion, so nothing depends on it.",
}


def _known_to(own_split: pl.DataFrame, frames: pl.DataFrame) -> pl.DataFrame:
    """Those of `frames` that trained a model of that split table, or stopped its training, or whose group did."""
    learned = own_split.filter(pl.col("role").is_in(("train", "val")))
    own_frame = pl.col("frame_id").is_in(learned["frame_id"].implode())
    return frames.filter(own_frame | pl.col("group").is_in(learned["group"].unique().implode()))
