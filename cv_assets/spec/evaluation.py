"""Settings of evaluation and release: the operating band, the criteria of the gate, who decides."""

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cv_assets.spec.section import Count, Section, Share, Text, refuse


class Band(Section):
    """Bounds of the two thresholds, met on out-of-fold scores of the training groups."""

    max_escape: Share = Field(
        description="Share of defective frames that may score below the lower threshold."
    )
    min_fail_precision: Share | None = Field(None, description="Share of defective frames among the failed.")
    max_overkill: Share | None = Field(None, description="Share of sound frames that may fail.")

    @model_validator(mode="after")
    def _bounds_the_upper(self) -> "Band":
        if (self.min_fail_precision is None) == (self.max_overkill is None):
            raise ValueError("give exactly one of `min_fail_precision` and `max_overkill`")
        return self


Metric = Literal[
    "roc_auc",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "escape_rate",
    "overkill",
    "fail_precision",
    "review_share",
    "calibration_error",
    "latency_p95_ms",
    "label_agreement",
]

EvaluationSet = Literal["out_of_fold", "test", "golden", "challenge"]

SMALLER_IS_BETTER: Final = frozenset(
    ("escape_rate", "overkill", "review_share", "calibration_error", "latency_p95_ms")
)
"""Metrics that a criterion bounds from above; all others from below."""

_NOT_COMPARED: Final = {
    "latency_p95_ms": "the release is scored again, not timed again: bound it in `acceptance`",
    "label_agreement": "it tells of labels, not of a model: ask for it in `acceptance`",
}
"""Metrics that no candidate can lose against a release, and why."""


class Criterion(Section):
    """One thing a candidate must meet to be released."""

    metric: Metric
    set: EvaluationSet = "golden"
    slice: str = Field("all", description="`all`, `class=NAME`, or `ATTRIBUTE=VALUE` such as `product=mono`.")
    at_least: float | None = None
    at_most: float | None = None
    judge: Literal["estimate", "bound"] = Field(
        "estimate", description="Hold the point estimate to it, or the worse end of its interval."
    )
    min_samples: Count = Field(1, description="Fewer frames than this are missing evidence.")
    applies: Literal["always", "when_trained"] = Field(
        "always",
        description="when_trained: a slice by an attribute is judged only once frames with its value train.",
    )

    @model_validator(mode="after")
    def _one_side(self) -> "Criterion":
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give exactly one of `at_least` and `at_most`")
        return self

    @model_validator(mode="after")
    def _asks_for_the_better_side(self) -> "Criterion":
        smaller = self.metric in SMALLER_IS_BETTER
        if smaller and self.at_least is not None:
            raise ValueError(f"smaller is better for {self.metric}: use `at_most`, not `at_least`")
        if not smaller and self.at_most is not None:
            raise ValueError(f"greater is better for {self.metric}: use `at_least`, not `at_most`")
        bound = self.at_least if self.at_most is None else self.at_most
        if self.metric != "latency_p95_ms" and bound is not None and not 0 <= bound <= 1:
            raise ValueError(f"{self.metric} lies between 0 and 1 (0.8 means 80 %), got {bound:g}")
        return self

    @field_validator("applies")
    @classmethod
    def _is_about_a_condition(cls, applies: str, info: ValidationInfo) -> str:
        slice_ = info.data.get("slice", "")
        if applies == "when_trained" and (slice_ == "all" or slice_.startswith("class=")):
            raise ValueError(
                f"expected `always`: `{slice_}` always trains, an attribute's slice such as `product=mono` may not"
            )
        return applies


class Regression(Section):
    """What a candidate may lose against the release in force, both scored now on the same frames."""

    metric: Metric
    set: Literal["golden", "challenge"] = "golden"
    slice: str = Field("all", description="As in `acceptance`.")
    max_loss: Share = Field(description="So much worse than the release it may be: 0.1 of an escape rate.")
    min_samples: Count = Field(1, description="Fewer frames than this are missing evidence.")

    @field_validator("metric")
    @classmethod
    def _is_measured_again(cls, metric: Metric) -> Metric:
        if why := _NOT_COMPARED.get(metric):
            raise ValueError(f"expected a metric of both models on the same frames: {why}")
        return metric


class Evaluation(Section):
    """How candidates are measured, chosen and judged."""

    band: Band
    select_by: Metric = Field(
        "roc_auc", description="The model with the best out-of-fold value is the candidate's."
    )
    confidence: float = Field(0.95, gt=0, lt=1, description="Level of every interval.")
    assumed_correlation: Share = Field(
        0.1,
        description="How alike frames of one group are taken to be where all groups agree, which tells nothing: 0 not "
        "at all, 1 equal. More widens such intervals.",
    )
    calibration_bins: Count = Field(
        10,
        description="calibration_error looks at this many bins; at fewer where a bin would hold too few frames.",
    )
    latency_frames: Count = Field(
        80, description="Frames timed per model and set; from 72 on, the p95 has an interval at 0.95."
    )
    acceptance: tuple[Criterion, ...] = Field(
        min_length=1, description="A candidate that misses any of them is refused."
    )
    regression: tuple[Regression, ...] = Field(
        (), description="Compared with the release in force; a candidate that loses more is refused."
    )
    new_condition_frames: Count = Field(
        20,
        description="Golden frames with a condition's value that the benchmark must hold before a model that trained "
        "on it is judged.",
    )

    @field_validator("acceptance")
    @classmethod
    def _judges_each_thing_once(cls, acceptance: tuple[Criterion, ...]) -> tuple[Criterion, ...]:
        _refuse_repeated([(one.metric, one.set, one.slice, one.judge) for one in acceptance])
        return acceptance

    @field_validator("regression")
    @classmethod
    def _compares_each_thing_once(cls, regression: tuple[Regression, ...]) -> tuple[Regression, ...]:
        _refuse_repeated([(one.metric, one.set, one.slice) for one in regression])
        return regression

    @field_validator("select_by")
    @classmethod
    def _tells_models_apart(cls, select_by: Metric) -> Metric:
        if select_by == "label_agreement":
            raise ValueError(
                "expected a metric that tells models apart: labels agree the same for all of them"
            )
        return select_by


def _refuse_repeated(judged: Sequence[tuple[str, ...]]) -> None:
    """Refuse every figure, metric first, that was judged before."""
    refuse(
        (
            (number,),
            one[0],
            f"expected each figure to be judged once: [{judged.index(one)}] judges this one already",
        )
        for number, one in enumerate(judged)
        if one in judged[:number]
    )


POLICY: Final = "policy"
"""The approver of what no person decides."""


class Release(Section):
    """Who lets a candidate into production."""

    approval: Literal["automatic", "person"] = "person"
    approvers: tuple[Text, ...] = Field(
        (), description="Who may approve and roll back; empty: anyone may roll back."
    )
    identity: Literal["asserted", "authenticated"] = Field(
        "asserted",
        description="asserted: a name that somebody typed will do. authenticated: only decisions count that the door "
        "of approvals signed for a person who logged in.",
    )

    @field_validator("approvers")
    @classmethod
    def _are_persons(cls, approvers: tuple[str, ...]) -> tuple[str, ...]:
        if POLICY in approvers:
            raise ValueError(f"expected persons: {POLICY!r} stands for what no person decides")
        return approvers

    @model_validator(mode="after")
    def _somebody_may(self) -> "Release":
        if self.approval == "person" and not self.approvers:
            raise ValueError("`approval: person` needs at least one name in `approvers`")
        return self
