"""Contracts of the upkeep step: how the lake itself is kept. Nothing here is about frames or verdicts."""

from typing import Final, get_args

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


class RunPruning(dy.Schema):
    """One old run of Dagster that went, lost its messages, or stays although it is old."""

    run_id = dy.String(primary_key=True, description="The run of Dagster.")
    job = dy.String(description="Its job; __ASSET_JOB for what somebody materialized without one.")
    partition = dy.String(description="Its delivery, export or candidate; empty for a run without.")
    status = dy.String(description="How it ended.")
    ended_at = dy.Datetime(time_zone="UTC", time_unit="us", description="When it ended.")
    outcome = dy.String(
        regex="^(goes|thinned|stays)$",
        description="goes: the run and its log. thinned: the messages in its log and what its steps printed. stays: "
        "all of it. In a dry run: what would become of it.",
    )
    why = dy.String(description="The reason in words.")


KINDS: Final = ("raw frame", "prepared frame", "checkpoint")
"""What retention can let go of: bytes that rows name. Tables, reports and pages stay."""


class RetentionPlan(dy.Schema):
    """One object that is past its date, and whether it would go."""

    path = dy.String(primary_key=True, description="The object.")
    kind = dy.String(regex=f"^({'|'.join(KINDS)})$", description="What it is.")
    belongs_to = dy.String(description="The delivery it came with, or the refused candidate.")
    frame_id = dy.String(nullable=True, description="sha256 of the raw frame; null for a checkpoint.")
    sha256 = dy.String(regex="^[0-9a-f]{64}$", description="Hash of its bytes, by its name.")
    size_bytes = dy.Int64(min=0, description="Size in bytes.")
    since = dy.Datetime(
        time_zone="UTC", time_unit="us", description="When it was taken in, or its candidate refused."
    )
    due_at = dy.Datetime(time_zone="UTC", time_unit="us", description="Its date: from then on it may go.")
    age_days = dy.Int64(min=0, metadata={"volatile": True}, description="Whole days since `since`.")
    rule = dy.String(description="The setting of the spec's `retention` that says so, with its days.")
    outcome = dy.String(regex="^(goes|stays)$", description="stays: it is past its date and needed.")
    why = dy.String(description="What it is needed for, in words; the rule for what goes.")
    commit = dy.String(
        nullable=True,
        description="The refused candidate's commit that names it; null for what the data branch lists.",
    )


class LetGo(dy.Schema):
    """One object that was let go. The table only grows; rows elsewhere still name the object."""

    number = dy.Int64(primary_key=True, min=1, description="Which letting go it was, from 1 on.")
    path = dy.String(primary_key=True, description="The object.")
    kind = dy.String(regex=f"^({'|'.join(KINDS)})$", description="What it was.")
    belongs_to = dy.String(description="The delivery it came with, or the refused candidate.")
    frame_id = dy.String(nullable=True, description="sha256 of the raw frame; null for a checkpoint.")
    sha256 = dy.String(regex="^[0-9a-f]{64}$", description="Hash of its bytes.")
    size_bytes = dy.Int64(min=0, description="Size in bytes.")
    rule = dy.String(description="The setting of the spec's `retention` that said so, with its days.")
    plan = dy.String(description="Data version of the retention plan that was applied.")
    commit = dy.String(description="The last commit at which it was there.")
    spec_digest = dy.String(description="Hash of the spec in force.")
    let_go_at = dy.Datetime(
        time_zone="UTC", time_unit="us", metadata={"volatile": True}, description="When, in UTC."
    )
    run_id = dy.String(metadata={"volatile": True}, description="The run that did.")


class Erasure(dy.Schema):
    """One object that was let go and whose bytes were still there when an erasure looked; none when all are gone."""

    path = dy.String(primary_key=True, description="The object.")
    size_bytes = dy.Int64(min=0, description="Size in bytes.")
    outcome = dy.String(
        regex=f"^({'|'.join(get_args(Outcome))})$",
        description="swept: they are gone now. waits: they were written again just now. kept: others need them, or "
        "they lie where only the server can erase them.",
    )
    why = dy.String(description="The reason in words.")
