"""From statements to votes to labels. What is unsure or disagreed is never guessed: it waits for people.

A statement's class is the one class of all its objects. Nothing seen is a statement for the class that passes.
Objects of several classes name no class: such a vote counts for none, and as unsure.
"""

from typing import Final

import polars as pl

from cv_assets.labels.schema import LabelTable
from cv_assets.spec.labels import Consensus

_OBJECTS: Final = LabelTable.create_empty().schema["objects"]


def latest(checked: pl.DataFrame) -> pl.DataFrame:
    """The latest revision of each annotation that broke no rule, retractions included.

    Independent of the order of rows and exports; a repeated statement counts once. A statement for the benchmark is
    another one than the same annotation's vote.
    """
    return (
        checked.filter(pl.col("broken_rule").is_null())
        .sort("revision", "retracted", "annotated_at", "export", "row")
        .unique(["tool", "project", "annotation", "benchmark"], keep="last", maintain_order=True)
    )


def with_class(statements: pl.DataFrame, pass_class: str) -> pl.DataFrame:
    """`statements` with `label`: the class of the whole frame that each states, null where it names several."""
    classes = pl.col("objects").list.eval(pl.element().struct.field("class")).list.unique()
    return statements.with_columns(
        label=pl.when(classes.list.len() == 0)
        .then(pl.lit(pass_class))
        .when(classes.list.len() == 1)
        .then(classes.list.first())
    )


def cast_votes(checked: pl.DataFrame, pass_class: str) -> pl.DataFrame:
    """One vote per frame and annotator: their newest statements about a known frame, for training.

    Columns: frame_id, annotator, label (null when they name no one class), uncertain, objects, annotations,
    annotated_at. Two newest statements of one time that differ name no class.
    """
    about = ["frame_id", "annotator"]
    statements = with_class(latest(checked), pass_class).filter(
        ~pl.col("retracted"), pl.col("frame_id").is_not_null(), pl.col("benchmark").is_null()
    )
    newest = statements.filter(pl.col("annotated_at") == pl.col("annotated_at").max().over(about))
    return (
        newest.sort("annotation_id")
        .group_by(about)
        .agg(
            label=pl.when(pl.col("label").n_unique() == 1).then(pl.col("label").first()),
            uncertain=pl.col("uncertain").any(),
            objects=pl.col("objects").first(),
            annotations=pl.col("annotation_id"),
            annotated_at=pl.col("annotated_at").first(),
        )
        .sort(about)
    )


def label_frames(votes: pl.DataFrame, consensus: Consensus) -> pl.DataFrame:
    """The label of every frame that has one of the `votes` that were cast, as rows of `LabelTable`, sorted by frame.

    A frame waits for review when it has fewer than `min_votes` votes, when a vote is unsure (by the rule `unsure`),
    or when no single class leads with at least `min_agreement` of all votes. The objects of a label are those of the
    newest vote for it: boxes of several people are not averaged.
    """
    return (
        votes.group_by("frame_id")
        .agg(
            votes=pl.len().cast(pl.Int64),
            unsure=(pl.col("uncertain") | pl.col("label").is_null()).any(),
            annotations=pl.col("annotations").list.explode(keep_nulls=False, empty_as_null=False).sort(),
            annotators=pl.col("annotator").sort(),
            labelled_at=pl.col("annotated_at").max(),
        )
        .join(_leaders(votes), on="frame_id", how="left")
        .with_columns(agreement=pl.col("leading").fill_null(0) / pl.col("votes"))
        .with_columns(resolution=_resolution(consensus), disputed=pl.col("agreement") < 1)
        .with_columns(
            status=pl.when(pl.col("resolution").is_in(["unanimous", "majority"]))
            .then(pl.lit("agreed"))
            .otherwise(pl.lit("review"))
        )
        .with_columns(
            label=pl.when(pl.col("status") == "agreed").then("label"),
            objects=pl.when(pl.col("status") == "agreed")
            .then("objects")
            .otherwise(pl.lit([], dtype=_OBJECTS)),
        )
        .drop("leading", "leaders", "unsure")
        .sort("frame_id")
    )


def _leaders(votes: pl.DataFrame) -> pl.DataFrame:
    """Per frame the class with most votes, how many it has, how many classes have as many, and its newest objects."""
    # The objects decide between votes of one time, not the annotators' names.
    told = pl.col("objects").list.eval(pl.element().struct.json_encode()).list.join("")
    return (
        votes.filter(pl.col("label").is_not_null())
        .sort("annotated_at", told)
        .group_by("frame_id", "label")
        .agg(leading=pl.len(), objects=pl.col("objects").last())
        .filter(pl.col("leading") == pl.col("leading").max().over("frame_id"))
        .with_columns(leaders=pl.len().over("frame_id"))
        .sort("frame_id", "label")
        .unique("frame_id", keep="first")
    )


def _resolution(consensus: Consensus) -> pl.Expr:
    led = (pl.col("leaders") == 1) & (pl.col("agreement") >= consensus.min_agreement)
    unsure = pl.col("unsure") & (consensus.unsure == "review")
    return (
        pl.when(pl.col("votes") < consensus.min_votes)
        .then(pl.lit("too_few_votes"))
        .when(unsure)
        .then(pl.lit("unsure"))
        .when(~led.fill_null(False))
        .then(pl.lit("disagreed"))
        .when(pl.col("agreement") == 1)
        .then(pl.lit("unanimous"))
        .otherwise(pl.lit("majority"))
    )
