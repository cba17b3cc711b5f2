"""Who published a table: from what each commit of the lake says of itself."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from resources.lake import Commit, Lake
from resources.tables import table_path

_Table = tuple[str, str]


@dataclass
class _Log:
    """The commits behind one ref, read as far back as anyone asked: the newest of each table."""

    rest: Iterator[Commit]
    newest: dict[_Table, Commit] = field(default_factory=dict)

    def newest_of(self, table: _Table) -> Commit | None:
        while table not in self.newest:
            commit = next(self.rest, None)
            if commit is None:
                return None
            named = commit.metadata.get("asset", ""), commit.metadata.get("partition", "")
            self.newest.setdefault(named, commit)
        return self.newest[table]


class Publications:
    """The publications of a lake. Many questions at one ref read its log once."""

    def __init__(self, lake: Lake) -> None:
        """Reads nothing yet."""
        self._lake = lake
        self._logs: dict[str, _Log] = {}

    def of(self, ref: str, asset: str, partition: str | None = None) -> Commit | None:
        """The commit that published the table of `asset` as `ref` holds it; None when it holds none.

        Its metadata names the run, the code version and the input commit, as far as a step published it.
        """
        path = table_path(asset, partition)
        if path not in self._lake.paths(ref, path):
            return None
        log = self._logs.setdefault(ref, _Log(self._lake.log(ref)))
        said = log.newest_of((asset, partition or ""))
        # What was put there by hand says nothing of itself: only comparing each commit with the one before finds it.
        if said is None or self._lake.diff(said.id, ref, path):
            return next(self._lake.log(ref, path), None)
        return said
