"""A backup is taken while publications go on; brought back elsewhere, lake, Dagster and the plant's files agree."""

import shutil
import threading
from datetime import UTC, datetime, timedelta

import dagster as dg
import make_frames
import pytest
from by_hand import publish_by_hand

from cv_assets.drift.assets import drift_metrics
from cv_assets.frames.assets import prepared_frames, raw_frames
from cv_assets.inspection.assets import inspections, outbox
from cv_assets.spec.assets import project_spec
from cv_assets.upkeep.backup import VERIFIED, back_up, copy_lake, restore
from cv_assets.upkeep.verification import verify
from jobs.receive import receive
from resources.dagster_storage import DagsterStorage, settle
from resources.git_lake import GitLake
from resources.partitions import OURS, deliveries, in_project
from resources.tables import Tables
from sensors.new_deliveries import new_deliveries

STEPS = [project_spec, raw_frames, prepared_frames, inspections, outbox, drift_metrics]


def a_run(instance, status, **tags):
    job = dg.job(name="receive", tags=OURS)(lambda: None)
    return instance.create_run_for_job(job, status=status, tags={**OURS, **tags})


def test_a_copy_of_the_lake_is_whole_whenever_it_is_taken(tmp_path):
    lake, done = GitLake(tmp_path / "lake"), threading.Event()
    lake.init()

    def publish():
        number = 0
        while not done.is_set():
            number += 1
            publish_by_hand(lake, {f"frames/{number}": b"frame %d" % number})

    publisher = threading.Thread(target=publish)
    publisher.start()
    copy = tmp_path / "copy"
    heads = []
    for _ in range(4):
        copy_lake(lake.root, copy)
        heads.append(GitLake(copy).resolve("main"))
        assert verify(GitLake(copy)).problems.is_empty()
    done.set()
    publisher.join()
    assert set(heads) <= {commit.id for commit in lake.log("main")}
    copy_lake(lake.root, copy)
    assert GitLake(copy).branches() == lake.branches()
    assert copy_lake(lake.root, copy) == 0


def test_a_copy_that_is_damaged_is_not_called_a_backup(deployment, tables, tmp_path):
    publish_by_hand(tables.lake, {"frames/1": b"a frame"})
    storage = DagsterStorage(tmp_path / "home")
    assert back_up(deployment, storage, tmp_path / "backup", print)
    (copied,) = (
        file for file in (tmp_path / "backup/lake/repo.git/lfs/objects").rglob("*") if file.is_file()
    )
    copied.chmod(0o600)
    copied.write_bytes(b"a frome")
    assert not back_up(deployment, storage, tmp_path / "backup", print)
    with pytest.raises(FileNotFoundError, match=VERIFIED):
        restore(deployment, storage, tmp_path / "backup", print)


def test_nothing_is_ever_written_over(deployment, tables, tmp_path):
    publish_by_hand(tables.lake, {"frames/1": b"a frame"})
    storage = DagsterStorage(tmp_path / "home")
    back_up(deployment, storage, tmp_path / "backup", print)
    with pytest.raises(FileExistsError, match="move it away first"):
        restore(deployment, storage, tmp_path / "backup", print)


def test_runs_that_the_lake_may_lack_are_asked_for_again(instance):
    before = datetime.now(UTC) - timedelta(days=1)
    ended = a_run(instance, dg.DagsterRunStatus.STARTED)
    instance.report_run_failed(ended)
    cut_off = a_run(instance, dg.DagsterRunStatus.STARTED)
    retried = a_run(instance, dg.DagsterRunStatus.STARTED, **{"dagster/max_retries": "2"})
    settle(instance, before)
    assert instance.get_run_by_id(ended.run_id) is None
    assert instance.get_run_by_id(cut_off.run_id) is None
    assert instance.get_run_by_id(retried.run_id).is_failure


def test_what_ended_before_the_newest_publication_stays(instance):
    ended = a_run(instance, dg.DagsterRunStatus.STARTED)
    instance.report_run_failed(ended)
    assert settle(instance, datetime.now(UTC) + timedelta(days=1)) == "No run had to be settled"
    assert instance.get_run_by_id(ended.run_id)


def test_after_a_loss_every_delivery_is_taken_exactly_once(deployment, tables, tmp_path, resources):
    home, inbox = tmp_path / "home", deployment.data_dir / "inbox"
    inbox.mkdir()
    home.mkdir()
    tables.lake.init()

    def take_all(wanted):
        """Tick and run what is requested until nothing more is."""
        opened = Tables(deployment, GitLake(deployment.embedded_lake))
        given = {"tables": opened, "deployment": deployment}
        defs = dg.Definitions(in_project(STEPS), jobs=[receive], resources={**given, "io_manager": opened})
        with dg.DagsterInstance.local_temp(str(home)) as instance:
            if not opened.head().has("project_spec"):
                dg.materialize([project_spec], resources={**given, "io_manager": opened}, instance=instance)
            for _ in range(4):
                answer = new_deliveries(dg.build_sensor_context(instance=instance, resources=given))
                for request in getattr(answer, "run_requests", None) or []:
                    instance.add_dynamic_partitions(deliveries.name, [request.partition_key])
                    tags = {**OURS, "dagster/run_key": request.run_key}
                    defs.resolve_job_def("receive").execute_in_process(
                        instance=instance, partition_key=request.partition_key, tags=tags
                    )
        parts = opened.head().tables("raw_frames")["part"].to_list()
        assert sorted(parts) == wanted
        assert not list(inbox.iterdir())

    def drop(number):
        name = f"line1_cam1_20260302T081501_mono_m{number}of1_m{number}c001.png"
        (inbox / name).write_bytes(make_frames.png(make_frames.cell(number, size=(300, 300))))

    drop(1)
    take_all(["m1c001"])
    storage = DagsterStorage(home)
    assert back_up(deployment, storage, tmp_path / "backup", print)
    drop(2)
    take_all(["m1c001", "m2c001"])
    # Newer than the copy of the lake: it knows a run whose delivery that copy lacks.
    shutil.rmtree(tmp_path / "backup/dagster")
    storage.copy(tmp_path / "backup/dagster")
    for lost in (deployment.embedded_lake, deployment.data_dir / "deliveries", deployment.cache_dir, home):
        shutil.rmtree(lost)
    home.mkdir()
    assert restore(deployment, storage, tmp_path / "backup", print)
    take_all(["m1c001", "m2c001"])
