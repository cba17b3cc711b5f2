from datetime import UTC, datetime, timedelta

import polars as pl

from demo.seasons import captured_in, opening


def test_the_seasons_follow_one_another_without_a_gap():
    assert [opening(season) for season in (1, 2, 4)] == [
        datetime(2026, 3, day, 6, tzinfo=UTC) for day in (2, 9, 23)
    ]
    edge = opening(3)
    rows = pl.DataFrame({"captured_at": [edge - timedelta(seconds=1), edge]})
    assert rows.select(captured_in(2)).to_series().to_list() == [True, False]
    assert rows.select(captured_in(3)).to_series().to_list() == [False, True]
