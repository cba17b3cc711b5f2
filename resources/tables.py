"""The one IO manager: every asset is a Parquet table in the lake, published by write, audit, publish.

A step reads one commit, its *pin*: the head of its data branch when it first asked. Its table is written to a
short-lived branch cut from that pin, audited, then merged. If another run changed the same table meanwhile the merge
conflicts and the step runs again from the new head; a table whose checks failed is never merged.
"""

import io
import itertools
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, NoReturn, get_args
from weakref import WeakKeyDictionary

import dagster as dg
import dataframely as dy
import polars as pl

from resources.contracts import Table, digest
from resources.deployments import Deployment, current, open_lake
from resources.lake import Content, CrossedMergeError, Lake, LakeError, MergeConflictError, RefNotFoundError
from resources.lake_names import MAIN
from resources.let_go import let_go, told

REQUESTS: Final = "training_request"
"""The asset whose publication on the data branch starts a candidate."""

MAX_RECOMPUTES: Final = 5
"""How often a step is computed again because its table changed meanwhile."""

FILES_LINKED: Final = 5
"""Up to this many published files are linked one by one."""

READS_LISTED: Final = 5
"""Up to this many reads from one folder are listed one by one."""

FOLDERS_LISTED: Final = 20
"""Up to this many folders inside one folder are listed one by one: a commit message is read with every log."""


Kind = Literal["candidate", "work", "refused"]
"""What a branch is for that is no data branch: a candidate, a publication under way, a table that failed its audit."""

KINDS: Final[tuple[str, ...]] = get_args(Kind)

_SERVING: Final = re.compile(
    rf"(?:(?P<data_branch>.+?)-)??(?:(?P<kind>{'|'.join(KINDS)})-(?P<name>.+)|(?P<version>v\d+\.\d+\.\d+))"
)
"""The names that `branch_name` and `tag_name` give."""


@dataclass(frozen=True)
class Served:
    """What a branch or tag is for: a kind of KINDS, or `release` for the tag of a version; and its data branch."""

    data_branch: str
    kind: str
    name: str


@dataclass(frozen=True)
class Snapshot:
    """The lake at one commit; every read names it. `reads` collects the paths that were read."""

    lake: Lake
    commit: str
    reads: set[str] = field(default_factory=set)

    def read(self, path: str) -> bytes:
        """The bytes at `path`. Raises FileNotFoundError, LetGoError among them."""
        with told(self.lake, [path]):
            content = self.lake.read(self.commit, path)
        self.reads.add(path)
        return content

    def fetch(self, path: str) -> Path:
        """A local, read-only file with the bytes at `path`. Raises FileNotFoundError, LetGoError among them."""
        with told(self.lake, [path]):
            file = self.lake.fetch(self.commit, path)
        self.reads.add(path)
        return file

    def fetch_all(self, paths: Iterable[str]) -> list[Path]:
        """A local, read-only file for each of `paths`. Raises FileNotFoundError, LetGoError among them."""
        wanted = list(paths)
        with told(self.lake, wanted):
            files = self.lake.fetch_all(self.commit, wanted)
        self.reads.update(wanted)
        return files

    def let_go(self, paths: Iterable[str]) -> dict[str, str]:
        """Those of `paths` that retention let go of since or before, each with when and by which rule, in words."""
        return let_go(self.lake, paths)

    def partitions(self, asset: str) -> list[str]:
        """The partitions of `asset` that were published, sorted."""
        prefix = f"tables/{asset}/"
        return [
            path.removeprefix(prefix).removesuffix(".parquet")
            for path in self.lake.paths(self.commit, prefix)
        ]

    def has(self, asset: str, partition: str | None = None) -> bool:
        """Whether that table is published."""
        path = table_path(asset, partition)
        return path in self.lake.paths(self.commit, path)

    def table(
        self, asset: str, partition: str | None = None, *, or_empty: type[dy.Schema] | None = None
    ) -> pl.DataFrame:
        """One published table. A missing one is an empty table of `or_empty`, else FileNotFoundError."""
        path = table_path(asset, partition)
        try:
            file = self.fetch(path)
        except FileNotFoundError:
            if or_empty is not None:
                return or_empty.create_empty()
            raise FileNotFoundError(
                f"{asset}{f'[{partition}]' if partition else ''} is not published as of commit "
                f"{self.commit[:12]}: materialize it first"
            ) from None
        return pl.read_parquet(file)

    def tables(self, asset: str, *, or_empty: type[dy.Schema] | None = None) -> pl.DataFrame:
        """All published partitions of `asset`, one below the other, in the order of their keys.

        A column that only some have, by another version of the contract, is null for the others.
        """
        keys = self.partitions(asset)
        if not keys:
            return self.table(asset, or_empty=or_empty)
        files = self.fetch_all(table_path(asset, key) for key in keys)
        schema = {name: kind for file in files for name, kind in pl.read_parquet_schema(file).items()}
        return pl.scan_parquet(files, schema=schema, missing_columns="insert").collect()

    def columns(
        self,
        asset: str,
        names: Sequence[str],
        *,
        schema: type[dy.Schema],
        partitions: Iterable[str] | None = None,
    ) -> pl.DataFrame:
        """Some columns of all published partitions of `asset`, or of these `partitions`; `schema` is its contract.

        The files are mapped, not loaded: they may be thousands.
        """
        keys = self.partitions(asset) if partitions is None else partitions
        empty = schema.create_empty().select(names)
        if not (files := self.fetch_all(table_path(asset, key) for key in keys)):
            return empty
        # What was published under an earlier contract may have other columns beside these.
        return pl.scan_parquet(files, schema=empty.schema, extra_columns="ignore").select(names).collect()


