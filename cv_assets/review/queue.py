"""What people are asked, as a pure function of verdicts, drift, labels and benchmark: nothing is remembered elsewhere.

An item is a frame. It is answered when its label is agreed or verified, whenever and for whatever reason that was said.
"""

from collections.abc import Collection
from datetime import timedelta
from typing import Final

import polars as pl

from cv_assets.inspection.schema import ASKED
from cv_assets.review.answers import answers
from cv_assets.review.asked import asked
from cv_assets.review.schema import REASONS, ReviewQueue
from cv_assets.spec.inspection import Review

RAW_FACTS: Final = ("capture_id", "frame_id", "part", "delivery", "file_name", "path", "captured_at")
VERDICT_FACTS: Final = (
    "capture_id",
    "frame_id",
    "raw_path",
    "part",
    "delivery",
    "captured_at",
    "verdict",
    "reason",
    "why",
    "defect_score",
    "release",
    "audit",
    "review_probability",
    "decided_at",
)
"""All that is read here of raw_frames and inspections, which may be millions of rows."""

_ITEM: Final = (
    "frame_id",
    "capture_id",
    "part",
    "delivery",
    "file_name",
    "path",
    "reason",
    "why",
    "probability",
    "verdict",
    "release",
    "defect_score",
    "opened_at",
)


def review_queue(
    *,
    inspections: pl.DataFrame,
    raw_frames: pl.DataFrame,
    label_table: pl.DataFrame,
    benchmark_frames: pl.DataFrame,
    whole: pl.DataFrame,
    review: Review,
) -> pl.DataFrame:
    """The rows of ReviewQueue, what is due first on top; independent of the order of rows.

    An item for every frame of a delivery that people see whole, with the verdict REVIEW, or drawn for the random audit,
    and for every other frame whose votes do not decide. Of a drifted delivery that is no longer asked about, only what
    was answered, and what is asked about for another reason, stays. Of inspections and raw_frames it reads
    VERDICT_FACTS and RAW_FACTS; `whole` are the rows of `whole_deliveries`.
    """
    said = answers(label_table, benchmark_frames)
    answered = said.filter(pl.col("answer").is_not_null())["frame_id"]
    asked_about = _asked_about(inspections, raw_frames, whole, answered)
    items = pl.concat([asked_about, _unsure(label_table, asked_about, raw_frames, inspections)])
    return (
        items.join(said, on="frame_id", how="left")
        .with_columns(
            due_at=pl.col("opened_at") + timedelta(hours=review.due_hours),
            state=pl.when(pl.col("answer").is_not_null())
            .then(pl.lit("answered"))
            .when(pl.col("answered_at").is_not_null())
            .then(pl.lit("unresolved"))
            .otherwise(pl.lit("open")),
            answered_by=_or_none("answered_by"),
            annotations=_or_none("annotations"),
        )
        .select(ReviewQueue.column_names())
        .sort("due_at", "frame_id")
    )


def waiting(queue: pl.DataFrame) -> pl.DataFrame:
    """The items that still wait for people, in the order of the queue."""
    return queue.filter(pl.col("state") != "answered")


def forgotten(
    queue: pl.DataFrame, inspections: pl.DataFrame, label_table: pl.DataFrame, drifted: Collection[str]
) -> pl.DataFrame:
    """Frames that people must see but that have no item, with `because`: a row per capture or undecided label.

    `drifted` are the deliveries that are still asked about.
    """
    audited = pl.when("audit").then(pl.lit(", audited")).otherwise(pl.lit(""))
    in_whole = pl.when(pl.col("delivery").is_in(sorted(drifted)))
    because = pl.format(
        "{} got {}{}{}",
        "part",
        "verdict",
        audited,
        in_whole.then(pl.lit(", in a drifted delivery")).otherwise(pl.lit("")),
    )
    captures = asked(inspections, drifted).filter("asked").select("frame_id", because=because)
    labels = label_table.filter(pl.col("status") == "review").select(
        "frame_id", because=pl.lit("its votes do not decide")
    )
    return pl.concat([captures, labels]).join(queue, on="frame_id", how="anti")


