"""The lake on a lakeFS server, through the vendor's `lakefs` package and the `lakefs_sdk` that it wraps.

Uploads are staged on the branch, where all writers share them: a branch has one writer at a time, and two
are found out after the fact. What many write to, such as `main`, only takes merges.
"""

import hashlib
import os
import re
import tempfile
import uuid
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import quote, urlencode

import lakefs
from lakefs.exceptions import (
    BadRequestException,
    ConflictException,
    NotFoundException,
    ServerException,
    api_exception_handler,
)
from lakefs_sdk.client import LakeFSClient
from lakefs_sdk.models.commit import Commit as CommitRecord
from lakefs_sdk.models.path_list import PathList

from resources.lake import (
    Change,
    Commit,
    Content,
    CrossedMergeError,
    DamagedError,
    LakeError,
    LakeUnreachableError,
    Leftover,
    MergeConflictError,
    RefExistsError,
    RefNotFoundError,
    chunks,
)
from resources.lake_names import MAIN, check_branch, check_paths, check_tag, check_writable, folders
from resources.lakefs_connection import (
    PAGE,
    THREADS,
    Body,
    Connection,
    Record,
    ask,
    connect,
    ensure_repository,
    ensure_user,
    is_cut_short,
    pages,
    repeated,
    upload,
)
from resources.lakefs_history import Node, has_crossed

HOOKS = "_lakefs_actions/"
"""The folder of the server's own rules, which `init` puts there: no work of the lake."""

_COLLECTED = "Let go: no new state lists it. Earlier commits do, until the server's garbage collection takes its bytes."
_LOG_PAGE = 100
_COPY_BYTES = 16 << 20
_READ_ONLY = 0o444
_COMMIT_ID = re.compile(r"[0-9a-f]{64}")
_EMBEDDED_ID = re.compile(r"[0-9a-f]{40}")
# Begins the tag that names the copy of a commit of the embedded lake, by its id there.
_MOVED = "moved-"
_REF = re.compile(r"[A-Za-z0-9_.-]+")
_HOOK = f"{HOOKS}pre_merge.yaml"
_HOOK_FILE = Path(__file__).resolve().parent.parent / "infra" / "lakefs" / "pre_merge.yaml"
_INSTALLATION = {"lake": "init"}

_clients: dict[tuple[int, Connection], lakefs.Client] = {}


