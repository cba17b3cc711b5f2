"""The table as a whole: it follows from the other tables, whatever the order and repetition of their rows."""

import random

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from make_alarms import (
    FIRST,
    kpi,
    label,
    made,
    measured,
    rejected,
    release,
    request,
    short,
    tables,
    verdict,
    verified,
)

from cv_assets.alarms.schema import Alarms
from cv_assets.alarms.table import alarms
from cv_assets.spec.load import load_spec
from resources.deployments import ROOT

SPEC = short(load_spec(ROOT / "specs" / "solar_cells.yaml"))
OUTCOMES = ("refused", "released", "rolled_back")


@st.composite
def worlds(draw):
    """Deliveries of two stations that drift or not, releases, requests and labels, as they may come together."""
    rows = {"metrics": [], "kpis": [], "captures": [], "label_table": [], "releases": [FIRST], "requests": []}
    for number, outcome in enumerate(draw(st.lists(st.sampled_from(OUTCOMES), max_size=3)), 2):
        candidate = draw(st.sampled_from(["by-hand", "drift-r1-1"])) + (
            "" if outcome == "released" else f"-{number}"
        )
        rows["releases"].append(
            release(number, f"v1.{number}.0", candidate, hour=10 * number, outcome=outcome)
        )
    in_force = [row["number"] for row in rows["releases"] if row["outcome"] != "refused"]
    for hour in range(draw(st.integers(0, 8))):
        decided = {
            "release_number": draw(st.sampled_from(in_force)),
            "station": draw(st.sampled_from(["line1", "line2", None])),
        }
        name, said = f"d{hour}", draw(st.sampled_from(["ok", "drifted", "drifted", "not_enough"]))
        at = draw(st.sampled_from([hour, 3]))
        rows["metrics"] += [
            measured(name, said, hour=at, measured_at=measured(name, hour=hour)["measured_at"], **decided),
            rejected(name, draw(st.sampled_from(["ok", "drifted"])), hour=at, **decided),
        ]
        judged = draw(st.sampled_from(["met", "undecided", "broken", "not_enough"]))
        rows["kpis"].append(kpi(name, judged, hour=at, release_number=decided["release_number"]))
        rows["captures"].append(verdict(f"p{hour}", name, hour=at, **decided))
        rows["label_table"].append(label(f"p{hour}", hour=hour))
    for attempt, alarm in enumerate(
        draw(st.lists(st.sampled_from(["drift-r1", "kpi-r1-overkill"]), max_size=2)), 1
    ):
        asked = request(f"{alarm}-{attempt}", alarm, hour=attempt, reason=alarm.split("-")[0])
        rows["requests"].append(asked)
    return rows


def rows_of(rows, **changed):
    seen = pl.DataFrame(schema={"frame_id": pl.String, "label": pl.String})
    return alarms(**{**tables(**rows), **changed}, spec=SPEC, spec_digest="s", labels_of=lambda _: seen)


@given(worlds(), st.integers(0, 1000))
@settings(max_examples=40)
def test_any_order_of_rows_gives_the_same_table(rows, seed):
    order = random.Random(seed)
    shuffled = {name: order.sample(some, len(some)) for name, some in rows.items()}
    expected = rows_of(rows)
    assert rows_of(rows).equals(expected)
    # The history of releases is in its order by its contract.
    assert rows_of({**shuffled, "releases": rows["releases"]}).equals(expected)


@given(worlds())
@settings(max_examples=40)
def test_whatever_comes_an_alarm_is_in_one_state_and_follows_its_contract(rows):
    table = rows_of(rows)
    assert Alarms.filter(table).failure.counts() == {}
    assert table["alarm_id"].is_unique().all()
    for row in table.iter_rows(named=True):
        closed = row["state"] == "closed"
        assert (row["closed_by"] is not None) == (row["closed_at"] is not None) == closed
        assert (row["waits_for"] == "nothing") == closed
        assert (row["opened_at"] is None) == (row["state"] == "warning") == (row["waits_for"] == "patience")
        assert (row["kind"] == "station") == (row["needed_labels"] == 0)
        if closed:
            assert row["closed_at"] >= row["opened_at"]
        if row["waits_for"] in ("ready", "cooldown"):
            assert row["fresh_labels"] >= 2
            assert row["lacking_conditions"] == []


@given(worlds())
@settings(max_examples=40)
def test_only_the_release_in_force_has_open_alarms_that_retrain(rows):
    in_force = [row["number"] for row in rows["releases"] if row["outcome"] != "refused"][-1]
    standing = rows_of(rows).filter(pl.col("state") != "closed", pl.col("kind") != "station")
    assert set(standing["release_number"]) <= {in_force}


def test_the_newest_comes_first_and_a_warning_before_all():
    second = {"release": "v1.1.0", "release_number": 2}
    table = made(
        SPEC,
        metrics=[
            *(measured(f"d{n}", "drifted", hour=n) for n in (1, 2)),
            rejected("d2", "drifted", hour=5),
            measured("d9", "drifted", hour=9, **second),
        ],
        releases=[FIRST, release(2, "v1.1.0", "by-hand", hour=8)],
    )
    assert table.select("alarm_id", "state").rows() == [
        ("drift-r2", "warning"),
        ("rejected-line1-d2", "open"),
        ("drift-r1", "closed"),
    ]


def test_ten_thousand_deliveries_are_a_matter_of_seconds():
    import time

    number = 10_000
    one = tables(
        metrics=[measured("d", hour=0)], captures=[verdict("p", "d", hour=0)], kpis=[kpi("d", hour=0)]
    )
    place = pl.int_range(number)
    later = pl.duration(minutes=place)
    many = {
        name: table.sample(number, with_replacement=True, seed=0) for name, table in one.items() if len(table)
    }
    name = pl.format("d{}", place)
    many["metrics"] = many["metrics"].with_columns(
        delivery=name,
        captured_from=pl.col("captured_from") + later,
        verdict=pl.when(place >= number - 50).then(pl.lit("drifted")).otherwise(pl.lit("ok")),
    )
    many["captures"] = many["captures"].with_columns(
        delivery=name, capture_id=name, captured_at=pl.col("captured_at") + later
    )
    many["kpis"] = many["kpis"].with_columns(until=name)
    begun = time.perf_counter()
    table = rows_of(
        {"releases": [FIRST], "label_table": [label("p", hour=0)], "benchmark_frames": [verified("g")]},
        **many,
    )
    assert table["alarm_id"].to_list() == ["drift-r1"]
    assert time.perf_counter() - begun < 20
