"""A moved lake holds the same commits, branches and tags, whenever the move was cut off and begun again."""

import random
import re
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from by_hand import publish_by_hand
from lakefs_sdk.models.branch_protection_rule import BranchProtectionRule
from make_releases import Line

from cv_assets.lookback.assets import LakeArchive
from cv_assets.lookback.chain import explain
from cv_assets.review.schema import ReviewQueue
from cv_assets.upkeep import moving
from cv_assets.upkeep.__main__ import main
from cv_assets.upkeep.moving import history, move, standing
from resources import lakefs_connection
from resources.deployments import Deployment
from resources.git_lake import GitLake
from resources.lake import Commit, CrossedMergeError, DamagedError, LakeError, MergeConflictError
from resources.lakefs_lake import LakeFSLake
from resources.lakefs_records import make_bare, set_branch
from resources.publications import Publications
from resources.tables import Snapshot, Tables
from sensors.review_changes import _changes

needs_lakefs = pytest.mark.lakefs
COMMIT_ID = re.compile(r"[0-9a-f]{40,64}")


def commits_of(lake: GitLake) -> list[Commit]:
    return history(lake, standing(lake).heads())


def files(lake, commit: str) -> dict[str, bytes]:
    return {path: lake.read(commit, path) for path in lake.paths(commit)}


def must_be_a_copy(source: GitLake, target: LakeFSLake) -> None:
    """Every commit that a ref reaches, by what it says and what it changes, and every ref, by all that it holds."""
    ids = target.moved()
    for old in commits_of(source):
        new = next(target.log(old.id))
        assert new == replace(old, id=ids[old.id], parents=tuple(ids[parent] for parent in old.parents))
        for parent in old.parents[:1]:
            changes = source.diff(parent, old.id)
            assert target.diff(parent, old.id) == changes
            assert all(
                target.read(old.id, change.path) == source.read(old.id, change.path) for change in changes
            )
    refs, moved = standing(source), standing(target)
    assert moved.branches == {name: ids[head] for name, head in refs.branches.items()}
    assert moved.tags == {name: ids[commit] for name, commit in refs.tags.items()}
    assert all(files(target, head) == files(source, head) for head in refs.heads())


def publish(lake: GitLake, files: dict[str, bytes], metadata: dict[str, str]) -> None:
    lake.create_branch("work-run", "main")
    lake.merge(lake.commit("work-run", files, "a run", metadata), "main", "a run", metadata)
    lake.delete_branch("work-run")


def live_on(lake: GitLake, seed: int, days: int) -> None:
    """Writes and merges between three branches, some of which change nothing; a tag and refused data now and then."""
    chosen = random.Random(seed)
    known = ["one", "two", "three"]
    for name in known:
        lake.create_branch(name, lake.branches().get(name) or "main")
    for day in range(days):
        ours, theirs = chosen.sample(known, 2)
        written = {f"{chosen.choice('abc')}/{chosen.choice('xyz')}": chosen.choice([b"", b"1", b"2"])}
        lake.commit(ours, written, f"day {day}", {"::url": "ä", "seed": str(seed)})
        with suppress(MergeConflictError, CrossedMergeError):
            lake.merge(lake.resolve(ours), theirs, f"{ours} into {theirs}", {"day": str(day)})
        if chosen.random() < 0.2:
            name = f"{seed}-{day}"
            lake.tag(f"v{name}.0", ours)
            lake.create_branch(f"refused-{name}", theirs)
            lake.commit(f"refused-{name}", {"bad": b"kept"}, "refused", {})
    lake.create_branch(f"work-{seed}", "one")
    lake.create_branch(f"trial-work-{seed}", "one")


class CutOffError(Exception):
    """The move is killed here."""


@dataclass(frozen=True)
class DyingLake(GitLake):
    """A lake whose reader dies after some reads."""

    left: list[int]

    def diff(self, *names):
        self._read()
        return super().diff(*names)

    def sha256(self, commit, path):
        self._read()
        return super().sha256(commit, path)

    def _read(self):
        self.left[0] -= 1
        if self.left[0] < 0:
            raise CutOffError


@dataclass(frozen=True)
class SharedLake(GitLake):
    """A lake that is read while somebody works elsewhere."""

    work: Callable[[], object]

    def sha256(self, commit, path):
        self.work()
        return super().sha256(commit, path)


@pytest.fixture
def source(tmp_path: Path) -> GitLake:
    return GitLake(tmp_path / "lake")


def test_parents_come_before_their_children_and_nothing_known_comes_again(source):
    publish_by_hand(source, {"a": b"1"})
    before = source.resolve("main")
    publish_by_hand(source, {"a": b"2"})
    told = history(source, [source.resolve("main")])
    places = {commit.id: place for place, commit in enumerate(told)}
    assert [commit.message for commit in told] == ["Empty lake", "by hand", "by hand", "by hand", "by hand"]
    assert all(places[parent] < places[commit.id] for commit in told for parent in commit.parents)
    assert [commit.id for commit in history(source, [source.resolve("main")], {before})] == [
        commit.id for commit in told[3:]
    ]