@dataclass(frozen=True)
class LakeFSLake:
    """One lakeFS repository, connected to on first use. Cheap to create, to copy and to pickle.

    `cache` is a folder for fetched objects. A repository that is not there is made in `storage_namespace`, by
    default `local://<repository>`.
    """

    endpoint: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    repository: str
    cache: Path
    storage_namespace: str | None = None

    def init(self) -> list[str]:
        """Make the first user and the repository, protect `main` and install the hook that guards its merges.

        As far as not done yet. The hook is the second lock of `main`: the server itself refuses a merge that nothing
        was audited for.
        """
        return ensure_user(self.connection) + self.ensure_repository() + self._install_hook()

    def check(self) -> None:
        """Nothing: what the server stores of itself only the server can look at."""

    def resolve(self, ref: str) -> str:
        """The commit id that `ref` names now. Raises RefNotFoundError."""
        # The server knows more: `main~1`, `main@`, the first digits of a commit id.
        if not _REF.fullmatch(ref):
            raise RefNotFoundError(f"no branch, tag or commit {ref!r}")
        commits = self.sdk.commits_api
        with _ref_expected(ref):
            commit = str(commits.get_commit(self.repository, _named(ref)).id)
        if commit != ref and commit.startswith(ref) and ref not in self.branches(ref) | self.tags(ref):
            raise RefNotFoundError(f"no branch or tag {ref!r}, and {commit} is named in full")
        return commit

    def read(self, commit: str, path: str) -> bytes:
        """The object at `path` as of `commit`. Raises FileNotFoundError, RefNotFoundError, DamagedError."""
        commit, objects = self._pinned(commit), self.sdk.objects_api
        with self._bytes_expected(commit, path):
            return bytes(objects.get_object(self.repository, commit, path))

    def fetch(self, commit: str, path: str) -> Path:
        """The object as a read-only file in the cache, downloaded once.

        Raises FileNotFoundError, RefNotFoundError, DamagedError when other or fewer bytes arrive than were written.
        """
        [file] = self.fetch_all(commit, [path])
        return file

    def fetch_all(self, commit: str, paths: Iterable[str]) -> list[Path]:
        """As `fetch`: what is stored is listed a thousand at a time, and what is not cached yet comes in parallel."""
        commit, wanted = self._pinned(commit), list(paths)
        stored = self._stored(commit, wanted)
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(lambda path: self._cached(commit, path, stored[path]), wanted))

    def sha256(self, commit: str, path: str) -> str:
        """The hash of the object, downloaded anew. Raises as `fetch` does."""
        commit, digest = self._pinned(commit), hashlib.sha256()
        for piece in self._pieces(commit, path, self._stat(commit, path)):
            digest.update(piece)
        return digest.hexdigest()

    def sizes(self, commit: str, paths: Iterable[str]) -> dict[str, int]:
        """The size in bytes that was written, of those of `paths` that `commit` lists."""
        found = self._found(self._pinned(commit), wanted := set(paths))
        return {path: int(found[path].size_bytes or 0) for path in sorted(wanted & found.keys())}

    def paths(self, commit: str, prefix: str = "") -> list[str]:
        """Every path as of `commit` that starts with `prefix`, sorted."""
        commit = self._pinned(commit)
        with _ref_expected(commit):
            listed = pages(self._get, "refs", commit, "objects", "ls", prefix=prefix, user_metadata=False)
            return [str(item.path) for item in listed]

    def branches(self, prefix: str = "") -> dict[str, str]:
        """The commit each branch stands at, by name, for names that start with `prefix`."""
        listed = pages(self._get, "branches", prefix=prefix)
        return {branch.id: branch.commit_id for branch in listed}

    def create_branch(self, name: str, source: str) -> None:
        """Cut `name` at `source`. A branch already standing exactly there is left as it is.

        Raises RefExistsError when it stands elsewhere, RefNotFoundError for `source`, ValueError for a bad
        name.
        """
        check_branch(name)
        commit = self._pinned(source)
        try:
            with self._commits_expected(commit):
                repeated(lambda: self._ask("POST", "branches", body={"name": name, "source": commit}))
        except ConflictException:
            _must_agree(name, self.branches(name).get(name), commit)

    def delete_branch(self, name: str) -> None:
        """Forget the branch; its commits stay readable. Raises RefNotFoundError, ValueError for `main`."""
        if name == MAIN:
            raise ValueError(f"{MAIN} is not deleted")
        with _ref_expected(name):
            _delete(lambda: self._ask("DELETE", "branches", name))

    def commit(
        self,
        branch: str,
        files: Mapping[str, Content],
        message: str,
        metadata: Mapping[str, str],
        removed: Collection[str] = (),
    ) -> str:
        """Write all `files` onto `branch` in one commit, without `removed`, and return its id; all of it or nothing.

        Raises RefNotFoundError, ValueError for a bad path, one below or above a file, or an empty `files`,
        PermissionError for `main`, RuntimeError when another writer used the branch at the same time: then the
        branch is worth nothing and is to be deleted.
        """
        check_paths(files, removed)
        check_writable(branch)
        head = self._clean_head(branch)
        try:
            checksums = self._upload(branch, head, files)
            self._remove(branch, sorted(removed))
            commit = self._commit_uploads(branch, head, message, metadata)
        except BaseException:
            with suppress(LakeUnreachableError):
                self._discard_uploads(branch)
            raise
        self._must_hold_only(branch, head, commit, checksums, removed)
        return str(commit.id)

    def merge(self, source: str, branch: str, message: str, metadata: Mapping[str, str]) -> str:
        """Merge the commit `source` into `branch` as one merge commit and return its id.

        A source that brings nothing new changes nothing and returns the branch's head.

        Raises RefNotFoundError, MergeConflictError when both sides changed a path differently or one made a
        folder of the other's file, CrossedMergeError when both took in the same commits beside their base,
        PermissionError when the source changes the server's own hooks or a hook refuses the merge, LakeError when
        somebody left uncommitted changes on the branch.
        """
        source = self._pinned(source)
        if not (paths := self._changes_to_merge(source, branch)):
            return self._head(branch)
        try:
            merged = self._merge_audited(source, branch, message, metadata)
        except ConflictException as error:
            # The server does not say where. What changed just now is in the difference by now.
            self._changes_to_merge(source, branch)
            raise MergeConflictError(branch, paths) from error
        except BadRequestException as error:
            self._refuse_staged(branch, error)
            if self._changes_to_merge(source, branch):
                raise
            # Somebody else brought the same just now.
            return self._head(branch)
        self._must_hold_all(source, merged, paths)
        return merged

    def tag(self, name: str, commit: str) -> None:
        """Name a commit for good; the same again is no change.

        Raises RefExistsError when it names another, RefNotFoundError for `commit`, ValueError for a bad name.
        """
        check_tag(name)
        commit = self.resolve(commit)
        tag = lakefs.Tag(self.repository, name, self._client)
        try:
            repeated(lambda: tag.create(commit))
        except ConflictException:
            _must_agree(name, self._tags(name).get(name), commit)

    def delete_tag(self, name: str) -> None:
        """Forget the tag; its commit stays readable. Raises RefNotFoundError."""
        if name not in self.tags(name):
            raise RefNotFoundError(f"no tag {name!r}")
        with _ref_expected(name):
            _delete(lambda: self._ask("DELETE", "tags", name))

    def tags(self, prefix: str = "") -> dict[str, str]:
        """The commit of each tag, by name, for names that start with `prefix`; those of moved commits left out."""
        return {name: commit for name, commit in self._tags(prefix).items() if not _is_moved(name)}

    def moved(self) -> dict[str, str]:
        """The commit here of each commit that was moved from an embedded lake, by its id there."""
        return {name.removeprefix(_MOVED): to for name, to in self._tags(_MOVED).items() if _is_moved(name)}

    def moved_to(self, old: str, commit: str) -> None:
        """From now on the id `old` of the embedded lake names `commit`, wherever a commit is named."""
        self.tag(_MOVED + old, commit)

    def diff(self, base: str, ref: str, prefix: str = "") -> list[Change]:
        """What `ref` holds otherwise than `base`, path by path, sorted."""
        left, right = self._pinned(base), self._pinned(ref)
        with self._commits_expected(left, right):
            differences = self._differences(left, right, "two_dot", prefix)
            return [Change(item.path, item.type) for item in differences]

    def log(self, ref: str, path: str = "") -> Iterator[Commit]:
        """Commits from `ref` back along first parents, newest first.

        With `path`, those that changed the object there. Raises RefNotFoundError.
        """
        newest, records = self.resolve(ref), self.sdk.refs_api.log_commits
        listed = pages(records, self.repository, newest, first_parent=True, amount=_LOG_PAGE)
        commits = (_parse_commit(record) for record in listed)
        return self._changing(commits, path) if path else commits

    def sweep(self, older_than: datetime, *, dry_run: bool = False) -> list[Leftover]:  # noqa: ARG002
        """What is uncommitted on `main`, of any age; nothing is removed.

        What nobody commits lies in the server's storage for good: its API removes no stored bytes.
        """
        staged = self._staged(MAIN, amount=PAGE)
        return [Leftover("uncommitted", path, 0, None, _uncommitted(MAIN, [path]), "kept") for path in staged]

    def erase(
        self,
        commit: str,
        paths: Iterable[str],
        older_than: datetime,  # noqa: ARG002  (a cached file is brought again when it is needed)
        *,
        dry_run: bool = False,
    ) -> list[Leftover]:
        """Erase the cached files of `paths` as of `commit`; the server's own bytes are its garbage collection's."""
        found = self._found(self._pinned(commit), wanted := set(paths))
        kept = [found[path] for path in sorted(wanted & found.keys())]
        if not dry_run:
            for stored in kept:
                self._cache_file(stored).unlink(missing_ok=True)
        return [
            Leftover("object", one.path, int(one.size_bytes or 0), _modified_at(one), _COLLECTED, "kept")
            for one in kept
        ]

    def url(self, commit: str, path: str = "") -> str:
        """The page of the lakeFS UI."""
        repository = f"{self.endpoint.rstrip('/')}/repositories/{quote(self.repository)}"
        if path:
            return f"{repository}/object?{urlencode({'ref': _named(commit), 'path': path})}"
        return f"{repository}/commits/{quote(_named(commit))}"

    def ensure_repository(self) -> list[str]:
        """Make the repository and protect `main`, as far as not done yet; a sentence for each thing done.

        Every first use does this.
        """
        return ensure_repository(connect(self.connection), self.connection)

    @property
    def connection(self) -> Connection:
        """What reaches the repository, and could make it."""
        namespace = self.storage_namespace or f"local://{self.repository}"
        return Connection(
            self.endpoint, self.access_key_id, self.secret_access_key, self.repository, namespace
        )

    @property
    def sdk(self) -> LakeFSClient:
        """The vendor's interface to the server, for what a lake has no word for. The repository is there."""
        sdk: LakeFSClient = self._client.sdk_client
        return sdk

    @property
    def _client(self) -> lakefs.Client:
        # Connections must not cross a fork.
        key = (os.getpid(), self.connection)
        if key not in _clients:
            client = connect(self.connection)
            ensure_repository(client, self.connection)
            _clients[key] = client
        return _clients[key]

    def _tags(self, prefix: str) -> dict[str, str]:
        listed = pages(self._get, "tags", prefix=prefix)
        return {tag.id: tag.commit_id for tag in listed}

    def _branch(self, name: str) -> lakefs.Branch:
        return lakefs.Branch(self.repository, name, self._client)

    def _pinned(self, ref: str) -> str:
        """A commit id as it is, else the commit: a branch would show what is only staged on it."""
        return ref if _COMMIT_ID.fullmatch(ref) else self.resolve(ref)

    def _ask(self, method: str, *names: str, **wanted: Any) -> Any:
        return ask(self._client, self.connection, method, *names, **wanted)

    def _get(self, *names: str, **wanted: object) -> Any:
        return self._ask("GET", *names, **wanted)

    def _head(self, branch: str) -> str:
        if not _REF.fullmatch(branch):
            raise RefNotFoundError(f"no branch {branch!r}")
        with _ref_expected(branch):
            return str(self._get("branches", branch).commit_id)

    def _changing(self, commits: Iterator[Commit], path: str) -> Iterator[Commit]:
        """The server could choose them by path too, but passes over merges, which is all that `main` takes."""
        pairs = pairwise(
            chain(((commit, self._checksum(commit.id, path)) for commit in commits), [(None, None)])
        )
        for (commit, after), (_, before) in pairs:
            if commit and after != before:
                yield commit

    def _stat(self, commit: str, path: str) -> Record:
        return self._stored(commit, [path])[path]

    def _stored(self, commit: str, paths: Collection[str]) -> dict[str, Record]:
        """What is stored at `paths`, by path. Raises FileNotFoundError where nothing is."""
        found = self._found(commit, paths)
        if missing := [path for path in paths if path not in found]:
            raise FileNotFoundError(f"{commit} holds no object at {missing[0]!r}")
        return found

    def _found(self, commit: str, paths: Iterable[str]) -> dict[str, Record]:
        """What is stored at `paths`, as far as it is there: a listing that leaps over what nobody wants."""
        found: dict[str, Record] = {}
        wanted, last, listing = sorted(set(paths)), "", partial(self._get, "refs", commit, "objects", "ls")
        while wanted:
            # Hardly anything lies between a path and the same without its last letter.
            after, amount = max(last, wanted[0][:-1]), min(PAGE, len(wanted))
            with self._object_expected(commit, wanted[0]):
                page = listing(after=after, amount=amount, user_metadata=False)
            found |= {item.path: item for item in page.results}
            if not page.pagination.has_more:
                break
            last = page.results[-1].path
            wanted = wanted[bisect_right(wanted, last) :]
        return found

    def _checksum(self, commit: str, path: str) -> str | None:
        found = self._found(commit, [path])
        return str(found[path].checksum) if path in found else None

    @contextmanager
    def _commits_expected(self, *commits: str) -> Iterator[None]:
        """Only when something is not found these are looked up, for the one that is not there."""
        try:
            with api_exception_handler():
                yield
        except NotFoundException:
            for commit in commits:
                self.resolve(commit)
            raise

    @contextmanager
    def _object_expected(self, commit: str, path: str) -> Iterator[None]:
        try:
            with api_exception_handler():
                yield
        except (NotFoundException, BadRequestException) as error:  # bad request: nothing can have that name
            self.resolve(commit)
            raise FileNotFoundError(f"{commit} holds no object at {path!r}") from error

    @contextmanager
    def _bytes_expected(self, commit: str, path: str) -> Iterator[None]:
        try:
            with self._object_expected(commit, path):
                yield
        except ServerException as error:
            if error.status_code != HTTPStatus.GONE:
                raise
            raise _damaged(commit, path) from error
        except LakeUnreachableError as error:
            if not is_cut_short(error):
                raise
            # A server that still answers is not the reason.
            self._stat(commit, path)
            raise _damaged(commit, path) from error

    def _cached(self, commit: str, path: str, stored: Record) -> Path:
        file = self._cache_file(stored)
        if not file.is_file():
            self._download(commit, path, stored, file)
        return file

    def _cache_file(self, stored: Record) -> Path:
        checksum = str(stored.checksum)
        return self.cache / checksum[:2] / f"{checksum}-{stored.size_bytes}"

    def _download(self, commit: str, path: str, stored: Record, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", delete=False) as stream:
            unfinished = Path(stream.name)
            try:
                stream.writelines(self._pieces(commit, path, stored))
            except BaseException:
                unfinished.unlink()
                raise
        unfinished.chmod(_READ_ONLY)
        unfinished.replace(file)

    def _pieces(self, commit: str, path: str, stored: Record) -> Iterator[bytes]:
        """The object from the server, piece by piece, held to the size and the MD5 it was stored with."""
        wanted = lakefs.Reference(self.repository, commit, self._client).object(path)
        digest, size, whole = _md5(), 0, int(stored.size_bytes or 0)
        with self._bytes_expected(commit, path), wanted.reader("rb", pre_sign=False) as reader:
            # Asking behind the end is an error, so that an empty object is not asked for at all.
            while size < whole and (piece := cast(bytes, reader.read(_COPY_BYTES))):
                yield piece
                digest.update(piece)
                size += len(piece)
        if (size, digest.hexdigest()) != (whole, stored.checksum):
            raise _damaged(commit, path)

    def _first(self, commit: str, prefix: str) -> str | None:
        """The first path that starts with `prefix`."""
        found = self._get("refs", commit, "objects", "ls", prefix=prefix, amount=1).results
        return str(found[0].path) if found else None

    def _clashes(self, commit: str, paths: Iterable[str]) -> list[str]:
        """The files of `commit` that lie above `paths`, and those of `paths` that are folders in it."""
        home = {path: path.rpartition("/")[0] for path in paths}
        inhabited = self._firsts(commit, (f"{folder}/" for folder in home.values() if folder))
        # Nothing can lie below a path in a folder that is new, and no file above a folder that is old.
        new = {path for path in home if home[path] and not inhabited[f"{home[path]}/"]}
        above = self._firsts(commit, (folder for path in new for folder in folders(path)))
        below = self._firsts(commit, (f"{path}/" for path in home.keys() - new))
        files = [folder for folder, found in above.items() if found == folder]
        return files + [folder.removesuffix("/") for folder, found in below.items() if found]

    def _firsts(self, commit: str, prefixes: Iterable[str]) -> dict[str, str | None]:
        wanted = sorted(set(prefixes))
        if len(wanted) <= THREADS:
            return {prefix: self._first(commit, prefix) for prefix in wanted}
        with ThreadPoolExecutor(THREADS) as pool:
            found = pool.map(lambda prefix: self._first(commit, prefix), wanted)
            return dict(zip(wanted, found, strict=True))

    def _staged(self, branch: str, amount: int) -> list[str]:
        listed = self._get("branches", branch, "diff", amount=amount).results
        return [str(item.path) for item in listed]

    def _clean_head(self, branch: str) -> str:
        """Where the branch stands, with nothing staged on it."""
        with ThreadPoolExecutor(1) as meanwhile:
            discarded = meanwhile.submit(self._discard_uploads, branch)
            head = self._head(branch)
        discarded.result()
        return head

    def _discard_uploads(self, branch: str) -> None:
        """What a failed or killed commit left staged on the branch."""
        if self._staged(branch, amount=1):
            self._branch(branch).reset_changes()

    def _upload(self, branch: str, head: str, files: Mapping[str, Content]) -> dict[str, str]:
        """The MD5 of each object, by path. Raises ValueError where a file would be a folder too."""
        with ThreadPoolExecutor(THREADS) as pool:
            checksums = pool.map(lambda path: self._upload_one(branch, path, files[path]), files)
            try:
                # Meanwhile: what is only staged can still be refused.
                self._must_not_clash(branch, head, files)
                return dict(zip(files, checksums, strict=True))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _must_not_clash(self, branch: str, head: str, paths: Iterable[str]) -> None:
        if clashes := self._clashes(head, paths):
            raise ValueError(f"{clashes} would be files and folders on {branch}")

    def _upload_one(self, branch: str, path: str, content: Content) -> str:
        return repeated(lambda: self._send(branch, path, content))

    def _send(self, branch: str, path: str, content: Content) -> str:
        # lakeFS merges by size, MD5 and this metadata, and compares with the object at the *next* path too:
        # an equal one there hides a conflict. With its own path in it, no object equals one elsewhere.
        identity = {"path": quote(path)}
        digest = _md5()
        body = Body(_told(chunks(content, _COPY_BYTES), digest), _size(content))
        upload(self._client, self.connection, branch, path, body, identity)
        return digest.hexdigest()

    def _remove(self, branch: str, paths: list[str]) -> None:
        for start in range(0, len(paths), PAGE):
            # What is not there is no mistake to the server either.
            some = PathList(paths=paths[start : start + PAGE])
            repeated(partial(self.sdk.objects_api.delete_objects, self.repository, branch, some))

    def _commit_uploads(self, branch: str, head: str, message: str, metadata: Mapping[str, str]) -> Record:
        wanted = {"message": message, "metadata": dict(metadata), "allow_empty": True}
        made: Record = repeated(
            lambda: self._ask("POST", "branches", branch, "commits", body=wanted),
            landed=lambda: self._landed_commit(branch, head, message, metadata),
        )
        return made

    def _landed_commit(
        self, branch: str, head: str, message: str, metadata: Mapping[str, str]
    ) -> Record | None:
        """The commit whose answer was lost, if it was made."""
        newest = next(self.log(branch))
        is_ours = newest.parents == (head,) and newest.message == message and newest.metadata == metadata
        return Record(id=newest.id, parents=[head]) if is_ours else None

    def _must_hold_only(
        self,
        branch: str,
        head: str,
        commit: Record,
        checksums: Mapping[str, str],
        removed: Collection[str],
    ) -> None:
        """Another writer on the branch would have its uploads in our commit, or ours in its."""
        changed = {item.path: item for item in self._differences(head, commit.id, "two_dot", stats=True)}
        arrived = {
            path: item.right.checksum
            for path, item in changed.items()
            if item.right and item.type != "removed"
        }
        # What was there before, just the same, is no difference.
        unsaid = (checksums.keys() | set(removed)) - arrived.keys()
        arrived |= {path: stored.checksum for path, stored in self._found(commit.id, unsaid).items()}
        alien = changed.keys() - checksums.keys() - set(removed) | arrived.keys() & set(removed)
        if commit.parents != [head] or alien or not checksums.items() <= arrived.items():
            raise RuntimeError(
                f"{commit.id} is not what was written: another writer used {branch} meanwhile, or bytes were lost on "
                f"their way; delete {branch} and write again"
            )

    def _changes_to_merge(self, source: str, branch: str) -> list[str]:
        """The paths that the merge changes on the branch."""
        head, base = self._merge_base(source, branch)
        if base == source:
            return []
        if has_crossed(head, source, base, self._history()):
            raise CrossedMergeError(source, branch)
        differences = list(self._differences(head, source, "three_dot"))
        if conflicts := [item.path for item in differences if item.type == "conflict"]:
            raise MergeConflictError(branch, conflicts)
        paths = [str(item.path) for item in differences]
        if hooks := [path for path in paths if path.startswith(HOOKS)]:
            raise PermissionError(f"{source} changes the server's hooks: {', '.join(hooks)}")
        added = [item.path for item in differences if item.type == "added"]
        # Where the branch has nothing of its own, it will hold what the source holds, which its commits were held to.
        if base != head and (clashes := self._clashes(head, added)):
            raise MergeConflictError(branch, clashes)
        return paths

    def _merge_audited(self, source: str, branch: str, message: str, metadata: Mapping[str, str]) -> str:
        try:
            return repeated(
                lambda: self._merge_as_is(source, branch, message, metadata),
                landed=lambda: self._landed_merge(source, branch),
            )
        except NotFoundException as error:
            raise RefNotFoundError(f"no branch {branch!r}") from error
        except ServerException as error:
            raise _refused_by_hook(branch, error) from error

    def _merge_as_is(self, source: str, branch: str, message: str, metadata: Mapping[str, str]) -> str:
        wanted = {"message": message, "metadata": dict(metadata)}
        return str(self._ask("POST", "refs", source, "merge", branch, body=wanted).reference)

    def _install_hook(self) -> list[str]:
        """Past the door's own refusal of changes to the hooks, and through the hook that it installs."""
        wanted, head = _HOOK_FILE.read_bytes(), self.resolve(MAIN)
        if self._checksum(head, _HOOK) == hashlib.md5(wanted, usedforsecurity=False).hexdigest():
            return []
        branch, message = f"work-init-{uuid.uuid4().hex[:8]}", f"The hook that guards {MAIN}"
        self.create_branch(branch, head)
        try:
            commit = self.commit(branch, {_HOOK: wanted}, message, _INSTALLATION)
            self._merge_as_is(commit, MAIN, message, _INSTALLATION)
        finally:
            self.delete_branch(branch)
        return [f"Installed {_HOOK}: the server refuses a merge into {MAIN} that no run made."]

    def _merge_base(self, source: str, branch: str) -> tuple[str, str]:
        """The head of the branch, and the newest commit that it has in common with `source`.

        The server takes a tag and much else for a branch here, but not where it merges.
        """
        if not _REF.fullmatch(branch):
            raise RefNotFoundError(f"no branch {branch!r}")
        try:
            with _ref_expected(branch):
                found = self._get("refs", source, "merge", branch)
        except RefNotFoundError:
            self.resolve(source)
            raise
        # The server has been seen to call either of the two the source.
        both = (str(found.source_commit_id), str(found.destination_commit_id))
        head = next((commit for commit in both if commit != source), source)
        return head, str(found.base_commit_id)

    def _history(self) -> Callable[[str], Node]:
        """Looks a commit up, and with it many of those behind it."""
        known: dict[str, Node] = {}

        def look_up(commit: str) -> Node:
            if commit not in known:
                # Mostly the two parted a few commits ago.
                amount = min(_LOG_PAGE, 4 + 2 * len(known))
                records = self.sdk.refs_api.log_commits(self.repository, commit, amount=amount).results
                known.update((item.id, Node(item.generation, tuple(item.parents))) for item in records)
            return known[commit]

        return look_up

    def _landed_merge(self, source: str, branch: str) -> str | None:
        """The merge of `source` whose answer was lost, if it was made."""
        if self._merge_base(source, branch)[1] != source:
            return None
        return next((commit.id for commit in self.log(branch) if source in commit.parents), None)

    def _refuse_staged(self, branch: str, error: BadRequestException) -> None:
        if staged := self._staged(branch, amount=PAGE):
            raise LakeError(_uncommitted(branch, staged)) from error

    def _must_hold_all(self, source: str, merged: str, paths: list[str]) -> None:
        if next(self._differences(source, merged, "two_dot", amount=1), None) is None:
            return
        homes = {path.rpartition("/")[0] for path in paths}
        other = {item.path for home in homes for item in self._differences(source, merged, "two_dot", home)}
        if lost := sorted(other.intersection(paths)):
            raise RuntimeError(f"{merged} lost what it merged from {source}: {', '.join(lost)}")

    def _differences(
        self,
        left: str,
        right: str,
        kind: Literal["two_dot", "three_dot"],
        prefix: str = "",
        *,
        stats: bool = False,
        amount: int | None = None,
    ) -> Iterator[Any]:
        """With `stats`, each says the checksum that `right` has."""
        wanted = {"type": kind, "prefix": prefix, "include_right_stats": stats}
        return pages(self._get, "refs", left, "diff", right, amount=amount, **wanted)


def _delete(delete: Callable[[], object]) -> None:
    try:
        delete()
    except LakeUnreachableError:
        # It may be gone by the attempt whose answer was lost.
        with suppress(NotFoundException):
            repeated(delete)


def _named(ref: str) -> str:
    """What the server calls it: rows and metadata of a moved lake name commits as the embedded lake did."""
    return _MOVED + ref if _EMBEDDED_ID.fullmatch(ref) else ref


def _is_moved(tag: str) -> bool:
    return tag.startswith(_MOVED) and bool(_EMBEDDED_ID.fullmatch(tag.removeprefix(_MOVED)))


def _modified_at(stored: Record) -> datetime:
    return datetime.fromtimestamp(stored.mtime, UTC)


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _told(pieces: Iterable[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    """The pieces as they are; `digest` is told each of them."""
    for piece in pieces:
        digest.update(piece)
        yield piece


def _md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)


def _damaged(commit: str, path: str) -> DamagedError:
    return DamagedError(
        f"the bytes of {path!r} as of {commit} are damaged or lost: restore the server's storage from a copy"
    )


def _refused_by_hook(branch: str, error: ServerException) -> Exception:
    """What a person reads; `error` itself when it is something else."""
    if error.status_code != HTTPStatus.PRECONDITION_FAILED:
        return error
    return PermissionError(f"the server's hook refuses the merge into {branch}: {error.body.get('message')}")


@contextmanager
def _ref_expected(ref: str) -> Iterator[None]:
    try:
        with api_exception_handler():
            yield
    except (NotFoundException, BadRequestException) as error:  # bad request: nothing can have that name
        raise RefNotFoundError(f"no branch, tag or commit {ref!r}") from error


def _must_agree(name: str, standing: str | None, commit: str) -> None:
    if standing is None:
        raise RefExistsError(f"{name} names a ref of the other kind already: a branch or a tag")
    if standing != commit:
        raise RefExistsError(f"{name} stands at {standing}, not at {commit}")


def _uncommitted(branch: str, paths: Iterable[str]) -> str:
    return (
        f"{branch} takes no merge while these are uncommitted on it: {', '.join(paths)}. In the server's UI, "
        f"lift the protection of {branch} if it has one, discard them under Uncommitted Changes, and run "
        "`lake init` to protect it again."
    )


def _parse_commit(record: CommitRecord) -> Commit:
    return Commit(
        id=record.id,
        parents=tuple(record.parents),
        message=record.message,
        # The server notes on each merge how it was done.
        metadata={key: value for key, value in (record.metadata or {}).items() if key[:8] != ".lakefs."},
        created_at=datetime.fromtimestamp(record.creation_date, UTC),
    )
