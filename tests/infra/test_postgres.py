"""Dagster on a real PostgreSQL: runs of several processes at once lose nothing, and the sensor knows them all."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing

import dagster as dg
import psycopg2
import pytest
from by_hand import publish_by_hand
from make_postgres import CONFIGURATION, database

from cv_assets.spec.load import load_spec, to_table
from proofs.pictures import drop
from resources.dagster_storage import DagsterStorage
from resources.partitions import asset_key, deliveries
from resources.tables import parquet, table_path

PROCESSES = 2


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


def take_in(delivery):
    """In a process of its own: run the product's job as its code location has it."""
    from cv_assets.definitions import defs

    with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
        job = defs.resolve_job_def("receive")
        result = job.execute_in_process(instance=instance, partition_key=delivery, raise_on_error=False)
        return result.run_id, result.success


def ask():
    """What its second look requests; in a process of its own, as definitions keep the deployment they loaded with."""
    from cv_assets.definitions import defs

    with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
        given = {name: defs.resources[name] for name in ("tables", "deployment")}
        for _ in range(2):
            context = dg.build_sensor_context(instance=instance, resources=given)
            result = defs.resolve_sensor_def("new_deliveries")(context)
        if isinstance(result, dg.SkipReason):
            return set()
        for added in result.dynamic_partitions_requests or []:
            instance.add_dynamic_partitions(added.partitions_def_name, added.partition_keys)
        return {request.partition_key for request in result.run_requests}


@pytest.mark.postgres
def test_runs_of_several_processes_at_once_are_all_there(home, deployment, tables):
    spec = to_table(load_spec(deployment.spec_file))
    publish_by_hand(tables.lake, {table_path("project_spec"): parquet(spec)})
    for module in range(PROCESSES):
        drop(deployment.data_dir / "inbox", f"m{module}", 1)
    spawned = multiprocessing.get_context("spawn")
    with (
        dg.DagsterInstance.from_config(str(home)) as instance,
        ProcessPoolExecutor(PROCESSES, spawned) as pool,
    ):
        wanted = pool.submit(ask).result()
        ended = dict(pool.map(take_in, wanted))
        assert list(ended.values()) == [True] * PROCESSES
        assert {run.run_id for run in instance.get_runs() if run.is_success} == ended.keys()
        assert instance.get_materialized_partitions(asset_key("drift_metrics")) == wanted
        assert set(instance.get_dynamic_partitions(str(deliveries.name))) == wanted
        assert pool.submit(ask).result() == set()


@pytest.fixture
def own_database():
    """Of no other test: what it holds is dropped and brought back."""
    with database() as url:
        yield url


@pytest.mark.postgres
def test_what_was_copied_of_a_database_is_brought_back_whole_or_not_at_all(own_database, tmp_path):
    storage = DagsterStorage(tmp_path, own_database)

    def ask_it(question):
        address = own_database.replace("+psycopg2", "")
        with closing(psycopg2.connect(address)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(question)
            return cursor.fetchall() if cursor.description else None

    ask_it("create table runs as select 7 as run")
    storage.copy(tmp_path / "copy")
    ask_it("drop table runs")
    storage.bring_back(tmp_path / "copy")
    assert ask_it("select run from runs") == [(7,)]
    with pytest.raises(OSError, match="pg_restore failed"):
        storage.bring_back(tmp_path / "copy")
