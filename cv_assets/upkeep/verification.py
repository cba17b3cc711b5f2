"""Whether the lake still holds what was written: every object is read anew, and every row that names one is followed.

An object whose name holds a sha256 must have that hash, a row that states one is held to it. The first state that is
verified is read whole; of each other one only what differs from it, and of the commits behind one only what it no
longer holds, so that hardly an object is read twice. What the spec's retention let go of is no damage when its bytes
are gone, and a problem while they are there.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any, Final

import polars as pl

from cv_assets.upkeep.erasing import erase
from cv_assets.upkeep.holdings import HASH_IN_NAME
from cv_assets.upkeep.schema import LakeVerification, LetGo
from cv_assets.words import counted
from resources.lake import Commit, DamagedError, Lake, RefNotFoundError
from resources.lake_names import MAIN
from resources.let_go import let_go
from resources.tables import Snapshot

THREADS: Final = 8

_RESTORE: Final = "Restore the object from a backup of the lake: any copy with the right sha256 is right."
_STILL_THERE: Final = "It was let go, and its bytes are still there."
_ERASE: Final = "Launch the job apply_retention or sweep_lake: either goes on with the erasure."
_ASK: Final = "Nothing in the product does this: find out who wrote there, and publish the table again."


@dataclass(frozen=True)
class Pointer:
    """A column whose cells name objects: at the table's own commit, or at the one in the column `commit`.

    `table` may hold `*`. `sha256` is the column that states the object's hash, `key` the one that names the row.
    """

    table: str
    column: str
    key: str
    sha256: str = ""
    commit: str = ""


POINTERS: Final = (
    Pointer("raw_frames", "path", "capture_id", sha256="frame_id"),
    Pointer("prepared_frames", "path", "capture_id"),
    Pointer("annotations", "evidence", "annotation_id"),
    Pointer("rejected_annotations", "evidence", "annotation_id"),
    Pointer("split_table", "path", "frame_id"),
    Pointer("*_checkpoint", "weights", "model", sha256="weights_sha256"),
    Pointer("*_checkpoint", "backbone", "model"),
    Pointer("drift_reference", "values", "statistic"),
    Pointer("drift_reference", "arrays", "statistic"),
    Pointer("drift_metrics", "values", "statistic"),
    Pointer("inspections", "raw_path", "capture_id", sha256="frame_id"),
    Pointer("inspections", "prepared_path", "capture_id"),
    Pointer("review_queue", "path", "frame_id", sha256="frame_id"),
    Pointer("review_worklist", "path", "frame_id", sha256="frame_id"),
    Pointer("alarms", "page", "alarm_id"),
    Pointer("verdict_explanation", "path", "number", commit="commit"),
)
"""Every column of every table that names objects."""

STATES: Final = {
    "releases": ("candidate", "candidate_commit"),
    "training_request": ("candidate", "base_commit"),
}
"""Tables whose rows name a state of the whole lake: the columns of the row's key and of the commit."""

_POINTING: Final = {
    "table": pl.String, "row": pl.String, "commit": pl.String, "path": pl.String, "stated": pl.String
}  # fmt: skip
_STORED: Final = {"path": pl.String, "sha256": pl.String, "wrong": pl.String}


@dataclass(frozen=True)
class Verification:
    """What was looked at, and what is wrong: rows of LakeVerification. `pointing` counts rows that name an object.

    `let_go` counts the objects that retention let go of.
    """

    states: int
    objects: int
    pointing: int
    problems: pl.DataFrame
    let_go: int = 0


def verify(lake: Lake, ref: str = "") -> Verification:
    """All that branches and tags reach, or one state; and the states that rows there name.

    Rows are followed at the states that refs and rows name; every object of every commit behind a ref is read. Raises
    RefNotFoundError for `ref`, DamagedError where the refs themselves cannot be read or reading would never end.
    """
    lake.check()
    heads = [lake.resolve(ref)] if ref else _heads(lake)
    with ThreadPoolExecutor(THREADS) as pool:
        walk = _Walk(lake, pool)
        for head in heads:
            walk.visit(head)
            if not ref:
                walk.look_behind(head)
    gone, still_there = _let_go(lake)
    damage = [one.filter(~pl.col("path").is_in(gone)) for one in walk.problems]
    problems = _sorted([*damage, still_there])
    return Verification(len(walk.visited), walk.objects, walk.pointing, problems, len(gone))


