"""What a sweep takes, what it leaves, and what people read of it."""

import contextlib
import os
import time
from datetime import UTC, datetime, timedelta

import dagster as dg
import lakefs
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_results import checks, metadata

from cv_assets.upkeep import sweeping
from cv_assets.upkeep.assets import lake_sweep, run_state
from cv_assets.upkeep.schema import LakeSweep
from cv_assets.upkeep.sweeping import GRACE, WorkBranch, judge, sweep, unmoved_since, waiting_too_long
from resources.git_lake import GitLake
from resources.git_leftovers import Sweep

NOW = datetime.now(UTC) + timedelta(hours=1)
LONG_AGO = NOW - GRACE
MINUTE = timedelta(minutes=1)
WORK = "work-labels-0a1b2c3d"


@pytest.fixture
def lake(tmp_path):
    lake = GitLake(tmp_path / "data" / "lake")
    lake.init()
    return lake


@pytest.fixture
def swept(tmp_path):
    """Sweep a lake, with the rows of the sweep before, as of a time; runs are in the states that are given."""

    def run(lake, earlier=None, *, now=NOW, dry_run=False, branch="main", **states):
        earlier = LakeSweep.create_empty() if earlier is None else earlier
        cache = tmp_path / "data" / "cache"
        return sweep(
            lake, branch, cache, earlier, lambda run: states.get(run, "unknown"), now, dry_run=dry_run
        )

    return run


def written(lake, name, run_id="r1", content=b"bytes"):
    """A work branch as a publication leaves it that died before its merge; the commit."""
    lake.create_branch(name, "main")
    return lake.commit(name, {"labels.bin": content}, "labels: 1 rows", {"run_id": run_id})


