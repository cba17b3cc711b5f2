"""The review step in a lake: from verdicts to a worklist, from its answers to answered items and to KPIs."""

import hashlib
import json

import cv2
import dagster as dg
import pytest
from by_hand import edit_spec, publish_by_hand
from make_drift import metric_row, metrics
from make_frames import cell
from make_labels import coco, delivered, frame, imports_great_expectations, publish
from make_replay import released
from make_review import benchmark, capture, inspections, label, labels, minutes, verdict, verified
from run_results import checks, metadata, passed

from cv_assets.labels.assets import annotations, benchmark_frames, label_table, rejected_annotations
from cv_assets.review.assets import kpis, review_queue, review_worklist
from cv_assets.review.schema import Kpis
from cv_assets.spec.assets import project_spec
from cv_assets.spec.load import load_spec, to_table
from resources.partitions import exports
from resources.tables import parquet, table_path

REVIEW = [review_queue, review_worklist]
pytestmark = imports_great_expectations

LABELS = [annotations, rejected_annotations, benchmark_frames, label_table]
PICTURES = {
    name: cv2.imencode(".png", cell(seed, (48, 48), crack=False))[1].tobytes()
    for seed, name in enumerate("abc")
}
IDS = {name: hashlib.sha256(content).hexdigest() for name, content in PICTURES.items()}


@pytest.fixture
def inspect(tables, spec):
    """Publish the spec, the frames a, b and c in one delivery, and verdicts on them."""

    def run(**reasons):
        publish(tables, spec=spec, frames=PICTURES)
        captures = delivered(PICTURES)[0].iter_rows(named=True)
        rows = [
            verdict(one, reasons[one["part"]], audit=one["part"] == "b")
            for one in captures
            if one["part"] in reasons
        ]
        publish_by_hand(tables.lake, {table_path("inspections", "d1"): parquet(inspections(*rows))})

    return run


@pytest.fixture
def refresh(materialize):
    def run(**arguments):
        return materialize([project_spec, *REVIEW], selection=REVIEW, **arguments)

    return run


@pytest.fixture
def tasks(deployment):
    def read():
        return [
            one["data"] for one in json.loads((deployment.data_dir / "review" / "worklist.json").read_text())
        ]

    return read


def test_the_queue_is_published_with_its_trends_tables_and_pictures(tables, inspect, refresh):
    inspect(a="low_confidence", b="below_lower", c="above_upper")
    result = refresh()
    rows = tables.head().table("review_queue")
    assert rows.select("frame_id", "reason").sort("reason").rows() == [
        (IDS["a"], "low_confidence"),
        (IDS["b"], "random_audit"),
    ]
    told = metadata(result, "review_queue")
    assert {name: told[name] for name in ("open", "unresolved", "answered", "overdue")} == {
        "open": 2,
        "unresolved": 0,
        "answered": 0,
        "overdue": 2,
    }
    assert [one.data for one in told["by reason"].records] == [
        {"reason": "random_audit", "open": 1, "unresolved": 0, "answered": 0},
        {"reason": "low_confidence", "open": 1, "unresolved": 0, "answered": 0},
    ]
    assert told["waiting by delivery"].records[0].data["open"] == 2
    assert told["due first"].startswith("![frames that wait for people, due first](data:image/jpeg;base64,")


def test_what_is_overdue_warns_and_is_published(tables, inspect, refresh):
    inspect(a="low_confidence", b="below_lower")
    result = refresh()
    overdue = checks(result)["nothing_is_overdue"]
    assert not overdue.passed
    assert overdue.severity is dg.AssetCheckSeverity.WARN
    assert "Items are overdue: label them" in overdue.description
    assert overdue.metadata["overdue"].value == 2
    assert passed(result)["follows_its_contract"]
    assert passed(result)["nobody_is_forgotten"]


def test_before_any_verdict_or_label_the_queue_and_the_worklist_are_empty(tables, spec, refresh, tasks):
    publish(tables, spec=spec)
    assert all(passed(refresh()).values())
    assert tables.head().table("review_queue").is_empty()
    assert tasks() == []


