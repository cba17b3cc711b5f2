"""The alarms in a lake: published with their checks, their picture and Evidently's page, and made again the same."""

import dagster as dg
import polars as pl
import pytest
from by_hand import publish_by_hand
from make_alarms import (
    FIRST,
    SCHEMAS,
    as_frames,
    kpi,
    label,
    measured,
    rejected,
    release,
    request,
    tables,
    verdict,
    verified,
)
from run_results import checks, metadata, passed

from cv_assets.alarms.assets import alarms
from cv_assets.reference.schema import DriftReference
from cv_assets.spec.assets import project_spec
from cv_assets.spec.load import to_table
from resources.tables import parquet, table_path

NAMES = {
    "metrics": "drift_metrics",
    "captures": "inspections",
    "requests": "training_request",
}
KEYS = {"metrics": "delivery", "captures": "delivery", "requests": "candidate"}
DRIFT = [measured(f"d{n}", "drifted" if n > 2 else "ok", hour=n) for n in range(1, 5)]
CELLS = [verdict(f"p{n}", f"d{n}", hour=n) for n in range(1, 5)]


@pytest.fixture
def put(tables, spec):
    """Publish the spec and rows of the tables that alarms follow from, as their steps would."""
    publish_by_hand(tables.lake, {table_path("project_spec"): parquet(to_table(spec))})

    def run(files=None, **rows):
        published = dict(files or {})
        for name, table in tables_of(**rows).items():
            asset, key = NAMES.get(name, name), KEYS.get(name)
            parts = {str(one[0]): part for one, part in table.group_by(key)} if key else {None: table}
            published |= {table_path(asset, part): parquet(some) for part, some in parts.items()}
            if name == "captures":
                frames = ((part, *one) for part, some in parts.items() for one in as_frames(some).items())
                published |= {table_path(asset, part): parquet(some) for part, asset, some in frames}
        publish_by_hand(tables.lake, published)
        return tables.head().commit

    return run


def tables_of(**rows):
    return {name: table for name, table in tables(**rows).items() if name in rows and name in SCHEMAS}


def values(shift, number=60):
    """The values of some frames as the steps store them."""
    return parquet(
        pl.DataFrame(
            {
                "capture_id": [f"{shift}-{n}" for n in range(number)],
                "delivery": "d",
                "novelty": [shift + n / number for n in range(number)],
                "prepared.focus": [float(n % 7) for n in range(number)],
            }
        )
    )


def stored(*, calibrated=True):
    """The reference of the first release, and the values of its frames and of each delivery."""
    row = {
        "statistic": "novelty", "role": "alarms", "side": "above", "frames": 60, "deliveries": 12, "edges": [0.5],
        "counts": [30, 30], "psi": [], "kl": [], "quantile": 0.9, "calibrated": calibrated,
        "values": "drift_reference/first/values.parquet",
    }  # fmt: skip
    schema = DriftReference.create_empty().schema
    reference = pl.DataFrame([{name: row.get(name) for name in schema}], schema=schema)
    return {
        table_path("drift_reference", "first"): parquet(reference),
        "drift_reference/first/values.parquet": values(0.0, 400),
        **{f"drift_metrics/d{n}/values.parquet": values(2.0) for n in range(1, 9)},
    }


@pytest.fixture
def follow(materialize):
    def run():
        return materialize([project_spec, alarms], selection=[alarms])

    return run


def test_an_empty_lake_has_no_alarm(put, tables, follow):
    result = follow()
    assert all(passed(result).values())
    assert tables.head().table("alarms").is_empty()
    assert "trend" not in metadata(result, "alarms")
    assert checks(result)["no_alarm_is_open"].description == "No alarm is open."