@dataclass(frozen=True)
class Work:
    """A short-lived branch, cut at the commit `pin`; it takes in the commit `brings`, if there is one, first.

    It no longer lists the paths that it `removes`.
    """

    branch: str
    pin: str
    brings: str = ""
    why: str = ""
    removes: tuple[str, ...] = ()


def publish(
    lake: Lake,
    work: Work,
    branch: str,
    files: Mapping[str, Content],
    message: str,
    metadata: Mapping[str, str],
) -> str:
    """Write `files` onto the work branch and merge that into `branch`; the id of the merge.

    The work branch is gone afterwards. Raises as `Lake.commit` and `Lake.merge` do.
    """
    lake.create_branch(work.branch, work.pin)
    try:
        if work.brings:
            lake.merge(work.brings, work.branch, work.why, metadata)
        audited = lake.commit(work.branch, files, f"{message}, audited", metadata, work.removes)
        return lake.merge(audited, branch, f"{message}, published", metadata)
    finally:
        # Whoever was quicker, a sweep perhaps: gone is gone.
        with suppress(RefNotFoundError):
            lake.delete_branch(work.branch)


def at(ref: str) -> Snapshot:
    """The lake that the environment describes, at a tag, a branch or a commit: for reading, without Dagster.

    Raises RefNotFoundError.
    """
    lake = open_lake(current())
    return Snapshot(lake, lake.resolve(ref))


@contextmanager
def in_words() -> Iterator[None]:
    """Around the lake in a step: what it cannot do now ends the step with that sentence, not with Dagster's."""
    try:
        yield
    except LakeError as error:
        raise dg.Failure(str(error)) from error


