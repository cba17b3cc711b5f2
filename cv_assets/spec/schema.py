"""The spec: the contract a project is built and judged by, as typed, validated values.

Shares and probabilities are in [0, 1]; lengths of time name their unit; sizes are pixels, width before height.
A rule between two settings is checked at the later one, where the earlier one stands in `info.data` if it is valid:
so one reading of a file finds the mistakes of all sections at once.
"""

import posixpath
import re
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

import dataframely as dy
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from cv_assets.spec.file_names import group_reads, misreading, time_format_error

_NAME: Final = r"^[a-z][a-z0-9_]*$"
_OWNER: Final = r"^(team:.+|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7})$"
_SHA256: Final = r"^[0-9a-f]{64}$"

PATTERNS: Final = {
    _NAME: "a name of small letters, digits and _ that starts with a letter",
    _OWNER: "`team:name` or a mail address",
    _SHA256: "the 64 hexadecimal digits of a SHA-256",
}
"""What the patterns ask for, in words."""

Name = Annotated[str, Field(pattern=_NAME)]
Text = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=1, le=16_384)]
Owner = Annotated[str, Field(pattern=_OWNER)]
Step = Literal[
    "default", "spec", "frames", "labels", "requests", "splits", "training", "evaluation", "release"
]

CAPTURE_FIELDS = ("station", "camera", "part", "group", "time", "count")
"""Groups of a file-name pattern with a meaning of their own; any other becomes an attribute of the capture."""

OWN_FOLDERS: Final = ("cache", "deliveries", "lake", "taken")
"""Folders of the data folder that belong to the product: nobody else writes there."""

WEIGHT_PACKAGES: Final = {
    "efficientnet_lite0": "tf_efficientnet_lite0",
    "vit_s_focus": "vit_small_patch14_dinov2",
}
"""Installable packages of pretrained weights, and the one architecture that each of them fits."""

SPLIT_COLUMNS: Final = ("station", "camera", "part", "group")
"""Capture fields by which frames can be kept together; attributes can too."""

Problem = tuple[tuple[str | int, ...], Any, str]
"""A mistake: where it is below the checked value, the value there, and what was expected."""


def _refuse(problems: Iterable[Problem]) -> None:
    """Raise one ValidationError with all `problems`, if there are any."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("spec", "{expected}", {"expected": expected}), loc=where, input=got
        )
        for where, got, expected in problems
    ]
    if details:
        raise ValidationError.from_exception_data("Spec", details)


class Section(BaseModel):
    """A part of the spec: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Class(Section):
    """One class a frame can have."""

    name: Name = Field(description="The word of labels, scores and reports.")
    passes: bool = Field(False, description="Does a part of this class pass? Exactly one class does.")
    include: tuple[Text, ...] = Field(
        min_length=1, description="What belongs to it, in an annotator's words."
    )
    exclude: tuple[Text, ...] = Field((), description="What looks like it and does not belong to it.")


class Closing(Section):
    """When the files that wait for a station become a delivery; whichever comes first."""

    files: Count | None = Field(None, description="After this many settled files.")
    minutes: Positive | None = Field(None, description="This long after the station's first waiting file.")
    complete_group: bool = Field(
        False, description="When as many files of a `group` are there as `count` says."
    )

    @model_validator(mode="after")
    def _closes_at_all(self) -> "Closing":
        if self.files is None and self.minutes is None and not self.complete_group:
            raise ValueError(
                "a delivery must close after `files`, `minutes` or `complete_group`: give at least one"
            )
        return self


