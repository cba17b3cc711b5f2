"""The lake on a lakeFS server, through the vendor's `lakefs` package and the `lakefs_sdk` that it wraps.

Uploads are staged on the branch, where all writers share them: a branch has one writer at a time, and two
are found out after the fact. What many write to, such as `main`, only takes merges.
"""

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, pairwise
from pathlib import Path
from typing import IO, Any, Literal, TypeVar, cast
from urllib.parse import quote, urlencode

import lakefs
import urllib3
from lakefs.exceptions import (
    BadRequestException,
    ConflictException,
    NotFoundException,
    api_exception_handler,
)
from lakefs_sdk.client import LakeFSClient
from lakefs_sdk.models.branch_protection_rule import BranchProtectionRule
from lakefs_sdk.models.commit import Commit as CommitRecord

from resources.lake import (
    Change,
    Commit,
    Content,
    MergeConflictError,
    RefExistsError,
    RefNotFoundError,
    chunks,
)
from resources.lake_names import MAIN, check_branch, check_paths, check_tag, check_writable, folders

_PAGE = 1000
_LOG_PAGE = 100
_THREADS = 8
_COPY_BYTES = 16 << 20
_READ_ONLY = 0o444
_COMMIT_ID = re.compile(r"[0-9a-f]{64}")
_REF = re.compile(r"[A-Za-z0-9_.-]+")
_HOOKS = "_lakefs_actions/"
_TIMEOUT = urllib3.Timeout(connect=5, read=120)
# What never reached the server may be sent again whatever it is; when the answer was lost, only what reads.
_RETRIES = urllib3.Retry(
    total=4,
    allowed_methods={"GET", "HEAD"},
    status_forcelist={429, 502, 503, 504},
    backoff_factor=0.2,
    raise_on_status=False,
)
_CREATION_SECONDS = 5
_PAUSES_SECONDS = (0.2, 1.0, 3.0)

