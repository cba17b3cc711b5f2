"""Contracts of the inspection step. A defect score is 1 - the probability of the class that passes, 0 to 1."""

from typing import Final, get_args

import dataframely as dy
import polars as pl

from cv_assets.evaluation.band import Verdict

VERDICTS: Final = get_args(Verdict)

REASONS: Final = {
    "below_lower": "PASS",
    "above_upper": "FAIL",
    "low_confidence": "REVIEW",
    "frame_rejected": "REVIEW",
    "no_release": "REVIEW",
    "preparation_changed": "REVIEW",
    "no_score": "REVIEW",
}
"""Why a verdict was given, and the one verdict that each reason gives."""

ASKED: Final = (pl.col("verdict") == "REVIEW") | pl.col("audit")
"""Are people asked about the capture, for its verdict or by chance?"""


class Inspections(dy.Schema):
    """The verdict on one capture, with everything it follows from. Written once."""

    capture_id = dy.String(primary_key=True, description="The capture, as in raw_frames.")
    part = dy.String(description="The part that the capture shows.")
    captured_at = dy.Datetime(time_zone="UTC", time_unit="us", description="When the shutter opened.")
    station = dy.String(nullable=True, description="From the file name.")
    camera = dy.String(nullable=True, description="From the file name.")
    group = dy.String(nullable=True, description="What belongs together; from the file name.")
    attributes = dy.String(description="The file name's other named groups, as JSON with sorted keys.")
    delivery = dy.String(description="The delivery it came with.")
    frame_id = dy.String(regex="^[0-9a-f]{64}$", description="sha256 of the raw file's bytes.")
    raw_path = dy.String(description="Where the raw frame is in the lake.")
    prepared_path = dy.String(
        nullable=True, description="Where the frame is as the model saw it; null when it was rejected."
    )
    preparation = dy.String(description="Digest of the pass that prepared it.")
    verdict = dy.String(regex=f"^({'|'.join(VERDICTS)})$", description="What becomes of the part.")
    reason = dy.String(
        regex=f"^({'|'.join(REASONS)})$",
        description="below_lower: PASS. above_upper: FAIL. REVIEW: low_confidence (between the thresholds), "
        "frame_rejected (no model saw it), no_release (none was in force that can decide), preparation_changed (the "
        "model was trained on another pass), no_score (the model gave no probabilities).",
    )
    why = dy.String(description="The reason in words, with its figures.")
    defect_score = dy.Float64(
        nullable=True, min=0, max=1, description="0 to 1; null when no model gave the frame probabilities."
    )
    classes = dy.List(dy.String(), nullable=True, description="The classes, in the order of `scores`.")
    scores = dy.List(
        dy.Float64(), nullable=True, description="The full score vector: one probability per class."
    )
    release = dy.String(
        nullable=True, description="The version in force, which decided; null before the first release."
    )
    release_number = dy.Int64(nullable=True, description="Its row in releases.")
    candidate = dy.String(nullable=True, description="The candidate that was released.")
    model = dy.String(nullable=True, description="The model of the candidate.")
    weights_sha256 = dy.String(nullable=True, description="sha256 of the head that looked at the frame.")
    lower = dy.Float64(nullable=True, description="The threshold in effect: below it a part passes.")
    upper = dy.Float64(nullable=True, description="The threshold in effect: from it on a part fails.")
    audit = dy.Bool(description="Drawn at random to be looked at by a person, whatever its verdict.")
    review_probability = dy.Float64(
        min_exclusive=0,
        max=1,
        description="How probable it was that a person sees it: 1 for REVIEW, else the spec's share of random audits.",
    )
    decided_at = dy.Datetime(
        time_zone="UTC",
        time_unit="us",
        metadata={"volatile": True},
        description="When the verdict was given, in UTC.",
    )
    latency_ms = dy.Float64(
        nullable=True,
        min=0,
        metadata={"volatile": True},
        description="From the decoded frame to its scores, in milliseconds.",
    )

    @dy.rule()
    def reason_gives_the_verdict(cls) -> pl.Expr:  # noqa: N805, D102
        return cls.reason.col.replace_strict(REASONS, default=None) == cls.verdict.col

    @dy.rule()
    def decided_by_a_model_has_everything(cls) -> pl.Expr:  # noqa: N805, D102
        decided = cls.reason.col.is_in(["below_lower", "above_upper", "low_confidence"])
        facts = [
            cls.prepared_path,
            cls.defect_score,
            cls.scores,
            cls.release,
            cls.weights_sha256,
            cls.lower,
            cls.upper,
        ]
        return ~decided | pl.all_horizontal(one.col.is_not_null() for one in facts)


class Outbox(dy.Schema):
    """One verdict as the line was told it, in the verdict file of its delivery."""

    capture_id = dy.String(primary_key=True, description="The capture, as in inspections.")
    part = dy.String(description="The part.")
    verdict = dy.String(description="PASS, REVIEW or FAIL.")
    reason = dy.String(description="As in inspections.")
    release = dy.String(nullable=True, description="The version that decided; null before the first release.")
    decided_at = dy.Datetime(time_zone="UTC", time_unit="us", description="When the verdict was given.")
    file = dy.String(description="Name of the verdict file in the outbox.")
    file_sha256 = dy.String(regex="^[0-9a-f]{64}$", description="sha256 of that file.")
    arrived_at = dy.Datetime(
        time_zone="UTC", time_unit="us", description="When the frame's file was complete in the inbox."
    )
    told_at = dy.Datetime(
        time_zone="UTC",
        time_unit="us",
        metadata={"volatile": True},
        description="When the verdict file was there.",
    )
    seconds = dy.Float64(
        metadata={"volatile": True}, description="From the frame's file to the verdict file, in seconds."
    )
