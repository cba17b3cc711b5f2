import polars as pl
from make_alarms import hours, measured

from cv_assets.alarms.pages import NEEDED, Compared, frames_of, to_compare, with_page, with_pages
from cv_assets.alarms.schema import Alarms
from cv_assets.drift.schema import DriftMetrics


def alarm(alarm_id: str, **changed: object) -> dict[str, object]:
    row = {"alarm_id": alarm_id, "kind": "drift", "release_number": 1, "deliveries": ["d1", "d2"]}
    return {**row, "opened_at": hours(3), **changed}


def as_alarms(*rows: dict[str, object]) -> pl.DataFrame:
    schema = Alarms.create_empty().schema
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


def as_metrics(*rows: dict[str, object]) -> pl.DataFrame:
    schema = DriftMetrics.create_empty().schema
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


METRICS = as_metrics(
    measured("d1", "drifted", hour=1),
    measured("d1", hour=1, statistic="decoded.focus", role="warns"),
    measured("d1", "not_enough", hour=1, statistic="score.cnn", role="warns"),
    measured("d2", hour=2),
    measured("d2", "drifted", hour=2, statistic="rejected", role="station", values=None),
    measured("d9", "drifted", hour=9, statistic="decoded.focus", role="warns"),
)


def test_a_page_compares_the_alarms_deliveries_and_says_what_drifted_in_any_of_them():
    (page,) = to_compare(as_alarms(alarm("drift-r1")), METRICS.select(NEEDED))
    values = ("drift_metrics/d1/values.parquet", "drift_metrics/d2/values.parquet")
    assert page == Compared("drift-r1", "first", values, {"decoded.focus": False, "novelty": True})


def test_warnings_other_kinds_and_alarms_that_have_a_page_get_none():
    rows = as_alarms(
        alarm("drift-r1", opened_at=None), alarm("kpi-r1", kind="kpi"), alarm("drift-r2", page="a.html")
    )
    assert list(to_compare(rows, METRICS)) == []


def test_deliveries_that_no_release_judged_make_no_page():
    nobody = METRICS.with_columns(candidate=pl.lit(None, pl.String))
    assert list(to_compare(as_alarms(alarm("drift-r1")), nobody)) == []


def test_a_page_stays_with_its_alarm_and_with_no_other():
    rows = as_alarms(alarm("drift-r1"), alarm("drift-r2"))
    paged = with_page(rows, "drift-r2", "pages/2.html", "it differs")
    again = with_pages(rows, paged)
    assert again.equals(paged)
    assert again.select("alarm_id", "page", "page_note").rows() == [
        ("drift-r1", None, None),
        ("drift-r2", "pages/2.html", "it differs"),
    ]


def test_why_there_is_no_page_is_noted():
    (row,) = with_page(as_alarms(alarm("drift-r1")), "drift-r1", None, "no page: why").rows(named=True)
    assert (row["page"], row["page_note"]) == (None, "no page: why")


def test_frames_of_several_deliveries_are_one_table_of_statistics(tmp_path):
    for name, columns in (("d1", {"novelty": [1.0, 2.0]}), ("d2", {"novelty": [3.0], "score.cnn": [0.5]})):
        count = len(columns["novelty"])
        keys = {"capture_id": ["c"] * count, "delivery": [name] * count}
        pl.DataFrame({**keys, **columns}).write_parquet(tmp_path / f"{name}.parquet")
    found = frames_of(("d1.parquet", "d2.parquet"), lambda path: tmp_path / path)
    assert found.to_dict(as_series=False) == {"novelty": [1, 2, 3], "score.cnn": [None, None, 0.5]}
