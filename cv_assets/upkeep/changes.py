"""What differs between two states of a table, row by row: a row is the same row when its key is.

A column that only one of the states has is null in the other. Two NaN are equal, and so are two nulls.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

import polars as pl

from resources.lake import ChangeKind

SAID: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "change": pl.String,
    "columns": pl.List(pl.String),
    "before": pl.String,
    "after": pl.String,
}
"""What `changes` says of a row, beside its key."""

CHANGES: Final[tuple[str, ...]] = get_args(ChangeKind)

ROW: Final = "row"
"""The key of a table whose key is not known: the whole row, as JSON. Such rows come and go; none is changed."""

_NTH: Final = "\0nth"
_BEFORE: Final = "\0before "
_AFTER: Final = "\0after "


@dataclass(frozen=True)
class Difference:
    """How one table differs between two states of the lake; `columns` tells in how many changed rows each differs."""

    asset: str
    partition: str
    rows: pl.DataFrame
    columns: dict[str, int] = field(default_factory=dict)
    reshaped: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """`label_table`, `raw_frames[d1]`."""
        return f"{self.asset}[{self.partition}]" if self.partition else self.asset

    @property
    def located(self) -> pl.DataFrame:
        """Its rows with the partition they are in, for a table with partitions."""
        return (
            self.rows.select(pl.lit(self.partition).alias("partition"), pl.all())
            if self.partition
            else self.rows
        )

    def count(self, change: str) -> int:
        """How many rows saw one of CHANGES."""
        return self.rows.filter(pl.col("change") == change).height

    @property
    def is_empty(self) -> bool:
        """Whether the states hold the same rows in the same columns."""
        return self.rows.is_empty() and not self.reshaped


def difference(
    asset: str,
    partition: str,
    before: pl.DataFrame,
    after: pl.DataFrame,
    key: Sequence[str],
    volatile: Sequence[str] = (),
) -> Difference:
    """How the table of `asset` changed, `volatile` columns (times of run, latencies) left out."""
    before, after = before.drop(volatile, strict=False), after.drop(volatile, strict=False)
    rows = changes(before, after, key)
    differing = rows["columns"].explode().drop_nulls().value_counts().sort("columns")
    return Difference(asset, partition, rows, dict(differing.iter_rows()), reshaped(before, after))


def reshaped(before: pl.DataFrame, after: pl.DataFrame) -> tuple[str, ...]:
    """The columns that came, went or have another type, in words; none while one of the states has no columns."""
    old, new = before.schema, after.schema
    if not old or not new:
        return ()
    return (
        *(f"{name} is new" for name in new if name not in old),
        *(f"{name} is gone" for name in old if name not in new),
        *(
            f"{name}: {old[name]} is now {new[name]}"
            for name in old
            if name in new and old[name] != new[name]
        ),
    )


def changes(before: pl.DataFrame, after: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """The rows that were added, changed or removed: their key and SAID, sorted by key.

    `columns` names the columns that differ in a changed row; `before` and `after` hold their values as JSON, and all
    columns of a row that was removed or added. Rows that share a key are told apart by their order. Without a key,
    or when a state lacks a column of it, the key is ROW. Raises ValueError when a column of SAID is in the key.
    """
    if clash := SAID.keys() & set(key):
        raise ValueError(f"a key has no column {', '.join(sorted(clash))}: the changes are told there")
    before, after = (
        frame if frame.columns else other.clear() for frame, other in ((before, after), (after, before))
    )
    if not key or not {*key} <= {*before.columns} & {*after.columns}:
        before, after, key = _as_rows(before, after.columns), _as_rows(after, before.columns), [ROW]
    before, after = _alike(before, after)
    values = [name for name in before.columns if name not in key]
    joined = _numbered(before, key, _BEFORE).join(
        _numbered(after, key, _AFTER), on=[*key, _NTH], how="full", coalesce=True, nulls_equal=True
    )
    told = joined.with_columns(columns=_differing(values)).with_columns(change=_change()).drop_nulls("change")
    return _worded(told.sort(*key, _NTH, nulls_last=True), key, values)


def _as_rows(frame: pl.DataFrame, others: Sequence[str]) -> pl.DataFrame:
    """Each row as one text, with the columns that only another state has; in an order of its own."""
    lacking = [pl.lit(None).alias(name) for name in others if name not in frame.columns]
    names = sorted({*frame.columns, *others})
    rows = [_json(row) for row in frame.with_columns(lacking).select(names).iter_rows(named=True)]
    return pl.DataFrame({ROW: sorted(rows)}, schema={ROW: pl.String})


def _alike(before: pl.DataFrame, after: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both with the same columns of the same types: text where the types differ, null where a column is missing."""
    types = {**after.schema, **before.schema}
    for name in before.schema.keys() & after.schema.keys():
        if before.schema[name] != after.schema[name]:
            before, after = (_as_text(frame, name) for frame in (before, after))
            types[name] = pl.String()

    def completed(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.select(
            pl.col(name) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
            for name, dtype in types.items()
        )

    return completed(before), completed(after)


def _as_text(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    column = frame[name]
    if column.dtype.is_nested() or column.dtype == pl.Binary:
        texts = [None if value is None else _json(value) for value in column.to_list()]
        return frame.with_columns(pl.Series(name, texts, dtype=pl.String))
    return frame.with_columns(pl.col(name).cast(pl.String))


def _numbered(frame: pl.DataFrame, key: Sequence[str], side: str) -> pl.DataFrame:
    """With the other columns, and a mark that the row is there, named after the side."""
    return frame.select(
        *key,
        pl.int_range(pl.len()).over(*key).alias(_NTH),
        pl.lit(True).alias(side),
        pl.all().exclude(*key).name.prefix(side),
    )


def _differing(values: Sequence[str]) -> pl.Expr:
    """The names of the columns whose values differ, for each row."""
    nothing = pl.lit([], dtype=pl.List(pl.String))
    return pl.concat_list(
        nothing,
        *(
            pl.when(pl.col(_BEFORE + name).ne_missing(pl.col(_AFTER + name)))
            .then(pl.lit([name], dtype=pl.List(pl.String)))
            .otherwise(nothing)
            for name in values
        ),
    )


def _change() -> pl.Expr:
    return (
        pl.when(pl.col(_BEFORE).is_null())
        .then(pl.lit("added"))
        .when(pl.col(_AFTER).is_null())
        .then(pl.lit("removed"))
        .when(pl.col("columns").list.len() > 0)
        .then(pl.lit("changed"))
    )


def _worded(told: pl.DataFrame, key: Sequence[str], values: Sequence[str]) -> pl.DataFrame:
    said: dict[str, list[object]] = {
        "change": told["change"].to_list(),
        "columns": [],
        "before": [],
        "after": [],
    }
    for row in told.iter_rows(named=True):
        is_changed = row["change"] == "changed"
        names = row["columns"] if is_changed else values
        said["columns"].append(row["columns"] if is_changed else [])
        for side, mark in (("before", _BEFORE), ("after", _AFTER)):
            there = row[mark] is not None and values
            said[side].append(_json({name: row[mark + name] for name in names}) if there else None)
    return told.select(*key).hstack(pl.DataFrame(said, schema=SAID))


def _json(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
