"""Retention: what is past its date, and what of it may go. Only bytes ever go: rows stay, so that verdicts do.

Age never decides alone. Frames that a model was trained or judged on, that wait for a training or for an answer, and
deliveries that an alarm is about stay as long as that is so.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from cv_assets.spec.retention import Retention
from cv_assets.upkeep.schema import LetGo, RetentionPlan
from cv_assets.words import counted, listed
from resources.contracts import digest

HELD: Final = pl.Schema(
    {
        "path": pl.String(), "kind": pl.String(), "belongs_to": pl.String(), "frame_id": pl.String(),
        "sha256": pl.String(), "size_bytes": pl.Int64(), "since": pl.Datetime("us", "UTC"), "commit": pl.String(),
    }
)  # fmt: skip
"""One object that retention is about, as in RetentionPlan."""

NEEDED: Final = pl.Schema({"by": pl.String(), "name": pl.String(), "why": pl.String()})
"""What is needed and why: `by` says what `name` is, a column of HELD: frame_id, sha256 or belongs_to."""

VOLATILE: Final = ("age_days",)


class PlanError(ValueError):
    """The plan is not what a person may have looked at; nothing was let go."""


def plan(held: pl.DataFrame, needed: pl.DataFrame, retention: Retention, now: datetime) -> pl.DataFrame:
    """What of `held` (HELD) is past its date, and whether it would go: rows of RetentionPlan.

    `needed` (NEEDED) says what stays whatever its age; of several reasons the first counts. Bytes that an object which
    stays has, too, stay. Captures may share an object: `held` has a row for each of their frames, the plan one.
    """
    dated = held.join(_rules(retention), on="kind", how="left").with_columns(
        due_at=pl.col("since") + pl.duration(days="days")
    )
    is_past = (pl.col("due_at") <= now).fill_null(value=False)
    past, young = dated.filter(is_past), dated.filter(~is_past)
    reasons = pl.concat(
        [needed, bytes_of(young, "the same bytes are there a second time, which is not past its date")]
    )
    judged = with_reason(past, reasons)
    # The same bytes under another path: all go together, or none.
    again = bytes_of(
        judged.filter(pl.col("why").is_not_null()), "the same bytes are there a second time, and needed"
    )
    stays = pl.coalesce("why", _reason("sha256", again))
    return (
        judged.sort(pl.col("why").is_null(), "since", descending=[False, True])
        .unique("path", keep="first", maintain_order=True)
        .with_columns(stays.alias("why"))
        .with_columns(
            outcome=pl.when(pl.col("why").is_null()).then(pl.lit("goes")).otherwise(pl.lit("stays")),
            why=pl.coalesce("why", pl.format("past its date by {}", "rule")),
            age_days=(pl.lit(now) - pl.col("since")).dt.total_days(),
        )
        .select(RetentionPlan.column_names())
        .sort("path")
    )


def approved(planned: pl.DataFrame, fresh: pl.DataFrame, version: str) -> pl.DataFrame:
    """What of `planned`, which a person looked at, is let go; `fresh` is the plan as of now.

    Raises PlanError when `version` is not the data version of `planned`, or something in it is needed by now.
    """
    newest = digest(planned, VOLATILE)
    if version != newest:
        raise PlanError(
            f"{version or 'Nothing'} is not the newest retention plan, which is {newest}: look at that one, and give "
            "its version as `plan`."
        )
    goes, still = (rows.filter(outcome="goes") for rows in (planned, fresh))
    changed = goes.join(still.select("path", "rule"), on=["path", "rule"], how="anti")
    if not changed.is_empty():
        now = dict(fresh.select("path", "why").iter_rows())
        first = changed["path"][0]
        why = now.get(first, "it is not past its date any more, or is gone")
        raise PlanError(
            f"{counted(changed.height, 'object')} of the plan may not go any more, such as {first}: {why}. Make a new "
            "plan with the job plan_retention and look at that."
        )
    return goes


def entries(
    goes: pl.DataFrame,
    before: pl.DataFrame,
    *,
    version: str,
    commit: str,
    spec_digest: str,
    at: datetime,
    run_id: str,
) -> pl.DataFrame:
    """`before`, rows of LetGo, and those of what goes now; `commit` is the data branch's that lists it."""
    number = int(before["number"].max() or 0) + 1  # type: ignore[arg-type]
    added = goes.select(
        *(name for name in LetGo.column_names() if name in goes.columns and name != "commit"),
        number=pl.lit(number, pl.Int64),
        plan=pl.lit(version),
        commit=pl.coalesce("commit", pl.lit(commit)),
        spec_digest=pl.lit(spec_digest),
        let_go_at=pl.lit(at, pl.Datetime("us", "UTC")),
        run_id=pl.lit(run_id),
    )
    return pl.concat([before, added.select(before.columns)])


def in_words(planned: pl.DataFrame) -> str:
    """One sentence: what would go, and what is past its date and stays."""
    goes, stays = planned.filter(outcome="goes"), planned.filter(outcome="stays")
    if planned.is_empty():
        return "Nothing is past its date."
    kinds = [counted(count, kind) for kind, count in goes["kind"].value_counts().sort("kind").iter_rows()]
    size = f" ({int(goes['size_bytes'].sum()) / 1e9:,.3f} GB)" if kinds else ""
    return f"{listed(kinds) or 'Nothing'} would go{size}; past its date and needed: {counted(stays.height, 'object')}."


def totals(planned: pl.DataFrame) -> pl.DataFrame:
    """By outcome, kind and reason: how many objects and bytes."""
    counted_ = planned.group_by("outcome", "kind", "why").agg(
        objects=pl.len(), bytes=pl.col("size_bytes").sum()
    )
    return counted_.sort("outcome", "objects", "kind", "why", descending=[False, True, False, False])


def _rules(retention: Retention) -> pl.DataFrame:
    """By kind: how many days, and which setting says so; no row for what is kept for ever."""
    frames, prepared, refused = retention.frames_days, retention.prepared_days, retention.refused_days
    found: Mapping[str, tuple[str, int | None]] = {
        "raw frame": ("frames_days", frames),
        "prepared frame": ("frames_days", frames) if prepared is None else ("prepared_days", prepared),
        "checkpoint": ("refused_days", refused),
    }
    rows = [(kind, days, f"{name}: {days}") for kind, (name, days) in found.items() if days is not None]
    return pl.DataFrame(rows, schema={"kind": pl.String, "days": pl.Int64, "rule": pl.String}, orient="row")


def with_reason(past: pl.DataFrame, needed: pl.DataFrame) -> pl.DataFrame:
    """The rows with `why` they are needed, null for those that are not."""
    reasons = [_reason(by, needed.filter(by=by)) for by in ("frame_id", "belongs_to", "sha256")]
    return past.with_columns(why=pl.coalesce(reasons))


def _reason(column: str, needed: pl.DataFrame) -> pl.Expr:
    first = needed.unique("name", keep="first", maintain_order=True)
    return pl.col(column).replace_strict(first["name"], first["why"], default=None, return_dtype=pl.String)


def bytes_of(held: pl.DataFrame, why: str) -> pl.DataFrame:
    """Rows of NEEDED that keep the bytes of these rows."""
    return held.select(by=pl.lit("sha256"), name="sha256", why=pl.lit(why)).cast(dict(NEEDED))  # type: ignore[arg-type]