def test_answers_to_the_worklist_close_its_items(
    tables, inspect, refresh, tasks, deployment, instance, materialize
):
    inspect(a="low_confidence", b="below_lower", c="above_upper")
    refresh()
    asked = tasks()
    assert {task["frame_id"] for task in asked} == {IDS["a"], IDS["b"]}
    for task in asked:
        picture = deployment.data_dir / "review" / task["image"].removeprefix("/data/local-files/?d=")
        assert hashlib.sha256(picture.read_bytes()).hexdigest() == task["frame_id"]
        assert task["link"].startswith("file:")

    # All three annotators answer one task by its path, one annotator the other by its picture, and disputes c.
    first, second = asked
    said = [(first["path"], who, "sound") for who in "xyz"]
    said += [(second["image"], "x", "defective"), (f"{IDS['c']}.png", "x", "sound")]
    export = coco(said)
    key = f"answers-{hashlib.sha256(export).hexdigest()[:8]}"
    folder = deployment.data_dir / "exports"
    folder.mkdir()
    (folder / "answers.json").write_bytes(export)
    instance.add_dynamic_partitions(exports.name, [key])
    materialize([project_spec, *LABELS], selection=LABELS, partition_key=key)

    result = refresh()
    rows = {row["frame_id"]: row for row in tables.head().table("review_queue").iter_rows(named=True)}
    answered, unresolved, disputed = (rows[one] for one in (first["frame_id"], second["frame_id"], IDS["c"]))
    assert (answered["state"], answered["answer"], answered["answered_by"]) == (
        "answered",
        "sound",
        ["x", "y", "z"],
    )
    assert (unresolved["state"], unresolved["answered_by"]) == ("unresolved", ["x"])
    assert (disputed["reason"], disputed["state"], disputed["verdict"]) == (
        "unsure_label",
        "unresolved",
        "FAIL",
    )
    assert {task["frame_id"]: task["state"] for task in tasks()} == {
        second["frame_id"]: "unresolved",
        IDS["c"]: "unresolved",
    }
    assert metadata(result, "review_worklist")["tasks"] == 2
    assert tables.head().table("review_worklist")["place"].to_list() == [1, 2]


def test_a_refresh_that_finds_nothing_new_publishes_nothing_and_leaves_the_files_alone(
    tables, deployment, inspect, refresh
):
    inspect(a="low_confidence")
    refresh()
    file, before = deployment.data_dir / "review" / "worklist.json", tables.head().commit
    written = file.stat()
    told = metadata(refresh(), "review_worklist")
    assert tables.head().commit == before
    assert (told["the file is"], told["pictures copied"]) == ("as it was", 0)
    assert file.stat().st_mtime_ns == written.st_mtime_ns
    assert [one.name for one in file.parent.iterdir() if one.name.startswith(".")] == []


def test_the_commit_of_the_worklist_does_not_list_every_picture(tables, inspect, refresh):
    inspect(a="low_confidence", b="below_lower")
    refresh()
    commit = next(tables.lake.log("main", table_path("review_worklist")))
    assert json.loads(commit.metadata["reads"]) == [table_path("project_spec"), table_path("review_queue")]


def test_a_worklist_that_somebody_removed_comes_back(deployment, inspect, refresh, tasks):
    inspect(a="low_confidence")
    refresh()
    for file in (deployment.data_dir / "review").rglob("*.*"):
        file.unlink()
    told = metadata(refresh(), "review_worklist")
    assert (told["the file is"], told["pictures copied"]) == ("written anew", 1)
    assert len(tasks()) == 1


def test_an_unmounted_review_folder_is_not_made_and_a_file_in_its_place_is_named(
    deployment, inspect, refresh, tables, tmp_path
):
    inspect(a="low_confidence")
    (deployment.data_dir / "review").touch()
    with pytest.raises(
        dg.Failure, match=r"review is a file, expected a folder. Nothing is lost: mend it and"
    ):
        refresh()
    edit_spec(deployment, "review:\n", "review:\n  folder: ../mounted/review\n")
    spec = to_table(load_spec(deployment.spec_file))
    publish_by_hand(tables.lake, {table_path("project_spec"): parquet(spec)})
    with pytest.raises(dg.Failure, match=r"mounted/review is not there, perhaps unmounted. Nothing is lost"):
        refresh()
    assert not (tmp_path / "mounted").exists()
    assert not tables.head().has("review_worklist")


def test_a_frame_that_is_forgotten_is_named_with_the_cause_and_what_to_do(tables, inspect, refresh):
    inspect(a="low_confidence")
    publish_by_hand(tables.lake, {table_path("label_table"): parquet(labels(label("gone", "ann")))})
    said = checks(refresh(raise_on_error=False))["nobody_is_forgotten"]
    assert not said.passed
    assert said.description == (
        f"1 have no item, such as frame {frame('gone')}: its votes do not decide. A label that is older than the last "
        "change of raw_frames may name a frame that is not there. Materialize label_table, then review_queue."
    )


def test_the_due_time_follows_the_spec_and_the_benchmark_answers(tables, deployment, inspect, refresh, tasks):
    inspect(a="low_confidence")
    edit_spec(deployment, "due_hours: 48", "due_hours: 2")
    with pytest.raises(dg.Failure, match="differ in: review"):
        refresh()
    golden = benchmark(verified("a", "sound") | {"frame_id": IDS["a"]})
    spec = to_table(load_spec(deployment.spec_file))
    publish_by_hand(
        tables.lake,
        {table_path("project_spec"): parquet(spec), table_path("benchmark_frames"): parquet(golden)},
    )
    refresh()
    (row,) = tables.head().table("review_queue").iter_rows(named=True)
    assert row["due_at"] == minutes(120)
    assert (row["state"], row["answer"], row["answered_by"]) == ("answered", "sound", ["quality.lead"])
    assert tasks() == []