def test_an_alarm_is_told_in_the_same_words_while_it_is_open(put, follow):
    """Who is sent a notice when the words change is told once, not with every label that comes in."""
    world = {"metrics": DRIFT, "captures": CELLS, "releases": [FIRST]}
    put(**world, label_table=[label("p3", hour=6)])
    before = checks(follow())["no_alarm_is_open"]
    put(label_table=[label("p3", hour=6), label("p4", hour=6)])
    after = checks(follow())["no_alarm_is_open"]
    assert before.description == after.description
    assert before.metadata["waiting"] != after.metadata["waiting"]


def test_open_alarms_warn_with_all_that_a_person_must_know(put, tables, follow):
    put(
        metrics=[*DRIFT, rejected("d5", "drifted", hour=5)],
        kpis=[kpi("d4", "broken", hour=4)],
        captures=CELLS,
        releases=[FIRST],
        label_table=[label("p3", hour=6)],
    )
    result = follow()
    found = checks(result)
    assert not found["no_alarm_is_open"].passed
    assert found["no_alarm_is_open"].severity is dg.AssetCheckSeverity.WARN
    said = found["no_alarm_is_open"].description
    assert "drift-r1 is open since 2026-03-02 17:00 UTC: deliveries no longer look like" in said
    waiting = found["no_alarm_is_open"].metadata["waiting"].records[0].data
    assert waiting["why"].startswith("Novelty drifted at line1 in 2 deliveries")
    assert waiting["waiting"].startswith("People: 1 of 200 fresh labels are there, 199 are missing: label")
    assert "kpi-r1-overkill is open since" in said
    assert "rejected-line1-d5 is open since" in found["no_station_alarm_is_open"].description
    assert "rejected" not in said
    told = metadata(result, "alarms")
    assert {name: told[name] for name in ("open", "warning", "closed")} == {
        "open": 3,
        "warning": 0,
        "closed": 0,
    }
    assert told["rows"].records[0].data["alarm_id"] == "drift-r1"
    assert told["trend"].startswith("![drift per delivery with its level, alarms, and KPIs")
    assert tables.head().table("alarms")["alarm_id"].to_list() == [
        "rejected-line1-d5",
        "drift-r1",
        "kpi-r1-overkill",
    ]


def test_a_warning_is_told_and_fails_nothing(put, follow):
    put(metrics=DRIFT[:3], captures=CELLS, releases=[FIRST])
    found = checks(follow())
    assert found["no_alarm_is_open"].passed
    assert found["no_alarm_is_open"].description.startswith(
        "No alarm is open. drift-r1 warns: Novelty drifted in 1 delivery (d3); an alarm takes 2 in a row"
    )


def test_a_confirmed_drift_alarm_has_one_page_which_stays(put, tables, follow):
    put(stored(), metrics=DRIFT, captures=CELLS, releases=[FIRST])
    result = follow()
    head = tables.head()
    row = head.table("alarms").row(0, named=True)
    assert row["page"].startswith("alarms/drift-r1/evidently-")
    assert b"<html" in head.read(row["page"])[:2000].lower()
    assert row["page_note"].startswith(
        "Evidently compares 120 frames with 400 of the reference, column by column"
    )
    assert "drift only by its page" not in row["page_note"]
    assert metadata(result, "alarms")["Evidently's pages"].endswith(row["page_note"])
    put(metrics=[*DRIFT, measured("d5", "drifted", hour=5)], captures=[*CELLS, verdict("p5", "d5", hour=5)])
    told = metadata(follow(), "alarms")
    assert told["Evidently's pages"].startswith("- [drift-r1](file:")
    again = tables.head().table("alarms").row(0, named=True)
    assert len(again["deliveries"]) == 3
    assert (again["page"], again["page_note"]) == (row["page"], row["page_note"])


def test_made_again_nothing_is_published(put, tables, follow):
    put(stored(), metrics=DRIFT, captures=CELLS, releases=[FIRST])
    follow()
    before = tables.head().commit
    follow()
    assert tables.head().commit == before


