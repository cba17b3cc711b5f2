"""A small crowd, through the same runs that `make prove` starts by the hundred."""

import itertools

import dagster as dg
import polars as pl
from by_hand import publish_by_hand
from run_results import failure

from proofs import crowd
from proofs.crowd import SHARED
from resources.tables import MAX_RECOMPUTES, Tables, parquet, table_path

WHOLE = {"runs": 2, "published": 2, "lost": 0, "refused": 0, "unexplained": 0, "partial": 0, "looks": 9}


def test_no_publication_of_a_small_crowd_is_lost_or_seen_in_part(tmp_path):
    data = {"CV_DATA": str(tmp_path), "LAKEFS_ENDPOINT": "", "LAKE_BRANCH": "main"}
    figures = crowd.crowd(tmp_path, data, disjoint=4, same=3, processes=2)
    assert crowd.mistakes(figures) == []
    assert figures["disjoint"]["published"] == 4
    assert figures["same"]["published"] == 3


def test_a_lost_update_or_a_reason_that_is_missing_breaks_the_claim():
    figures = {"disjoint": {**WHOLE, "lost": 1}, "same": {**WHOLE, "unexplained": 1}, "left": []}
    assert crowd.mistakes(figures) == ["1 updates were lost.", "1 losers were not told why."]


def test_a_table_that_others_publish_all_the_time_is_given_up_with_a_sentence(materialize, tables):
    others = itertools.count()

    @dg.asset(**SHARED.arguments)
    def shared_table(context: dg.AssetExecutionContext, tables: dg.ResourceParam[Tables]):
        tables.snapshot(context)
        rows = pl.DataFrame({"number": [next(others)]})
        publish_by_hand(tables.lake, {table_path("shared_table"): parquet(rows)})
        yield from SHARED.audited(rows + 1000)

    result = materialize([shared_table], raise_on_error=False)
    assert next(others) == MAX_RECOMPUTES + 1
    assert failure(result).splitlines()[0] == (
        "dagster._core.definitions.events.Failure: tables/shared_table.parquet changed on main each of the 6 times "
        "that this step computed it: others publish it all the time. Nothing is published of this run: re-execute it "
        "from failure when they are done."
    )
