"""What the lake holds that retention is about, and what of it is needed: the evidence for a retention plan."""

from collections.abc import Iterable, Iterator
from typing import Final

import polars as pl

from cv_assets.alarms.schema import Alarms
from cv_assets.frames.deliveries import DELIVERY_TABLES
from cv_assets.frames.schema import PreparedFrames, RawFrames
from cv_assets.release.schema import Releases
from cv_assets.review.schema import ReviewQueue
from cv_assets.upkeep.contracts import contract_of
from cv_assets.upkeep.retention import HELD, NEEDED
from resources.lake import Lake, RefNotFoundError
from resources.lake_names import MAIN
from resources.tables import Snapshot, served, table_of

HASH_IN_NAME: Final = r"([0-9a-f]{64})(?:\.[^/]*)?$"
"""Objects that rows name carry the sha256 of their bytes in their name."""


def held(snapshot: Snapshot) -> pl.DataFrame:
    """Every raw and prepared frame that the state lists, and the checkpoints of refused candidates: rows of HELD."""
    frames = pl.concat([_raw_frames(snapshot), _prepared_frames(snapshot)])
    return pl.concat([_sized(snapshot.lake, snapshot.commit, frames), *_refused_checkpoints(snapshot)])


def needed(snapshot: Snapshot) -> pl.DataFrame:
    """What stays whatever its age, and why: rows of NEEDED. The most telling reason comes first."""
    states = list(_states(snapshot))
    return pl.concat(
        [
            *(_frames(one, "split_table", f"a model is trained or judged by it{of}") for of, one in states),
            *(_frames(one, "benchmark_frames", "the benchmark judges by it") for _, one in states),
            *(_needed("frame_id", _open(one), "a person is asked about it") for _, one in states),
            *(_frames(one, "label_table", "people labelled it: it may train") for _, one in states),
            _alarming(snapshot),
            _needed("belongs_to", _under_way(snapshot), "its delivery is under way"),
        ]
    )


def refused_candidates(snapshot: Snapshot) -> pl.DataFrame:
    """The rows of releases of candidates that were refused."""
    return snapshot.table("releases", or_empty=Releases).filter(outcome="refused")


def _raw_frames(snapshot: Snapshot) -> pl.DataFrame:
    columns = ("frame_id", "delivery", "path", "received_at")
    rows = snapshot.columns("raw_frames", columns, schema=RawFrames)
    return _as_frames(rows.rename({"received_at": "since"}), "raw frame")


def _prepared_frames(snapshot: Snapshot) -> pl.DataFrame:
    received = snapshot.columns("raw_frames", ("delivery", "received_at"), schema=RawFrames)
    since = received.group_by("delivery").agg(since=pl.col("received_at").max())
    rows = snapshot.columns("prepared_frames", ("frame_id", "delivery", "path"), schema=PreparedFrames)
    return _as_frames(rows.drop_nulls("path").join(since, on="delivery"), "prepared frame")


def _as_frames(rows: pl.DataFrame, kind: str) -> pl.DataFrame:
    """A row for each frame of a path: captures of a delivery may share a picture, and prepared frames more so."""
    found = rows.with_columns(
        kind=pl.lit(kind),
        belongs_to="delivery",
        sha256=pl.col("path").str.extract(HASH_IN_NAME),
        commit=pl.lit(None, pl.String),
    )
    newest = found.sort("since").unique(["path", "frame_id"], keep="last", maintain_order=True)
    return newest.drop_nulls("sha256").select(name for name in HELD if name != "size_bytes")