def test_a_drifted_delivery_goes_to_people_whole(tables, inspect, refresh, tasks):
    inspect(a="low_confidence", b="below_lower", c="above_upper")
    for hour, delivery in enumerate(("d1", "d2")):
        rows = metrics(metric_row(delivery, "drifted", hour=hour))
        publish_by_hand(tables.lake, {table_path("drift_metrics", delivery): parquet(rows)})
    publish_by_hand(tables.lake, {table_path("releases"): parquet(released("v1.0.0"))})
    result = refresh()
    assert passed(result)["nobody_is_forgotten"]
    assert {(task["part"], task["reason"]) for task in tasks()} == {(part, "drifted") for part in "abc"}
    assert metadata(result, "review_queue")["drifted deliveries"] == 2
    assert tables.head().table("review_queue")["probability"].to_list() == [1, 1, 1]
    publish_by_hand(tables.lake, {table_path("releases"): parquet(released("v1.0.0", "v1.1.0"))})
    result = refresh()
    assert passed(result)["nobody_is_forgotten"]
    assert {(task["part"], task["reason"]) for task in tasks()} == {
        ("a", "low_confidence"),
        ("b", "random_audit"),
    }
    assert metadata(result, "review_queue")["drifted deliveries"] == 0


@pytest.fixture
def answered(tables, spec):
    """Publish one release and deliveries of it, each with so many sound parts that failed, of which people know."""

    def run(deliveries, failed, known=True):
        publish(tables, spec=spec)
        content = {table_path("releases"): parquet(released("v1.0.0"))}
        said = []
        for number in range(deliveries):
            delivery = f"d{number}"
            captured = [capture(f"{delivery}-{n}", delivery=delivery, minute=number) for n in range(12)]
            given = [
                verdict(one, "above_upper" if n < failed else "low_confidence", audit=True)
                | {"release_number": 1, "group": delivery, "review_probability": 1.0}
                for n, one in enumerate(captured)
            ]
            content[table_path("inspections", delivery)] = parquet(inspections(*given))
            said += [label(one["capture_id"], "ann", agreed="sound") for one in captured if known]
        publish_by_hand(tables.lake, {**content, table_path("label_table"): parquet(labels(*said))})

    return run


@pytest.fixture
def estimate(materialize):
    return lambda: materialize([project_spec, kpis], selection=[kpis])


def test_a_broken_kpi_warns_with_its_figures_its_trend_and_its_picture(tables, answered, estimate):
    answered(deliveries=6, failed=9)
    result = estimate()
    rows = tables.head().table("kpis")
    assert Kpis.is_valid(rows)
    assert rows.filter(metric="overkill")["until"].to_list() == [f"d{number}" for number in range(6)]
    told = metadata(result, "kpis")
    assert (told["release"], told["overkill"], told["review_share"], told["broken"]) == (
        "v1.0.0",
        0.75,
        0.25,
        1,
    )
    assert (told["asked"], told["answered"]) == (72, 72)
    assert told["in short"].startswith(
        "escape_rate: 0.000 of the defective pass: no capture gets PASS; the spec asks"
    )
    assert told["rows"].records[1].data["verdict"] == "broken"
    assert told["by window"].startswith("![each KPI by window")
    broken = checks(result)["no_kpi_is_broken"]
    assert not broken.passed
    assert broken.severity is dg.AssetCheckSeverity.WARN
    assert broken.description.startswith("v1.0.0 breaks the spec's bound on overkill.")
    assert broken.metadata["why"].value.startswith("overkill: 0.750 [")
    assert checks(result)["enough_is_answered"].description == (
        "Enough is answered for every bound of the spec. What is not told of v1.0.0: nothing."
    )


def test_too_little_that_is_answered_says_so_and_breaks_nothing(answered, estimate):
    answered(deliveries=6, failed=9, known=False)
    result = estimate()
    assert passed(result)["no_kpi_is_broken"]
    said = checks(result)["enough_is_answered"]
    assert not said.passed
    assert said.severity is dg.AssetCheckSeverity.WARN
    assert said.description.startswith("Too few answers to judge overkill of v1.0.0: no KPI alarm can open.")
    assert said.metadata["lacks"].value == (
        "overkill: 0 of 72 captures that people were asked about are answered, fewer than the 80% that are needed"
    )
    assert "overkill" not in metadata(result, "kpis")


def test_before_any_release_there_are_no_kpis_and_their_checks_say_why(tables, inspect, estimate):
    inspect(a="no_release")
    result = estimate()
    assert tables.head().table("kpis").is_empty()
    assert checks(result)["enough_is_answered"].description == (
        "There is nothing to answer: no release is in force."
    )
    assert passed(result)["no_kpi_is_broken"]
    assert (
        metadata(result, "kpis")["by window"]
        == "No window of any release has enough answers to tell anything yet."
    )