class Acquisition(Section):
    """Where frames arrive and what a file name means."""

    inbox: Text = Field("inbox", description="The watched folder; relative to the data folder.")
    file_name: Text = Field(
        description="A regular expression that matches the whole file name, with named groups station, camera, "
        "part, group, time, count (how many files the group has); any other named group is an attribute."
    )
    time_format: Text | None = Field(
        None,
        description="strptime format of the group `time`, in UTC. Without it the file's own time counts.",
    )
    examples: tuple[Text, ...] = Field(
        (), description="File names as cameras write them; `file_name` must fit each."
    )
    close: Closing
    unfinished: tuple[Text, ...] = Field(
        (".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", "~"),
        description="Endings of names whose files are still being written, in any case of letters.",
    )
    settle_ticks: int = Field(2, ge=2, description="Over how many looks a file must not have changed.")
    files_per_tick: int = Field(20_000, ge=1, description="The most files that one look considers.")
    runs_at_once: Count = Field(4, description="The most deliveries that are taken in at the same time.")
    max_rejected: Share = Field(
        0.05, description="A delivery that loses a larger share warns of its station."
    )
    after: Literal["move", "keep"] = Field("move", description="Published files move to `taken/`, or stay.")

    @property
    def attributes(self) -> frozenset[str]:
        """The named groups of `file_name` that are attributes of a capture."""
        return frozenset(re.compile(self.file_name).groupindex) - set(CAPTURE_FIELDS)

    @field_validator("inbox")
    @classmethod
    def _is_no_folder_of_the_product(cls, inbox: str) -> str:
        if posixpath.basename(posixpath.normpath(inbox)).casefold() == "taken":
            raise ValueError(
                "expected another name: `taken` beside the inbox holds the files that were taken in"
            )
        return _outside_own_folders(inbox)

    @field_validator("file_name")
    @classmethod
    def _is_a_pattern(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"expected a regular expression: {error}") from error
        if "part" not in groups:
            raise ValueError("expected a named group (?P<part>…), for a verdict is about a part")
        return pattern

    @field_validator("time_format")
    @classmethod
    def _is_a_time_format(cls, time_format: str | None, info: ValidationInfo) -> str | None:
        if time_format is None:
            return None
        if "file_name" in info.data and "time" not in re.compile(info.data["file_name"]).groupindex:
            raise ValueError("needs the named group (?P<time>…) in `file_name`")
        if wrong := time_format_error(time_format):
            raise ValueError(wrong)
        return time_format

    @field_validator("examples")
    @classmethod
    def _are_matched(cls, examples: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "file_name" in info.data:
            pattern, time_format = re.compile(info.data["file_name"]), info.data.get("time_format")
            readings = [
                (number, name, misreading(name, pattern, time_format)) for number, name in enumerate(examples)
            ]
            _refuse(((number,), name, wrong) for number, name, wrong in readings if wrong)
        return examples

    @field_validator("close")
    @classmethod
    def _can_be_complete(cls, close: Closing, info: ValidationInfo) -> Closing:
        if close.complete_group and "file_name" in info.data:
            groups = re.compile(info.data["file_name"]).groupindex
            if missing := sorted({"group", "count"} - set(groups)):
                named = " and ".join(f"(?P<{name}>…)" for name in missing)
                _refuse([(("complete_group",), True, f"needs the named groups {named} in `file_name`")])
        return close


class Bounds(Section):
    """Outside these a frame is rejected before any model sees it; None switches a bound off.

    Focus is the variance of the Laplacian of the decoded grey frame; brightness its mean, in 0 to 255.
    """

    min_focus: float | None = Field(80.0, ge=0)
    min_brightness: float | None = Field(5.0, ge=0, le=255)
    max_brightness: float | None = Field(250.0, ge=0, le=255)
    min_contrast: float | None = Field(1.0, ge=0, description="Standard deviation of the grey frame.")
    size: tuple[Side, Side] | None = Field(None, description="The only accepted width and height.")
    max_pixels: Count = Field(64_000_000, description="A header that claims more is not decoded.")

    @model_validator(mode="after")
    def _leaves_something(self) -> "Bounds":
        low, high = self.min_brightness, self.max_brightness
        if low is not None and high is not None and low >= high:
            raise ValueError(f"min_brightness must be below max_brightness, got {low:g} and {high:g}")
        if self.size and self.size[0] * self.size[1] > self.max_pixels:
            raise ValueError(
                f"frames of the accepted size {list(self.size)} have more than max_pixels {self.max_pixels}"
            )
        return self


class Preparation(Section):
    """The one deterministic pass from a decoded frame to what a model sees."""

    colour: Literal["grey", "rgb"] = "grey"
    size: tuple[Side, Side] = Field((512, 512), description="Width and height of a prepared frame.")
    interpolation: Literal["area", "linear", "cubic"] = "area"
    normalize: Literal["min_max", "none"] = "min_max"
    bounds: Bounds = Bounds()


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

    exports: Text = Field(
        "exports", description="The watched folder of label exports; relative to the data folder."
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

    @field_validator("exports")
    @classmethod
    def _is_no_folder_of_the_product(cls, exports: str) -> str:
        return _outside_own_folders(exports)


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

    group_by: tuple[Text, ...] = Field(
        ("group",),
        min_length=1,
        description="Columns (station, camera, part, group) or attributes; never torn.",
    )
    salt: Text = Field(description="Another salt deals the groups anew.")
    shares: Shares


class Weights(Section):
    """Where pretrained weights come from."""

    source: Literal["package", "file", "hub", "random"] = Field(
        description="package: an installed weight package by name; file: a safetensors file; hub: timm's; random: none."
    )
    name: str | None = Field(None, description="The package (efficientnet_lite0, vit_s_focus) or the file.")
    sha256: str | None = Field(None, pattern=_SHA256, description="Refuse other bytes than these.")

    @model_validator(mode="after")
    def _is_named(self) -> "Weights":
        if self.source in ("package", "file") and not self.name:
            raise ValueError(f"weights from a {self.source} need `name`")
        return self


class FrozenRecipe(Section):
    """A frozen backbone whose features a logistic head reads."""

    kind: Literal["frozen"]
    blocks: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="Feature stages to pool; empty: the backbone's own output."
    )
    pool: tuple[Literal["mean", "max", "min"], ...] = Field(
        ("mean",), min_length=1, description="How a stage's positions become one vector."
    )
    C: Positive = Field(1.0, description="Inverse strength of the L2 penalty.")


class FineTuneRecipe(Section):
    """All weights of the backbone and its head are trained."""

    kind: Literal["fine_tune"]
    epochs: Count = 20
    batch_size: Count = 32
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of sgd; adamw has none of it.")
    learning_rate: Positive = Field(3e-4, description="The highest learning rate of the schedule.")
    warm_up: float = Field(
        0.1, ge=0, lt=1, description="Share of the steps in which the learning rate rises; then it falls."
    )
    weight_decay: float = Field(0.05, ge=0)
    max_gradient_norm: Positive | None = Field(
        1.0, description="Longer gradients are shortened to this; None leaves them as they are."
    )
    patience: Count = Field(5, description="Epochs without a better validation loss before training stops.")
    augment: tuple[Literal["flip", "rotate", "brightness"], ...] = ("flip",)
    brightness: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="How much brighter or darker `augment: [brightness]` makes a frame, at most.",
    )
    sanity_frames: int = Field(8, ge=0, description="First overfit this many frames, or fail; 0 skips it.")
    sanity_steps: Count = Field(200, description="In this many steps they must be overfitted.")
    sanity_loss: Positive = Field(
        0.1, description="Overfitted means a loss below this, in nats: 0.1 names the frames with about 90 %."
    )


