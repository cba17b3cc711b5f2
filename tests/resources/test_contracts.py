"""A data version follows from what a table says, not from how it lies in memory."""

import io

import polars as pl

from resources.contracts import digest
from resources.tables import parquet

ROWS = pl.DataFrame(
    {
        "name": ["a name that is longer than twelve bytes", "a name that is longer than twelve bytes", None],
        "read": [{"lens": "a long word of the camera", "gain": None}, None, {"lens": None, "gain": 2.0}],
        "scores": [[0.5, None], [], None],
        "count": [1, None, 3],
    }
)


def test_rows_have_the_hash_of_the_same_rows_read_from_a_file():
    assert digest(pl.read_parquet(io.BytesIO(parquet(ROWS)))) == digest(ROWS)


def test_rows_have_the_hash_of_the_same_rows_cut_from_a_longer_table():
    assert digest(pl.concat([ROWS, ROWS]).tail(3)) == digest(ROWS)


def test_another_value_name_type_or_order_is_another_hash():
    others = [
        ROWS.with_columns(count=pl.Series([1, 2, 3])),
        ROWS.rename({"count": "counts"}),
        ROWS.with_columns(pl.col("count").cast(pl.Int32)),
        ROWS.reverse(),
    ]
    assert len({digest(rows) for rows in (ROWS, *others)}) == 5


def test_what_is_volatile_does_not_count():
    assert digest(ROWS.with_columns(count=pl.Series([7, 8, 9])), ["count"]) == digest(ROWS, ["count"])
