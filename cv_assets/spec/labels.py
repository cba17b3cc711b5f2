"""Settings of labels: where exports arrive and what makes a label."""

from typing import Literal

from pydantic import Field

from cv_assets.spec.acquisition import Folder
from cv_assets.spec.section import Count, Section, Share, Text


class Consensus(Section):
    """How votes become a label."""

    min_votes: Count = Field(1, description="Fewer votes leave the frame for review.")
    min_agreement: Share = Field(
        0.5, description="Share of the votes that the winning class needs, at least."
    )
    unsure: Literal["review", "count"] = Field(
        "review", description="A vote marked uncertain sends the frame to review, or counts like any other."
    )


class Labels(Section):
    """Where label exports arrive and what makes a label."""

    exports: Folder = Field(
        "exports", description="The watched folder of label exports; relative to the data folder."
    )
    max_export_mb: Count = Field(
        200,
        description="The largest export that is read, in MB (10^6 bytes); reading one takes many times its size.",
    )
    runs_at_once: Count = Field(
        4, description="The most exports that are taken at the same time; they write the same tables in turn."
    )
    guideline: Text = Field(description="Version of the guideline that annotators work by now.")
    guidelines: tuple[Text, ...] = Field((), description="Older guideline versions whose labels still count.")
    clock_tolerance_minutes: float = Field(
        5.0, ge=0, le=1440, description="How far an annotator's clock may be ahead of the time of receipt."
    )
    box_tolerance_pixels: float = Field(
        0.5,
        ge=0,
        description="How far a box may reach over the frame's edge before a row is diverted: tools round.",
    )
    consensus: Consensus = Consensus()
    min_kappa: float | None = Field(
        None, ge=-1, le=1, description="Below this Fleiss kappa the label table warns; None never warns."
    )