T = TypeVar("T")
_clients: dict[tuple[int, "LakeFSLake"], lakefs.Client] = {}


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

    def resolve(self, ref: str) -> str:
        """The commit id that `ref` names now. Raises RefNotFoundError."""
        # The server knows more: `main~1`, `main@`, the first digits of a commit id.
        if not _REF.fullmatch(ref):
            raise RefNotFoundError(f"no branch, tag or commit {ref!r}")
        commits = self._sdk.commits_api
        with _ref_expected(ref):
            commit = str(commits.get_commit(self.repository, ref).id)
        if commit != ref and commit.startswith(ref) and ref not in self.branches(ref) | self.tags(ref):
            raise RefNotFoundError(f"no branch or tag {ref!r}, and {commit} is named in full")
        return commit

    def read(self, commit: str, path: str) -> bytes:
        """The object at `path` as of `commit`. Raises FileNotFoundError, RefNotFoundError."""
        commit, objects = self._pinned(commit), self._sdk.objects_api
        with self._object_expected(commit, path):
            return bytes(objects.get_object(self.repository, commit, path))

    def fetch(self, commit: str, path: str) -> Path:
        """The object as a read-only file in the cache, downloaded once.

        Raises FileNotFoundError, RefNotFoundError, OSError when it arrives cut short.
        """
        commit, objects = self._pinned(commit), self._sdk.objects_api
        with self._object_expected(commit, path):
            stat = objects.stat_object(self.repository, commit, path)
        checksum, size = str(stat.checksum), int(stat.size_bytes or 0)
        file = self.cache / checksum[:2] / f"{checksum}-{size}"
        if not file.is_file():
            self._download(commit, path, size, file)
        return file

    def paths(self, commit: str, prefix: str = "") -> list[str]:
        """Every path as of `commit` that starts with `prefix`, sorted."""
        commit, objects = self._pinned(commit), self._sdk.objects_api
        with _ref_expected(commit):
            listed = _pages(objects.list_objects, self.repository, commit, prefix=prefix)
            return [str(item.path) for item in listed]

    def branches(self, prefix: str = "") -> dict[str, str]:
        """The commit each branch stands at, by name, for names that start with `prefix`."""
        listed = _pages(self._sdk.branches_api.list_branches, self.repository, prefix=prefix)
        return {branch.id: branch.commit_id for branch in listed}

    def create_branch(self, name: str, source: str) -> None:
        """Cut `name` at `source`. A branch already standing exactly there is left as it is.

        Raises RefExistsError when it stands elsewhere, RefNotFoundError for `source`, ValueError for a bad
        name.
        """
        check_branch(name)
        commit = self.resolve(source)
        try:
            _repeated(lambda: self._branch(name).create(commit))
        except ConflictException:
            _must_agree(name, self.branches(name).get(name), commit)

    def delete_branch(self, name: str) -> None:
        """Forget the branch; its commits stay readable. Raises RefNotFoundError, ValueError for `main`."""
        if name == MAIN:
            raise ValueError(f"{MAIN} is not deleted")
        self._head(name)
        try:
            _repeated(lambda: self._branch(name).delete())
        except NotFoundException:
            # By the attempt whose answer was lost, or by somebody else just now.
            return

    def commit(
        self, branch: str, files: Mapping[str, Content], message: str, metadata: Mapping[str, str]
    ) -> str:
        """Write all `files` onto `branch` in one commit and return its id; all of them or none.

        Raises RefNotFoundError, ValueError for a bad path, one below or above a file, or an empty `files`,
        PermissionError for `main`, RuntimeError when another writer used the branch at the same time: then the
        branch is worth nothing and is to be deleted.
        """
        check_paths(files)
        check_writable(branch)
        head = self._head(branch)
        if clashes := self._clashes(head, files):
            raise ValueError(f"{clashes} would be files and folders on {branch}")
        self._discard_uploads(branch)
        try:
            checksums = self._upload(branch, files)
            commit = self._commit_uploads(branch, head, message, metadata)
        except BaseException:
            self._discard_uploads(branch)
            raise
        self._must_hold_only(branch, head, commit, checksums)
        return commit

    def merge(self, source: str, branch: str, message: str, metadata: Mapping[str, str]) -> str:
        """Merge the commit `source` into `branch` as one merge commit and return its id.

        A source that brings nothing new changes nothing and returns the branch's head.

        Raises RefNotFoundError, MergeConflictError when both sides changed a path differently or one made a
        folder of the other's file, PermissionError when the source changes the server's own hooks,
        RuntimeError when somebody left uncommitted changes on the branch.
        """
        source, head = self.resolve(source), self._head(branch)
        paths = self._changes_to_merge(source, branch, head)
        if not paths:
            return head
        audited = lakefs.Reference(self.repository, source, self._client)
        try:
            merged = _repeated(
                lambda: audited.merge_into(branch, message=message, metadata=dict(metadata)),
                landed=lambda: self._landed_merge(source, branch),
            )
        except ConflictException as error:
            # The server does not say where. What changed just now is in the difference by now.
            self._changes_to_merge(source, branch, self._head(branch))
            raise MergeConflictError(branch, paths) from error
        except BadRequestException as error:
            self._refuse_staged(branch, error)
            if self._changes_to_merge(source, branch, self._head(branch)):
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
            _repeated(lambda: tag.create(commit))
        except ConflictException:
            _must_agree(name, self.tags(name).get(name), commit)

    def tags(self, prefix: str = "") -> dict[str, str]:
        """The commit of each tag, by name, for names that start with `prefix`."""
        listed = _pages(self._sdk.tags_api.list_tags, self.repository, prefix=prefix)
        return {tag.id: tag.commit_id for tag in listed}

    def diff(self, base: str, ref: str, prefix: str = "") -> list[Change]:
        """What `ref` holds otherwise than `base`, path by path, sorted."""
        differences = self._differences(self.resolve(base), self.resolve(ref), "two_dot", prefix)
        return [Change(item.path, item.type) for item in differences]

    def log(self, ref: str, path: str = "") -> Iterator[Commit]:
        """Commits from `ref` back along first parents, newest first.

        With `path`, those that changed the object there. Raises RefNotFoundError.
        """
        newest, records = self.resolve(ref), self._sdk.refs_api.log_commits
        listed = _pages(records, self.repository, newest, first_parent=True, amount=_LOG_PAGE)
        commits = (_parse_commit(record) for record in listed)
        return self._changing(commits, path) if path else commits

    def url(self, commit: str, path: str = "") -> str:
        """The page of the lakeFS UI."""
        repository = f"{self.endpoint.rstrip('/')}/repositories/{quote(self.repository)}"
        if path:
            return f"{repository}/object?{urlencode({'ref': commit, 'path': path})}"
        return f"{repository}/commits/{quote(commit)}"

    def ensure_repository(self) -> None:
        """Make the repository and protect `main`, as far as not done yet. Every first use does this."""
        _ensure_repository(_connect(self), self)

    @property
    def _client(self) -> lakefs.Client:
        # Connections must not cross a fork.
        key = (os.getpid(), self)
        if key not in _clients:
            client = _connect(self)
            _ensure_repository(client, self)
            _clients[key] = client
        return _clients[key]

    @property
    def _sdk(self) -> LakeFSClient:
        sdk: LakeFSClient = self._client.sdk_client
        return sdk

    def _branch(self, name: str) -> lakefs.Branch:
        return lakefs.Branch(self.repository, name, self._client)

    def _pinned(self, ref: str) -> str:
        """A commit id as it is, else the commit: a branch would show what is only staged on it."""
        return ref if _COMMIT_ID.fullmatch(ref) else self.resolve(ref)

    def _head(self, branch: str) -> str:
        branches = self._sdk.branches_api
        with _ref_expected(branch):
            return str(branches.get_branch(self.repository, branch).commit_id)

    def _changing(self, commits: Iterator[Commit], path: str) -> Iterator[Commit]:
        """The server could choose them by path too, but passes over merges, which is all that `main` takes."""
        pairs = pairwise(
            chain(((commit, self._checksum(commit.id, path)) for commit in commits), [(None, None)])
        )
        for (commit, after), (_, before) in pairs:
            if commit and after != before:
                yield commit

    def _checksum(self, commit: str, path: str) -> str | None:
        try:
            with self._object_expected(commit, path):
                return str(self._sdk.objects_api.stat_object(self.repository, commit, path).checksum)
        except FileNotFoundError:
            return None

    @contextmanager
    def _object_expected(self, commit: str, path: str) -> Iterator[None]:
        try:
            with api_exception_handler():
                yield
        except (NotFoundException, BadRequestException) as error:  # bad request: nothing can have that name
            self.resolve(commit)
            raise FileNotFoundError(f"{commit} holds no object at {path!r}") from error

    def _download(self, commit: str, path: str, size: int, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as stream:
            unfinished = Path(stream.name)
            try:
                self._copy(commit, path, size, stream)
            except BaseException:
                unfinished.unlink()
                raise
        unfinished.chmod(_READ_ONLY)
        unfinished.replace(file)

    def _copy(self, commit: str, path: str, size: int, stream: IO[bytes]) -> None:
        wanted = lakefs.Reference(self.repository, commit, self._client).object(path)
        with wanted.reader("rb", pre_sign=False) as reader:
            # Asking behind the end is an error, so that an empty object is not asked for at all.
            while stream.tell() < size and (chunk := reader.read(_COPY_BYTES)):
                stream.write(cast(bytes, chunk))
        if stream.tell() != size:
            raise OSError(f"{path!r} as of {commit} has {size} bytes, got {stream.tell()}")

    def _first(self, commit: str, prefix: str) -> str | None:
        """The first path that starts with `prefix`."""
        found = self._sdk.objects_api.list_objects(self.repository, commit, prefix=prefix, amount=1).results
        return str(found[0].path) if found else None

    def _clashes(self, commit: str, paths: Iterable[str]) -> list[str]:
        """The files of `commit` that lie above `paths`, and those of `paths` that are folders in it."""
        known = sorted(set(paths))
        above = sorted({folder for path in known for folder in folders(path)})
        home = {path: path.rpartition("/")[0] for path in known}
        with ThreadPoolExecutor(_THREADS) as pool:
            found = pool.map(lambda folder: self._first(commit, folder), above)
            files = [folder for folder, first in zip(above, found, strict=True) if first == folder]
            # Nothing can lie below a path in a folder that is new.
            new = {
                folder for folder in set(home.values()) if folder and not self._first(commit, f"{folder}/")
            }
            old = [path for path in known if home[path] not in new]
            inside = pool.map(lambda path: self._first(commit, f"{path}/"), old)
            return files + [path for path, first in zip(old, inside, strict=True) if first]

    def _staged(self, branch: str, amount: int) -> list[str]:
        listed = self._sdk.branches_api.diff_branch(self.repository, branch, amount=amount).results
        return [str(item.path) for item in listed]

    def _discard_uploads(self, branch: str) -> None:
        """What a failed or killed commit left staged on the branch."""
        if self._staged(branch, amount=1):
            self._branch(branch).reset_changes()

    def _upload(self, branch: str, files: Mapping[str, Content]) -> dict[str, str]:
        """The MD5 of each object, by path."""
        with ThreadPoolExecutor(_THREADS) as pool:
            checksums = pool.map(lambda path: self._upload_one(branch, path, files[path]), files)
            try:
                return dict(zip(files, checksums, strict=True))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _upload_one(self, branch: str, path: str, content: Content) -> str:
        checksum = _repeated(lambda: self._send(branch, path, content))
        if (arrived := self._checksum(branch, path)) != checksum:
            raise OSError(f"{path!r} has the MD5 {checksum}, but {arrived} on {branch}")
        return checksum

    def _send(self, branch: str, path: str, content: Content) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        # lakeFS merges by size, MD5 and this metadata, and compares with the object at the *next* path too:
        # an equal one there hides a conflict. With its own path in it, no object equals one elsewhere.
        identity = {"path": quote(path)}
        with self._branch(branch).object(path).writer("wb", pre_sign=False, metadata=identity) as writer:
            for chunk in chunks(content, _COPY_BYTES):
                digest.update(chunk)
                writer.write(chunk)
        return digest.hexdigest()

    def _commit_uploads(self, branch: str, head: str, message: str, metadata: Mapping[str, str]) -> str:
        staged = self._branch(branch)
        return _repeated(
            lambda: staged.commit(message, dict(metadata), allow_empty=True).id,
            landed=lambda: self._landed_commit(branch, head, message, metadata),
        )

    def _landed_commit(self, branch: str, head: str, message: str, metadata: Mapping[str, str]) -> str | None:
        """The commit whose answer was lost, if it was made."""
        newest = next(self.log(branch))
        is_ours = newest.parents == (head,) and newest.message == message and newest.metadata == metadata
        return newest.id if is_ours else None

    def _must_hold_only(self, branch: str, head: str, commit: str, checksums: Mapping[str, str]) -> None:
        """Another writer on the branch would have its uploads in our commit, or ours in its."""
        changed = {change.path for change in self.diff(head, commit)}
        parents = next(self.log(commit)).parents
        same = {path: self._checksum(commit, path) for path in checksums.keys() - changed}
        if parents != (head,) or changed - checksums.keys() or not same.items() <= checksums.items():
            raise RuntimeError(f"{commit} is not what was written: another writer used {branch} meanwhile")

    def _changes_to_merge(self, source: str, branch: str, head: str) -> list[str]:
        """The paths that the merge changes on the branch."""
        if self._merge_base(source, branch) == source:
            return []
        differences = list(self._differences(head, source, "three_dot"))
        if conflicts := [item.path for item in differences if item.type == "conflict"]:
            raise MergeConflictError(branch, conflicts)
        paths = [str(item.path) for item in differences]
        if hooks := [path for path in paths if path.startswith(_HOOKS)]:
            raise PermissionError(f"{source} changes the server's hooks: {', '.join(hooks)}")
        if clashes := self._clashes(head, [item.path for item in differences if item.type == "added"]):
            raise MergeConflictError(branch, clashes)
        return paths

    def _merge_base(self, source: str, branch: str) -> str:
        return str(self._sdk.refs_api.find_merge_base(self.repository, source, branch).base_commit_id)

    def _landed_merge(self, source: str, branch: str) -> str | None:
        """The merge of `source` whose answer was lost, if it was made."""
        if self._merge_base(source, branch) != source:
            return None
        return next((commit.id for commit in self.log(branch) if source in commit.parents), None)

    def _refuse_staged(self, branch: str, error: BadRequestException) -> None:
        if staged := self._staged(branch, amount=_PAGE):
            raise RuntimeError(f"{branch} takes no merge while these are uncommitted: {staged}") from error

    def _must_hold_all(self, source: str, merged: str, paths: list[str]) -> None:
        homes = {path.rpartition("/")[0] for path in paths}
        other = {item.path for home in homes for item in self._differences(source, merged, "two_dot", home)}
        if lost := sorted(other.intersection(paths)):
            raise RuntimeError(f"{merged} lost what it merged from {source}: {', '.join(lost)}")

    def _differences(
        self, left: str, right: str, kind: Literal["two_dot", "three_dot"], prefix: str = ""
    ) -> Iterator[Any]:
        return _pages(self._sdk.refs_api.diff_refs, self.repository, left, right, type=kind, prefix=prefix)


def _connect(lake: LakeFSLake) -> lakefs.Client:
    options = {"host": lake.endpoint, "username": lake.access_key_id, "password": lake.secret_access_key}
    client = lakefs.Client(**options)  # type: ignore[no-untyped-call]
    pool: urllib3.PoolManager = client.sdk_client.objects_api.api_client.rest_client.pool_manager
    pool.connection_pool_kw |= {"maxsize": 2 * _THREADS, "retries": _RETRIES}
    request = pool.request

    def request_with_limit(*names: Any, **options: Any) -> urllib3.BaseHTTPResponse:
        # The SDK asks for "no time-out" by name, which outdoes one set on the pool.
        return request(*names, **options | {"timeout": options.get("timeout") or _TIMEOUT})

    setattr(pool, "request", request_with_limit)  # noqa: B010  (mypy refuses to assign to a method)
    return client


def _ensure_repository(client: lakefs.Client, lake: LakeFSLake) -> None:
    if not _exists(client, lake.repository):
        _create_repository(client, lake)
    api = client.sdk_client.repositories_api
    with api_exception_handler():
        rules = api.get_branch_protection_rules(lake.repository)
        if MAIN not in {rule.pattern for rule in rules}:
            # At once: on a branch that was written to, protection takes seconds to work.
            api.set_branch_protection_rules(lake.repository, [*rules, BranchProtectionRule(pattern=MAIN)])


def _create_repository(client: lakefs.Client, lake: LakeFSLake) -> None:
    namespace = lake.storage_namespace or f"local://{lake.repository}"
    try:
        lakefs.Repository(lake.repository, client).create(namespace, MAIN)
    except (ConflictException, BadRequestException):
        # Another process may be just about to make it: first its storage is taken, then it is there.
        deadline = time.monotonic() + _CREATION_SECONDS
        while not _exists(client, lake.repository):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _exists(client: lakefs.Client, repository: str) -> bool:
    try:
        with api_exception_handler():
            client.sdk_client.repositories_api.get_repository(repository)
    except NotFoundException:
        return False
    return True


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


def _repeated(action: Callable[[], T], landed: Callable[[], T | None] = lambda: None) -> T:
    """Act again after an answer was lost, unless `landed` finds that the action took place."""
    for pause_seconds in _PAUSES_SECONDS:
        try:
            return action()
        except urllib3.exceptions.HTTPError:
            time.sleep(pause_seconds)
            if (answer := landed()) is not None:
                return answer
    return action()


def _pages(listing: Callable[..., Any], *names: str, amount: int = _PAGE, **wanted: Any) -> Iterator[Any]:
    after = ""
    while True:
        page = listing(*names, after=after, amount=amount, **wanted)
        yield from page.results
        if not page.pagination.has_more:
            return
        after = page.pagination.next_offset


def _parse_commit(record: CommitRecord) -> Commit:
    return Commit(
        id=record.id,
        parents=tuple(record.parents),
        message=record.message,
        # The server notes on each merge how it was done.
        metadata={key: value for key, value in (record.metadata or {}).items() if key[:8] != ".lakefs."},
        created_at=datetime.fromtimestamp(record.creation_date, UTC),
    )
