"""A replay from its configuration to its table, on a real embedded lake."""

import cv2
import dagster as dg
import polars as pl
import pytest
from by_hand import edit_spec, publish_by_hand
from make_drift import metric_row, metrics
from make_frames import cell
from make_replay import (
    PICTURE,
    WORKED,
    WORKED_BENCHMARK,
    WORKED_LABELS,
    inspections,
    rejected,
    released,
    scored,
)
from run_results import checks, failure, metadata, passed

from cv_assets.lookback.assets import threshold_replay
from cv_assets.lookback.schema import ThresholdReplay
from cv_assets.spec.assets import project_spec
from cv_assets.spec.load import load_spec, to_table
from jobs.replay_thresholds import replay_thresholds
from resources.partitions import in_project
from resources.tables import parquet, table_path

PATH = table_path("threshold_replay")
NARROWER = {"lower": 0.2, "upper": 0.55}


@pytest.fixture
def inspected(tables, spec):
    """A lake with one inspected delivery, the labels that came back and one release; returns how to add to it."""

    def publish(**content: pl.DataFrame):
        paths = {name.replace("__", "/"): rows for name, rows in content.items()}
        publish_by_hand(tables.lake, {table_path(name): parquet(rows) for name, rows in paths.items()})

    picture = cv2.imencode(".png", cell(1, (48, 48), crack=True))[1].tobytes()
    publish_by_hand(tables.lake, {PICTURE: picture})
    publish(
        project_spec=to_table(spec),
        inspections__d1=pl.concat([WORKED, inspections(rejected("l"))]),
        label_table=WORKED_LABELS,
        benchmark_frames=WORKED_BENCHMARK,
        releases=released("v1.0.0"),
    )
    return publish


@pytest.fixture
def run(materialize):
    """Replay with this configuration."""

    def replayed(**config) -> dg.ExecuteInProcessResult:
        return materialize(
            [dg.AssetSpec("project_spec"), threshold_replay],
            selection=["threshold_replay"],
            run_config={"ops": {"threshold_replay": {"config": config}}},
            raise_on_error=False,
        )

    return replayed


def test_a_replay_is_a_table_and_touches_nothing_else(run, inspected, tables):
    before = tables.head()
    assert run(**NARROWER).success
    after = tables.head()
    rows = after.table("threshold_replay")
    assert ThresholdReplay.is_valid(rows)
    assert rows.filter("changed")["capture_id"].to_list() == ["b", "c", "g", "h"]
    changed = {change.path for change in tables.lake.diff(before.commit, after.commit)}
    assert changed == {PATH}
    for path in (table_path("inspections", "d1"), table_path("releases")):
        assert after.read(path) == before.read(path)


def test_a_replay_shows_before_and_after_and_its_checks_answer_with_figures(run, inspected):
    result = run(**NARROWER)
    shown = metadata(result, "threshold_replay")
    assert (shown["captures"], shown["changed"], shown["answered"]) == (11, 4, 7)
    assert (shown["escapes before"], shown["escapes after"]) == (0.375, 0)
    assert shown["review load before"] == round(4 / 11, 4)
    effect = shown["before and after"].records[0].data
    assert (effect["effect"], effect["before"][:5], effect["after"][:5]) == ("escapes", "0.375", "0.000")
    assert shown["verdicts"].records[0].data == {
        "stored": "PASS",
        "now PASS": 2,
        "now REVIEW": 2,
        "now FAIL": 0,
    }
    assert "4 of 11 verdicts by v1.0.0 in 1 delivery would be another" in shown["in short"]
    assert "data:image/png;base64," in shown["scores"]
    assert "data:image/jpeg;base64," in shown["changed frames"]
    assert passed(result) == {
        "follows_its_contract": True,
        "own_band_gives_the_stored_verdicts": True,
        "spec_bounds_are_met": False,
        "enough_is_known": False,
    }
    said = {name: one.description for name, one in checks(result).items()}
    assert said["own_band_gives_the_stored_verdicts"].startswith("11 of 11 stored verdicts follow")
    assert "precision of FAIL 0.571 [" in said["spec_bounds_are_met"]
    assert "answered for 7" in said["enough_is_known"]


def test_of_a_drifted_delivery_people_were_asked_about_all(run, inspected, tables):
    assert run(**NARROWER).success
    before = tables.head().table("threshold_replay")["weight"]
    inspected(
        drift_metrics__d1=metrics(metric_row("d1", "drifted", hour=0)),
        drift_metrics__d2=metrics(metric_row("d2", "drifted", hour=1)),
    )
    result = run(**NARROWER)
    weights = tables.head().table("threshold_replay")["weight"]
    assert (before.max(), before.count()) == (4, 7)
    assert (weights.max(), weights.count()) == (4 / 3, 9)  # also what was labelled without being drawn
    assert "Of 11 captures people were asked about 11" in checks(result)["enough_is_known"].description


