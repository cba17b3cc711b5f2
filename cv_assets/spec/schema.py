"""The spec: the contract a project is built and judged by, as typed, validated values.

Shares and probabilities are in [0, 1]; lengths of time name their unit; sizes are pixels, width before height.
"""

import re
from typing import Annotated, Any, Literal

import dataframely as dy
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]

CAPTURE_FIELDS = ("station", "camera", "part", "group", "time", "count")
"""Groups of a file-name pattern with a meaning of their own; any other becomes an attribute of the capture."""


class Section(BaseModel):
    """A part of the spec: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Class(Section):
    """One class a frame can have."""

    name: Name
    passes: bool = Field(False, description="Does a part of this class pass? Exactly one class does.")
    include: tuple[str, ...] = Field(description="What belongs to it, in an annotator's words.")
    exclude: tuple[str, ...] = Field((), description="What looks like it and does not belong to it.")


class Closing(Section):
    """When the files that wait for a station become a delivery; whichever comes first."""

    files: Count | None = Field(None, description="After this many settled files.")
    minutes: Positive | None = Field(None, description="This long after the station's first waiting file.")
    complete_group: bool = Field(False, description="When as many files of a `group` are there as `count` says.")

    @model_validator(mode="after")
    def _closes_at_all(self) -> "Closing":
        if self.files is None and self.minutes is None and not self.complete_group:
            raise ValueError("a delivery must close after `files`, `minutes` or `complete_group`: give at least one")
        return self


class Acquisition(Section):
    """Where frames arrive and what a file name means."""

    inbox: str = Field("inbox", description="The watched folder; relative to the data folder.")
    file_name: str = Field(
        description="A regular expression that matches the whole file name, with named groups station, camera, "
        "part, group, time, count (how many files the group has); any other named group is an attribute."
    )
    time_format: str | None = Field(
        None, description="strptime format of the group `time`, in UTC. Without it the file's own time counts."
    )
    close: Closing
    settle_ticks: int = Field(2, ge=2, description="Over how many looks a file's size must not have changed.")
    files_per_tick: int = Field(20_000, ge=1, description="The most files that one look considers.")
    after: Literal["move", "keep"] = Field("move", description="Published files move to `taken/`, or stay.")

    @field_validator("file_name")
    @classmethod
    def _is_a_pattern(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        if "part" not in groups:
            raise ValueError("needs a named group (?P<part>…): a verdict is about a part")
        return pattern

    @model_validator(mode="after")
    def _groups_are_there(self) -> "Acquisition":
        groups = re.compile(self.file_name).groupindex
        if self.close.complete_group and not {"group", "count"} <= set(groups):
            raise ValueError("`close.complete_group` needs the named groups `group` and `count` in `file_name`")
        if self.time_format and "time" not in groups:
            raise ValueError("`time_format` needs the named group `time` in `file_name`")
        return self


class Bounds(Section):
    """Outside these a frame is rejected before any model sees it; None switches a bound off.

    Focus is the variance of the Laplacian of the decoded grey frame; brightness its mean, in 0 to 255.
    """

    min_focus: float | None = Field(80.0, ge=0)
    min_brightness: float | None = Field(5.0, ge=0, le=255)
    max_brightness: float | None = Field(250.0, ge=0, le=255)
    min_contrast: float | None = Field(1.0, ge=0, description="Standard deviation of the grey frame.")
    size: tuple[Count, Count] | None = Field(None, description="The only accepted width and height.")
    max_pixels: Count = Field(64_000_000, description="A header that claims more is not decoded.")


class Preparation(Section):
    """The one deterministic pass from a decoded frame to what a model sees."""

    colour: Literal["grey", "rgb"] = "grey"
    size: tuple[Count, Count] = (512, 512)
    interpolation: Literal["area", "linear", "cubic"] = "area"
    normalize: Literal["min_max", "none"] = "min_max"
    bounds: Bounds = Bounds()


class Consensus(Section):
    """How votes become a label."""

    min_votes: Count = Field(1, description="Fewer votes leave the frame for review.")
    min_agreement: Share = Field(0.5, description="Share of the votes that the winning class needs, at least.")
    unsure: Literal["review", "count"] = Field(
        "review", description="A vote marked uncertain sends the frame to review, or counts like any other."
    )


class Labels(Section):
    """Where label exports arrive and what makes a label."""

    exports: str = Field("exports", description="The watched folder of label exports; relative to the data folder.")
    guideline: str = Field(description="Version of the guideline that annotators work by now.")
    guidelines: tuple[str, ...] = Field((), description="Older guideline versions whose labels still count.")
    consensus: Consensus = Consensus()
    min_kappa: float | None = Field(
        None, ge=-1, le=1, description="Below this Fleiss kappa the label table warns; None never warns."
    )


class Shares(Section):
    """How groups are dealt to roles."""

    train: Share
    val: Share = 0.0
    test: Share = 0.0

    @model_validator(mode="after")
    def _sums_to_one(self) -> "Shares":
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train, val and test must sum to 1, got {total:g}")
        if self.train == 0:
            raise ValueError("train must be above 0")
        return self


class Splits(Section):
    """Which frames belong together, and their roles."""

    group_by: tuple[str, ...] = Field(
        ("group",), min_length=1, description="Columns (station, camera, part, group) or attributes; never torn."
    )
    salt: str = Field(description="Another salt deals the groups anew.")
    shares: Shares


class Weights(Section):
    """Where pretrained weights come from."""

    source: Literal["package", "file", "hub", "random"] = Field(
        description="package: an installed weight package by name; file: a safetensors file; hub: timm's; random: none."
    )
    name: str | None = Field(None, description="The package (efficientnet_lite0, vit_s_focus) or the file.")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="Refuse other bytes than these.")

    @model_validator(mode="after")
    def _is_named(self) -> "Weights":
        if self.source in ("package", "file") and not self.name:
            raise ValueError(f"weights from a {self.source} need `name`")
        return self


class FrozenRecipe(Section):
    """A frozen backbone whose features a logistic head reads."""

    kind: Literal["frozen"]
    blocks: tuple[int, ...] = Field((), description="Feature stages to pool; empty: the backbone's own output.")
    pool: tuple[Literal["mean", "max", "min"], ...] = ("mean",)
    C: Positive = Field(1.0, description="Inverse strength of the L2 penalty.")


class FineTuneRecipe(Section):
    """All weights of the backbone and its head are trained."""

    kind: Literal["fine_tune"]
    epochs: Count = 20
    batch_size: Count = 32
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Positive = 3e-4
    weight_decay: float = Field(0.05, ge=0)
    patience: Count = Field(5, description="Epochs without a better validation loss before training stops.")
    augment: tuple[Literal["flip", "rotate", "brightness"], ...] = ("flip",)
    sanity_frames: int = Field(8, ge=0, description="First overfit this many frames, or fail; 0 skips it.")


class Model(Section):
    """One model that every candidate trains."""

    name: Name = Field(description="The asset is `<name>_checkpoint`.")
    architecture: str = Field(description="A timm model name.")
    weights: Weights
    input_size: int = Field(224, ge=16, description="Side of the square that the backbone sees.")
    balance: Literal["loss", "none"] = Field("loss", description="Weigh classes by their inverse frequency.")
    recipe: Annotated[FrozenRecipe | FineTuneRecipe, Field(discriminator="kind")]


class Training(Section):
    """The models of a candidate and what they share."""

    seed: int = 0
    folds: int = Field(5, ge=2, description="Grouped folds of the out-of-fold scores.")
    models: tuple[Model, ...] = Field(min_length=1)

    @field_validator("models")
    @classmethod
    def _names_differ(cls, models: tuple[Model, ...]) -> tuple[Model, ...]:
        names = [model.name for model in models]
        if len(set(names)) < len(names):
            raise ValueError(f"model names must differ, got {names}")
        return models


class Band(Section):
    """Bounds of the two thresholds, met on out-of-fold scores of the training groups."""

    max_escape: Share = Field(description="Share of defective frames that may score below the lower threshold.")
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

    @model_validator(mode="after")
    def _one_side(self) -> "Criterion":
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give exactly one of `at_least` and `at_most`")
        return self


class Evaluation(Section):
    """How candidates are measured, chosen and judged."""

    band: Band
    select_by: Metric = Field("roc_auc", description="The model with the best out-of-fold value is the candidate's.")
    confidence: Share = Field(0.95, description="Level of every interval.")
    acceptance: tuple[Criterion, ...] = Field(min_length=1)


class Release(Section):
    """Who lets a candidate into production."""

    approval: Literal["automatic", "person"] = "person"
    approvers: tuple[str, ...] = Field((), description="Who may approve when a person must.")

    @model_validator(mode="after")
    def _somebody_may(self) -> "Release":
        if self.approval == "person" and not self.approvers:
            raise ValueError("`approval: person` needs at least one name in `approvers`")
        return self


class Spec(Section):
    """Everything that a project states before any data arrives."""

    name: Name
    purpose: str = Field(description="The use case, the decision it supports and the outcome that is measured.")
    task: Literal["classification"] = "classification"
    owners: dict[str, tuple[str, ...]] = Field(
        description="Who owns each step: `default`, and any step by name. `team:name` or a mail address."
    )
    classes: tuple[Class, ...] = Field(min_length=2)
    conditions: dict[Name, tuple[str, ...]] = Field(
        default_factory=dict, description="Attributes of a capture whose values are evaluated separately."
    )
    acquisition: Acquisition
    preparation: Preparation = Preparation()
    labels: Labels
    splits: Splits
    training: Training
    evaluation: Evaluation
    release: Release
    retention_days: Count | None = Field(None, description="How long raw frames are kept; None keeps them.")

    @field_validator("classes")
    @classmethod
    def _one_passes(cls, classes: tuple[Class, ...]) -> tuple[Class, ...]:
        names = [one.name for one in classes]
        if len(set(names)) < len(names):
            raise ValueError(f"class names must differ, got {names}")
        if sum(one.passes for one in classes) != 1:
            raise ValueError("exactly one class must say `passes: true`")
        return classes

    @field_validator("owners")
    @classmethod
    def _has_a_default(cls, owners: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if not owners.get("default"):
            raise ValueError("needs `default`: who owns what no other entry names")
        return owners

    @model_validator(mode="after")
    def _names_resolve(self) -> "Spec":
        groups = set(re.compile(self.acquisition.file_name).groupindex)
        attributes = groups - set(CAPTURE_FIELDS)
        missing = set(self.splits.group_by) - {"station", "camera", "part", "group"} - attributes
        if missing:
            raise ValueError(
                f"splits.group_by names {sorted(missing)}, which are neither columns nor named groups of file_name"
            )
        if unknown := set(self.conditions) - attributes:
            raise ValueError(f"conditions name {sorted(unknown)}, which are not named groups of file_name")
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        """All classes, in the order of the score vector."""
        return tuple(one.name for one in self.classes)

    @property
    def pass_class(self) -> str:
        """The class whose parts pass; every other class is defective."""
        return next(one.name for one in self.classes if one.passes)

    def section(self, name: str) -> dict[str, Any]:
        """One section as plain JSON values, for records such as a checkpoint's recipe."""
        return self.model_dump(mode="json")[name]  # type: ignore[no-any-return]


class ProjectSpec(dy.Schema):
    """The spec in force: one row per top-level section."""

    section = dy.String(primary_key=True, description="Name of the section.")
    value = dy.String(description="The section as JSON with sorted keys.")
    spec_digest = dy.String(description="Hash of the whole spec; the same in every row.")