class Tables(dg.IOManager):
    """Reads inputs at the step's pin and publishes what passed its audit."""

    def __init__(self, deployment: Deployment, lake: Lake | None = None) -> None:
        """`lake` is the deployment's own when None is given, opened on first use: definitions load without it."""
        self.deployment = deployment
        self._lake = lake
        # One resource instance serves all steps of a process: the pin belongs to the step's attempt.
        self._pins: WeakKeyDictionary[Any, Snapshot] = WeakKeyDictionary()

    @property
    def lake(self) -> Lake:
        """The lake of the deployment."""
        if self._lake is None:
            self._lake = open_lake(self.deployment)
        return self._lake

    def head(self) -> Snapshot:
        """The data branch as it is now: for sensors, which pin nothing."""
        return Snapshot(self.lake, self.lake.resolve(self.deployment.branch))

    def candidate(self, key: str) -> Snapshot | None:
        """The candidate's data branch as it is now; None before its first step ran."""
        try:
            return Snapshot(self.lake, self.lake.resolve(candidate_branch(self.deployment.branch, key)))
        except RefNotFoundError:
            return None

    def snapshot(self, context: dg.AssetExecutionContext) -> Snapshot:
        """The commit that this step's inputs come from, for reading bytes and histories in an asset's body."""
        return self._pin(context.op_execution_context.get_step_execution_context())

    def load_input(self, context: dg.InputContext) -> pl.DataFrame:
        """The upstream table at the pin; several partitions one below the other, unpublished ones left out."""
        snapshot, asset = self._pin(context.step_context), context.asset_key.path[-1]
        context.log.info(f"{asset} is read at commit {snapshot.commit}")
        if not context.has_asset_partitions:
            return snapshot.table(asset)
        keys = context.asset_partition_keys
        if len(keys) == 1:
            return snapshot.table(asset, keys[0])
        published = set(snapshot.partitions(asset))
        found = sorted(published.intersection(keys))
        if not found:
            raise FileNotFoundError(
                f"no partition of {asset} is published as of commit {snapshot.commit[:12]}"
            )
        return pl.scan_parquet(snapshot.fetch_all(table_path(asset, key) for key in found)).collect()

    @in_words()
    def handle_output(self, context: dg.OutputContext, obj: Table) -> None:
        """Publish `obj` in one transaction on the step's data branch.

        Raises dg.Failure when a blocking check failed, dg.RetryRequested when the table changed meanwhile.
        """
        snapshot, branch = self._pin(context.step_context), self._branch(context.step_context)
        asset = context.asset_key.path[-1]
        path = table_path(asset, context.partition_key if context.has_asset_partitions else None)
        metadata = self._commit_metadata(context, obj, snapshot)
        if obj.refused_by:
            self._keep_refused(snapshot, asset, path, obj, metadata)
        commit = self._publish(context, snapshot, branch, path, obj, metadata)
        if obj.tags is not None:
            self._tag_publications(branch, path)
        context.add_output_metadata(
            {
                "dagster/row_count": obj.rows.height,
                "dagster/uri": self.lake.url(commit, path),
                "lake/commit": commit,
                "lake/branch": branch,
                "lake/path": path,
                "lake/input_commit": snapshot.commit,
                "lake/reads": _in_short(snapshot.reads),
                "lake/link": dg.MetadataValue.url(self.lake.url(commit, path)),
                "lake/commit_link": dg.MetadataValue.url(self.lake.url(commit)),
                "lake/files": self._files(commit, list(obj.files)),
            }
        )

    def _pin(self, step: Any) -> Snapshot:
        if step not in self._pins:
            self._pins[step] = Snapshot(self.lake, self._resolve(self._branch(step), step))
        return self._pins[step]

    def _branch(self, step: Any) -> str:
        # The asset decides, not the job: a click on Materialize or a backfill stays behind the gate too.
        if step.op_def.tags.get("lake/branch") == "candidate":
            return candidate_branch(self.deployment.branch, step.partition_key)
        return self.deployment.branch

    def _resolve(self, branch: str, step: Any) -> str:
        try:
            return self.lake.resolve(branch)
        except RefNotFoundError:
            if branch == self.deployment.branch:
                raise
        start = request_commit(self.lake, self.deployment.branch, step.partition_key)
        if start is None:
            raise dg.Failure(
                f"Candidate {step.partition_key} has no training request on {self.deployment.branch}. "
                f"Materialize {REQUESTS} for it first.",
                allow_retries=False,
            )
        self.lake.create_branch(branch, start)
        return start

    def _publish(
        self,
        context: dg.OutputContext,
        snapshot: Snapshot,
        branch: str,
        path: str,
        obj: Table,
        metadata: dict[str, str],
    ) -> str:
        if not obj.merges and _unchanged(snapshot, path, obj):
            return self._head_that_kept(context, snapshot, branch, path)
        name, height = _table_name(metadata), obj.rows.height
        message = f"{name}: {height} {'row' if height == 1 else 'rows'}"
        cut = self._short_lived("work", context.asset_key.path[-1])
        work = Work(cut, snapshot.commit, removes=obj.removes)
        if obj.merges:
            work = replace(work, brings=obj.merges, why=f"{name}: brings {obj.merges[:12]}")
        try:
            files = {**obj.files, path: parquet(obj.rows)}
            return publish(self.lake, work, branch, files, message, metadata)
        except MergeConflictError as conflict:
            if conflict.branch == work.branch:
                raise dg.Failure(
                    f"Commit {obj.merges[:12]} cannot enter {branch}: both changed {', '.join(conflict.paths)}.",
                    allow_retries=False,
                ) from conflict
            self._compute_again(context, branch, conflict.paths)
        except CrossedMergeError as crossed:
            # Another run brought the same candidate: as of the new head it is there already.
            if crossed.branch == work.branch:
                raise
            self._compute_again(context, branch, [path])

    def _head_that_kept(self, context: dg.OutputContext, snapshot: Snapshot, branch: str, path: str) -> str:
        """The head of the branch, which holds at `path` what the step would publish."""
        head = self.lake.resolve(branch)
        if self.lake.diff(snapshot.commit, head, path):
            self._compute_again(context, branch, [path])
        context.log.info(f"{path} is unchanged: nothing is published")
        return head

    def _short_lived(self, kind: Kind, asset: str) -> str:
        return branch_name(self.deployment.branch, kind, f"{asset}-{uuid.uuid4().hex[:8]}")

    def _compute_again(self, context: dg.OutputContext, branch: str, paths: Iterable[str]) -> NoReturn:
        if context.step_context.previous_attempt_count >= MAX_RECOMPUTES:
            raise dg.Failure(
                f"{', '.join(paths)} changed on {branch} each of the {MAX_RECOMPUTES + 1} times that this step "
                "computed it: others publish it all the time. Nothing is published of this run: re-execute it from "
                "failure when they are done.",
                allow_retries=False,
            )
        context.log.warning(
            f"{', '.join(paths)} changed on {branch} meanwhile: computing again from its new head"
        )
        raise dg.RetryRequested(max_retries=MAX_RECOMPUTES)

    def _keep_refused(
        self, snapshot: Snapshot, asset: str, path: str, obj: Table, metadata: dict[str, str]
    ) -> None:
        work, branch = self._short_lived("work", asset), self._short_lived("refused", asset)
        message = f"{_table_name(metadata)}: refused by {', '.join(obj.refused_by)}"
        self.lake.create_branch(work, snapshot.commit)
        try:
            commit = self.lake.commit(work, {**obj.files, path: parquet(obj.rows)}, message, metadata)
            # Only now: a branch of refused data is never an empty one.
            self.lake.create_branch(branch, commit)
        finally:
            self.lake.delete_branch(work)
        raise dg.Failure(
            f"{asset} is not published: it failed {', '.join(obj.refused_by)}. "
            f"The refused data waits on branch {branch}.",
            metadata={
                "checks": list(obj.refused_by),
                "branch": branch,
                "lake/link": dg.MetadataValue.url(self.lake.url(commit, path)),
            },
            allow_retries=False,
        )

    def _commit_metadata(self, context: dg.OutputContext, obj: Table, snapshot: Snapshot) -> dict[str, str]:
        return {
            "run_id": context.run_id,
            "asset": context.asset_key.path[-1],
            "partition": context.partition_key if context.has_asset_partitions else "",
            "code_version": context.asset_spec.code_version or "",
            "rows": str(obj.rows.height),
            "data_version": obj.data_version,
            "input_commit": snapshot.commit,
            "reads": json.dumps(_in_short(snapshot.reads)),
            "tags": json.dumps(dict(obj.tags or {})),
            "::lakefs::Dagster::url[url:ui]": f"{self.deployment.dagster_url}/runs/{context.run_id}",
        }

    def _files(self, commit: str, paths: list[str]) -> dg.MetadataValue[Any]:
        """How many there are; a few are linked."""
        if len(paths) > FILES_LINKED:
            return dg.MetadataValue.int(len(paths))
        return dg.MetadataValue.md("\n".join(f"- [{path}]({self.lake.url(commit, path)})" for path in paths))

    def _tag_publications(self, branch: str, path: str) -> None:
        """Set the tags that the table's publications ask for; one lost to a crash is set by the next publication."""
        for commit in self.lake.log(branch, path):
            for name, target in json.loads(commit.metadata.get("tags", "{}")).items():
                self.lake.tag(name, target or commit.id)