def test_every_replay_stays_readable_in_the_lake(run, inspected, tables):
    assert run(**NARROWER).success
    assert run(lower=0.1, upper=0.9).success
    commits = [commit.id for commit in tables.lake.log("main", PATH)]
    bands = [
        pl.read_parquet(tables.lake.fetch(commit, PATH)).select("lower", "upper").row(0) for commit in commits
    ]
    assert bands == [(0.1, 0.9), (0.2, 0.55)]


def test_the_band_in_effect_changes_no_verdict(run, inspected, tables):
    result = run(lower=0.3, upper=0.7)
    assert result.success
    assert not tables.head().table("threshold_replay")["changed"].any()
    assert "changed frames" not in metadata(result, "threshold_replay")


def test_an_earlier_version_and_some_deliveries_can_be_replayed(run, inspected, tables):
    inspected(
        inspections__d2=inspections(
            scored("x", 0.5, delivery="d2"), scored("y", 0.5, delivery="d2", release="v1.1.0")
        ),
        releases=released("v1.0.0", "v1.1.0"),
    )
    assert run(**NARROWER).success
    assert tables.head().table("threshold_replay")["capture_id"].to_list() == ["y"]
    assert run(**NARROWER, release="v1.0.0", deliveries=["d2"]).success
    assert tables.head().table("threshold_replay")["capture_id"].to_list() == ["x"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**NARROWER, "release": "v1.1.0"}, "v1.1.0 scored none of the 12 captures looked through"),
        ({**NARROWER, "deliveries": ["d1", "d9"]}, "no inspections of d9; inspected were d1."),
    ],
)
def test_what_cannot_be_replayed_is_told_and_not_tried_again(run, inspected, tables, config, message):
    inspected(releases=released("v1.0.0", "v1.1.0"))
    result = run(**config)
    assert message in failure(result)
    assert not tables.head().has("threshold_replay")


@pytest.mark.parametrize(
    ("passing", "message"),
    [
        (
            "defective",
            "v1.0.0 was released with `sound` as the class that passes; by the spec now it is `defecti",
        ),
        ("good", "v1.0.0 was released with `sound` as the class that passes; by the spec now it is `good`"),
    ],
)
def test_a_replay_is_refused_where_the_spec_lets_another_class_pass(
    run, inspected, tables, deployment, passing, message
):
    if passing == "good":
        edit_spec(deployment, "- name: sound", "- name: good")
    else:
        edit_spec(deployment, "    passes: true\n", "")
        edit_spec(deployment, "  - name: defective\n", "  - name: defective\n    passes: true\n")
    inspected(project_spec=to_table(load_spec(deployment.spec_file)))
    assert message in failure(run(**NARROWER))
    assert not tables.head().has("threshold_replay")


def test_a_replay_is_refused_where_labels_name_a_class_that_is_none_of_the_specs(run, inspected):
    inspected(label_table=WORKED_LABELS.with_columns(pl.col("label").str.replace("sound", "good")))
    assert "labels say `good`, and the spec's classes are sound and defective" in failure(run(**NARROWER))


def test_before_any_release_there_is_nothing_to_replay(run, tables, spec):
    publish_by_hand(tables.lake, {table_path("project_spec"): parquet(to_table(spec))})
    assert "nothing was released yet" in failure(run(**NARROWER))


def test_a_stored_verdict_that_its_thresholds_do_not_give_stops_the_replay(run, inspected, tables):
    wrong = scored("x", 0.5, delivery="d2") | {"verdict": "PASS", "reason": "below_lower"}
    inspected(inspections__d2=inspections(wrong))
    result = run(**NARROWER)
    assert "it failed own_band_gives_the_stored_verdicts" in failure(result)
    assert (
        "11 of 12 stored verdicts follow" in checks(result)["own_band_gives_the_stored_verdicts"].description
    )
    assert not tables.head().has("threshold_replay")


def test_the_job_replays_and_says_that_nothing_in_production_changes(inspected, resources, instance, tables):
    location = dg.Definitions(
        assets=in_project([project_spec, threshold_replay]), jobs=[replay_thresholds], resources=resources
    )
    job = location.resolve_job_def("replay_thresholds")
    config = {"ops": {"threshold_replay": {"config": NARROWER}}}
    assert job.execute_in_process(run_config=config, instance=instance).success
    assert tables.head().has("threshold_replay")
    assert "Nothing in production changes" in job.description
