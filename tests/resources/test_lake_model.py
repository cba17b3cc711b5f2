"""Any sequence of operations leaves a lake as a few dictionaries say, also when writers are killed in between."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from resources import git_lake as embedded
from resources import git_trees
from resources.git_lake import GitLake
from resources.lake import (
    Change,
    Commit,
    CrossedMergeError,
    Lake,
    LakeError,
    MergeConflictError,
    RefExistsError,
    RefNotFoundError,
)
from resources.tables import table_path

State = dict[str, bytes]

# Two assets, one of them in partitions, and bytes beside them under a name that is a folder too.
SPEC, DAY_1, DAY_2 = table_path("spec"), table_path("frames", "d1"), table_path("frames", "d2")
PATHS = [SPEC, DAY_1, DAY_2, "frames/d1", "frames/d1/0.png", "frames/d1/1.png"]
FILES = st.dictionaries(st.sampled_from(PATHS), st.sampled_from([b"", b"1", b"2"]), max_size=3)
BRANCHES = st.sampled_from(["main", "one", "two"])
NAMES = BRANCHES | BRANCHES | st.sampled_from(["v1", "v1.0", "nothing"])
# A number is the commit made so many before the newest.
REFS = BRANCHES | st.integers(0, 9) | NAMES
PREFIXES = st.sampled_from(["", "tables/", "tables/frames/d", "frames/d1", "frames/d1/", "nothing"])


@dataclass(frozen=True)
class Known:
    """What was told of a commit when it was made."""

    files: State
    parents: tuple[str, ...]
    message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class EmbeddedStorage:
    """What the embedded lake keeps on disk, and what a killed process leaves there."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / "lake"

    def open(self) -> Lake:
        embedded._handles.__dict__.clear()
        return GitLake(self._root)

    def kill_writer(self, branch: str, files: State) -> bool:
        """After its last object, with the commit made and the branch about to move."""
        lake = GitLake(self._root)
        repo, head = lake._repo(), lake._head(branch)
        written = lake._store(files)
        tree = git_trees.put(repo, head.tree, written)
        commit = embedded._write_commit(repo, tree, [head.id], "killed", {})
        unfinished = self._root / "repo.git/lfs/tmp/unfinished"
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(b"half an obj")
        (self._root / f"repo.git/refs/heads/{branch}.lock").write_text(str(commit)[:20])
        return False


class LakeFSStorage:
    """A repository on the server, and what a killed process leaves staged there."""

    def __init__(self, lake: Any, folder: Path) -> None:
        self._lake, self._folder, self._opened = lake, folder, count()

    def open(self) -> Lake:
        self._lake = replace(self._lake, cache=self._folder / f"cache{next(self._opened)}")
        return self._lake

    def kill_writer(self, branch: str, files: State) -> bool:
        """After its last upload. Whether the branch takes no merge until it was written to."""
        if branch == "main":
            return False
        for path, content in files.items():
            self._lake._send(branch, path, content)
        self._lake._send(branch, "stray", b"stray")
        return True


