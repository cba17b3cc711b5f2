"""What every lake does, whichever it is; and, at the end, what each does for itself."""

import contextlib
import errno
import hashlib
import http.server
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from operator import methodcaller
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import lakefs
import pytest
import urllib3
from lakefs.exceptions import ServerException

from resources import lakefs_connection
from resources import lakefs_lake as lakefs_door
from resources.lake import (
    Change,
    Content,
    CrossedMergeError,
    DamagedError,
    Lake,
    LakeError,
    LakeUnreachableError,
    MergeConflictError,
    RefExistsError,
    RefNotFoundError,
)

ROOT = Path(__file__).resolve().parents[2]
DAGSTER_URL = "::lakefs::Dagster::url[url:ui]"


def write(lake: Lake, branch: str, files: dict[str, Content], message: str = "written") -> str:
    return lake.commit(branch, files, message, {"run": "1"})


def publish(lake: Lake, branch: str, files: dict[str, Content], source: str = "main") -> str:
    lake.create_branch(branch, source)
    return lake.merge(write(lake, branch, files), "main", f"merge {branch}", {"branch": branch})


def test_a_new_lake_has_main_with_one_empty_commit(lake):
    assert lake.branches() == {"main": lake.resolve("main")}
    assert lake.paths("main") == []
    assert [(commit.id, commit.parents) for commit in lake.log("main")] == [(lake.resolve("main"), ())]


def test_what_is_written_on_a_branch_reaches_main_only_by_a_merge(lake):
    lake.create_branch("run", "main")
    commit = write(lake, "run", {"tables/a.parquet": b"rows"})
    assert lake.resolve("run") == commit
    assert (lake.paths(commit), lake.paths("main")) == (["tables/a.parquet"], [])
    merged = lake.merge(commit, "main", "publish", {})
    assert lake.resolve("main") == merged
    assert lake.read(merged, "tables/a.parquet") == b"rows"


def test_a_commit_never_changes(lake):
    lake.create_branch("run", "main")
    first = write(lake, "run", {"a": b"1", "b": b"1"})
    second = write(lake, "run", {"a": b"2"})
    assert [lake.read(first, "a"), lake.read(second, "a"), lake.read(second, "b")] == [b"1", b"2", b"1"]


def test_a_fetched_object_is_a_read_only_file(lake, tmp_path):
    (tmp_path / "source").write_bytes(b"x" * 100_000)
    lake.create_branch("run", "main")
    commit = write(lake, "run", {"big": tmp_path / "source", "empty": b""})
    for path, size in (("big", 100_000), ("empty", 0)):
        file = lake.fetch(commit, path)
        assert file == lake.fetch(commit, path)
        assert (file.stat().st_size, file.stat().st_mode & 0o777) == (size, 0o444)
        assert file.read_bytes() == lake.read(commit, path)
    assert (tmp_path / "source").stat().st_mode & 0o200


NEIGHBOURS = ["a-", "a.b", "a/0", "a/1", "a/10", "a/2", "ab", "b/c/d", "b/é", "z"]


@pytest.mark.parametrize("page", [1, 3])
@pytest.mark.parametrize("wanted", [NEIGHBOURS, ["z", "a/1", "b/é"], ["a/2", "a/2"], []])
def test_many_objects_are_fetched_in_the_order_they_were_asked_for(lake, wanted, page, monkeypatch):
    monkeypatch.setattr("resources.lakefs_lake.PAGE", page)
    monkeypatch.setattr("resources.lakefs_connection.PAGE", page)
    lake.create_branch("work", "main")
    commit = write(lake, "work", {path: path.encode() for path in NEIGHBOURS})
    files = lake.fetch_all(commit, wanted)
    assert [file.read_text() for file in files] == wanted
    assert files == [lake.fetch(commit, path) for path in wanted]


@pytest.mark.parametrize("missing", ["a/1", "a/3", "0", "zz", "a", "a/", ""])
def test_of_many_objects_the_missing_one_is_named(lake, missing):
    lake.create_branch("work", "main")
    commit = write(lake, "work", {"a/0": b"", "a/2": b"", "z": b""})
    with pytest.raises(FileNotFoundError, match=f"holds no object at '{missing}'"):
        lake.fetch_all(commit, ["a/0", missing, "z"])


@pytest.mark.parametrize("path", ["nothing", "folder", "folder/", "folder/file/", "folder//file", ""])
def test_a_path_that_holds_no_object_is_not_found(lake, path):
    commit = publish(lake, "run", {"folder/file": b"1"})
    with pytest.raises(FileNotFoundError):
        lake.read(commit, path)
    with pytest.raises(FileNotFoundError):
        lake.fetch(commit, path)


@pytest.mark.parametrize("ref", ["nothing", "0" * 40, "0" * 64, "", "a/b", "a b", "ä"])
def test_a_ref_that_does_not_exist_is_not_found(lake, ref):
    calls: list[Callable[[], object]] = [
        lambda: lake.resolve(ref),
        lambda: lake.read(ref, "a"),
        lambda: lake.fetch(ref, "a"),
        lambda: lake.fetch_all(ref, ["a"]),
        lambda: lake.paths(ref),
        lambda: lake.create_branch("run", ref),
        lambda: lake.delete_branch(ref),
        lambda: write(lake, ref, {"a": b"1"}),
        lambda: lake.merge(ref, "main", "merge", {}),
        lambda: lake.merge("main", ref, "merge", {}),
        lambda: lake.tag("v1", ref),
        lambda: lake.diff(ref, "main"),
        lambda: lake.diff("main", ref),
        lambda: next(lake.log(ref)),
    ]
    for call in calls:
        with pytest.raises(RefNotFoundError):
            call()
    assert lake.branches().keys() == {"main"}


def test_paths_are_sorted_and_chosen_by_prefix(lake):
    paths = ["a-b", "a/b", "a/c/d", "a0", "ä", "日本"]
    commit = publish(lake, "run", dict.fromkeys(reversed(paths), b"1"))
    assert lake.paths(commit) == paths
    assert lake.paths(commit, "a/") == ["a/b", "a/c/d"]
    assert lake.paths(commit, "a") == paths[:4]
    assert lake.paths(commit, "a/c") == ["a/c/d"]
    assert lake.paths(commit, "b") == []


def test_odd_but_good_names_come_back_as_they_were(lake):
    paths = ["a b", "a%20b", "a?b&c=d#e+f", "a'b\"c", "a\\b", ".hidden", "a..b", "Ab", "ab", "x" * 900]
    commit = publish(lake, "run", {path: path.encode() for path in paths})
    assert lake.paths(commit) == sorted(paths)
    assert [lake.read(commit, path) for path in paths] == [path.encode() for path in paths]