@needs_lakefs
def test_any_history_arrives_as_it_was_and_so_does_what_comes_later(source, new_repository):
    target, there = new_repository(), 0
    publish_by_hand(source, {"tables/a": b"1", "frames/a": b"2"})
    for seed in range(2):
        live_on(source, seed, days=6)
        moved, known, there = move(source, target), there, len(commits_of(source))
        assert (moved.known, moved.known + moved.commits) == (known, there)
        must_be_a_copy(source, target)
    assert not [name for name in target.branches() if "work-" in name]


@needs_lakefs
def test_main_is_moved_on_although_the_server_guards_it(source, new_repository):
    target = new_repository()
    move(source, target)
    target.init()
    publish_by_hand(source, {"tables/a": b"1"})
    assert move(source, target).commits == 2
    must_be_a_copy(source, target)


@needs_lakefs
def test_what_is_published_there_during_a_move_is_never_discarded(source, new_repository):
    target = new_repository()
    source.create_branch("trial", "main")
    move(source, target)
    source.commit("trial", {"a": b"1"}, "try", {})
    with pytest.raises(LakeError, match=r"Somebody changed trial in the repository .* it is left as it is"):
        move(SharedLake(source.root, lambda: target.commit("trial", {"theirs": b"1"}, "work", {})), target)
    assert files(target, "trial") == {"theirs": b"1"}


@needs_lakefs
def test_a_branch_is_brought_on_only_from_where_it_was_found(source, new_repository):
    target = new_repository()
    move(source, target)
    target.create_branch("trial", "main")
    before = target.resolve("main")
    theirs = target.commit("trial", {"theirs": b"1"}, "work", {})
    with pytest.raises(LakeError, match="Somebody changed trial"):
        set_branch(target, "trial", before, before)
    assert target.resolve("trial") == theirs


@needs_lakefs
def test_moves_that_begin_at_once_find_one_repository(new_repository):
    target = new_repository()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(make_bare, [target] * 4)) == [None] * 4


@needs_lakefs
def test_a_rule_of_others_that_protects_main_is_named_at_once(source, new_repository):
    target = new_repository()
    move(source, target)
    target.sdk.repositories_api.set_branch_protection_rules(
        target.repository, [BranchProtectionRule(pattern="ma*")]
    )
    publish_by_hand(source, {"a": b"1"})
    with pytest.raises(LakeError, match=r"main is protected by ma\*: take that rule off"):
        move(source, target)


@needs_lakefs
def test_a_move_that_is_cut_off_anywhere_goes_on_where_it_was(source, new_repository):
    target = new_repository()
    live_on(source, seed=7, days=3)
    for reads in range(1, 100):
        try:
            move(DyingLake(source.root, [reads]), target)
            break
        except CutOffError:
            assert "main" not in target.branches()
    assert reads > 5
    must_be_a_copy(source, target)


@needs_lakefs
def test_what_is_gone_in_the_embedded_lake_goes_from_the_moved_one_too(source, new_repository):
    target = new_repository()
    publish_by_hand(source, {"a": b"1"})
    source.create_branch("trial", "main")
    source.tag("trial-v1", source.commit("trial", {"a": b"2"}, "try", {}))
    source.tag("v1", "main")
    move(source, target)
    tried = source.resolve("trial")
    source.delete_branch("trial")
    source.delete_tag("trial-v1")
    move(source, target)
    must_be_a_copy(source, target)
    assert target.read(tried, "a") == b"2"


@needs_lakefs
def test_a_lake_that_was_used_or_holds_another_one_is_not_moved_to(source, new_repository, tmp_path):
    used, taken = new_repository(), new_repository()
    publish_by_hand(used, {"a": b"somebody's"})
    with pytest.raises(LakeError, match="holds others than this lake's commits on main: name an empty one"):
        move(source, used)
    other = GitLake(tmp_path / "other")
    publish_by_hand(other, {"a": b"other"})
    move(other, taken)
    with pytest.raises(LakeError, match="holds another lake: name an empty one in LAKEFS_REPOSITORY"):
        move(source, taken)
    assert files(used, "main") == {"a": b"somebody's"}


@needs_lakefs
def test_an_object_that_is_lost_stops_the_move_by_its_name(source, new_repository):
    publish_by_hand(source, {"a": b"1"})
    source.fetch("main", "a").unlink()
    with pytest.raises(DamagedError, match="'a'"):
        move(source, new_repository())


@pytest.fixture
def environment(lakefs_server, monkeypatch):
    for name, value in lakefs_server.variables.items():
        monkeypatch.setenv(name, value)