class LakeMachine(RuleBasedStateMachine):
    """Does each operation on the lake and on the model: what every ref names, and every commit that was made."""

    def __init__(self, storage: EmbeddedStorage | LakeFSStorage) -> None:
        super().__init__()
        self.storage = storage
        self.lake = storage.open()
        first = self.lake.resolve("main")
        self.commits = {first: Known({}, ())}
        self.branches = dict.fromkeys(("main", "one", "two"), first)
        for branch in ("one", "two"):
            self.lake.create_branch(branch, first)
        self.tags: dict[str, str] = {}
        # Branches where a killed writer's uploads are staged.
        self.staged: set[str] = set()
        self.numbers = count()

    @rule(name=BRANCHES | st.just("v1"), source=REFS)
    def cut_a_branch(self, name, source):
        self._name(name, source, self.lake.create_branch, self.branches, self.tags)

    @rule(branch=NAMES, files=FILES)
    def write(self, branch, files):
        refusals = self._refusals_of_write(branch, files)
        if refusals:
            with self._refused(*refusals):
                self.lake.commit(branch, files, "refused", {})
        else:
            self._commit(branch, files)

    @rule(branch=BRANCHES, files=FILES.filter(bool), missing=st.sampled_from(PATHS))
    def fail_at_a_file_that_is_not_there(self, branch, files, missing):
        contents = {**files, missing: Path("/nowhere/at/all")}
        refusals = self._refusals_of_write(branch, contents)
        with self._refused(FileNotFoundError, *refusals) as caught:
            self.lake.commit(branch, contents, "refused", {})
        if caught.type is FileNotFoundError:
            self.staged.discard(branch)

    @rule(source=REFS, branch=NAMES)
    def merge(self, source, branch):
        self._merge(self._ref(source), branch)

    @rule(second=BRANCHES, rows=st.sampled_from([b"1", b"2"]))
    def take_each_other_in(self, second, rows):
        """Two branches that parted. From then on both of their heads are common ancestors: nothing merges them."""
        if {"one", second} <= self.branches.keys():
            theirs = self.branches[second] if second == "main" else self._commit(second, {DAY_2: rows})
            ours = self._commit("one", {DAY_1: rows})
            self._merge(theirs, "one")
            self._merge(ours, second)

    @rule(branch=BRANCHES, age=st.integers(0, 3), table=st.sampled_from([SPEC, DAY_1, DAY_2]), rows=FILES)
    def publish(self, branch, age, table, rows):
        """As a step does it: on a branch of its own, cut where its inputs were read."""
        if branch in self.branches:
            work = self._cut_work(branch, age)
            audited = self._commit(work, {table: b"rows %d" % len(rows)})
            self._merge(audited, branch)
            self.lake.delete_branch(work)
            del self.branches[work]

    @rule(branch=BRANCHES, age=st.integers(0, 3), files=FILES.filter(bool), commits=st.integers(0, 1))
    def crash_in_a_publication(self, branch, age, files, commits):
        """Its branch stays behind and is all there is to see."""
        if branch in self.branches:
            work = self._cut_work(branch, age)
            for _ in range(commits):
                self._commit(work, {DAY_1: b"abandoned"})
            self._kill_writer(work, files)
            self.lake = self.storage.open()

    @rule(branch=BRANCHES, files=FILES)
    def crash_on_a_shared_branch(self, branch, files):
        if branch in self.branches:
            self._kill_writer(branch, files)
            self.lake = self.storage.open()

    @rule(name=st.sampled_from(["main", "two", "v1", "v1.0"]), ref=REFS)
    def tag(self, name, ref):
        self._name(name, ref, self.lake.tag, self.tags, self.branches)

    def _name(self, name, ref, give, own, others):
        """Name a commit by `give`; a name of the `others`, or one that stands elsewhere, is refused."""
        ref = self._ref(ref)
        commit = self._commit_of(ref)
        if commit is None:
            with self._refused(RefNotFoundError):
                give(name, ref)
        elif name in others or own.get(name, commit) != commit:
            with self._refused(RefExistsError):
                give(name, ref)
        else:
            give(name, ref)
            own[name] = commit

    @rule(name=NAMES, abandoned=st.booleans())
    def delete_a_branch(self, name, abandoned):
        works = [branch for branch in self.branches if branch.startswith("work-")]
        branch = works[0] if abandoned and works else name
        if branch == "main":
            with self._refused(ValueError):
                self.lake.delete_branch(branch)
        elif branch not in self.branches:
            with self._refused(RefNotFoundError):
                self.lake.delete_branch(branch)
        else:
            self.lake.delete_branch(branch)
            del self.branches[branch]
            self.staged.discard(branch)

    @rule(base=REFS, ref=REFS, prefix=PREFIXES)
    def diff(self, base, ref, prefix):
        base, ref = self._ref(base), self._ref(ref)
        before, after = self._commit_of(base), self._commit_of(ref)
        if before is None or after is None:
            with self._refused(RefNotFoundError):
                self.lake.diff(base, ref, prefix)
        else:
            changes = difference(self.commits[before].files, self.commits[after].files)
            expected = [change for change in changes if change.path.startswith(prefix)]
            assert self.lake.diff(base, ref, prefix) == expected

    @rule(ref=REFS, path=st.sampled_from(["", "frames", "nothing", *PATHS]))
    def log(self, ref, path):
        ref = self._ref(ref)
        newest = self._commit_of(ref)
        if newest is None:
            with self._refused(RefNotFoundError):
                next(self.lake.log(ref, path))
        else:
            logged = list(self.lake.log(ref, path))
            assert [commit.id for commit in logged] == self._history(newest, path)
            assert all(self._is_known(commit) for commit in logged if commit.parents)

    @rule(ref=REFS, path=st.sampled_from(["frames", "nothing", *PATHS]), prefix=PREFIXES)
    def read(self, ref, path, prefix):
        ref = self._ref(ref)
        commit = self._commit_of(ref)
        if commit is None:
            for look in (self.lake.resolve, self.lake.paths):
                with self._refused(RefNotFoundError):
                    look(ref)
        files = self.commits[commit].files if commit else {}
        missing = FileNotFoundError if commit else RefNotFoundError
        for look in (self.lake.read, self.lake.fetch):
            if path not in files:
                with self._refused(missing):
                    look(ref, path)
        if path in files:
            assert self.lake.fetch(ref, path).read_bytes() == files[path]
        if commit:
            assert self.lake.paths(ref, prefix) == sorted(p for p in files if p.startswith(prefix))

    @invariant()
    def every_ref_reads_as_the_model_says(self):
        assert (self.lake.branches(), self.lake.tags()) == (self.branches, self.tags)
        for ref, commit in (self.branches | self.tags).items():
            assert self.lake.resolve(ref) == commit
            assert self._read_all(ref) == self.commits[commit].files

    def teardown(self):
        """No commit changed since, whether a ref still names it or not."""
        for commit, known in self.commits.items():
            assert self._read_all(commit) == known.files

    def _read_all(self, ref: str) -> State:
        return {path: self.lake.read(ref, path) for path in self.lake.paths(ref)}

    def _ref(self, ref: str | int) -> str:
        return ref if isinstance(ref, str) else list(self.commits)[-1 - ref % len(self.commits)]

    def _commit_of(self, ref: str) -> str | None:
        return ref if ref in self.commits else (self.branches | self.tags).get(ref)

    def _history(self, newest: str, path: str = "") -> list[str]:
        """Along first parents; with `path`, what changed the object there."""
        line = [newest]
        while parents := self.commits[line[-1]].parents:
            line.append(parents[0])
        objects = [self.commits[commit].files.get(path) for commit in line] + [None]
        return [commit for i, commit in enumerate(line) if not path or objects[i] != objects[i + 1]]

    def _ancestors(self, commit: str) -> set[str]:
        """The commit among them."""
        found, ahead = {commit}, [commit]
        while ahead:
            new = set(self.commits[ahead.pop()].parents) - found
            found |= new
            ahead += new
        return found

    def _merge_bases(self, ours: str, theirs: str) -> list[str]:
        """Of the common ancestors, those that are no ancestor of another one."""
        common = self._ancestors(ours) & self._ancestors(theirs)
        behind = {old for commit in common for old in self._ancestors(commit) - {commit}}
        return sorted(common - behind)

    def _is_known(self, commit: Commit) -> bool:
        known = self.commits[commit.id]
        said = (commit.parents, commit.message, commit.metadata)
        return said == (known.parents, known.message, known.metadata)

    def _refusals_of_write(self, branch: str, files: Mapping[str, object]) -> list[type[Exception]]:
        head = self.branches.get(branch)
        state = self.commits[head].files if head else {}
        refusals = {
            RefNotFoundError: head is None,
            PermissionError: branch == "main",
            ValueError: not files or has_clash({*state, *files}),
        }
        return [error for error, applies in refusals.items() if applies]

    @contextmanager
    def _refused(self, *errors: type[Exception]) -> Iterator[pytest.ExceptionInfo[Exception]]:
        """That nothing changed is seen by the invariant."""
        with pytest.raises(errors) as caught:
            yield caught

    def _learn(self, branch: str, commit: str, known: Known) -> str:
        self.commits[commit] = known
        self.branches[branch] = commit
        assert self._is_known(next(self.lake.log(commit)))
        return commit

    def _commit(self, branch: str, files: State) -> str:
        message, metadata = f"write {next(self.numbers)}", {"branch": branch}
        head = self.branches[branch]
        commit = self.lake.commit(branch, files, message, metadata)
        self.staged.discard(branch)
        known = Known(self.commits[head].files | files, (head,), message, metadata)
        return self._learn(branch, commit, known)

    def _merge(self, source: str, branch: str) -> None:
        theirs, ours = self._commit_of(source), self.branches.get(branch)
        message, metadata = f"merge {next(self.numbers)}", {"source": source}
        if theirs is None or ours is None:
            with self._refused(RefNotFoundError):
                self.lake.merge(source, branch, message, metadata)
            return
        base, *others = self._merge_bases(ours, theirs)
        if others:
            with self._refused(CrossedMergeError):
                self.lake.merge(source, branch, message, metadata)
            return
        states = [self.commits[commit].files for commit in (base, ours, theirs)]
        expected = merge_states(*states)
        try:
            merged = self.lake.merge(source, branch, message, metadata)
        except MergeConflictError as conflict:
            must_name(conflict, branch, expected)
        except LakeError:
            assert branch in self.staged
        else:
            files = self._read_all(merged)
            assert files == expected
            assert (merged == ours) == (files == states[1])
            if merged != ours:
                assert branch not in self.staged
                self._learn(branch, merged, Known(files, (ours, theirs), message, metadata))

    def _cut_work(self, branch: str, age: int) -> str:
        history = self._history(self.branches[branch])
        pin = history[min(age, len(history) - 1)]
        work = f"work-{next(self.numbers)}"
        self.lake.create_branch(work, pin)
        self.branches[work] = pin
        return work

    def _kill_writer(self, branch: str, files: State) -> None:
        state = self.commits[self.branches[branch]].files
        fitting = {} if has_clash({*state, *files}) else files
        if self.storage.kill_writer(branch, fitting):
            self.staged.add(branch)


