"""A backup is taken while publications go on; brought back elsewhere, lake, Dagster and the plant's files agree."""

import json
import shutil
import threading
from datetime import UTC, datetime, timedelta

import dagster as dg
import make_frames
import pytest
from by_hand import publish_by_hand

from cv_assets.drift.assets import drift_metrics
from cv_assets.frames.assets import prepared_frames, raw_frames
from cv_assets.frames.files import Identity, write_atomically
from cv_assets.frames.inbox import Inbox
from cv_assets.inspection.assets import inspections, outbox
from cv_assets.spec.assets import project_spec
from cv_assets.upkeep import backup
from cv_assets.upkeep.backup import VERIFIED, back_up, copy_lake, restore
from cv_assets.upkeep.verification import verify
from jobs.receive import receive
from resources import dagster_storage
from resources.dagster_storage import DagsterStorage, settle
from resources.git_lake import GitLake
from resources.partitions import OURS, deliveries, in_project
from resources.tables import Tables
from sensors.new_deliveries import new_deliveries

STEPS = [project_spec, raw_frames, prepared_frames, inspections, outbox, drift_metrics]


YESTERDAY = datetime.now(UTC) - timedelta(days=1)
BY_SENSOR = {"dagster/run_key": "a delivery"}
RETRIED = {"dagster/max_retries": "2"}


def a_run(instance, after=(), **tags):
    job = dg.job(name="receive", tags=OURS)(lambda: None)
    origin = {"root_run_id": after[0].run_id, "parent_run_id": after[-1].run_id} if after else {}
    return instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED, tags={**OURS, **tags}, **origin
    )


def rot(lake, kind):
    """Write over the newest object of a kind, as many bytes as before."""
    one = max(file for file in (lake / "repo.git" / kind).rglob("*") if file.is_file())
    one.chmod(0o600)
    one.write_bytes(bytes(len(one.read_bytes())))


def manifest(key, *names):
    said = {"key": key, "station": None, "group": None, "closed_by": "one file", "closed_at": "2026"}
    identity = Identity(7, 1, 1, 1)._asdict()
    return {**said, "files": dict.fromkeys(names, identity)}


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
    for lake in (deployment.embedded_lake, tmp_path / "backup/lake"):
        rot(lake, "lfs/objects")
    assert not back_up(deployment, storage, tmp_path / "backup", print)
    with pytest.raises(FileNotFoundError, match=VERIFIED):
        restore(deployment, storage, tmp_path / "backup", print)


@pytest.mark.parametrize("kind", ["lfs/objects", "objects"])
def test_what_rotted_in_the_copy_is_copied_again(deployment, tables, tmp_path, kind):
    publish_by_hand(tables.lake, {"frames/1": b"a frame"})
    storage = DagsterStorage(tmp_path / "home")
    assert back_up(deployment, storage, tmp_path / "backup", print)
    rot(tmp_path / "backup/lake", kind)
    assert back_up(deployment, storage, tmp_path / "backup", print)
    assert (tmp_path / "backup" / VERIFIED).is_file()


def test_a_backup_stays_one_while_a_later_one_fails(deployment, tables, tmp_path, monkeypatch):
    publish_by_hand(tables.lake, {"frames/1": b"a frame"})
    storage = DagsterStorage(tmp_path / "home")
    assert back_up(deployment, storage, tmp_path / "backup", print)

    def fail(*_):
        raise OSError("no room")

    monkeypatch.setattr(backup, "copy_lake", fail)
    with pytest.raises(OSError, match="no room"):
        back_up(deployment, storage, tmp_path / "backup", print)
    assert {VERIFIED, "dagster", "deliveries", "lake"} <= {
        one.name for one in (tmp_path / "backup").iterdir()
    }


def test_a_branch_of_any_name_is_copied(tmp_path):
    lake = GitLake(tmp_path / "lake")
    lake.init()
    lake.create_branch("tmp_try", "main")
    lake.tag("tmp_tag", lake.resolve("main"))
    copy_lake(lake.root, tmp_path / "copy")
    copied = GitLake(tmp_path / "copy")
    assert (copied.branches(), copied.tags()) == (lake.branches(), lake.tags())


def test_a_manifest_that_is_finished_meanwhile_is_copied(tmp_path, monkeypatch):
    source, target = tmp_path / "deliveries", tmp_path / "copy"
    (source / "received").mkdir(parents=True)
    (source / ".a.json.0123").write_text("half of it")
    for name in ("a.json", "k.json"):
        (source / name).write_text(name)
    copy2 = shutil.copy2

    def finish_meanwhile(one, other):
        if (source / "k.json").exists():
            (source / "k.json").rename(source / "received/k.json")
        return copy2(one, other)

    monkeypatch.setattr(backup.shutil, "copy2", finish_meanwhile)
    list(backup._copy_folder(source, target))
    assert {str(one.relative_to(target)) for one in target.rglob("*.json*")} == {"a.json", "received/k.json"}


def test_nothing_is_ever_written_over(deployment, tables, tmp_path):
    publish_by_hand(tables.lake, {"frames/1": b"a frame"})
    storage = DagsterStorage(tmp_path / "home")
    back_up(deployment, storage, tmp_path / "backup", print)
    with pytest.raises(FileExistsError, match="move it away first"):
        restore(deployment, storage, tmp_path / "backup", print)