BAD_PATHS = [
    "",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "a/../b",
    "./a",
    "a\nb",
    "a\0",
    "x" * 1025,
    "\ud800",
    "a/.git/b",
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_bad_path_is_refused_and_nothing_is_written(lake, path):
    lake.create_branch("run", "main")
    with pytest.raises(ValueError, match=r"path|surrogates"):
        write(lake, "run", {"good": b"1", path: b"1"})
    assert lake.resolve("run") == lake.resolve("main")


def test_a_commit_without_files_is_refused(lake):
    lake.create_branch("run", "main")
    with pytest.raises(ValueError, match="at least one file"):
        write(lake, "run", {})


@pytest.mark.parametrize("files", [{"a": b"", "a/b": b""}, {"old": b""}, {"old/file/below": b""}])
def test_a_path_is_never_a_file_and_a_folder(lake, files):
    lake.create_branch("run", "main")
    before = write(lake, "run", {"old/file": b"1"})
    with pytest.raises(ValueError, match="file"):
        write(lake, "run", files)
    assert lake.resolve("run") == before


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a"), ("a/b/c/d", "a/b")])
def test_a_merge_never_makes_a_path_a_file_and_a_folder(lake, first, second):
    start = publish(lake, "start", {"a0": b"1"})
    head = publish(lake, "one", {first: b"1"}, start)
    with pytest.raises(MergeConflictError):
        publish(lake, "two", {second: b"1"}, start)
    assert lake.resolve("main") == head


@pytest.mark.parametrize("name", ["", "a/b", "a.b", "a b", "-a", "ä", "a" * 300])
def test_a_bad_branch_name_is_refused(lake, name):
    with pytest.raises(ValueError, match="branch name"):
        lake.create_branch(name, "main")


def test_a_branch_is_made_once(lake):
    start = lake.resolve("main")
    lake.create_branch("Run_1-a", "main")
    lake.create_branch("Run_1-a", start)
    publish(lake, "other", {"a": b"1"})
    lake.create_branch("Run_1-a", start)
    with pytest.raises(RefExistsError, match="Run_1-a"):
        lake.create_branch("Run_1-a", "main")
    assert lake.branches("Run") == {"Run_1-a": start}


def test_a_deleted_branch_leaves_its_commits_readable(lake):
    lake.create_branch("run", "main")
    commit = write(lake, "run", {"a": b"1"})
    lake.delete_branch("run")
    assert lake.branches("run") == {}
    assert lake.read(commit, "a") == b"1"


def test_main_is_neither_deleted_nor_written_to(lake):
    with pytest.raises(ValueError, match="main"):
        lake.delete_branch("main")
    with pytest.raises(PermissionError, match="main"):
        write(lake, "main", {"a": b"1"})
    assert lake.paths("main") == []


def test_a_commit_holds_all_of_its_files_or_none(lake, tmp_path):
    lake.create_branch("run", "main")
    with pytest.raises(FileNotFoundError):
        write(lake, "run", {f"f{i}": b"1" for i in range(20)} | {"missing": tmp_path / "missing"})
    assert lake.resolve("run") == lake.resolve("main")
    assert lake.paths(write(lake, "run", {"next": b"1"})) == ["next"]


def test_a_commit_that_changes_nothing_is_a_commit(lake):
    lake.create_branch("run", "main")
    first = write(lake, "run", {"a": b"1"})
    second = write(lake, "run", {"a": b"1"}, "again")
    assert next(lake.log("run")).parents == (first,)
    assert lake.diff(first, second) == []


def test_a_merge_is_one_commit_with_both_parents(lake):
    before = lake.resolve("main")
    lake.create_branch("run", "main")
    write(lake, "run", {"a": b"1"})
    source = write(lake, "run", {"b": b"1"})
    merged = lake.merge(source, "main", "publish", {"run": "7"})
    commit = next(lake.log("main"))
    assert (commit.id, commit.parents) == (merged, (before, source))
    assert (commit.message, commit.metadata) == ("publish", {"run": "7"})


def test_a_merge_takes_the_commit_that_was_audited_and_nothing_later(lake):
    lake.create_branch("run", "main")
    audited = write(lake, "run", {"a": b"1"})
    write(lake, "run", {"a": b"2", "late": b"1"})
    merged = lake.merge(audited, "main", "publish", {})
    assert (lake.paths(merged), lake.read(merged, "a")) == (["a"], b"1")


def test_a_merge_may_be_repeated(lake):
    lake.create_branch("run", "main")
    source = write(lake, "run", {"a": b"1"})
    merged = lake.merge(source, "main", "publish", {})
    assert lake.merge(source, "main", "publish", {}) == merged
    assert lake.merge("main", "main", "publish", {}) == merged
    later = publish(lake, "other", {"b": b"1"})
    assert lake.merge(source, "main", "publish", {}) == later


def test_changes_of_different_paths_merge(lake):
    start = publish(lake, "start", {"kept": b"0", "x/one": b"0", "x/two": b"0"})
    publish(lake, "one", {"x/one": b"1", "y/one": b"1"}, start)
    merged = publish(lake, "two", {"x/two": b"2", "y/two": b"2"}, start)
    contents = {path: lake.read(merged, path) for path in lake.paths(merged)}
    assert contents == {"kept": b"0", "x/one": b"1", "x/two": b"2", "y/one": b"1", "y/two": b"2"}


def test_a_path_changed_differently_on_both_sides_is_a_conflict(lake):
    start = publish(lake, "start", {"a/b": b"0", "a/c": b"0"})
    head = publish(lake, "one", {"a/b": b"1", "new": b"1"}, start)
    with pytest.raises(MergeConflictError) as caught:
        publish(lake, "two", {"a/b": b"2", "new": b"2", "a/c": b"2"}, start)
    assert (caught.value.branch, caught.value.paths) == ("main", ("a/b", "new"))
    assert lake.resolve("main") == head


def test_the_same_change_on_both_sides_is_no_conflict(lake):
    start = publish(lake, "start", {"a": b"0"})
    publish(lake, "one", {"a": b"1", "new": b"1"}, start)
    merged = publish(lake, "two", {"a": b"1", "new": b"1", "more": b"2"}, start)
    assert [lake.read(merged, path) for path in ("a", "more", "new")] == [b"1", b"2", b"1"]


def test_a_source_that_brings_nothing_new_changes_nothing(lake):
    start = lake.resolve("main")
    head = publish(lake, "one", {"a": b"1"}, start)
    assert publish(lake, "two", {"a": b"1"}, start) == head
    assert lake.resolve("main") == head


def test_files_are_merged_whole_and_never_by_lines(lake):
    lines = b"".join(b"line %d\n" % number for number in range(100))
    start = publish(lake, "start", {"text": lines})
    publish(lake, "one", {"text": b"head\n" + lines}, start)
    with pytest.raises(MergeConflictError):
        publish(lake, "two", {"text": lines + b"tail\n"}, start)


@pytest.mark.parametrize("neighbour", [b"A", b"B"])
def test_an_equal_object_at_the_next_path_hides_no_conflict(lake, neighbour):
    """A plain lakeFS merges these two without a word, and drops one."""
    start = publish(lake, "start", {"p/z": neighbour})
    head = publish(lake, "one", {"p/k": b"A"}, start)
    with pytest.raises(MergeConflictError):
        publish(lake, "two", {"p/k": b"B"}, start)
    assert lake.read(head, "p/k") == b"A"


def test_a_branch_can_take_main_in_and_be_merged_later(lake):
    start = publish(lake, "start", {"a": b"0"})
    lake.create_branch("run", start)
    write(lake, "run", {"b": b"1"})
    publish(lake, "other", {"a": b"1"})
    updated = lake.merge("main", "run", "update", {})
    assert (lake.read(updated, "a"), lake.read(updated, "b")) == (b"1", b"1")
    merged = lake.merge(write(lake, "run", {"a": b"2"}), "main", "publish", {})
    assert lake.read(merged, "a") == b"2"


def test_branches_that_took_each_other_in_are_not_merged_for_an_update_could_be_lost(lake):
    """As of one's first commit `b` is still old, as of two's it is new: each tells another story of who changed it."""
    start = publish(lake, "start", {"b": b"old"})
    lake.create_branch("one", start)
    lake.create_branch("two", start)
    first, second = write(lake, "one", {"a": b"1"}), write(lake, "two", {"b": b"new"})
    lake.merge(second, "one", "take two in", {})
    crossed = lake.merge(first, "two", "take one in", {})
    reverted = write(lake, "one", {"b": b"old"})
    with pytest.raises(CrossedMergeError, match=r"two took in the same commits .* cut a new branch from two"):
        lake.merge(reverted, "two", "again", {})
    with pytest.raises(CrossedMergeError, match=f"commit {crossed[:12]} and one took in the same commits"):
        lake.merge("two", "one", "again", {})
    assert (lake.resolve("two"), lake.resolve("one")) == (crossed, reverted)


def test_two_publications_of_one_candidate_do_not_both_reach_main(lake):
    start = lake.resolve("main")
    lake.create_branch("candidate", start)
    weights = write(lake, "candidate", {"weights": b"1"})
    publish(lake, "other", {"a": b"1"})
    lake.create_branch("work-1", "main")
    lake.create_branch("work-2", "main")
    for work in ("work-1", "work-2"):
        lake.merge(weights, work, f"bring into {work}", {})
        write(lake, work, {f"decision-{work}": b"1"})
    lake.merge("work-1", "main", "release", {})
    with pytest.raises(CrossedMergeError):
        lake.merge("work-2", "main", "release", {})


def test_main_takes_a_branch_again_and_again_as_long_as_that_takes_nothing_of_main(lake):
    lake.create_branch("candidate", "main")
    for number in range(3):
        lake.merge(write(lake, "candidate", {f"{number}": b"1"}), "main", "publish", {})
        publish(lake, f"other{number}", {"other": b"%d" % number})
    assert lake.paths("main") == ["0", "1", "2", "other"]


def test_a_tag_names_one_commit_for_good(lake):
    first, second = publish(lake, "one", {"a": b"1"}), publish(lake, "two", {"a": b"2"})
    lake.tag("v1.0", first)
    lake.tag("v1.0", first)
    lake.tag("w2", "main")
    with pytest.raises(RefExistsError, match=r"v1\.0"):
        lake.tag("v1.0", second)
    assert lake.tags() == {"v1.0": first, "w2": second}
    assert lake.tags("v") == {"v1.0": first}
    assert (lake.resolve("v1.0"), lake.read("v1.0", "a")) == (first, b"1")


def test_a_deleted_tag_leaves_its_commit_readable_and_its_name_free(lake):
    first, second = publish(lake, "one", {"a": b"1"}), publish(lake, "two", {"a": b"2"})
    lake.tag("v1.0", first)
    lake.tag("v1", first)
    lake.delete_tag("v1.0")
    assert lake.tags() == {"v1": first}
    assert lake.read(first, "a") == b"1"
    lake.tag("v1.0", second)
    assert lake.resolve("v1.0") == second


@pytest.mark.parametrize("name", ["nothing", "main", "", "a/b", "ä"])
def test_a_tag_that_does_not_exist_is_not_deleted(lake, name):
    with pytest.raises(RefNotFoundError):
        lake.delete_tag(name)


def test_the_hash_of_an_object_is_that_of_its_bytes(lake, tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 100_000)
    commit = publish(lake, "run", {"a": b"1", "empty": b"", "big": tmp_path / "big"})
    contents = {"a": b"1", "empty": b"", "big": b"x" * 100_000}
    for path, content in contents.items():
        assert lake.sha256(commit, path) == hashlib.sha256(content).hexdigest()
    with pytest.raises(FileNotFoundError):
        lake.sha256(commit, "nothing")
    with pytest.raises(RefNotFoundError):
        lake.sha256("nothing", "a")


def test_making_a_lake_again_changes_nothing_and_says_nothing(lake):
    assert lake.init()
    before = lake.resolve("main")
    assert lake.init() == []
    assert lake.resolve("main") == before
    assert lake.branches() == {"main": before}


def test_one_name_is_never_a_branch_and_a_tag(lake):
    start = lake.resolve("main")
    lake.create_branch("run", start)
    lake.tag("v1", start)
    with pytest.raises(RefExistsError, match="v1"):
        lake.create_branch("v1", start)
    with pytest.raises(RefExistsError, match="run"):
        lake.tag("run", start)
    assert (lake.branches().keys(), lake.tags().keys()) == ({"main", "run"}, {"v1"})


@pytest.mark.parametrize("name", ["0" * 40, "f" * 64])
def test_no_name_looks_like_a_commit_id(lake, name):
    with pytest.raises(ValueError, match="branch name"):
        lake.create_branch(name, "main")
    with pytest.raises(ValueError, match="tag name"):
        lake.tag(name, "main")


def test_a_ref_is_a_whole_name_or_a_whole_commit_id(lake):
    """A lakeFS server reads more into a ref: an ancestor, the first digits of a commit id."""
    head = publish(lake, "run", {"a": b"1"})
    for ref in ("main~1", "main^", "main@", "main$", head[:8], head[:-1]):
        with pytest.raises(RefNotFoundError):
            lake.resolve(ref)
        with pytest.raises(RefNotFoundError):
            lake.read(ref, "a")
    lake.create_branch(head[:8], "run")
    assert lake.resolve(head[:8]) == lake.resolve("run")


@pytest.mark.parametrize("name", ["", "a/b", "a b", ".a", "a.", "a..b", "a.lock", "-a"])
def test_a_bad_tag_name_is_refused(lake, name):
    with pytest.raises(ValueError, match="tag name"):
        lake.tag(name, "main")


def test_a_diff_compares_two_states_and_not_their_ancestor(lake):
    start = publish(lake, "start", {"a/same": b"0", "a/changed": b"0"})
    one = publish(lake, "one", {"a/changed": b"1", "a/more": b"1", "b": b"1"}, start)
    lake.create_branch("two", start)
    two = write(lake, "two", {"c": b"2"})
    assert lake.diff(start, one) == [
        Change("a/changed", "changed"),
        Change("a/more", "added"),
        Change("b", "added"),
    ]
    assert lake.diff(one, start, "a/") == [Change("a/changed", "changed"), Change("a/more", "removed")]
    assert [change.path for change in lake.diff("two", "main")] == ["a/changed", "a/more", "b", "c"]
    assert lake.diff(two, "two") == []


def test_the_log_follows_first_parents_newest_first(lake):
    start = lake.resolve("main")
    merges = [publish(lake, f"run{number}", {"a": b"%d" % number, f"{number}": b""}) for number in range(3)]
    assert [commit.id for commit in lake.log("main")] == [*reversed(merges), start]
    assert [commit.id for commit in lake.log(merges[1])] == [merges[1], merges[0], start]


def test_what_a_commit_removes_is_listed_by_earlier_states_alone(lake):
    before = publish(lake, "run", {"frames/d1/a": b"a", "frames/d2/b": b"b", "table": b"1"})
    lake.create_branch("goes", before)
    commit = lake.commit(
        "goes", {"table": b"2"}, "let go", {}, removed=["frames/d1/a", "never/there", "frames"]
    )
    after = lake.merge(commit, "main", "let go", {})
    assert lake.paths(after) == ["frames/d2/b", "table"]
    assert lake.paths(before) == ["frames/d1/a", "frames/d2/b", "table"]
    assert lake.diff(before, after) == [Change("frames/d1/a", "removed"), Change("table", "changed")]
    assert lake.sizes(after, ["frames/d1/a", "frames/d2/b"]) == {"frames/d2/b": 1}


def test_a_commit_that_writes_and_removes_the_same_path_is_refused(lake):
    lake.create_branch("work", "main")
    with pytest.raises(ValueError, match="written and removed"):
        lake.commit("work", {"a": b"1", "b": b"2"}, "both", {}, removed=["a"])
    assert lake.resolve("work") == lake.resolve("main")


def test_a_branch_that_was_cut_before_a_removal_brings_nothing_back(lake):
    before = publish(lake, "run", {"frames/a": b"a", "table": b"1"})
    lake.create_branch("goes", before)
    lake.create_branch("candidate", before)
    lake.merge(lake.commit("goes", {"table": b"2"}, "let go", {}, removed=["frames/a"]), "main", "let go", {})
    after = lake.merge(write(lake, "candidate", {"model": b"m"}), "main", "released", {})
    assert lake.paths(after) == ["model", "table"]


def test_bytes_that_are_erased_are_gone_from_this_machine_and_no_others_are(lake):
    before = publish(lake, "run", {"frames/a": b"a", "frames/b": b"b"})
    files = lake.fetch_all(before, ["frames/a", "frames/b"])
    later = datetime.now(UTC) + timedelta(minutes=1)
    told = lake.erase(before, ["frames/a", "never/there"], later, dry_run=True)
    assert [(one.name, one.size_bytes) for one in told] == [("frames/a", 1)]
    assert all(file.is_file() for file in files)
    lake.erase(before, ["frames/a", "never/there"], later)
    lake.erase(before, ["frames/a", "never/there"], later)
    assert [file.is_file() for file in files] == [False, True]
    assert lake.paths(before) == ["frames/a", "frames/b"]


def test_the_log_of_a_path_holds_what_changed_the_object_there(lake):
    first = publish(lake, "one", {"a/b": b"1"})
    publish(lake, "two", {"a/c": b"1"})
    third = publish(lake, "three", {"a/b": b"2"})
    assert [commit.id for commit in lake.log("main", "a/b")] == [third, first]
    assert list(lake.log("main", "nothing")) == []


def test_metadata_comes_back_as_it_was(lake):
    metadata = {
        DAGSTER_URL: "http://127.0.0.1:3000/runs/1",
        "Größe": "1\n2\r\n\t3",
        "empty": "",
        "json": '{"a": 1}',
    }
    before = time.time()
    lake.create_branch("run", "main")
    source = lake.commit("run", {"a": b"1"}, "first line\n\nand a body: yes", metadata)
    lake.merge(source, "main", "", metadata | {"more": "1"})
    written, merged = next(lake.log("run")), next(lake.log("main"))
    assert (written.message, written.metadata) == ("first line\n\nand a body: yes", metadata)
    assert merged.metadata == metadata | {"more": "1"}
    assert abs(written.created_at.timestamp() - before) < 30


def test_a_person_gets_an_address_for_a_commit_and_an_object(lake):
    commit = publish(lake, "run", {"a b": b"1"})
    assert commit in lake.url(commit)
    assert lake.url(commit).split(":")[0] in {"file", "http", "https"}
    assert lake.url(commit, "a b") != lake.url(commit)


@pytest.fixture
def requests(monkeypatch):
    """What was asked of a server, in order."""
    asked, send = [], urllib3.HTTPConnectionPool.urlopen

    def urlopen(pool, method, url, *rest, **options):
        asked.append(f"{method} {url}")
        return send(pool, method, url, *rest, **options)

    monkeypatch.setattr(urllib3.HTTPConnectionPool, "urlopen", urlopen)
    return asked


@pytest.mark.lakefs
def test_many_objects_that_are_cached_cost_a_server_one_request_together(lakefs_lake, requests):
    files = {f"tables/parts/d{number:02}.parquet": str(number).encode() for number in range(30)}
    commit = publish(lakefs_lake, "run", files)
    lakefs_lake.fetch_all(commit, files)
    requests.clear()
    lakefs_lake.fetch_all(commit, files)
    assert len(requests) == 1


@pytest.mark.lakefs
def test_a_small_publication_costs_a_server_few_requests(lakefs_lake, requests):
    publish(lakefs_lake, "first", {"tables/parts/d1.parquet": b"1"})
    head = lakefs_lake.resolve("main")
    requests.clear()
    publish(lakefs_lake, "second", {"tables/parts/d2.parquet": b"2"}, source=head)
    assert len(requests) <= 14


@pytest.mark.lakefs
@pytest.mark.parametrize("path", ["tables/parts/d1.parquet", "a b&c=d/ü+%.txt"])
def test_an_address_on_a_server_is_a_page_of_its_ui_and_names_what_the_server_finds(lakefs_lake, path):
    commit = publish(lakefs_lake, "run", {path: b"1"})
    of_commit, of_object = urlsplit(lakefs_lake.url(commit)), urlsplit(lakefs_lake.url(commit, path))
    repository = f"/repositories/{lakefs_lake.repository}"
    assert of_commit.path == f"{repository}/commits/{commit}"
    assert of_object.path == f"{repository}/object"
    named = dict(parse_qsl(of_object.query))
    assert named.keys() == {"ref", "path"}
    assert lakefs_lake.read(named["ref"], named["path"]) == b"1"


def test_a_lake_works_in_another_process(lake):
    commit = publish(lake, "run", {"a": b"1"})
    read = methodcaller("read", commit, "a")
    assert read(pickle.loads(pickle.dumps(lake))) == b"1"  # noqa: S301
    for method in ("fork", "spawn"):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
            assert pool.submit(read, lake).result() == b"1"


def test_many_may_be_the_first_to_use_a_lake(lake):
    with ProcessPoolExecutor(4) as pool:
        futures = [pool.submit(methodcaller("resolve", "main"), lake) for _ in range(8)]
        heads = {future.result() for future in futures}
    assert heads == {lake.resolve("main")}


def test_nothing_is_lost_when_many_publish_at_once(lake):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: publish(lake, f"run{i}", {f"{i}/a": b"%d" % i, f"{i}/b": b""}), range(16)))
    head = lake.resolve("main")
    assert len(lake.paths(head)) == 32
    assert [lake.read(head, f"{i}/a") for i in range(16)] == [b"%d" % i for i in range(16)]
    assert len(list(lake.log("main"))) == 17