def has_clash(paths: set[str]) -> bool:
    return any(other.startswith(f"{path}/") for path in paths for other in paths)


def merge_states(base: State, ours: State, theirs: State) -> State | set[str]:
    """The merged files, or the paths in conflict."""
    changed = {path for path in theirs if theirs[path] != base.get(path)}
    if conflicts := {path for path in changed if ours.get(path) not in (base.get(path), theirs[path])}:
        return conflicts
    merged = ours | {path: theirs[path] for path in changed}
    both = {path for path in merged if any(other.startswith(f"{path}/") for other in merged)}
    return both or merged


def must_name(conflict: MergeConflictError, branch: str, paths: State | set[str]) -> None:
    assert (conflict.branch, set(conflict.paths)) == (branch, paths)


def difference(before: State, after: State) -> list[Change]:
    added = [Change(path, "added") for path in after.keys() - before.keys()]
    removed = [Change(path, "removed") for path in before.keys() - after.keys()]
    changed = [Change(path, "changed") for path in before.keys() & after if before[path] != after[path]]
    return sorted(added + removed + changed, key=lambda change: change.path)


def drive(storage: Callable[[], EmbeddedStorage | LakeFSStorage], share: float, steps: int) -> int:
    """`share` of the profile's examples; the same ones every time unless the profile asks for thoroughness.

    How many sequences were driven.
    """
    sequences = count()

    def machine() -> LakeMachine:
        next(sequences)
        return LakeMachine(storage())

    chosen = settings(
        max_examples=max(1, int(settings.default.max_examples * share)),
        stateful_step_count=steps,
        derandomize=settings.get_current_profile_name() != "thorough",
        database=None,
        phases=(Phase.generate, Phase.shrink),
    )
    run_state_machine_as_test(machine, settings=chosen)
    return next(sequences)


def test_the_embedded_lake_is_as_the_model_says(tmp_path_factory):
    driven = drive(lambda: EmbeddedStorage(tmp_path_factory.mktemp("model")), share=0.4, steps=30)
    print(f"{driven} sequences")


@pytest.mark.lakefs
def test_a_lakefs_is_as_the_model_says(lakefs_lake, tmp_path_factory):
    numbers = count()

    def repository() -> LakeFSStorage:
        name = f"{lakefs_lake.repository}-{next(numbers)}"
        lake = replace(
            lakefs_lake, repository=name, storage_namespace=f"{lakefs_lake.storage_namespace}-{name[-4:]}"
        )
        return LakeFSStorage(lake, tmp_path_factory.mktemp("cache"))

    print(f"{drive(repository, share=0.07, steps=25)} sequences")