def test_runs_that_the_lake_may_lack_are_asked_for_again(instance):
    ended = a_run(instance, **BY_SENSOR)
    instance.report_run_failed(ended)
    cut_off = a_run(instance, **BY_SENSOR)
    retried = a_run(instance, **BY_SENSOR, **RETRIED)
    settle(instance, YESTERDAY)
    assert instance.get_run_by_id(ended.run_id) is None
    assert instance.get_run_by_id(cut_off.run_id) is None
    assert instance.get_run_by_id(retried.run_id).is_failure


def test_no_run_is_forgotten_that_a_person_launched_or_that_the_lake_names(instance):
    by_hand, publisher, cut_off = a_run(instance), a_run(instance, **BY_SENSOR), a_run(instance)
    instance.report_run_failed(by_hand)
    instance.report_run_canceled(publisher)
    settle(instance, YESTERDAY, {publisher.run_id})
    assert all(instance.get_run_by_id(one.run_id) for one in (by_hand, publisher))
    assert instance.get_run_by_id(cut_off.run_id).is_failure


@pytest.mark.parametrize(("retries", "is_kept"), [(1, True), (2, False)])
def test_a_run_and_its_retries_are_forgotten_together_or_not_at_all(instance, retries, is_kept):
    runs = [a_run(instance, **BY_SENSOR, **RETRIED)]
    for _ in range(retries):
        instance.report_run_failed(runs[-1])
        runs.append(a_run(instance, after=runs, **BY_SENSOR, **RETRIED))
    settle(instance, YESTERDAY)
    assert [instance.get_run_by_id(run.run_id) is not None for run in runs] == [is_kept] * len(runs)


def test_what_a_commit_names_is_known_of_every_branch(tmp_path):
    lake = GitLake(tmp_path / "lake")
    lake.init()
    lake.create_branch("work", "main")
    lake.commit("work", {"a": b"1"}, "one", {"run_id": "first"})
    lake.commit("work", {"a": b"2"}, "two", {"run_id": "second"})
    newest, runs = backup._published(lake)
    assert runs == {"first", "second"}
    assert newest == next(lake.log("work")).created_at


@pytest.mark.parametrize(("retained", "left"), [({"old", "new"}, ["new", "old"]), ({"old"}, ["old"])])
def test_a_delivery_that_only_the_plant_remembers_is_forgotten(tmp_path, retained, left):
    box = Inbox(tmp_path / "inbox", tmp_path / "deliveries", tmp_path / "cache/inbox.json")
    for key in ("old", "new"):
        write_atomically(box.state / f"received/{key}.json", b"{}")
    write_atomically(box.memory, b"{}")
    backup._forgotten(box, retained)
    assert box.keys_received() == left
    assert box.memory.exists() == (left == ["new", "old"])


def test_files_are_laid_back_under_the_name_that_they_came_with(tmp_path):
    box = Inbox(tmp_path / "inbox", tmp_path / "deliveries", tmp_path / "cache/inbox.json")
    box.folder.mkdir()
    finished = json.dumps(manifest("d1", "a.png", "b.png")).encode()
    write_atomically(box.state / "received/d1.json", finished)
    write_atomically(box.state / "d2.json", json.dumps(manifest("d2", "c.png")).encode())
    for path in ("d1/a.png", "d1/0123456789ab-b.png", "d2/c.png", "held/d.png", "astray"):
        write_atomically(box.taken / path, b"a frame")
    assert backup._forgotten(box, {"held"}) == ["d1"]
    assert sum(backup._laid_back(box, {"held"})) == 2
    assert sorted(one.name for one in box.folder.iterdir()) == ["a.png", "b.png"]


def test_the_logs_of_runs_are_copied_after_what_names_the_runs(tmp_path):
    names = ["history/runs.db", "history/runs/0a.db", "schedules/schedules.db", "history/runs/index.db"]
    turns = sorted((tmp_path / name for name in names), key=dagster_storage._turn)
    assert [one.name for one in turns] == ["schedules.db", "runs.db", "0a.db", "index.db"]


def test_a_database_that_cannot_be_read_is_told_by_name(tmp_path):
    (tmp_path / "home/runs.db").mkdir(parents=True)
    with pytest.raises(OSError, match=r"runs\.db cannot be copied"):
        DagsterStorage(tmp_path / "home").copy(tmp_path / "copy")
    assert not dagster_storage._copy_sqlite(tmp_path / "gone.db", tmp_path / "copy.db")


def test_no_password_is_said_where_all_users_see_it():
    said = dagster_storage._without_password("postgresql://dagster:se%40cret@db:5432/dagster?sslmode=require")
    assert said == ("postgresql://dagster@db:5432/dagster?sslmode=require", "se@cret")
    local = "postgresql:///dagster?host=/run/postgresql"
    assert dagster_storage._without_password(local) == (local, "")


def test_what_ended_before_the_newest_publication_stays(instance):
    ended = a_run(instance, **BY_SENSOR)
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