def table_path(asset: str, partition: str | None = None) -> str:
    """Where the table of an asset, or of one partition of it, lies in the lake."""
    return f"tables/{asset}/{partition}.parquet" if partition else f"tables/{asset}.parquet"


def table_of(path: str) -> tuple[str, str]:
    """The asset and the partition of a table's path; an empty partition for an asset without."""
    asset, _, partition = path.removeprefix("tables/").removesuffix(".parquet").partition("/")
    return asset, partition


def candidate_branch(data_branch: str, candidate: str) -> str:
    """The data branch of a candidate; on another data branch than `main` it carries that branch's name."""
    return branch_name(data_branch, "candidate", candidate)


def branch_name(data_branch: str, kind: Kind, name: str) -> str:
    """A branch that serves `data_branch`; on another one than `main` it carries that branch's name."""
    return tag_name(data_branch, f"{kind}-{name}")


def served(ref: str) -> Served | None:
    """What a branch or tag serves, from its name alone; None for a data branch.

    It is unambiguous because no experiment has a word of KINDS in its name.
    """
    found = _SERVING.fullmatch(ref)
    if found is None:
        return None
    return Served(found["data_branch"] or MAIN, found["kind"] or "release", found["name"] or found["version"])


def tag_name(data_branch: str, name: str) -> str:
    """A tag for all of the lake; on another data branch than `main` it carries that branch's name."""
    return name if data_branch == "main" else f"{data_branch}-{name}"