def test_labels_that_lay_in_the_lake_when_the_training_was_requested_are_not_fresh(put, tables, follow):
    seen = put(metrics=DRIFT, captures=CELLS, releases=[FIRST], label_table=[label("p3", hour=5)])
    asked = request("drift-r1-1", "drift-r1", hour=6, base=seen)
    refused = release(2, "", "drift-r1-1", hour=7, outcome="refused", why="too few")
    put(requests=[asked])
    # Given before the request, taken in after it.
    put(releases=[FIRST, refused], label_table=[label("p3", hour=5), label("p4", hour=5)])
    follow()
    row = tables.head().table("alarms").row(0, named=True)
    assert (row["fresh_labels"], row["attempts"], row["state"]) == (1, 1, "open")


def test_labels_that_came_between_the_requests_look_and_its_publication_were_seen(put, tables, follow):
    looked = put(metrics=DRIFT, captures=CELLS, releases=[FIRST])
    put(label_table=[label("p3", hour=5)])
    put(requests=[request("drift-r1-1", "drift-r1", hour=6, base=looked)])
    refused = release(2, "", "drift-r1-1", hour=7, outcome="refused", why="too few")
    put(releases=[FIRST, refused], label_table=[label("p3", hour=5), label("p4", hour=8)])
    follow()
    assert tables.head().table("alarms")["fresh_labels"].to_list() == [1]


def test_requests_of_an_earlier_contract_are_read(put, tables, follow):
    asked = tables_of(requests=[request("drift-r1-1", "drift-r1", hour=6)])["requests"].drop("run")
    put({table_path("training_request", "drift-r1-1"): parquet(asked)}, metrics=DRIFT, releases=[FIRST])
    follow()
    assert tables.head().table("alarms")["attempts"].to_list() == [1]


def test_a_release_that_deliveries_cannot_be_held_against_is_told_once(put, follow):
    assert passed(follow())["drift_can_be_seen"]
    put(metrics=DRIFT[:1], releases=[FIRST])
    found = checks(follow())["drift_can_be_seen"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert found.description == (
        "v1.0.0 was released without a drift_reference: deliveries are held against nothing, and no drift alarm can "
        "open. Release a candidate that has one."
    )
    put(metrics=DRIFT[:2])
    assert checks(follow())["drift_can_be_seen"].description == found.description
    put(stored())
    assert checks(follow())["drift_can_be_seen"].description == (
        "Every delivery that v1.0.0 judges is held against what it was trained on."
    )


def test_a_reference_of_too_few_deliveries_lets_no_drift_be_seen(put, follow):
    put(stored(calibrated=False), releases=[FIRST])
    found = checks(follow())["drift_can_be_seen"]
    assert not found.passed
    assert found.description == (
        "The drift_reference of v1.0.0 is made of too few deliveries: how much ordinary ones differ is not known, and "
        "no drift alarm can open. Release a candidate that was trained on frames of more deliveries."
    )


def test_an_alarm_does_not_wait_for_a_page_that_cannot_be_made(put, tables, follow):
    put(metrics=DRIFT, captures=CELLS, releases=[FIRST])
    assert passed(follow())["follows_its_contract"]
    row = tables.head().table("alarms").row(0, named=True)
    assert (row["state"], row["page"]) == ("open", None)
    assert row["page_note"].startswith("No page: drift_reference[first] is not published as of commit ")


def test_golden_frames_that_were_never_inspected_count(put, tables, spec, follow):
    needed = spec.evaluation.new_condition_frames
    golden = pl.concat(
        [tables_of(captures=[verdict(f"g{n}", "d0", hour=-9)])["captures"] for n in range(needed)]
    )
    delivered = {table_path(name, "d0"): parquet(rows) for name, rows in as_frames(golden).items()}
    world = {"metrics": DRIFT, "captures": CELLS, "releases": [FIRST], "label_table": [label("p3", hour=6)]}
    put(delivered, **world)
    follow()
    assert tables.head().table("alarms")["lacking_conditions"].to_list() == [["product=poly"]]
    put(benchmark_frames=[verified(f"g{n}") for n in range(needed)])
    follow()
    assert tables.head().table("alarms")["lacking_conditions"].to_list() == [[]]
