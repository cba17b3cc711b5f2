"""Commits of another lake, written into a lakeFS repository as they were: with their parents, words and times.

The server calls a commit by a hash of all that it says, and refuses a record under another name. Its interface for
records is not one that it promises to keep: a version that differs refuses, and writes nothing wrong.
"""

import hashlib
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase

from lakefs.exceptions import (
    BadRequestException,
    ConflictException,
    ForbiddenException,
    NotFoundException,
    ServerException,
    api_exception_handler,
)
from lakefs_sdk.models.commit_record_creation import CommitRecordCreation

from resources.lake import Commit, LakeError
from resources.lake_names import MAIN
from resources.lakefs_connection import connect, create_repository, exists, said
from resources.lakefs_lake import LakeFSLake

_COMMITTER = "cv-assets"
_VERSION = 1
# The server remembers for some seconds that a branch was protected.
_PROTECTED_SECONDS = 30.0
_PAUSE_SECONDS = 0.5


def make_bare(lake: LakeFSLake) -> None:
    """Make the repository without `main`, unless it is there: nobody can work in it until that branch is set."""
    client = connect(lake.connection)
    if not exists(client, lake.connection):
        create_repository(client, lake.connection, bare=True)


def write_commit(lake: LakeFSLake, commit: Commit, parents: Sequence[str], state: str | None) -> str:
    """`commit` with other `parents` and the files of the commit `state`, none for None; the id it has here.

    Writing it again changes nothing. Raises LakeError when the server takes no such record.
    """
    commits = lake.sdk.commits_api
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


def set_branch(lake: LakeFSLake, name: str, commit: str, before: str | None) -> None:
    """Bring the branch from `before`, where None is nowhere, to `commit`; `main`, which is protected, takes seconds.

    Raises LakeError when the branch stands elsewhere by now, or a rule of the server protects it.
    """
    if before is None:
        lake.create_branch(name, commit)
    elif name == MAIN:
        _set_main(lake, commit, before)
    else:
        _reset(lake, name, commit, before)


def must_stand(lake: LakeFSLake, name: str, commit: str) -> None:
    """Raises LakeError unless the branch or tag stands there: what is done to it next would be lost to others."""
    if {**lake.branches(name), **lake.tags(name)}.get(name) != commit:
        raise used_meanwhile(lake, name)


def used_meanwhile(lake: LakeFSLake, name: str) -> LakeError:
    """What a person reads who shares the repository with others."""
    return LakeError(
        f"Somebody changed {name} in the repository {lake.repository} on {lake.endpoint} meanwhile; it is left as it "
        "is: name an empty repository in LAKEFS_REPOSITORY and move again."
    )


def _create(lake: LakeFSLake, record: CommitRecordCreation) -> None:
    try:
        with api_exception_handler():
            lake.sdk.internal_api.create_commit_record(lake.repository, record)
    except ConflictException:
        # Written before, by us: its name says all that it holds.
        return
    except (BadRequestException, NotFoundException, ServerException) as error:
        raise LakeError(
            f"lakeFS at {lake.endpoint} takes no commits of another lake ({error}): move to a lakeFS of the line 1.84"
        ) from error


def _set_main(lake: LakeFSLake, commit: str, before: str) -> None:
    api = lake.sdk.repositories_api
    with api_exception_handler():
        rules = [rule for rule in api.get_branch_protection_rules(lake.repository) if rule.pattern != MAIN]
        if others := [rule.pattern for rule in rules if fnmatchcase(MAIN, rule.pattern)]:
            raise _protected(f"by {', '.join(others)}")
        api.set_branch_protection_rules(lake.repository, rules)
    try:
        _reset_when_unprotected(lake, commit, before)
    finally:
        lake.ensure_repository()


def _reset_when_unprotected(lake: LakeFSLake, commit: str, before: str) -> None:
    deadline = time.monotonic() + _PROTECTED_SECONDS
    while True:
        try:
            return _reset(lake, MAIN, commit, before)
        except ForbiddenException as error:
            if time.monotonic() > deadline:
                raise _protected(f"({said(error)})") from error
        time.sleep(_PAUSE_SECONDS)


def _protected(how: str) -> LakeError:
    return LakeError(
        f"{MAIN} is protected {how}: take that rule off in the lakeFS UI (Settings, Branches) and do the same again"
    )


def _reset(lake: LakeFSLake, name: str, commit: str, before: str) -> None:
    must_stand(lake, name, before)
    with api_exception_handler():
        lake.sdk.experimental_api.hard_reset_branch(lake.repository, name, commit)


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
