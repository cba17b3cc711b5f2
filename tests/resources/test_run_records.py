"""What Dagster shows and what its sensors remember is the same after old runs went, on SQLite and on PostgreSQL."""

import dagster as dg
import pytest
from make_postgres import dagster_on

from resources.partitions import OURS
from resources.run_records import THINNED, forget_run, run_records, runs_shown, thin_run

DAYS = dg.StaticPartitionsDefinition(["d1", "d2"])


@dg.asset(partitions_def=DAYS)
def daily(context: dg.AssetExecutionContext) -> None:
    context.log.info("a message")


@dg.asset(check_specs=[dg.AssetCheckSpec("is_sound", asset="total")])
def total(context: dg.AssetExecutionContext):
    context.log.info("a message")
    yield dg.AssetCheckResult(passed=True, check_name="is_sound")
    yield dg.Output(None)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def instance(request, tmp_path):
    if request.param == "sqlite":
        with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
            yield instance
        return
    url = request.getfixturevalue("postgres_database")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DAGSTER_POSTGRES_URL", url)
        with dagster_on(url, tmp_path / "home") as instance:
            yield instance


@pytest.fixture
def run(instance):
    """`run(asset, partition)`: the id of a run of the project that made it."""

    def made(asset, partition=None, tags=OURS):
        return dg.materialize([asset], instance=instance, partition_key=partition, tags=tags).run_id

    return made


def shown(instance):
    """What the UI shows of assets, partitions and checks."""
    key, check = dg.AssetKey("total"), dg.AssetCheckKey(dg.AssetKey("total"), "is_sound")
    storage = instance.event_log_storage
    newest = instance.get_latest_materialization_event(key)
    return {
        "partitions": instance.get_materialized_partitions(dg.AssetKey("daily")),
        "newest": (newest.run_id, newest.asset_materialization),
        "records": [one.asset_entry.last_run_id for one in instance.get_asset_records([key])],
        "check": storage.get_latest_asset_check_execution_by_key([check])[check].evaluation,
    }


def test_nothing_that_dagster_shows_changes_when_the_other_runs_go(instance, run, tmp_path):
    repeated, first, second = run(daily, "d1"), run(daily, "d1"), run(daily, "d2")
    before, after = run(total), run(total)
    assert runs_shown(instance) == {first, second, after}
    as_shown = shown(instance)
    for run_id in (repeated, before):
        forget_run(instance, run_id)
        assert instance.get_run_by_id(run_id) is None
        assert not list(tmp_path.rglob(f"{run_id}*"))
    for run_id in (first, second, after):
        thin_run(instance, run_id)
    assert shown(instance) == as_shown
    assert {one.dagster_run.run_id for one in run_records(instance)} == {first, second, after}
    assert runs_shown(instance) == {first, second, after}


def test_of_a_thinned_run_only_the_messages_go(instance, run):
    one = run(total)
    before = instance.all_logs(one)
    thin_run(instance, one)
    after = instance.all_logs(one)
    kinds = {entry.dagster_event.event_type_value for entry in after}
    assert {"ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION", "STEP_SUCCESS", "PIPELINE_SUCCESS"} <= kinds
    assert len(after) < len(before)
    assert "a message" not in {entry.user_message for entry in after}
    assert instance.get_run_stats(one).steps_succeeded == 1
    assert instance.get_run_by_id(one).tags[THINNED] == "true"


def test_runs_of_another_project_are_none_of_ours(instance, run):
    ours, theirs = run(daily, "d1"), run(daily, "d1", tags={"project": "another"})
    known = {one.dagster_run.run_id for one in run_records(instance)}
    assert ours in known
    assert theirs not in known
