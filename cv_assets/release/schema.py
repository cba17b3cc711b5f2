"""Contract of the release step."""

import dataframely as dy
import polars as pl


class Releases(dy.Schema):
    """The history: one row per concluded candidate or rollback. The last row not refused is in force."""

    number = dy.Int64(primary_key=True, min=1, description="Its place in the history, from 1 on.")
    outcome = dy.String(
        regex="^(released|refused|rolled_back)$",
        description="How it ended: released, refused or rolled_back.",
    )
    version = dy.String(nullable=True, description="Null for a refused candidate.")
    candidate = dy.String(description="The candidate concluded, or the one rolled back to.")
    trigger = dy.String(description="Why it was trained, or `rollback`.")
    why = dy.String(description="The reason, in words.")
    approver = dy.String(description="Who approved; `policy` when the spec says automatic.")
    approver_known = dy.String(
        nullable=True,
        regex="^(authenticated|asserted|policy)$",
        description="How that is known. authenticated: a login vouched for the name, and the door of approvals signed "
        "it. asserted: somebody typed it. policy: the criteria decided. Null: not recorded then, so typed.",
    )
    concluded_at = dy.Datetime(
        time_zone="UTC",
        time_unit="us",
        description="When it was concluded, in UTC.",
        metadata={"volatile": True},
    )
    model = dy.String(
        nullable=True,
        description="The model in force with it; null when it was declined before it was judged.",
    )
    candidate_commit = dy.String(
        description="The candidate as of its decision: checkpoint, evaluation and decision."
    )
    lower = dy.Float64(
        nullable=True, description="Below this defect score a part passes; 0 to 1, or 2: every part passes."
    )
    upper = dy.Float64(
        nullable=True, description="At or above this defect score a part fails; 0 to 1, or 2: none does."
    )
    pass_class = dy.String(
        description="The class whose parts pass, by the spec that the candidate was judged by."
    )
    spec_digest = dy.String(description="Hash of the spec that the candidate was judged by.")

    @dy.rule()
    def what_is_in_force_can_decide(cls) -> pl.Expr:  # noqa: N805, D102
        able = pl.all_horizontal(
            one.col.is_not_null() for one in (cls.version, cls.model, cls.lower, cls.upper)
        )
        return (cls.outcome.col == "refused") | able