class Model(Section):
    """One model that every candidate trains."""

    name: Name = Field(description="The asset is `<name>_checkpoint`.")
    architecture: Text = Field(description="A timm model name.")
    weights: Weights
    input_size: int = Field(224, ge=16, le=4096, description="Side of the square that the backbone sees.")
    balance: Literal["loss", "none"] = Field("loss", description="Weigh classes by their inverse frequency.")
    recipe: Annotated[FrozenRecipe | FineTuneRecipe, Field(discriminator="kind")]

    @field_validator("weights")
    @classmethod
    def _fit_the_architecture(cls, weights: Weights, info: ValidationInfo) -> Weights:
        if weights.source == "package":
            name, given = weights.name or "", info.data.get("architecture")
            fits = WEIGHT_PACKAGES.get(name)
            if fits is None:
                known = ", ".join(WEIGHT_PACKAGES)
                _refuse([(("name",), name, f"expected a weight package: {known}; or another `source`")])
            elif given not in (None, fits):
                expected = f"expected weights of {given}: this package holds those of {fits}"
                _refuse([(("name",), name, expected)])
        return weights


class Training(Section):
    """The models of a candidate and what they share."""

    seed: int = Field(0, ge=0, lt=2**32)
    folds: int = Field(5, ge=2, description="Grouped folds of the out-of-fold scores.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="Where `kind: fine_tune` trains; auto takes the GPU if there is one. `kind: frozen` uses the CPU.",
    )
    models: tuple[Model, ...] = Field(min_length=1)

    @field_validator("models")
    @classmethod
    def _names_differ(cls, models: tuple[Model, ...]) -> tuple[Model, ...]:
        _refuse(_repeated([model.name for model in models]))
        return models


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

    @field_validator("acceptance")
    @classmethod
    def _judges_each_thing_once(cls, acceptance: tuple[Criterion, ...]) -> tuple[Criterion, ...]:
        judged = [(one.metric, one.set, one.slice, one.judge) for one in acceptance]
        _refuse(
            (
                (number,),
                acceptance[number].metric,
                f"expected each figure to be judged once: [{judged.index(one)}] judges this one already",
            )
            for number, one in enumerate(judged)
            if one in judged[:number]
        )
        return acceptance

    @field_validator("select_by")
    @classmethod
    def _tells_models_apart(cls, select_by: Metric) -> Metric:
        if select_by == "label_agreement":
            raise ValueError(
                "expected a metric that tells models apart: labels agree the same for all of them"
            )
        return select_by