def told_of(explanation, moved: LakeFSLake):
    """The links and findings of an explanation, each commit by the id that it has in the moved lake."""
    rows = explanation.rows.with_columns(pl.col("commit").map_elements(moved.resolve, return_dtype=pl.String))
    findings = [(one.holds, COMMIT_ID.sub("a commit", one.says)) for one in explanation.findings]
    facts = [COMMIT_ID.sub("a commit", fact.says) for fact in explanation.facts]
    return rows.select("link", "commit", "path").rows(), findings, facts


@needs_lakefs
@pytest.mark.usefixtures("environment")
def test_the_line_goes_on_in_the_moved_lake(
    tables, deployment, instance, new_repository, monkeypatch, capsys
):
    source, line = tables.lake, Line(tables, deployment, instance)
    line.release(candidate_commit=source.resolve("main"))
    source.tag("v1.0.0", "main")
    line.deliver("monday", {"bright": 192, "dark": 64})
    assert line.inspect("monday").success
    line.deliver("tuesday", {"dim": 60})
    head, explained = source.resolve("main"), explain_in(tables, deployment)
    monkeypatch.setenv("LAKEFS_REPOSITORY", name := new_repository().repository)
    monkeypatch.setenv("LAKEFS_STORAGE_NAMESPACE", f"local://{name}")
    assert main(["move"], deployment) == 0
    told = capsys.readouterr().out
    assert "read back and equal" in told
    assert "Installed _lakefs_actions/pre_merge.yaml" in told

    target = moving.server(deployment)
    assert files(target, head) == files(source, head)
    assert target.tags() == {"v1.0.0": target.resolve(source.resolve("v1.0.0"))}
    published = [Publications(lake).of("main", "inspections", "monday") for lake in (source, target)]
    assert published[1] == replace(
        published[0], id=target.resolve(published[0].id), parents=published[1].parents
    )
    line.tables = Tables(deployment, target)
    line.resources |= {"io_manager": line.tables, "tables": line.tables}
    assert told_of(explain_in(line.tables, deployment), target) == told_of(explained, target)

    assert line.inspect("tuesday").success
    assert line.verdicts("tuesday").keys() == {"dim"}
    assert line.verdicts("monday").keys() == {"bright", "dark"}
    assert main(["move"], deployment) == 1
    assert "holds others than this lake's commits on main" in capsys.readouterr().err


@needs_lakefs
def test_what_is_new_since_the_queue_was_made_is_the_same_in_the_moved_lake(source, new_repository, spec):
    target = new_repository()
    publish(source, {"tables/drift_metrics/d1.parquet": b"1"}, {"asset": "drift_metrics"})
    publish(
        source,
        {"tables/review_queue.parquet": b"q"},
        {"asset": "review_queue", "input_commit": source.resolve("main")},
    )
    publish_by_hand(source, {"tables/drift_metrics/d2.parquet": b"2"})
    move(source, target)
    published = next(target.log("main", "tables/review_queue.parquet"))
    head, queue = Snapshot(target, target.resolve("main")), ReviewQueue.create_empty()
    found = _changes(head, published, queue, spec, datetime.now(UTC), ())
    assert (found.measured, found.tables) == (("d2",), {"drift_metrics": ""})


def explain_in(tables: Tables, deployment: Deployment):
    return explain(LakeArchive(tables.head(), deployment), "dark")


@needs_lakefs
@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("command", ["move", "init"])
@pytest.mark.parametrize(
    ("variable", "value"),
    [("LAKEFS_REPOSITORY", "Bad_Name"), ("LAKEFS_STORAGE_NAMESPACE", "s3://elsewhere")],
)
def test_a_name_that_the_server_refuses_is_told_in_a_sentence(
    deployment, monkeypatch, capsys, command, variable, value
):
    GitLake(deployment.embedded_lake).init()
    monkeypatch.setattr(lakefs_connection, "_CREATION_SECONDS", 0)
    monkeypatch.setenv("LAKEFS_REPOSITORY", f"test-{uuid.uuid4().hex}")
    monkeypatch.setenv(variable, value)
    assert main([command], deployment) == 1
    told = capsys.readouterr().err
    assert value in told
    assert told.endswith("correct LAKEFS_REPOSITORY or LAKEFS_STORAGE_NAMESPACE\n")


def test_without_a_server_or_a_lake_a_sentence_says_what_is_missing(
    deployment: Deployment, monkeypatch, capsys
):
    monkeypatch.delenv("LAKEFS_ENDPOINT", raising=False)
    assert main(["move"], deployment) == 1
    assert "There is no embedded lake" in capsys.readouterr().err
    GitLake(deployment.data_dir / "lake").resolve("main")
    assert main(["move"], deployment) == 1
    assert "set LAKEFS_ENDPOINT and the two keys" in capsys.readouterr().err
