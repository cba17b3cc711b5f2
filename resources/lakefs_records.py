"""Commits of another lake, written into a lakeFS repository as they were: with their parents, words and times.

The server calls a commit by a hash of all that it says, and refuses a record under another name. Its interface for
records is not one that it promises to keep: a version that differs refuses, and writes nothing wrong.
"""

import hashlib
import time
from collections.abc import Sequence

from lakefs.exceptions import (
    BadRequestException,
    ConflictException,
    ForbiddenException,
    NotFoundException,
    ServerException,
    api_exception_handler,
)
from lakefs_sdk.models.commit_record_creation import CommitRecordCreation
from lakefs_sdk.models.repository_creation import RepositoryCreation

from resources.lake import Commit, LakeError
from resources.lake_names import MAIN
from resources.lakefs_lake import LakeFSLake
from resources.lakefs_server import connect, exists

_COMMITTER = "cv-assets"
_VERSION = 1
# The server remembers for some seconds that a branch was protected.
_PROTECTED_SECONDS = 30.0
_PAUSE_SECONDS = 0.5


def make_bare(lake: LakeFSLake) -> None:
    """Make the repository without `main`, unless it is there: nobody can work in it until that branch is set."""
    client = connect(lake)
    if exists(client, lake):
        return
    namespace = lake.storage_namespace or f"local://{lake.repository}"
    wanted = RepositoryCreation(
        name=lake.repository, storage_id=None, storage_namespace=namespace, default_branch=MAIN
    )
    with api_exception_handler():
        client.sdk_client.repositories_api.create_repository(wanted, bare=True)


def write_commit(lake: LakeFSLake, commit: Commit, parents: Sequence[str], state: str | None) -> str:
    """`commit` with other `parents` and the files of the commit `state`, none for None; the id it has here.

    Writing it again changes nothing. Raises LakeError when the server takes no such record.
    """
    commits = lake._sdk.commits_api
    with api_exception_handler():
        known = [commits.get_commit(lake.repository, parent) for parent in parents]
        files = commits.get_commit(lake.repository, state).meta_range_id if state else ""
    seconds = int(commit.created_at.timestamp())
    record = CommitRecordCreation(
        commit_id=_address(commit, parents, files, seconds),
        version=_VERSION,
        committer=_COMMITTER,
        message=commit.message,
        metarange_id=files,
        creation_date=seconds,
        parents=list(parents),
        metadata=dict(commit.metadata),
        generation=1 + max((parent.generation or 0 for parent in known), default=0),
    )
    _create(lake, record)
    return str(record.commit_id)


def set_branch(lake: LakeFSLake, name: str, commit: str) -> None:
    """Let the branch stand at `commit`, wherever it stood; `main`, which is protected, takes some seconds."""
    standing = lake.branches(name).get(name)
    if standing is None:
        lake.create_branch(name, commit)
    elif standing != commit and name != MAIN:
        _reset(lake, name, commit)
    elif standing != commit:
        _set_main(lake, commit)


def _create(lake: LakeFSLake, record: CommitRecordCreation) -> None:
    try:
        with api_exception_handler():
            lake._sdk.internal_api.create_commit_record(lake.repository, record)
    except ConflictException:
        # Written before, by us: its name says all that it holds.
        return
    except (BadRequestException, NotFoundException, ServerException) as error:
        raise LakeError(
            f"lakeFS at {lake.endpoint} takes no commits of another lake ({error}): move to a lakeFS of the line 1.84"
        ) from error


def _set_main(lake: LakeFSLake, commit: str) -> None:
    api = lake._sdk.repositories_api
    with api_exception_handler():
        rules = api.get_branch_protection_rules(lake.repository)
        api.set_branch_protection_rules(lake.repository, [rule for rule in rules if rule.pattern != MAIN])
    deadline = time.monotonic() + _PROTECTED_SECONDS
    try:
        while True:
            try:
                return _reset(lake, MAIN, commit)
            except ForbiddenException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_SECONDS)
    finally:
        lake.ensure_repository()


def _reset(lake: LakeFSLake, name: str, commit: str) -> None:
    with api_exception_handler():
        lake._sdk.experimental_api.hard_reset_branch(lake.repository, name, commit)


def _address(commit: Commit, parents: Sequence[str], files: str, seconds: int) -> str:
    """The server's name for a commit: the SHA-256 of its fields, each with its type and its length before it."""
    metadata = [text for pair in sorted(commit.metadata.items()) for text in pair]
    ancestry = hashlib.sha256(b"\x03" + _number(len(parents)) + b"".join(map(_text, parents))).digest()
    fields = [
        *map(_text, ("commit:v1", _COMMITTER, commit.message, files)),
        _number(seconds),
        b"\x04" + _number(len(commit.metadata)),
        *map(_text, metadata),
        b"\x05\x00" + _number(len(ancestry)) + ancestry,
    ]
    return hashlib.sha256(b"".join(fields)).hexdigest()


def _number(value: int) -> bytes:
    return b"\x02\x08" + value.to_bytes(8, "big", signed=True)


def _text(value: str) -> bytes:
    encoded = value.encode()
    return b"\x01" + _number(len(encoded)) + encoded