class Release(Section):
    """Who lets a candidate into production."""

    approval: Literal["automatic", "person"] = "person"
    approvers: tuple[Text, ...] = Field(
        (), description="Who may approve and roll back; empty: anyone may roll back."
    )

    @model_validator(mode="after")
    def _somebody_may(self) -> "Release":
        if self.approval == "person" and not self.approvers:
            raise ValueError("`approval: person` needs at least one name in `approvers`")
        return self


class Spec(Section):
    """Everything that a project states before any data arrives."""

    name: Name = Field(description="The project.")
    purpose: Text = Field(
        description="The use case, the decision it supports and the outcome that is measured."
    )
    task: Literal["classification"] = Field("classification", description="What a model says of a frame.")
    owners: dict[Step, tuple[Owner, ...]] = Field(
        description="Who owns each step: `default`, and any step by name. `team:name` or a mail address."
    )
    classes: tuple[Class, ...] = Field(min_length=2)
    acquisition: Acquisition
    conditions: dict[Name, Annotated[tuple[Text, ...], Field(min_length=1)]] = Field(
        default_factory=dict, description="Attributes of a capture whose values are evaluated separately."
    )
    preparation: Preparation = Preparation()
    labels: Labels
    splits: Splits
    training: Training
    evaluation: Evaluation
    release: Release

    @field_validator("classes")
    @classmethod
    def _one_passes(cls, classes: tuple[Class, ...]) -> tuple[Class, ...]:
        _refuse(_repeated([one.name for one in classes]))
        passing = [one.name for one in classes if one.passes]
        if len(passing) != 1:
            raise ValueError(f"exactly one class must say `passes: true`, got {passing or 'none'}")
        return classes

    @field_validator("owners")
    @classmethod
    def _has_a_default(cls, owners: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if not owners.get("default"):
            raise ValueError("needs `default`: who owns what no other entry names")
        return owners

    @field_validator("conditions")
    @classmethod
    def _can_be_read(
        cls, conditions: dict[str, tuple[str, ...]], info: ValidationInfo
    ) -> dict[str, tuple[str, ...]]:
        if "acquisition" in info.data:
            _refuse(_unreadable(conditions, info.data["acquisition"]))
        return conditions

    @field_validator("labels")
    @classmethod
    def _have_their_own_folder(cls, labels: Labels, info: ValidationInfo) -> Labels:
        if "acquisition" in info.data:
            inbox = info.data["acquisition"].inbox
            if _overlap(labels.exports, inbox):
                expected = "expected another folder than `acquisition.inbox`, neither above nor below it"
                _refuse([(("exports",), labels.exports, expected)])
            if _overlap(
                labels.exports, posixpath.join(posixpath.dirname(posixpath.normpath(inbox)), "taken")
            ):
                expected = (
                    "expected another folder: `taken` beside the inbox holds the frames that were taken in"
                )
                _refuse([(("exports",), labels.exports, expected)])
        return labels

    @field_validator("splits")
    @classmethod
    def _group_by_what_is_known(cls, splits: Splits, info: ValidationInfo) -> Splits:
        if "acquisition" in info.data:
            acquisition = info.data["acquisition"]
            named = set(re.compile(acquisition.file_name).groupindex)
            known = sorted(named & set(SPLIT_COLUMNS)) + sorted(acquisition.attributes)
            expected = f"expected a named group of `file_name`: {', '.join(known)}"
            columns = enumerate(splits.group_by)
            _refuse((("group_by", number), one, expected) for number, one in columns if one not in known)
        return splits

    @field_validator("evaluation")
    @classmethod
    def _judges_what_exists(cls, evaluation: Evaluation, info: ValidationInfo) -> Evaluation:
        problems: list[Problem] = []
        for number, criterion in enumerate(evaluation.acceptance):
            where = ("acceptance", number)
            if wrong := _unknown_slice(criterion.slice, info.data):
                problems.append(((*where, "slice"), criterion.slice, wrong))
            else:
                problems += [
                    ((*where, key), getattr(criterion, key), why)
                    for key, why in _never_reported(criterion, info.data.get("classes", ()))
                ]
            if criterion.set == "test" and "splits" in info.data and info.data["splits"].shares.test == 0:
                problems.append(((*where, "set"), "test", "needs `splits.shares.test` above 0: it is 0"))
        _refuse(problems)
        return evaluation

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


def _repeated(names: list[str]) -> Iterable[Problem]:
    """Every name that stood before."""
    for number, name in enumerate(names):
        if name in names[:number]:
            yield (number, "name"), name, f"expected another name: [{names.index(name)}] has it already"


def _outside_own_folders(folder: str) -> str:
    """The folder itself. Raises ValueError when it is, holds or lies in one that belongs to the product."""
    if clashes := [own for own in OWN_FOLDERS if _overlap(folder, own)]:
        raise ValueError(
            f"expected a folder of its own, that neither holds nor lies in {', '.join(clashes)}: "
            f"in the data folder {', '.join(OWN_FOLDERS)} belong to the product"
        )
    return folder


def _overlap(one: str, other: str) -> bool:
    """Whether two folders, relative to the data folder, are the same or one lies in the other."""
    # Some file systems take `Lake` for `lake`.
    first, second = (posixpath.normpath(folder).casefold().split("/") for folder in (one, other))
    if "." in (*first, *second) or {*first} <= {"..", ""}:
        return True
    shared = min(len(first), len(second))
    return first[:shared] == second[:shared]


def _never_reported(criterion: Criterion, classes: tuple[Class, ...]) -> Iterable[tuple[str, str]]:
    """Keys of a criterion that no row of the evaluation report fits, and what was expected there."""
    metric, slice_ = criterion.metric, criterion.slice
    if metric in ("latency_p95_ms", "label_agreement") and slice_ != "all":
        yield "slice", f"{metric} is measured on all frames of a set together: expected `all`"
    if metric == "label_agreement" and criterion.set in ("golden", "challenge"):
        yield "set", "its labels are verified by one person and have no votes: expected out_of_fold or test"
    if not slice_.startswith("class="):
        return
    if metric in ("balanced_accuracy", "fail_precision"):
        yield "slice", f"{metric} is about all classes together: expected `all` or an attribute"
    passing = {f"class={one.name}" for one in classes if one.passes}
    if metric == "escape_rate" and slice_ in passing:
        yield (
            "slice",
            "only defective frames can escape, and this class passes: expected another class or `all`",
        )
    if metric == "overkill" and classes and slice_ not in passing:
        yield (
            "slice",
            f"only frames that should pass can be overkill: expected {' or '.join(sorted(passing))}, or `all`",
        )


def _unreadable(conditions: dict[str, tuple[str, ...]], acquisition: Acquisition) -> Iterable[Problem]:
    """Conditions that no file name can state."""
    known = ", ".join(sorted(acquisition.attributes)) or "there are none besides the capture's own"
    for name, values in conditions.items():
        if name == "class" or name not in acquisition.attributes:
            yield (
                (name,),
                list(values),
                f"expected an attribute, which is a named group of `file_name`: {known}",
            )
            continue
        for number, value in enumerate(values):
            if not group_reads(acquisition.file_name, name, value):
                yield (name, number), value, f"`file_name` never reads this as its `{name}`"


def _unknown_slice(name: str, known: dict[str, Any]) -> str:
    """What was expected instead of a slice over a class or a condition that the spec does not have, or nothing."""
    if name == "all" or not {"classes", "conditions"} <= set(known):
        return ""
    slices = [f"class={one.name}" for one in known["classes"]]
    slices += [f"{key}={value}" for key, values in known["conditions"].items() for value in values]
    return "" if name in slices else f"expected one of all, {', '.join(slices)}"


class ProjectSpec(dy.Schema):
    """The spec in force: one row per top-level section."""

    section = dy.String(primary_key=True, description="Name of the section.")
    value = dy.String(description="The section as JSON with sorted keys.")
    spec_digest = dy.String(description="Hash of the whole spec; the same in every row.")
