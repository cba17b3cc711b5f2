"""Dagster on a real PostgreSQL: runs of several processes at once lose nothing, and the sensors know them all."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import dagster as dg
import pytest
from make_postgres import CONFIGURATION

from proofs.pictures import drop
from resources.partitions import asset_key, deliveries, exports

PROCESSES = 3


@pytest.fixture
def home(tmp_path, postgres_database, deployment, monkeypatch):
    """The home of a Dagster on PostgreSQL; the environment names it, and the deployment."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(CONFIGURATION)
    for name, value in {
        "DAGSTER_POSTGRES_URL": postgres_database,
        "DAGSTER_HOME": str(home),
        "CV_SPEC": str(deployment.spec_file),
        "CV_DATA": str(deployment.data_dir),
        "LAKEFS_ENDPOINT": "",
    }.items():
        monkeypatch.setenv(name, value)
    return home


def run_job(job, partition):
    """In a process of its own: run the product's job as its code location has it."""
    from cv_assets.definitions import defs

    with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
        result = defs.resolve_job_def(job).execute_in_process(
            instance=instance, partition_key=partition or None, raise_on_error=False
        )
        return result.run_id, result.success


def ask(sensor):
    """What its second look requests; in a process of its own, as definitions keep the deployment they loaded with."""
    from cv_assets.definitions import defs

    with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
        cursor, result = None, None
        for _ in range(2):
            context = dg.build_sensor_context(
                instance=instance,
                cursor=cursor,
                resources={name: defs.resources[name] for name in ("tables", "deployment")},
            )
            result = defs.resolve_sensor_def(sensor)(context)
            cursor = getattr(result, "cursor", None)
        if isinstance(result, dg.SkipReason):
            return set()
        for added in result.dynamic_partitions_requests or []:
            instance.add_dynamic_partitions(added.partitions_def_name, added.partition_keys)
        return {request.partition_key for request in result.run_requests}


@pytest.mark.postgres
def test_runs_of_several_processes_at_once_are_all_there(home, deployment):
    for module in range(PROCESSES):
        names = drop(deployment.data_dir / "inbox", f"m{module}", 1)
    rows = ["tool,project,image,annotator,class,annotated_at,guideline"]
    rows += [f"cvat,cells,{names[0]},ann,sound,2026-03-02T10:00:00Z,1"]
    (deployment.data_dir / "exports").mkdir()
    (deployment.data_dir / "exports" / "ann.csv").write_text("\n".join(rows) + "\n")
    spawned = multiprocessing.get_context("spawn")
    with (
        dg.DagsterInstance.from_config(str(home)) as instance,
        ProcessPoolExecutor(PROCESSES, spawned) as pool,
    ):
        assert pool.submit(run_job, "publish_spec", "").result()[1]
        wanted = pool.submit(ask, "new_deliveries").result()
        (export,) = pool.submit(ask, "new_exports").result()
        asked = [("receive", key) for key in wanted] + [("take_labels", export)]
        ended = dict(pool.map(run_job, *zip(*asked, strict=True)))
        assert len(wanted) == PROCESSES
        assert list(ended.values()) == [True] * len(asked)
        assert {run.run_id for run in instance.get_runs() if run.is_success} >= ended.keys()
        assert instance.get_materialized_partitions(asset_key("drift_metrics")) == wanted
        assert set(instance.get_dynamic_partitions(str(deliveries.name))) == wanted
        assert instance.get_dynamic_partitions(str(exports.name)) == [export]
        assert list(pool.map(ask, ("new_deliveries", "new_exports"))) == [set(), set()]
