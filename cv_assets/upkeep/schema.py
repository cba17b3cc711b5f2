"""Contracts of the upkeep step: how the lake itself is kept. Nothing here is about frames or verdicts."""

from typing import get_args

import dataframely as dy

from resources.lake import ChangeKind, LeftoverKind, Outcome


class LakeSweep(dy.Schema):
    """One thing that a sweep of the lake came upon, and what became of it."""

    kind = dy.String(
        primary_key=True,
        regex=f"^({'|'.join(get_args(LeftoverKind))})$",
        description="work branch: of a publication under way, or of one whose process died. refused branch: holds data "
        "whose checks failed. unfinished file, lock, object, repository: in the folder of the embedded lake. "
        "uncommitted: on lakeFS, a change that stops every merge. cache: in the cache folder.",
    )
    name = dy.String(primary_key=True, description="The branch, or the file in its folder.")
    what = dy.String(description="Head commit of a branch, size in bytes of a file.")
    first_seen = dy.Datetime(
        time_zone="UTC",
        time_unit="us",
        description="When a sweep first saw the work branch with this head, or what is uncommitted; when a file, or "
        "refused data, was written.",
    )
    outcome = dy.String(
        regex=f"^({'|'.join(get_args(Outcome))})$",
        description="swept: it is gone. would go: it was a dry run. waits: a later sweep decides. kept: no sweep takes "
        "it.",
    )
    why = dy.String(description="The reason in words, and what a person can do where one must.")


class LakeVerification(dy.Schema):
    """One thing that is wrong in the lake: an object or a commit, or a row that points astray."""

    commit = dy.String(primary_key=True, description="The commit it was found at.")
    path = dy.String(
        primary_key=True,
        description="The object; the commit, where that itself is damaged or lost.",
    )
    table = dy.String(
        primary_key=True, description="The table whose rows point there; empty where none does."
    )
    row = dy.String(description="Key of the first such row, as COLUMN=VALUE; empty where none points there.")
    rows = dy.Int64(min=0, description="How many rows of the table point there.")
    wrong = dy.String(description="What is wrong, in words.")
    do = dy.String(description="What a person can do.")


class BranchChanges(dy.Schema):
    """One row of a table that differs between this data branch and main."""

    number = dy.Int64(primary_key=True, min=1, description="Its place in the comparison.")
    asset = dy.String(description="The asset whose table it is a row of.")
    partition = dy.String(description="Its partition; empty for an asset without.")
    key = dy.String(
        description="The row's key, as COLUMN=VALUE; the whole row where the contract has no key."
    )
    change = dy.String(
        regex=f"^({'|'.join(get_args(ChangeKind))})$",
        description="added: only this branch has it. removed: only main does.",
    )
    differs = dy.String(description="The columns that differ in a changed row.")
    before = dy.String(
        nullable=True, description="As JSON: main's values, those that differ in a changed row."
    )
    after = dy.String(nullable=True, description="As JSON: this branch's values.")