def test_of_many_who_change_one_path_from_one_base_exactly_one_wins(lake):
    start = publish(lake, "start", {"pointer": b"0"})

    with ThreadPoolExecutor(8) as pool:
        runs = [
            pool.submit(publish, lake, f"run{number}", {"pointer": b"run %d" % number}, start)
            for number in range(8)
        ]
    failures = [run.exception() for run in runs]
    assert [failure.paths for failure in failures if failure] == [("pointer",)] * 7
    assert lake.read("main", "pointer") == b"run %d" % failures.index(None)


# The embedded lake alone.


@pytest.mark.parametrize("pool_class", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_nothing_is_lost_when_many_commit_on_one_branch(git_lake, pool_class):
    git_lake.create_branch("run", "main")
    with pool_class(4) as pool:
        calls = [methodcaller("commit", "run", {f"{i % 3}/{i}": b"%d" % i}, f"{i}", {}) for i in range(60)]
        done = [pool.submit(call, git_lake) for call in calls]
        commits = {future.result() for future in done}
    assert len(git_lake.paths("run")) == 60
    assert commits <= {commit.id for commit in git_lake.log("run")}


def test_names_of_the_embedded_lake_differ_by_more_than_case(git_lake):
    git_lake.create_branch("Run", "main")
    git_lake.tag("V1", "main")
    with pytest.raises(ValueError, match="case"):
        git_lake.create_branch("run", "main")
    with pytest.raises(ValueError, match="case"):
        git_lake.tag("v1", "main")


def test_a_writer_killed_after_its_bytes_leaves_nothing_to_see(git_lake, tmp_path):
    git_lake.create_branch("run", "main")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = """if True:
        import sys
        from resources.git_lake import *
        GitLake(Path(sys.argv[1])).commit('run', {'a': b'bytes', 'b': Path(sys.argv[2])}, '', {})
    """
    process = subprocess.Popen([sys.executable, "-c", code, str(git_lake.root), str(pipe)], cwd=ROOT)
    # It opens only once the writer is at its second object.
    with pipe.open("wb") as stream:
        stream.write(b"half an object")
        stream.flush()
        process.kill()
        process.wait()
    stored = [file for file in (git_lake.root / "repo.git/lfs/objects").rglob("*") if file.is_file()]
    assert [file.read_bytes() for file in stored] == [b"bytes"]
    assert git_lake.resolve("run") == git_lake.resolve("main")
    assert git_lake.paths(write(git_lake, "run", {"c": b"1"})) == ["c"]


def test_what_was_acknowledged_survives_the_kill_of_the_writer(git_lake):
    git_lake.create_branch("run", "main")
    code = """if True:
        import sys
        from resources.git_lake import *
        for number in range(100_000):
            commit = GitLake(Path(sys.argv[1])).commit('run', {f'{number}': b'%d' % number}, '', {})
            print(number, commit, flush=True)
    """
    for round_number in range(3):
        arguments = [sys.executable, "-c", code, str(git_lake.root)]
        with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            first = process.stdout.readline()
            time.sleep(0.02 * round_number)
            process.kill()
            acknowledged = [
                line.split() for line in (first + process.stdout.read()).splitlines() if line.count(" ")
            ]
        history = {commit.id for commit in git_lake.log("run")}
        assert acknowledged
        assert {commit for _, commit in acknowledged[:-1]} <= history
        assert all(git_lake.read("run", number) == number.encode() for number, _ in acknowledged[:-1])
    subprocess.run(["git", "fsck", "--full", "--strict"], cwd=git_lake.root / "repo.git", check=True)


def test_a_git_lock_left_by_a_killed_writer_stops_nobody(git_lake):
    git_lake.create_branch("run", "main")
    (git_lake.root / "repo.git/refs/heads/run.lock").touch()
    write(git_lake, "run", {"a": b"1"})


def test_plain_git_finds_the_embedded_lake_sound_and_reads_its_metadata(git_lake):
    publish(git_lake, "run", {"tables/a": b"1", "tables/b": b"2"})
    git_lake.tag("v1", "main")

    def git(*arguments: str) -> str:
        folder = git_lake.root / "repo.git"
        return subprocess.run(
            ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
        ).stdout

    git("fsck", "--full", "--strict")
    shown = git("log", "-1", "--format=%s|%(trailers:key=Lake-Metadata,valueonly)", "main")
    assert shown.strip() == 'merge run|{"branch": "run"}'
    assert git("ls-tree", "-r", "--name-only", "v1").split() == ["tables/a", "tables/b"]
    assert "size 1" in git("show", "main:tables/b")


def test_a_stored_file_cut_short_is_an_error_and_writing_it_again_heals_it(git_lake):
    commit = publish(git_lake, "run", {"a": b"long enough"})
    file = git_lake.fetch(commit, "a")
    file.chmod(0o644)
    file.write_bytes(b"long")
    for look in (git_lake.read, git_lake.fetch, git_lake.sha256):
        with pytest.raises(
            DamagedError, match=r"'a' as of .* damaged or lost: restore .* or write the same bytes"
        ):
            look(commit, "a")
    file.unlink()
    with pytest.raises(DamagedError, match="damaged or lost"):
        git_lake.fetch(commit, "a")
    publish(git_lake, "again", {"b": b"long enough"})
    assert git_lake.read(commit, "a") == b"long enough"


def test_the_embedded_lake_erases_for_good_and_says_nothing_the_second_time(git_lake):
    commit = publish(git_lake, "run", {"frames/a": b"a"})
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert [(one.name, one.outcome) for one in git_lake.erase(commit, ["frames/a"], later)] == [
        ("frames/a", "swept")
    ]
    assert git_lake.erase(commit, ["frames/a"], later) == []
    with pytest.raises(DamagedError, match="damaged or lost"):
        git_lake.fetch(commit, "frames/a")
    assert publish(git_lake, "again", {"frames/a": b"a"}, commit) == git_lake.resolve("main")
    assert git_lake.read("main", "frames/a") == b"a"


def test_bytes_that_were_written_again_since_wait_for_a_later_run(git_lake):
    commit = publish(git_lake, "run", {"frames/a": b"a"})
    told = git_lake.erase(commit, ["frames/a"], datetime.now(UTC) - timedelta(hours=1))
    assert [(one.name, one.outcome) for one in told] == [("frames/a", "waits")]
    assert git_lake.read(commit, "frames/a") == b"a"


def test_a_server_s_earlier_states_hold_what_was_let_go_until_its_own_garbage_collection(lakefs_lake):
    commit = publish(lakefs_lake, "run", {"frames/a": b"a"})
    [told] = lakefs_lake.erase(commit, ["frames/a"], datetime.now(UTC))
    assert (told.name, told.outcome) == ("frames/a", "kept")
    assert lakefs_lake.read(commit, "frames/a") == b"a"


def test_a_stored_file_with_one_other_byte_is_found_by_its_hash_alone(git_lake):
    commit = publish(git_lake, "run", {"a": b"long enough"})
    file = git_lake.fetch(commit, "a")
    file.chmod(0o644)
    file.write_bytes(b"long_enough")
    assert git_lake.read(commit, "a") == b"long_enough"
    with pytest.raises(DamagedError, match="damaged or lost"):
        git_lake.sha256(commit, "a")


def test_many_files_are_kept_each_under_its_own_path(git_lake, tmp_path):
    contents = {f"frames/{number}.png": b"%d" % number for number in range(150)}
    for path, content in contents.items():
        (tmp_path / Path(path).name).write_bytes(content)
    git_lake.create_branch("run", "main")
    commit = write(git_lake, "run", {path: tmp_path / Path(path).name for path in contents})
    assert {path: git_lake.read(commit, path) for path in git_lake.paths(commit)} == contents


def test_of_many_files_one_that_is_missing_keeps_all_out(git_lake, tmp_path):
    git_lake.create_branch("run", head := git_lake.resolve("main"))
    files = dict.fromkeys((f"{number}" for number in range(150)), b"1") | {"missing": tmp_path / "missing"}
    with pytest.raises(FileNotFoundError):
        write(git_lake, "run", files)
    assert git_lake.resolve("run") == head
    assert not list(git_lake.root.rglob("tmp/*"))


def broken_disk(code: int) -> Callable[..., None]:
    def fail(*_):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("step", ["_copy", "_sync", "_write_commit"])
def test_without_room_nothing_changes_and_a_sentence_says_what_to_do(git_lake, monkeypatch, step):
    git_lake.create_branch("work", head := git_lake.resolve("main"))
    with monkeypatch.context() as patched:
        patched.setattr(f"resources.git_lake.{step}", broken_disk(errno.ENOSPC))
        with pytest.raises(LakeError, match="is full: make room there, then re-execute the run from failure"):
            write(git_lake, "work", {"a": b"1"})
    assert git_lake.resolve("work") == head
    assert not list(git_lake.root.rglob("tmp/*"))
    assert not list(git_lake.root.rglob("refs/**/*.lock"))
    assert git_lake.read(write(git_lake, "work", {"a": b"1"}), "a") == b"1"


def test_another_error_of_the_disk_keeps_its_own_words(git_lake, monkeypatch):
    git_lake.create_branch("work", "main")
    monkeypatch.setattr("resources.git_lake._copy", broken_disk(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        write(git_lake, "work", {"a": b"1"})


# lakeFS alone.


@pytest.mark.lakefs
def test_what_a_killed_writer_left_staged_is_not_committed(lakefs_lake):
    lakefs_lake.create_branch("run", "main")
    lakefs_lake._branch("run").object("stray").upload(b"1", pre_sign=False)
    assert lakefs_lake.paths("run") == []
    assert lakefs_lake.paths(write(lakefs_lake, "run", {"a": b"1"})) == ["a"]


@pytest.mark.lakefs
def test_a_stray_upload_on_the_target_is_named_when_it_blocks_a_merge(lakefs_lake):
    lakefs_lake.create_branch("data", "main")
    lakefs_lake._branch("data").object("stray").upload(b"1", pre_sign=False)
    lakefs_lake.create_branch("run", "main")
    with pytest.raises(
        LakeError, match=r"data takes no merge while these are uncommitted on it: stray\. In the"
    ):
        lakefs_lake.merge(write(lakefs_lake, "run", {"a": b"1"}), "data", "publish", {})


@pytest.mark.lakefs
def test_a_main_that_was_dirty_before_it_was_protected_takes_no_merge_and_says_what_to_do(lakefs_lake):
    client = lakefs_connection.connect(lakefs_lake.connection)
    lakefs.Repository(lakefs_lake.repository, client).create(lakefs_lake.storage_namespace, "main").branch(
        "main"
    ).object("stray").upload(b"1", pre_sign=False)
    with pytest.raises(
        LakeError, match=r"main takes no merge .*: stray\. .* lift the protection .* discard them"
    ):
        publish(lakefs_lake, "run", {"a": b"1"})
    assert lakefs_lake.paths("main") == []


@pytest.mark.lakefs
def test_the_server_protects_main_from_every_client(lakefs_lake):
    from lakefs.exceptions import ForbiddenException

    lakefs_lake.ensure_repository()
    lakefs_lake.ensure_repository()
    with pytest.raises(ForbiddenException):
        lakefs_lake._branch("main").object("stray").upload(b"1", pre_sign=False)


@pytest.mark.lakefs
def test_a_merge_goes_into_a_branch_and_not_into_a_tag(lakefs_lake):
    """A server looks a tag up as it does a branch, until it merges."""
    lakefs_lake.tag("v1", "main")
    lakefs_lake.create_branch("run", "main")
    commit = write(lakefs_lake, "run", {"a": b"1"})
    for source in ("main", commit):
        with pytest.raises(RefNotFoundError, match="v1"):
            lakefs_lake.merge(source, "v1", "publish", {})


@pytest.mark.lakefs
def test_a_source_that_changes_the_hooks_of_the_server_is_refused(lakefs_lake):
    with pytest.raises(PermissionError, match="_lakefs_actions"):
        publish(
            lakefs_lake, "run", {"_lakefs_actions/gate.yaml": b"name: gate\non:\n  pre-merge:\nhooks: []\n"}
        )


@pytest.mark.lakefs
def test_writers_who_share_a_branch_lose_nothing_that_was_acknowledged(lakefs_lake):
    """Uploads are staged where all see them: the writers get in each other's way, and are told so."""
    lakefs_lake.create_branch("run", "main")
    with ThreadPoolExecutor(4) as pool:
        runs = {
            i: pool.submit(write, lakefs_lake, "run", {f"{i}/a": b"1", f"{i}/b": b"1"}) for i in range(12)
        }
    acknowledged = {f"{i}/{name}" for i, run in runs.items() if run.exception() is None for name in "ab"}
    assert acknowledged <= set(lakefs_lake.paths("run"))


@pytest.mark.lakefs
@pytest.mark.parametrize(
    "lost", ["/branches ", "/objects?", "/branches/run/commits ", "/merge/main ", "/tags "]
)
def test_a_lost_answer_makes_nothing_happen_twice(lakefs_lake, lossy_proxy, lost):
    lake = replace(lakefs_lake, endpoint=lossy_proxy.endpoint)
    start = lake.resolve("main")
    lossy_proxy.lose_answer_to(f"POST /api/v1/repositories/{lake.repository}", lost)
    merged = publish(lake, "run", {"a": b"1"})
    lake.tag("v1", merged)
    assert lossy_proxy.has_lost
    assert [commit.id for commit in lake.log("main")] == [merged, start]
    assert len(list(lake.log("run"))) == 2
    assert (lake.read("v1", "a"), lake.branches().keys()) == (b"1", {"main", "run"})


@pytest.mark.lakefs
def test_a_branch_is_gone_though_the_answer_was_lost(lakefs_lake, lossy_proxy):
    lakefs_lake.create_branch("run", "main")
    lossy_proxy.lose_answer_to("DELETE ", "/branches/run ")
    replace(lakefs_lake, endpoint=lossy_proxy.endpoint).delete_branch("run")
    assert lossy_proxy.has_lost
    assert lakefs_lake.branches().keys() == {"main"}


@pytest.mark.lakefs
def test_a_tag_is_gone_though_the_answer_was_lost(lakefs_lake, lossy_proxy):
    lakefs_lake.tag("v1", "main")
    lossy_proxy.lose_answer_to("DELETE ", "/tags/v1 ")
    replace(lakefs_lake, endpoint=lossy_proxy.endpoint).delete_tag("v1")
    assert lossy_proxy.has_lost
    assert lakefs_lake.tags() == {}


@pytest.mark.lakefs
@pytest.mark.parametrize("harm", ["other bytes", "cut short", "lost"])
def test_an_object_that_the_server_s_storage_damaged_is_named_and_never_cached(
    lakefs_server, lakefs_lake, harm
):
    if lakefs_server.block is None:
        pytest.skip("the server's storage is not on this machine")
    commit = publish(lakefs_lake, "run", {"a": b"long enough", "b": b"1"})
    address = lakefs_lake._stat(commit, "a").physical_address
    file = lakefs_server.block / address.removeprefix("local://")
    if harm == "lost":
        file.unlink()
    else:
        file.write_bytes(b"long_enough" if harm == "other bytes" else b"long")
    for look in (lakefs_lake.fetch, lakefs_lake.sha256) + (
        () if harm == "other bytes" else (lakefs_lake.read,)
    ):
        with pytest.raises(
            DamagedError, match=r"'a' as of .* are damaged or lost: restore the server's storage"
        ):
            look(commit, "a")
    assert lakefs_lake.read(commit, "b") == b"1"


RUN = {"asset": "label_table", "run_id": "7", "data_version": "1f", "input_commit": "0c"}


@pytest.fixture
def locked_lake(lakefs_lake):
    lakefs_lake.init()
    return lakefs_lake


def audited(lake: Lake, branch: str, files: dict[str, Content]) -> str:
    lake.create_branch(branch, "main")
    return write(lake, branch, files)


def click_merge(lake: Lake, branch: str, metadata: dict[str, str]) -> None:
    """As the server's own UI and `lakectl merge` do it."""
    lake._branch(branch).merge_into("main", message="Merge", metadata=metadata)


@pytest.mark.lakefs
def test_a_locked_main_takes_what_a_run_publishes(locked_lake):
    merged = locked_lake.merge(audited(locked_lake, "run", {"a": b"1"}), "main", "publish", RUN)
    assert locked_lake.read(merged, "a") == b"1"


@pytest.mark.lakefs
def test_a_lake_that_is_in_use_is_locked_later(lakefs_lake):
    head = publish(lakefs_lake, "run", {"a": b"1"})
    (told,) = lakefs_lake.init()
    assert told.startswith("Installed _lakefs_actions/pre_merge.yaml")
    assert next(lakefs_lake.log("main")).parents[0] == head
    assert lakefs_lake.read("main", "a") == b"1"


@pytest.mark.lakefs
@pytest.mark.parametrize("unsaid", RUN)
def test_a_locked_main_refuses_a_merge_that_no_run_made(locked_lake, unsaid):
    head = locked_lake.resolve("main")
    commit = audited(locked_lake, "run", {"a": b"1"})
    metadata = {name: value for name, value in RUN.items() if name != unsaid}
    sentence = f"main takes no merge that says no {unsaid}: let a run in Dagster publish the change instead"
    with pytest.raises(ServerException, match=sentence):
        click_merge(locked_lake, "run", metadata)
    with pytest.raises(PermissionError, match=sentence):
        locked_lake.merge(commit, "main", "publish", metadata)
    assert locked_lake.resolve("main") == head


@pytest.mark.lakefs
def test_a_locked_main_refuses_a_merge_that_changes_the_hooks(locked_lake):
    head = locked_lake.resolve("main")
    audited(locked_lake, "run", {"_lakefs_actions/more.yaml": b"name: more\non:\n  pre-merge:\nhooks: []\n"})
    with pytest.raises(ServerException, match="main takes no merge that changes the hooks"):
        click_merge(locked_lake, "run", RUN)
    assert locked_lake.resolve("main") == head


@pytest.mark.lakefs
def test_a_branch_without_the_hook_is_refused_by_the_door_alone(locked_lake):
    """The server reads hooks from the commit that is merged: without them it asks nobody. Another init locks again."""
    audited(locked_lake, "run", {"a": b"1"})
    locked_lake._branch("run").object("_lakefs_actions/pre_merge.yaml").delete()
    commit = locked_lake._branch("run").commit("unlock").id
    with pytest.raises(PermissionError, match="changes the server's hooks"):
        locked_lake.merge(commit, "main", "publish", RUN)
    click_merge(locked_lake, "run", {})
    assert locked_lake.paths("main") == ["a"]
    assert locked_lake.init() == [
        "Installed _lakefs_actions/pre_merge.yaml: the server refuses a merge into main that no run made."
    ]


@pytest.mark.lakefs
def test_an_older_hook_is_brought_up_to_date(lakefs_lake, monkeypatch, tmp_path):
    ours = lakefs_door._HOOK_FILE.read_bytes()
    (tmp_path / "older.yaml").write_bytes(ours.replace(b"data_version", b"older_word"))
    monkeypatch.setattr(lakefs_door, "_HOOK_FILE", tmp_path / "older.yaml")
    lakefs_lake.init()
    monkeypatch.undo()
    assert len(lakefs_lake.init()) == 1
    assert lakefs_lake.read("main", "_lakefs_actions/pre_merge.yaml") == ours
    assert lakefs_lake.init() == []


# What each method does at a server in trouble. `number` keeps the names of repetitions apart.
METHODS: dict[str, Callable[[Lake, str, int], object]] = {
    "init": lambda lake, commit, number: lake.init(),
    "resolve": lambda lake, commit, number: lake.resolve("main"),
    "read": lambda lake, commit, number: lake.read(commit, "a"),
    "fetch": lambda lake, commit, number: replace(lake, cache=lake.cache / f"{number}").fetch(commit, "a"),
    "sha256": lambda lake, commit, number: lake.sha256(commit, "a"),
    "paths": lambda lake, commit, number: lake.paths(commit),
    "branches": lambda lake, commit, number: lake.branches(),
    "create_branch": lambda lake, commit, number: lake.create_branch(f"new{number}", commit),
    "delete_branch": lambda lake, commit, number: lake.delete_branch(f"old{number}"),
    "commit": lambda lake, commit, number: write(lake, f"old{number}", {"b": b"1"}),
    "merge": lambda lake, commit, number: lake.merge(f"old{number}", "data", "merge", {}),
    "tag": lambda lake, commit, number: lake.tag(f"v{number}", commit),
    "delete_tag": lambda lake, commit, number: lake.delete_tag(f"old.{number}"),
    "tags": lambda lake, commit, number: lake.tags(),
    "diff": lambda lake, commit, number: lake.diff("data", commit),
    "log": lambda lake, commit, number: list(lake.log(commit, "a")),
}
UNREACHABLE = (
    r"lakeFS at http://127.0.0.1:\d+ does not answer: start it or correct LAKEFS_ENDPOINT; nothing is lost, "
    "re-execute the run from failure"
)


@pytest.fixture
def impatient(monkeypatch):
    """Waits for a server in trouble for a moment only."""
    monkeypatch.setattr(lakefs_connection, "_TIMEOUT", urllib3.Timeout(connect=1, read=0.5))
    monkeypatch.setattr(lakefs_connection, "_RETRIES", urllib3.Retry(total=1, allowed_methods={"GET"}))
    monkeypatch.setattr(lakefs_connection, "_PAUSES_SECONDS", (0.0,))


@pytest.fixture
def troubled(lakefs_lake, lossy_proxy, impatient):
    """The lake through the proxy, connected, and a commit of it."""
    commit = publish(lakefs_lake, "run", {"a": b"1"})
    lakefs_lake.create_branch("data", commit)
    lake = replace(lakefs_lake, endpoint=lossy_proxy.endpoint)
    lake.resolve("main")
    return lake, commit


def prepare(lake: Lake, commit: str, number: int) -> None:
    lake.create_branch(f"old{number}", commit)
    write(lake, f"old{number}", {f"{number}": b"1"})
    lake.tag(f"old.{number}", commit)


@pytest.mark.lakefs
@pytest.mark.parametrize("method", METHODS)
def test_whichever_request_the_server_dies_at_each_method_says_so_and_works_again_later(
    lakefs_lake, lossy_proxy, troubled, method
):
    lake, commit = troubled
    act, is_read = METHODS[method], not method.startswith("delete")
    for number in range(60):
        if method in ("commit", "merge") or not is_read:
            prepare(lakefs_lake, commit, number)
        lossy_proxy.fail_after(number)
        try:
            act(lake, commit, number)
        except LakeUnreachableError as error:
            assert re.fullmatch(UNREACHABLE, str(error))  # noqa: PT017
        else:
            break
        lossy_proxy.fail_after(sys.maxsize)
        with contextlib.nullcontext() if is_read else contextlib.suppress(RefNotFoundError):
            act(lake, commit, number)
    assert 0 < number < 59
    assert lakefs_lake.read("main", "a") == b"1"


@pytest.mark.lakefs
@pytest.mark.parametrize("trouble", ["hangs", "answers half"])
def test_a_server_that_never_ends_an_answer_is_given_up_in_time(lakefs_lake, lossy_proxy, troubled, trouble):
    lake, commit = troubled
    prepare(lakefs_lake, commit, 0)
    lossy_proxy.fail_after(0, trouble)
    began = time.monotonic()
    with ThreadPoolExecutor(len(METHODS)) as pool:
        ended = {name: pool.submit(act, lake, commit, 0) for name, act in METHODS.items()}
    assert time.monotonic() - began < 6
    whole = (
        {"delete_branch"} if trouble == "answers half" else set()
    )  # what has no content has no second half
    assert {name: type(run.exception()) for name, run in ended.items() if name not in whole} == dict.fromkeys(
        METHODS.keys() - whole, LakeUnreachableError
    )


def test_a_server_that_is_not_there_is_named_with_what_to_do(tmp_path, impatient):
    lake = lakefs_door.LakeFSLake("http://127.0.0.1:1", "key", "secret", "cv-assets", tmp_path)
    for act in METHODS.values():
        with pytest.raises(LakeUnreachableError, match=UNREACHABLE):
            act(lake, "0" * 64, 0)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:1", "http://", "nonsense", "http://no-such-host.invalid"])
def test_an_endpoint_that_is_no_address_is_named_with_what_to_do(tmp_path, impatient, endpoint):
    lake = lakefs_door.LakeFSLake(endpoint, "key", "secret", "cv-assets", tmp_path)
    with pytest.raises(LakeUnreachableError, match="correct LAKEFS_ENDPOINT"):
        lake.resolve("main")


@pytest.mark.lakefs
def test_keys_that_the_server_refuses_are_named_with_what_to_do(lakefs_lake):
    lakefs_lake.resolve("main")
    with pytest.raises(LakeError, match="refuses the keys: correct LAKECTL_CREDENTIALS_ACCESS_KEY_ID"):
        replace(lakefs_lake, secret_access_key="wrong").resolve("main")  # noqa: S106


class Page(http.server.BaseHTTPRequestHandler):
    """Another program's page, whatever is asked."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html>Welcome</html>")

    def log_message(self, *_):
        pass


def test_another_program_at_the_endpoint_is_not_taken_for_a_lakefs(tmp_path, impatient):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        lake = lakefs_door.LakeFSLake(endpoint, "key", "secret", "cv-assets", tmp_path)
        with pytest.raises(LakeUnreachableError, match="correct LAKEFS_ENDPOINT"):
            lake.resolve("main")
        server.shutdown()
