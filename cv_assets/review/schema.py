"""Contracts of the review step. An item is a frame that a person is asked to label."""

from typing import Final

import dataframely as dy
import polars as pl

REASONS: Final = (
    "drifted",
    "frame_rejected",
    "no_release",
    "preparation_changed",
    "no_score",
    "low_confidence",
    "random_audit",
    "unsure_label",
)
"""Why a person is asked. A frame with several captures has the first that applies to any, in this order."""

STATES: Final = ("open", "unresolved", "answered")


class ReviewQueue(dy.Schema):
    """One frame that a person is asked about, once, until the answer comes back as a label export."""

    frame_id = dy.String(
        primary_key=True, regex="^[0-9a-f]{64}$", description="sha256 of the raw file's bytes."
    )
    capture_id = dy.String(description="The capture that brought it up, as in raw_frames.")
    part = dy.String(description="The part that the capture shows.")
    delivery = dy.String(description="The delivery it came with.")
    file_name = dy.String(description="The picture's name, as acquisition gave it.")
    path = dy.String(description="Where the picture is in the lake; label exports may name it so.")
    reason = dy.String(
        regex=f"^({'|'.join(REASONS)})$",
        description="Why: drifted (its delivery belongs to a drift alarm of the release in force, or did and was "
        "answered), frame_rejected, no_release, "
        "preparation_changed, no_score (the model gave no probabilities), "
        "low_confidence, random_audit (drawn among the automatic verdicts), unsure_label (votes that came without "
        "being asked for do not decide).",
    )
    why = dy.String(description="The reason in words, with its figures.")
    probability = dy.Float64(
        min=0,
        max=1,
        description="How probable it was that this frame is asked about: 1, or the audit share. 1 for all of a "
        "delivery that ever drifted.",
    )
    verdict = dy.String(nullable=True, description="The verdict on the capture; null before it has one.")
    release = dy.String(nullable=True, description="The version that decided.")
    defect_score = dy.Float64(nullable=True, description="0 to 1; null when no model scored it.")
    opened_at = dy.Datetime(time_zone="UTC", time_unit="us", description="When it came up.")
    due_at = dy.Datetime(time_zone="UTC", time_unit="us", description="When the answer is due.")
    state = dy.String(
        regex=f"^({'|'.join(STATES)})$",
        description="open: nobody answered. unresolved: the answers so far do not decide; more are needed. answered: "
        "its label is agreed, or verified for the benchmark.",
    )
    answer = dy.String(nullable=True, description="The class that people agreed on.")
    answered_by = dy.List(dy.String(), description="Who answered so far.")
    annotations = dy.List(dy.String(), description="Their statements.")
    answered_at = dy.Datetime(
        nullable=True, time_zone="UTC", time_unit="us", description="When the newest answer was given."
    )

    @dy.rule()
    def answered_has_an_answer(cls) -> pl.Expr:  # noqa: N805, D102
        return (cls.state.col == "answered") == cls.answer.col.is_not_null()


class ReviewWorklist(dy.Schema):
    """One task of the worklist as people find it in its folder."""

    place = dy.Int64(primary_key=True, min=1, description="Its place: what is due first comes first.")
    frame_id = dy.String(description="The frame, as in review_queue.")
    part = dy.String(description="The part.")
    delivery = dy.String(description="The delivery it came with.")
    reason = dy.String(description="Why a person is asked.")
    why = dy.String(description="The reason in words.")
    state = dy.String(description="open or unresolved.")
    answered_by = dy.List(dy.String(), description="Who answered so far.")
    due_at = dy.Datetime(time_zone="UTC", time_unit="us", description="When the answer is due.")
    path = dy.String(description="Where the picture is in the lake.")
    guideline = dy.String(description="The guideline to answer by; Label Studio's export says it again.")


class Kpis(dy.Schema):
    """One KPI of one release over a window of deliveries, estimated from what people answered."""

    release_number = dy.Int64(primary_key=True, description="The release's row in releases.")
    metric = dy.String(
        primary_key=True,
        description="escape_rate: of the defective, those that pass. overkill: of the sound, those that fail. "
        "fail_precision: of those that fail, the defective. review_share: of all, those sent to people. 0 to 1.",
    )
    until = dy.String(
        primary_key=True,
        description="The window's last delivery, in the order of captures; there is one for each.",
    )
    release = dy.String(description="The version.")
    captured_to = dy.Datetime(time_zone="UTC", time_unit="us", description="The window's last capture.")
    deliveries = dy.Int64(min=1, description="Deliveries in the window.")
    captures = dy.Int64(min=0, description="Captures in the window.")
    asked = dy.Int64(
        min=0,
        description="Captures that people were asked about, without those whose frame was rejected: often nobody can "
        "tell their class. One that is answered counts among the samples.",
    )
    answered = dy.Int64(min=0, description="Of these, those that are answered.")
    samples = dy.Int64(
        min=0, description="Answered captures in the denominator; all captures for review_share."
    )
    groups = dy.Int64(min=0, description="Groups they come from.")
    value = dy.Float64(nullable=True, min=0, max=1, description="The estimate; null when it is not known.")
    low = dy.Float64(nullable=True, min=0, max=1, description="Lower end of its interval.")
    high = dy.Float64(nullable=True, min=0, max=1, description="Upper end of its interval.")
    bound = dy.Float64(nullable=True, description="The spec's bound; null when there is none.")
    verdict = dy.String(
        regex="^(met|undecided|broken|not_enough|unbounded)$",
        description="met: the whole interval is within the bound. broken: all of it lies beyond. undecided: the bound "
        "lies inside the interval. not_enough: too little is answered to tell. unbounded: the spec asks for nothing.",
    )
    why = dy.String(description="The verdict in words, with its figures.")
    answered_at = dy.Datetime(
        nullable=True, time_zone="UTC", time_unit="us", description="The newest answer that counts."
    )
