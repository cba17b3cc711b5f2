"""Contracts of the evaluation step. An interval holds with the spec's confidence and respects groups."""

import dataframely as dy


class EvaluationReport(dy.Schema):
    """One metric of one model on one set and one slice."""

    model = dy.String(primary_key=True)
    set = dy.String(primary_key=True, description="out_of_fold, test, golden or challenge.")
    slice = dy.String(primary_key=True, description="all, class=NAME or ATTRIBUTE=VALUE.")
    metric = dy.String(primary_key=True)
    value = dy.Float64(nullable=True, description="Null when it is not defined on these frames.")
    low = dy.Float64(nullable=True, description="Lower end of the interval.")
    high = dy.Float64(nullable=True, description="Upper end of the interval.")
    samples = dy.Int64(min=0, description="Frames it rests on (its denominator, for a share).")
    groups = dy.Int64(min=0, description="Groups these frames come from.")


class ReleaseDecision(dy.Schema):
    """One acceptance criterion of the spec, and the model and operating band that it judges."""

    number = dy.Int64(primary_key=True, min=1, description="Position in the spec.")
    candidate = dy.String()
    criterion = dy.String(description="In words.")
    metric = dy.String()
    set = dy.String()
    slice = dy.String()
    required = dy.Float64()
    comparison = dy.String(regex="^(at_least|at_most)$")
    judge = dy.String(regex="^(estimate|bound)$")
    measured = dy.Float64(nullable=True)
    low = dy.Float64(nullable=True)
    high = dy.Float64(nullable=True)
    samples = dy.Int64(min=0)
    passed = dy.Bool()
    why = dy.String(description="In words: what was measured, or which evidence is missing.")
    model = dy.String(description="The model chosen by out-of-fold scores.")
    lower = dy.Float64(description="Below this defect score a part passes.")
    upper = dy.Float64(description="At or above this defect score a part fails.")
    released_version = dy.String(nullable=True, description="What was in force when this was decided.")