def _let_go(lake: Lake) -> tuple[list[str], pl.DataFrame]:
    """What was let go, and the problems of what of it is still there."""
    main = lake.resolve(MAIN)
    try:
        rows = Snapshot(lake, main).table("let_go", or_empty=LetGo)
        still = erase(lake, rows, datetime.now(UTC), dry_run=True).filter(outcome="would go")
        gone = sorted(let_go(lake))
    except (OSError, pl.exceptions.PolarsError):  # the table itself is damaged, which is a problem by then
        return [], _problems([])
    return gone, _problems([(main, path, "", "", 0, _STILL_THERE, _ERASE) for path in still["path"]])


def _heads(lake: Lake) -> list[str]:
    return list(dict.fromkeys([lake.resolve(MAIN), *lake.branches().values(), *lake.tags().values()]))


class _Walk:
    """Goes from state to state, each once, and gathers problems."""

    def __init__(self, lake: Lake, pool: ThreadPoolExecutor) -> None:
        self._lake, self._pool = lake, pool
        self._base = ""
        self._stored, self._followed = pl.DataFrame(schema=_STORED), pl.DataFrame(schema=_POINTING)
        self.visited: set[str] = set()
        self._behind: set[str] = set()
        self.problems: list[pl.DataFrame] = []
        self.objects = self.pointing = 0

    def visit(self, commit: str) -> None:
        """Verify one state, then those that its rows name."""
        waiting = [commit]
        while waiting:
            state = waiting.pop()
            if state not in self.visited:
                self.visited.add(state)
                try:
                    waiting += self._verify(state)
                except DamagedError as error:
                    self._tell(state, state, error)

    def look_behind(self, head: str) -> None:
        """Read what commits behind this state brought that it no longer holds, as far as not done for another."""
        ahead = [head]
        while ahead:
            commits = list(self._unseen(ahead.pop()))
            ahead += [parent for commit in commits for parent in commit.parents[1:]]
            brought = self._pool.map(lambda commit: self._brought(commit, head), commits)
            for commit, paths in zip(commits, brought, strict=True):
                read = self._read(commit.id, paths)
                self.problems.append(misnamed(commit.id, read, pl.DataFrame(schema=_POINTING)))

    def _unseen(self, newest: str) -> Iterator[Commit]:
        """From this commit back along first parents, to the first that was seen before."""
        at = newest
        try:
            for commit in self._lake.log(newest):
                if commit.id in self._behind:
                    return
                at = commit.id
                self._behind.add(at)
                yield commit
        except (DamagedError, RefNotFoundError) as error:
            self._tell(at, at, error)

    def _brought(self, commit: Commit, head: str) -> list[str]:
        """A merge takes each path from one side: it brings nothing that its parents lack."""
        if len(commit.parents) > 1 or commit.id in self.visited:
            return []
        try:
            now_other = {change.path for change in self._lake.diff(commit.id, head)}
            new = self._lake.diff(commit.parents[0], commit.id) if commit.parents else None
        except (DamagedError, RefNotFoundError) as error:
            self._tell(commit.id, commit.id, error)
            return []
        paths = (
            self._lake.paths(commit.id) if new is None else [one.path for one in new if one.kind != "removed"]
        )
        return [path for path in paths if path in now_other]

    def _tell(self, commit: str, path: str, error: Exception) -> None:
        self.problems.append(_problems([(commit, path, "", "", 0, _sentence(error), _RESTORE)]))

    def _verify(self, commit: str) -> list[str]:
        """The states that the rows of this one name."""
        new, other = self._differences(commit)
        read = self._read(commit, new)
        stored = pl.concat([self._stored.filter(~pl.col("path").is_in(other)), read])
        sound = read.filter(pl.col("wrong").is_null())["path"]
        tables = list(filter(_is_table, sound))
        pointing = self._pointing(commit, tables)
        # Of a table that is the base's, only the rows can be wrong here that point to what is not the base's.
        same = self._followed.filter(~pl.col("table").is_in(other), pl.col("path").is_in(other))
        followed = self._elsewhere(pl.concat([pointing, same]), stored)
        self.problems += [misnamed(commit, read, pointing), astray(commit, followed)]
        if not self._base:
            self._base, self._stored, self._followed = commit, stored, pointing
        return self._named_states(commit, tables)

    def _differences(self, commit: str) -> tuple[list[str], list[str]]:
        """The paths that the base has not so, and those that this state has not as the base has them."""
        if not self._base:
            return self._lake.paths(commit), []
        changes = self._lake.diff(self._base, commit)
        new = [change.path for change in changes if change.kind != "removed"]
        return new, [change.path for change in changes if change.kind != "added"]

    def _read(self, commit: str, paths: Sequence[str]) -> pl.DataFrame:
        self.objects += len(paths)
        rows = self._pool.map(lambda path: (path, *_hash(self._lake, commit, path)), paths)
        return pl.DataFrame(list(rows), schema=_STORED, orient="row")

    def _pointing(self, commit: str, tables: Iterable[str]) -> pl.DataFrame:
        """The rows of these tables that name an object."""
        found = chain.from_iterable(self._pool.map(lambda path: self._follow(commit, path), tables))
        rows = pl.concat([pl.DataFrame(schema=_POINTING), *found])
        self.pointing += rows.height
        return rows

    def _follow(self, commit: str, path: str) -> list[pl.DataFrame]:
        try:
            return list(_follow(self._lake, commit, path))
        except (OSError, pl.exceptions.PolarsError) as error:
            self._tell(commit, path, error)
            return []

    def _elsewhere(self, pointing: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
        """`pointing` with what is stored there: at this state, or at the one that the row names."""
        own, other = pointing.filter(commit=""), pointing.filter(pl.col("commit") != "")
        named = other.select("commit", "path").unique(maintain_order=True).rows()
        read = self._pool.map(lambda one: (*one, *_hash(self._lake, *one)), named)
        found = pl.DataFrame(list(read), schema={"commit": pl.String, **_STORED}, orient="row")
        here = own.join(stored.with_columns(there=True), on="path", how="left", maintain_order="left")
        there = other.join(found.with_columns(there=True), on=["commit", "path"], how="left")
        return pl.concat([here, there.select(here.columns)])

    def _named_states(self, commit: str, tables: Iterable[str]) -> list[str]:
        states = []
        for path in tables:
            table = _asset(path)
            if table in STATES:
                key, column = STATES[table]
                rows = pl.read_parquet(self._lake.fetch(commit, path), columns=[key, column])
                states += [one for row in rows.rows() for one in self._state(commit, path, key, *row)]
        return states

    def _state(self, commit: str, table: str, key: str, named_by: str, state: str) -> list[str]:
        try:
            return [self._lake.resolve(state)]
        except RefNotFoundError:
            wrong = "The row names this commit, which the lake does not hold."
            row = (commit, state, table, f"{key}={named_by}", 1, wrong, _RESTORE.replace("object", "commit"))
            self.problems.append(_problems([row]))
            return []


def misnamed(commit: str, stored: pl.DataFrame, pointing: pl.DataFrame) -> pl.DataFrame:
    """Problems of objects by themselves: bytes that are not those of the name, and damage that no row points to."""
    wrong = stored.with_columns(named=pl.col("path").str.extract(HASH_IN_NAME)).filter(
        (pl.col("named") != pl.col("sha256"))
        | (pl.col("wrong").is_not_null() & ~pl.col("path").is_in(pointing["path"].implode()))
    )
    rows = [
        (commit, path, "", "", 0, damage or f"Its bytes have the sha256 {sha256}, not {named}.", _RESTORE)
        for path, sha256, damage, named in wrong.select("path", "sha256", "wrong", "named").iter_rows()
    ]
    return _problems(rows)


def astray(commit: str, followed: pl.DataFrame) -> pl.DataFrame:
    """Problems of rows that point to nothing, to damage, or to bytes other than they state.

    `followed` has the columns of pointing rows beside those of what is stored there; `there` is null for nothing.
    """
    missing = pl.col("there").is_null()
    other = pl.col("stated") != pl.col("sha256")
    wrong = followed.filter(missing | pl.col("wrong").is_not_null() | other).with_columns(
        said=pl.when(missing)
        .then(pl.lit("There is no such object at this commit."))
        .when(pl.col("wrong").is_not_null())
        .then("wrong")
        .otherwise(pl.format("The row states the sha256 {}, its bytes have {}.", "stated", "sha256")),
        do=pl.when(other.fill_null(False)).then(pl.lit(_ASK)).otherwise(pl.lit(_RESTORE)),
    )
    at = pl.when(pl.col("commit") == "").then(pl.lit(commit)).otherwise("commit").alias("commit")
    grouped = wrong.group_by(at, "path", "table", maintain_order=True).agg(
        row=pl.col("row").first(),
        rows=pl.len().cast(pl.Int64),
        wrong=pl.col("said").first(),
        do=pl.col("do").first(),
    )
    return _problems(grouped.select(LakeVerification.column_names()).rows())


def in_words(found: Verification) -> str:
    """One sentence."""
    read = f"{counted(found.objects, 'object')} of {counted(found.states, 'state')} read"
    about = found.problems["path"].n_unique()
    wrong = f"{counted(found.problems.height, 'problem')} with {counted(about, 'object')}"
    sound = "all is as it was written"
    gone = f"; {counted(found.let_go, 'object')} let go" if found.let_go else ""
    return f"{read}, {counted(found.pointing, 'row')} followed: {wrong if about else sound}{gone}."


def told(problem: Mapping[str, Any]) -> str:
    """One problem on one line."""
    about = f", {problem['table']}: {problem['row']}" if problem["table"] else ""
    more = f" and {problem['rows'] - 1} more rows" if problem["rows"] > 1 else ""
    where = f"{problem['path']} at {problem['commit'][:12]}{about}{more}"
    return f"{where}: {problem['wrong']} {problem['do']}"


def _hash(lake: Lake, commit: str, path: str) -> tuple[str | None, str | None]:
    """The hash, and what is wrong."""
    try:
        return lake.sha256(commit, path), _no_table(lake, commit, path) if _is_table(path) else None
    except (
        OSError,
        RefNotFoundError,
    ) as error:  # an OSError by the disk or the lake: lost, damaged, unreadable
        return None, _sentence(error)


def _sentence(error: Exception) -> str:
    return f"{str(error).rstrip('.')}."


def _no_table(lake: Lake, commit: str, path: str) -> str | None:
    try:
        pl.read_parquet_schema(lake.fetch(commit, path))
    except pl.exceptions.PolarsError as error:
        return f"It is no table: {error}."
    return None


def _follow(lake: Lake, commit: str, path: str) -> Iterator[pl.DataFrame]:
    """The rows of one table that name an object, by column."""
    pointers = [one for one in POINTERS if fnmatchcase(_asset(path), one.table)]
    if not pointers:
        return
    file = lake.fetch(commit, path)
    known = pl.read_parquet_schema(file)
    for pointer in pointers:
        # A table of an earlier contract may lack a column.
        if {pointer.column, pointer.key} <= known.keys():
            wanted = {pointer.column, pointer.key, pointer.sha256, pointer.commit} & known.keys()
            yield _rows(pl.read_parquet(file, columns=sorted(wanted)), path, pointer)


def _rows(rows: pl.DataFrame, path: str, pointer: Pointer) -> pl.DataFrame:
    def cells(column: str, absent: str | None) -> pl.Expr:
        return pl.col(column) if column in rows.columns else pl.lit(absent, pl.String)

    return rows.filter(pl.col(pointer.column).is_not_null()).select(
        table=pl.lit(path),
        row=pl.format(f"{pointer.key}={{}}", pl.col(pointer.key)),
        commit=cells(pointer.commit, ""),
        path=pl.col(pointer.column),
        stated=cells(pointer.sha256, None),
    )


def _is_table(path: str) -> bool:
    return path.startswith("tables/")


def _asset(path: str) -> str:
    """The asset whose table lies there."""
    return re.split(r"[/.]", path.removeprefix("tables/"))[0]


def _problems(rows: Sequence[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict(LakeVerification.create_empty().schema), orient="row")


def _sorted(problems: Sequence[pl.DataFrame]) -> pl.DataFrame:
    every = pl.concat([_problems([]), *problems])
    return every.unique(LakeVerification.primary_key(), maintain_order=True).sort("path", "table", "commit")