def outlived(file, size=8):
    """A file that has not changed for years."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"0" * size)
    os.utime(file, (1e9, 1e9))
    return file


def test_a_branch_of_a_run_in_flight_waits_however_old_it_is():
    branch = WorkBranch(WORK, "head", LONG_AGO, "r1234567890", "in flight")
    judged = judge(branch, NOW - timedelta(days=30), NOW)
    assert judged.outcome == "waits"
    assert judged.why.startswith("Its run r1234567 is in flight.")


def test_a_clock_that_was_wrong_once_takes_no_young_branch_and_keeps_none_for_good():
    ahead, behind, made = NOW + timedelta(days=400), NOW - timedelta(days=400), NOW - MINUTE
    assert unmoved_since(None, made, NOW) == NOW
    assert unmoved_since(LONG_AGO, LONG_AGO - MINUTE, NOW) == LONG_AGO
    assert unmoved_since(ahead, made, NOW) == NOW
    assert unmoved_since(behind, made, NOW) == made
    assert unmoved_since(behind, ahead, NOW) == NOW


def test_a_branch_goes_at_the_end_of_the_grace_period_and_not_before():
    branch = WorkBranch(WORK, "head", LONG_AGO)
    assert judge(branch, LONG_AGO + MINUTE, NOW).outcome == "waits"
    assert judge(branch, LONG_AGO, NOW).outcome == "swept"


def test_a_branch_whose_work_is_published_goes_at_once_when_its_run_has_ended():
    assert judge(WorkBranch(WORK, "head", LONG_AGO, "r1", "ended", merged=True), NOW, NOW).outcome == "swept"
    assert (
        judge(WorkBranch(WORK, "head", LONG_AGO, "r1", "unknown", merged=True), NOW, NOW).outcome == "waits"
    )
    assert judge(WorkBranch(WORK, "head", LONG_AGO, "r1", "ended", merged=False), NOW, NOW).outcome == "waits"


@given(
    state=st.sampled_from(["in flight", "ended", "unknown"]),
    merged=st.booleans(),
    hours=st.floats(0, 100, allow_nan=False),
)
def test_nothing_goes_that_a_publication_may_still_need(state, merged, hours):
    judged = judge(WorkBranch(WORK, "head", LONG_AGO, "r1", state, merged), NOW - timedelta(hours=hours), NOW)
    published = merged and state == "ended"
    if judged.outcome == "swept":
        assert state != "in flight"
        assert published or hours >= 5.99


def test_a_branch_is_gone_with_the_second_sweep_that_sees_it_unmoved(lake, swept):
    written(lake, WORK)
    first = swept(lake)
    assert first.select("name", "outcome").rows() == [(WORK, "waits")]
    second = swept(lake, first, now=NOW + GRACE)
    assert second.filter(kind="work branch").select("name", "outcome", "first_seen").rows() == [
        (WORK, "swept", NOW)
    ]
    assert WORK not in lake.branches()
    assert swept(lake, second, now=NOW + 2 * GRACE).filter(kind="work branch").is_empty()


def test_a_branch_that_moved_meanwhile_is_as_if_new(lake, swept):
    written(lake, WORK)
    first = swept(lake)
    lake.commit(WORK, {"more.bin": b"more"}, "more", {"run_id": "r1"})
    rows = swept(lake, first, now=NOW + GRACE).filter(kind="work branch")
    assert rows["outcome"].to_list() == ["waits"]


def test_a_branch_that_its_process_left_after_the_merge_goes_with_the_first_sweep(lake, swept):
    commit = written(lake, WORK)
    lake.merge(commit, "main", "labels: 1 rows", {"run_id": "r1"})
    assert swept(lake, r1="ended")["outcome"].to_list() == ["swept"]


def test_a_branch_that_was_just_cut_is_not_taken_for_one_that_was_merged(lake, swept):
    lake.merge(written(lake, WORK), "main", "labels: 1 rows", {"run_id": "r1"})
    lake.delete_branch(WORK)
    lake.create_branch("work-frames-00000000", "main")
    assert swept(lake, r1="ended").select("name", "outcome").rows() == [("work-frames-00000000", "waits")]


def test_a_sweep_touches_no_data_branch_candidate_experiment_tag_or_refused_table(lake, swept):
    for name in ("candidate-c1", "my-idea", "my-idea-work-labels-0a1b2c3d", "refused-labels-0a1b2c3d"):
        written(lake, name, content=name.encode())
    lake.tag("v1.0.0", lake.resolve("candidate-c1"))
    before = lake.branches(), lake.tags()
    rows = swept(lake, now=datetime.now(UTC) + timedelta(days=400))
    assert (lake.branches(), lake.tags()) == before
    assert rows.filter(pl.col("kind") != "lock").select("kind", "name", "outcome").rows() == [
        ("refused branch", "refused-labels-0a1b2c3d", "kept")
    ]
    assert "1 refused table kept readable, the oldest of 20" in sweeping.in_words(rows)


def test_an_experiment_sweeps_its_own_branches_only(lake, swept):
    lake.create_branch("my-idea", "main")
    written(lake, "my-idea-work-labels-0a1b2c3d")
    written(lake, WORK)
    rows = swept(lake, branch="my-idea")
    assert rows["name"].to_list() == ["my-idea-work-labels-0a1b2c3d"]


def test_the_commits_of_a_branch_that_went_stay_readable(lake, swept):
    commit = written(lake, WORK)
    swept(lake, swept(lake), now=datetime.now(UTC) + timedelta(days=400))
    assert WORK not in lake.branches()
    assert lake.sha256(commit, "labels.bin")


def test_a_dry_run_says_what_would_go_and_takes_nothing(lake, swept):
    written(lake, WORK)
    file = outlived(lake.root / "repo.git" / "lfs" / "tmp" / "tmp1")
    outlived(lake.root / "locks" / "gone.lock")
    first = swept(lake, dry_run=True)
    rows = swept(lake, first, now=NOW + GRACE, dry_run=True)
    assert set(rows["outcome"]) == {"would go"}
    assert set(rows["kind"]) == {"work branch", "unfinished file", "lock"}
    assert WORK in lake.branches()
    assert file.is_file()


def test_each_leftover_of_a_killed_writer_on_disk_is_named_and_gone(lake, swept):
    commit = written(lake, "candidate-c1")
    git = lake.root / "repo.git"
    orphan = "bd6dbc1b9c2bd1b8d1a4a1e7a1c8d1e3d9a3f0a2b1c0d9e8f7a6b5c4d3e2f1a0"
    left = [
        outlived(git / "lfs" / "tmp" / "tmpabc"),
        outlived(git / "objects" / "tmp_object_git2_abc"),
        outlived(git / "refs" / "heads" / "gone.lock"),
        outlived(lake.root / "locks" / "refs-heads-gone.lock"),
    ]
    (lake.root / "unfinished.git").mkdir()
    os.utime(lake.root / "unfinished.git", (1e9, 1e9))
    damaged = outlived(git / "lfs" / "objects" / orphan[:2] / orphan[2:4] / orphan)
    rows = swept(lake, now=datetime.now(UTC))
    assert {kind for kind in rows["kind"]} == {"unfinished file", "repository", "lock", "object"}
    assert not any(file.exists() for file in left)
    assert not (lake.root / "unfinished.git").exists()
    assert damaged.exists(), "bytes that are not those of their name may be all that is left of something"
    assert lake.sha256(commit, "labels.bin")
    assert swept(lake, rows, now=datetime.now(UTC))["name"].to_list() == [str(damaged.relative_to(lake.root))]


def test_stored_bytes_without_a_pointer_go_and_those_with_one_stay(lake, swept):
    commit = written(lake, "candidate-c1", content=b"pointed to")
    killed_before_its_pointer = GitLake(lake.root.parent / "other")
    killed_before_its_pointer.init()
    bytes_only = killed_before_its_pointer.fetch(
        written(killed_before_its_pointer, "b", content=b"never"), "labels.bin"
    )
    orphan = lake.root / bytes_only.relative_to(killed_before_its_pointer.root)
    outlived(orphan).write_bytes(b"never")
    for file in (orphan, lake.fetch(commit, "labels.bin")):
        os.utime(file, (1e9, 1e9))
    rows = swept(lake)
    assert rows.select("kind", "name", "outcome").rows() == [
        ("object", str(orphan.relative_to(lake.root)), "swept")
    ]
    assert not orphan.exists()
    assert lake.read(commit, "labels.bin") == b"pointed to"


def test_bytes_that_a_writer_brings_at_that_moment_are_not_lost(lake):
    commit = written(lake, "candidate-c1", content=b"brought again")
    file = lake.fetch(commit, "labels.bin")
    places = lake.root, lake.root / "repo.git", lake._lock, lake._locked
    Sweep(*places, lambda sha256, size: False, LONG_AGO, False)._remove_object(file)
    assert lake.read(commit, "labels.bin") == b"brought again"


def test_bytes_that_a_killed_sweep_had_aside_are_back_at_their_place(lake, swept):
    commit = written(lake, "candidate-c1", content=b"pointed to")
    file = lake.fetch(commit, "labels.bin")
    os.utime(file, (1e9, 1e9))
    aside = file.rename(lake.root / "repo.git" / "lfs" / "tmp" / f"swept-{file.name}")
    assert swept(lake, dry_run=True)["outcome"].to_list() == ["kept"]
    assert aside.exists()
    assert swept(lake)["outcome"].to_list() == ["kept"]
    assert lake.read(commit, "labels.bin") == b"pointed to"


def test_what_is_younger_than_the_grace_period_is_passed_over(lake, swept):
    young = outlived(lake.root / "repo.git" / "lfs" / "tmp" / "upload")
    os.utime(young)
    assert swept(lake, now=datetime.now(UTC)).is_empty()
    assert young.is_file()


def test_a_lock_that_is_held_stays(lake):
    with lake._lock("refs-heads-main"):
        os.utime(lake.root / "locks" / "refs-heads-main.lock", (1e9, 1e9))
        lake.sweep(NOW)
        assert (lake.root / "locks" / "refs-heads-main.lock").exists()


def test_what_killed_steps_left_in_the_cache_goes_and_the_cache_stays(lake, swept, tmp_path):
    cache = tmp_path / "data" / "cache"
    half, kept = outlived(cache / "features" / ".0a1b"), outlived(cache / "features" / "x.npy")
    outlived(cache / "frames-abc" / "0.png")
    os.utime(cache / "frames-abc", (1e9, 1e9))
    rows = swept(lake)
    assert rows.select("kind", "name", "what").rows() == [
        ("cache", "features/.0a1b", "8 bytes"), ("cache", "frames-abc", "8 bytes")
    ]  # fmt: skip
    assert not half.exists()
    assert not (cache / "frames-abc").exists()
    assert kept.exists()


def test_what_waits_for_days_needs_a_person():
    row = {
        "kind": "work branch",
        "name": WORK,
        "what": "head",
        "first_seen": NOW,
        "outcome": "waits",
        "why": "why",
    }
    rows = pl.DataFrame([row], schema=LakeSweep.create_empty().schema)
    assert waiting_too_long(rows, NOW + timedelta(days=2)).is_empty()
    assert waiting_too_long(rows, NOW + timedelta(days=2, minutes=1)).height == 1


def test_a_run_that_this_dagster_does_not_know_is_unknown(instance):
    flying = instance.add_run(dg.DagsterRun(job_name="retrain", status=dg.DagsterRunStatus.STARTED))
    ended = instance.add_run(dg.DagsterRun(job_name="retrain", status=dg.DagsterRunStatus.FAILURE))
    found = [run_state(instance, run_id) for run_id in (flying.run_id, ended.run_id, "no run")]
    assert found == ["in flight", "ended", "unknown"]


def test_the_asset_remembers_what_it_saw_and_tells_what_it_did(materialize, tables, monkeypatch):
    written(tables.lake, WORK)
    first = materialize([lake_sweep])
    assert checks(first)["nothing_waits_too_long"].passed
    assert WORK in tables.lake.branches()
    monkeypatch.setattr(sweeping, "GRACE", timedelta(0))
    second = materialize([lake_sweep])
    assert WORK not in tables.lake.branches()
    assert metadata(second, "lake_sweep")["swept"] >= 1
    assert tables.head().table("lake_sweep").filter(name=WORK)["outcome"].to_list() == ["swept"]
    assert [name for name in tables.lake.branches() if name.startswith("work-")] == []


@pytest.mark.lakefs
def test_on_lakefs_what_blocks_main_is_told(new_repository, swept):
    lake = new_repository()
    branch = lakefs.Branch(lake.repository, "main", lake._client)
    rules = lake.sdk.repositories_api
    rules.set_branch_protection_rules(lake.repository, [])
    _upload_once_unprotected(branch)
    rows = swept(lake)
    assert rows.select("kind", "name", "outcome").rows() == [("uncommitted", "stray.bin", "kept")]
    assert "main takes no merge while these are uncommitted on it: stray.bin" in rows["why"][0]


def _upload_once_unprotected(branch: lakefs.Branch) -> None:
    """The server takes seconds to notice that the protection is off."""
    for _ in range(100):
        with contextlib.suppress(lakefs.exceptions.ForbiddenException):
            branch.object("stray.bin").upload(b"stray", pre_sign=False)
            return
        time.sleep(0.1)
    pytest.fail("main stays protected")
