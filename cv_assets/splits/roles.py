"""Roles: which labelled frames train, which only stop a training, and which judge.

Frames that are alike stay together: a *group* has one role, and which one depends on nothing but its name and the
salt. So more data moves no group, unless it shows that two groups share a picture: those become one.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cv_assets.frames.captures import attribute
from cv_assets.labels.benchmark import labelled_frames
from cv_assets.spec.training import SPLIT_COLUMNS, Shares, Splits
from cv_assets.splits.schema import SplitTable

DEALT: Final = ("train", "val", "test")
"""Roles that groups are dealt to, in this order."""


@dataclass(frozen=True)
class Assembly:
    """The rows of the split table, and how many labelled frames are not among them: columns `why` and `frames`."""

    rows: pl.DataFrame
    left_out: pl.DataFrame


def assemble_splits(
    label_table: pl.DataFrame,
    benchmark_frames: pl.DataFrame,
    raw_frames: pl.DataFrame,
    prepared_frames: pl.DataFrame,
    splits: Splits,
    preparation: str,
    let_go: Collection[str] = (),
) -> Assembly:
    """Every frame that trains or judges, with its group and its role, as rows of `SplitTable` sorted by frame.

    A benchmark frame has the role of its set. Its whole group is kept from the other roles: other labelled frames of
    it are left out, and so are frames of which all prepared pictures are among the paths `let_go`. `preparation` is
    the digest of the pass in force; raises ValueError when a frame went through another one.
    """
    captures = _joined(captures_with_groups(raw_frames, splits.group_by), prepared_frames)
    labelled = labelled_frames(label_table, benchmark_frames)
    candidates = _first_captures(labelled, captures, prepared_frames, sorted(let_go))
    judged = captures.filter(pl.col("frame_id").is_in(benchmark_frames["frame_id"].implode()))
    fate = candidates.with_columns(left_out=_why_left_out(judged["group"]))
    used = fate.filter(pl.col("left_out").is_null())
    _refuse_other_preparations(used, preparation)
    roles = {group: role_of(group, splits.salt, splits.shares) for group in used["group"].unique()}
    dealt = pl.col("group").replace_strict(roles, return_dtype=pl.String)
    rows = used.with_columns(role=pl.coalesce("set", dealt)).sort("frame_id")
    counted = fate.filter(pl.col("left_out").is_not_null()).group_by(why="left_out")
    return Assembly(
        rows.select(SplitTable.column_names()), counted.agg(frames=pl.len().cast(pl.Int64)).sort("why")
    )


def role_of(group: str, salt: str, shares: Shares) -> str:
    """The role that `group` is dealt: its position among the cumulative shares of train, val and test."""
    here, end = position(group, salt), 0.0
    offered = [role for role in DEALT if getattr(shares, role) > 0]
    for role in offered:
        end += getattr(shares, role)
        if here < end:
            return role
    return offered[-1]  # the shares' sum may be rounded to just below 1


def position(group: str, salt: str) -> float:
    """Where a group lies in [0, 1): uniform over groups, the same for ever."""
    digest = hashlib.blake2b(f"{salt}/{group}".encode(), digest_size=8).digest()
    # 53 bits are what a float holds: more could be rounded up to 1.
    return (int.from_bytes(digest) >> 11) / 2**53


def captures_with_groups(raw_frames: pl.DataFrame, group_by: Sequence[str]) -> pl.DataFrame:
    """Every capture with its group as the file name states it: the columns or attributes, joined by `/`.

    Where the file name leaves one open, its part takes the place: pictures of one part stay together. All such
    captures in one group would move thousands of unrelated frames at once; each capture for itself would tear parts.
    """
    own_part = pl.format("part:{}", "part")
    stated = [pl.coalesce(_component(name), own_part) for name in group_by]
    return raw_frames.select(
        "capture_id", "frame_id", "captured_at", "attributes", group=pl.concat_str(stated, separator="/")
    )


def _component(name: str) -> pl.Expr:
    if name in SPLIT_COLUMNS:
        return pl.col(name)
    return attribute(name)


def _joined(captures: pl.DataFrame, prepared_frames: pl.DataFrame) -> pl.DataFrame:
    """`captures` with groups that share a picture, raw or prepared, made one; it has the first of their names."""
    if captures.is_empty():
        return captures
    pictures = captures.join(prepared_frames.select("capture_id", "path"), on="capture_id", how="left")
    prepared = pictures.filter(pl.col("path").is_not_null()).select("group", picture=picture_of("path"))
    links = pl.concat([captures.select("group", picture="frame_id"), prepared]).unique()
    names = _first_names(links["group"], links["picture"])
    return captures.with_columns(pl.col("group").replace_strict(names))


def picture_of(path: str) -> pl.Expr:
    """What names the bytes at a lake path of a prepared frame: the hash that is its file name."""
    return pl.format("prepared:{}", pl.col(path).map_elements(lambda one: PurePath(one).stem, pl.String))


def _first_names(groups: Iterable[str], pictures: Iterable[str]) -> dict[str, str]:
    """For each group the first name, in order of the alphabet, of all groups that pictures link it to."""
    names, group = np.unique(np.array(list(groups)), return_inverse=True)
    _, picture = np.unique(np.array(list(pictures)), return_inverse=True)
    size = len(names) + int(picture.max()) + 1
    links = coo_array((np.ones(len(group)), (group, len(names) + picture)), shape=(size, size))
    _, component = connected_components(links, directed=False)
    _, first, of_group = np.unique(component[: len(names)], return_index=True, return_inverse=True)
    return dict(zip(names.tolist(), names[first][of_group].tolist(), strict=True))


def _first_captures(
    labelled: pl.DataFrame, captures: pl.DataFrame, prepared_frames: pl.DataFrame, let_go: list[str]
) -> pl.DataFrame:
    """`labelled` with the first accepted capture of each frame; its columns are null when there is none.

    `let_go` is true of frames that had accepted captures, and whose pictures are gone.
    """
    accepted = prepared_frames.filter("accepted").select("capture_id", "delivery", "path", "preparation")
    gone = pl.col("path").is_in(let_go)
    first = (
        captures.join(accepted.filter(~gone), on="capture_id")
        .sort("captured_at", "capture_id")
        .unique("frame_id", keep="first", maintain_order=True)
    )
    known = captures.select("frame_id", known=pl.lit(True)).unique()
    had = (
        captures.join(accepted.filter(gone), on="capture_id").select("frame_id", let_go=pl.lit(True)).unique()
    )
    for more in (first, known, had):
        labelled = labelled.join(more, on="frame_id", how="left")
    return labelled


def _why_left_out(judged_groups: pl.Series) -> pl.Expr:
    # `first` names why a frame is not used, in the order in which people would ask.
    in_benchmark_group = pl.col("set").is_null() & pl.col("group").is_in(judged_groups.unique().implode())
    return (
        pl.when(pl.col("status") != "agreed")
        .then(pl.lit("its label waits for review"))
        .when(pl.col("known").is_null())
        .then(pl.lit("no such frame was delivered"))
        .when(pl.col("capture_id").is_null() & pl.col("let_go").is_not_null())
        .then(pl.lit("its picture was let go, as the spec's retention says"))
        .when(pl.col("capture_id").is_null())
        .then(pl.lit("the frame was rejected, or is not prepared yet"))
        .when(in_benchmark_group)
        .then(pl.lit("its group is kept for the benchmark"))
    )


def _refuse_other_preparations(used: pl.DataFrame, preparation: str) -> None:
    others = used.filter(pl.col("preparation") != preparation)
    if not others.is_empty():
        deliveries = others["delivery"].unique().sort()
        shown = ", ".join(deliveries.head(5)) + (" and others" if len(deliveries) > 5 else "")
        raise ValueError(
            f"{others.height} of {used.height} frames went through another preparation than the one in force "
            f"({preparation}): materialize prepared_frames again for {shown}, then request a new candidate"
        )