def _asked_about(
    inspections: pl.DataFrame, raw_frames: pl.DataFrame, whole: pl.DataFrame, answered: pl.Series
) -> pl.DataFrame:
    """One item per frame that drift, its verdict or the random audit sends to people."""
    stays = pl.col("still_asked") | pl.col("frame_id").is_in(answered.implode())
    drifted = pl.col("drifted_since").is_not_null() & stays
    in_review = pl.col("verdict") == "REVIEW"
    drawn = pl.format(
        "drawn at random, as {}% of the automatic verdicts are; it was {}: {}",
        (100 * pl.col("review_probability")).round(1),
        "verdict",
        "why",
    )
    # People were asked about some of them before anybody knew of drift: these keep their due time.
    came_up_later = drifted & ~ASKED
    return (
        asked(inspections, whole["delivery"])
        .filter("asked")
        .join(whole, on="delivery", how="left")
        .filter(ASKED | drifted)
        .join(raw_frames.select("capture_id", "file_name"), on="capture_id", how="left")
        .with_columns(
            # A verdict stands for good, and so does where its picture is, whatever becomes of the other table.
            path="raw_path",
            file_name=pl.coalesce("file_name", pl.col("raw_path").str.split("/").list.last()),
            reason=pl.when(drifted)
            .then(pl.lit("drifted"))
            .when(in_review)
            .then("reason")
            .otherwise(pl.lit("random_audit")),
            why=pl.when(drifted)
            .then(pl.format("{}; it was {}: {}", "drifted_why", "verdict", "why"))
            .when(in_review)
            .then("why")
            .otherwise(drawn),
            opened_at=pl.when(came_up_later)
            .then(pl.max_horizontal("decided_at", "drifted_since"))
            .otherwise("decided_at"),
        )
        .sort(_rank(), "opened_at", "captured_at", "capture_id", "path")
        .unique("frame_id", keep="first", maintain_order=True)
        .select(_ITEM)
    )


def _unsure(
    label_table: pl.DataFrame, asked_about: pl.DataFrame, raw_frames: pl.DataFrame, inspections: pl.DataFrame
) -> pl.DataFrame:
    """One item per other frame whose votes do not decide; its capture is the first that has a verdict, if any has."""
    verdicts = inspections.select("capture_id", "verdict", "release", "defect_score")
    return (
        label_table.filter(pl.col("status") == "review")
        .join(asked_about, on="frame_id", how="anti")
        .join(raw_frames.select(RAW_FACTS), on="frame_id")
        .join(verdicts, on="capture_id", how="left")
        .with_columns(
            reason=pl.lit("unsure_label"),
            why=_undecided(),
            probability=pl.lit(1.0),
            opened_at="labelled_at",
        )
        .sort(pl.col("verdict").is_null(), "captured_at", "capture_id", "path")
        .unique("frame_id", keep="first", maintain_order=True)
        .select(_ITEM)
    )


def _undecided() -> pl.Expr:
    """Why the votes do not decide, in words."""
    votes = pl.format(
        "{} {}", "votes", pl.when(pl.col("votes") == 1).then(pl.lit("vote")).otherwise(pl.lit("votes"))
    )
    leads = pl.format("{}%", (100 * pl.col("agreement")).round(0).cast(pl.Int64))
    return (
        pl.when(pl.col("resolution") == "too_few_votes")
        .then(pl.format("{} so far, too few to decide", votes))
        .when(pl.col("resolution") == "unsure")
        .then(pl.format("somebody is not sure, of {}", votes))
        .otherwise(pl.format("{} do not agree: {} are for the leading class", votes, leads))
    )


def _rank() -> pl.Expr:
    return pl.col("reason").replace_strict({reason: place for place, reason in enumerate(REASONS)})


def _or_none(column: str) -> pl.Expr:
    return pl.col(column).fill_null(pl.lit([], dtype=pl.List(pl.String)))