def request_commit(lake: Lake, ref: str, candidate: str) -> str | None:
    """The commit up to `ref` that first published the candidate's request, from the lake's own log."""
    commits = [commit.id for commit in lake.log(ref, table_path(REQUESTS, candidate))]
    return commits[-1] if commits else None


def parquet(rows: pl.DataFrame) -> bytes:
    """The rows as the bytes of a Parquet file."""
    stream = io.BytesIO()
    rows.write_parquet(stream)
    return stream.getvalue()


def _table_name(metadata: Mapping[str, str]) -> str:
    """As people call it: with its partition, if it has one."""
    partition = metadata["partition"]
    return f"{metadata['asset']}[{partition}]" if partition else metadata["asset"]


def _in_short(paths: Iterable[str]) -> list[str]:
    """The paths, sorted; where a folder has many files, or many folders with files, the folder and how many."""
    short = []
    for top, inside in itertools.groupby(
        sorted(paths, key=_folder_first), key=lambda path: path.split("/")[0]
    ):
        names = list(inside)
        folders = {path.rpartition("/")[0] for path in names}
        short += _by_folder(names) if len(folders) <= FOLDERS_LISTED else [f"{top}/ ({len(names)} files)"]
    return short


def _by_folder(paths: list[str]) -> list[str]:
    short = []
    for folder, inside in itertools.groupby(paths, key=lambda path: path.rpartition("/")[0]):
        names = list(inside)
        short += names if len(names) <= READS_LISTED else [f"{folder}/ ({len(names)} files)"]
    return short


def _folder_first(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name


def _unchanged(snapshot: Snapshot, path: str, obj: Table) -> bool:
    try:
        published = pl.read_parquet(snapshot.fetch(path))
    except FileNotFoundError:
        return False
    same_rows = published.schema == obj.rows.schema and digest(published, obj.volatile) == obj.data_version
    return same_rows and all(
        set(files) <= set(snapshot.lake.paths(snapshot.commit, f"{folder}/"))
        for folder, files in itertools.groupby(
            sorted(obj.files), key=lambda path: str(PurePosixPath(path).parent)
        )
    )
