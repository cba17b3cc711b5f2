"""Contracts of the evaluation step. An interval holds with the spec's confidence and respects groups."""

import dataframely as dy


class EvaluationReport(dy.Schema):
    """One metric of one model on one set and one slice."""

    model = dy.String(
        primary_key=True,
        description="The model's name in the spec; `released`: the one in force when the candidate was requested, by "
        "its own operating band, on golden and challenge frames.",
    )
    set = dy.String(primary_key=True, description="out_of_fold, test, golden or challenge.")
    slice = dy.String(primary_key=True, description="all, class=NAME or ATTRIBUTE=VALUE.")
    metric = dy.String(
        primary_key=True,
        description="What was measured: a share or an area from 0 to 1, except latency_p95_ms in milliseconds; or a "
        "threshold of the operating band, lower_threshold or upper_threshold.",
    )
    value = dy.Float64(
        nullable=True,
        description="The estimate, in the metric's unit; null when it is not defined on these frames.",
    )
    low = dy.Float64(nullable=True, description="Lower end of the interval; null when it has none.")
    high = dy.Float64(nullable=True, description="Upper end of the interval; null when it has none.")
    samples = dy.Int64(min=0, description="Frames it rests on (its denominator, for a share).")
    groups = dy.Int64(min=0, description="Groups these frames come from.")


class ReleaseDecision(dy.Schema):
    """One criterion that a candidate must meet, and the model and operating band that it judges."""

    number = dy.Int64(
        primary_key=True, min=1, description="Its place: those of the spec first, in its order."
    )
    kind = dy.String(
        regex="^(acceptance|regression|condition)$",
        description="acceptance: a bound of the spec. regression: what may be lost against the release in force. "
        "condition: what the benchmark must hold of a condition that trains.",
    )
    candidate = dy.String(description="The candidate that is judged.")
    criterion = dy.String(description="In words.")
    metric = dy.String(
        description="What is measured, as in evaluation_report; benchmark_frames counts golden frames."
    )
    set = dy.String(description="On which frames: out_of_fold, test, golden or challenge.")
    slice = dy.String(description="On which of them: all, class=NAME or ATTRIBUTE=VALUE.")
    required = dy.Float64(
        nullable=True,
        description="The bound, in the metric's unit: 0 to 1, milliseconds for a latency, or frames. Null where there "
        "is no figure of the release in force to lose against.",
    )
    comparison = dy.String(
        regex="^(at_least|at_most)$", description="Must the figure be at least or at most `required`?"
    )
    judge = dy.String(
        regex="^(estimate|bound)$",
        description="What is compared: the estimate, or the worse end of its interval.",
    )
    measured = dy.Float64(
        nullable=True,
        description="The estimate, in the metric's unit; null without evidence, and where a criterion does not apply.",
    )
    low = dy.Float64(nullable=True, description="Lower end of the interval; null when it has none.")
    high = dy.Float64(nullable=True, description="Upper end of the interval; null when it has none.")
    samples = dy.Int64(min=0, description="Frames it rests on (its denominator, for a share).")
    passed = dy.Bool(
        description="Is the criterion met? Missing evidence does not meet it; one that does not apply is passed."
    )
    why = dy.String(
        description="In words: what was measured, which evidence is missing, or why it does not apply."
    )
    model = dy.String(description="The model chosen by out-of-fold scores.")
    lower = dy.Float64(description="Below this defect score a part passes; 0 to 1, or 2: every part passes.")
    upper = dy.Float64(description="At or above this defect score a part fails; 0 to 1, or 2: none does.")
    released_version = dy.String(
        nullable=True, description="What was in force when the candidate was requested; null: nothing."
    )