def _refused_checkpoints(snapshot: Snapshot) -> Iterator[pl.DataFrame]:
    """What refused candidates trained, but for what a state in use lists, too, such as the backbone they all share."""
    refused = refused_candidates(snapshot)
    in_use = [one for _, one in _states(snapshot)] if refused.height else []
    for candidate, commit, since in refused.select(
        "candidate", "candidate_commit", "concluded_at"
    ).iter_rows():
        paths = _trained(snapshot.lake, candidate, commit)
        gone = {*snapshot.let_go(paths)}
        used = {path for one in in_use for path in one.lake.sizes(one.commit, paths)}
        rows = pl.DataFrame({"path": sorted(paths - gone - used)}, schema={"path": pl.String}).with_columns(
            kind=pl.lit("checkpoint"),
            belongs_to=pl.lit(candidate),
            frame_id=pl.lit(None, pl.String),
            sha256=pl.col("path").str.extract(HASH_IN_NAME),
            since=pl.lit(since, pl.Datetime("us", "UTC")),
            commit=pl.lit(commit),
        )
        yield _sized(snapshot.lake, commit, rows.drop_nulls("sha256"))


def _trained(lake: Lake, candidate: str, commit: str) -> set[str]:
    """The weights that the candidate's checkpoints name, at its own commit."""
    try:
        tables = [path for path in lake.paths(commit, "tables/") if table_of(path)[1] == candidate]
    except RefNotFoundError:
        return set()
    own = [path for path in tables if table_of(path)[0].endswith("_checkpoint")]
    rows = [pl.read_parquet(lake.fetch(commit, path), columns=["weights", "backbone"]) for path in own]
    return {path for one in rows for column in one for path in column.drop_nulls()}


def _sized(lake: Lake, commit: str, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of what is there, with its size."""
    sizes = pl.DataFrame(
        list(lake.sizes(commit, rows["path"]).items()),
        schema={"path": pl.String, "size_bytes": pl.Int64},
        orient="row",
    )
    return rows.join(sizes, on="path").select(HELD.names()).cast(dict(HELD))  # type: ignore[arg-type]


def _states(snapshot: Snapshot) -> Iterator[tuple[str, Snapshot]]:
    """This state, that of every candidate that is not refused, and every other data branch; each with its name."""
    yield "", snapshot
    # An experiment may hold a copy of a candidate that main refused.
    refused = {(MAIN, candidate) for candidate in refused_candidates(snapshot)["candidate"]}
    for branch, head in snapshot.lake.branches().items():
        serves = served(branch)
        if serves is None and head != snapshot.commit:
            yield f" of {branch}", Snapshot(snapshot.lake, head)
        elif serves and serves.kind == "candidate" and (serves.data_branch, serves.name) not in refused:
            yield f" of candidate {serves.name}", Snapshot(snapshot.lake, head)


def _frames(state: Snapshot, asset: str, why: str) -> pl.DataFrame:
    """The frames that the asset's tables name."""
    empty = contract_of(asset)
    rows = (
        state.tables(asset, or_empty=empty) if state.partitions(asset) else state.table(asset, or_empty=empty)
    )
    return _needed("frame_id", rows["frame_id"].unique(maintain_order=True), why)


def _open(state: Snapshot) -> pl.Series:
    return state.table("review_queue", or_empty=ReviewQueue).filter(pl.col("state") != "answered")["frame_id"]


def _alarming(snapshot: Snapshot) -> pl.DataFrame:
    alarms = snapshot.table("alarms", or_empty=Alarms).filter(pl.col("state") != "closed")
    named = alarms.select("alarm_id", name="deliveries").explode("name").drop_nulls()
    why = pl.format("the alarm {} is about its delivery", "alarm_id")
    return named.select(by=pl.lit("belongs_to"), name="name", why=why).cast(dict(NEEDED))  # type: ignore[arg-type]


def _under_way(snapshot: Snapshot) -> Iterable[str]:
    """Deliveries of which a table is missing yet."""
    first, *others = (frozenset(snapshot.partitions(table)) for table in DELIVERY_TABLES)
    return first - first.intersection(*others)


def _needed(by: str, names: Iterable[str], why: str) -> pl.DataFrame:
    rows = [(by, name, why) for name in names]
    return pl.DataFrame(rows, schema=NEEDED, orient="row")
