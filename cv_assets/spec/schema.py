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
    Field,
    ValidationInfo,
    field_validator,
)

from cv_assets.spec.acquisition import Acquisition, Preparation, overlap
from cv_assets.spec.drift import Drift, Kpis, Retraining
from cv_assets.spec.evaluation import Criterion, Evaluation, Regression, Release
from cv_assets.spec.file_names import group_reads
from cv_assets.spec.inspection import Inspection, Review
from cv_assets.spec.labels import Labels
from cv_assets.spec.retention import Retention
from cv_assets.spec.section import Name, Owner, Problem, Section, Step, Text, refuse, repeated
from cv_assets.spec.training import SPLIT_COLUMNS, Splits, Training

_FOLDERS: Final = {"labels": "exports", "inspection": "outbox", "review": "folder"}
"""The sections with a folder of their own, and the setting of each that names it."""


class Class(Section):
    """One class a frame can have."""

    name: Name = Field(description="The word of labels, scores and reports.")
    passes: bool = Field(False, description="Does a part of this class pass? Exactly one class does.")
    include: tuple[Text, ...] = Field(
        min_length=1, description="What belongs to it, in an annotator's words."
    )
    exclude: tuple[Text, ...] = Field((), description="What looks like it and does not belong to it.")


class Spec(Section):
    """Everything that a project states before any data arrives."""

    name: Name = Field(
        description="The project: names its assets and partitions in Dagster, its data folder and lakeFS repository. "
        "Another name is another project, which begins empty."
    )
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
    inspection: Inspection = Inspection()
    review: Review = Review()
    drift: Drift = Drift()
    kpis: Kpis = Kpis()
    retraining: Retraining = Retraining()
    retention: Retention = Retention()

    @field_validator("classes")
    @classmethod
    def _one_passes(cls, classes: tuple[Class, ...]) -> tuple[Class, ...]:
        refuse(repeated([one.name for one in classes]))
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
            refuse(_unreadable(conditions, info.data["acquisition"]))
        return conditions

    @field_validator("labels", "inspection", "review")
    @classmethod
    def _have_their_own_folder(
        cls, section: Labels | Inspection | Review, info: ValidationInfo
    ) -> Labels | Inspection | Review:
        key = _FOLDERS[str(info.field_name)]
        folder = getattr(section, key)
        for taken, other in _folders_before(info.data):
            if overlap(folder, other):
                refuse(
                    [((key,), folder, f"expected another folder than {taken}, neither above nor below it")]
                )
        return section

    @field_validator("splits")
    @classmethod
    def _group_by_what_is_known(cls, splits: Splits, info: ValidationInfo) -> Splits:
        if "acquisition" in info.data:
            acquisition = info.data["acquisition"]
            named = set(re.compile(acquisition.file_name).groupindex)
            known = sorted(named & set(SPLIT_COLUMNS)) + sorted(acquisition.attributes)
            expected = f"expected a named group of `file_name`: {', '.join(known)}"
            columns = enumerate(splits.group_by)
            refuse((("group_by", number), one, expected) for number, one in columns if one not in known)
        return splits

    @field_validator("evaluation")
    @classmethod
    def _judges_what_exists(cls, evaluation: Evaluation, info: ValidationInfo) -> Evaluation:
        problems: list[Problem] = []
        asked: list[tuple[tuple[str, int], Criterion | Regression]] = [
            *((("acceptance", number), one) for number, one in enumerate(evaluation.acceptance)),
            *((("regression", number), one) for number, one in enumerate(evaluation.regression)),
        ]
        for where, criterion in asked:
            if wrong := _unknown_slice(criterion.slice, info.data):
                problems.append(((*where, "slice"), criterion.slice, wrong))
            else:
                problems += [
                    ((*where, key), getattr(criterion, key), why)
                    for key, why in _never_reported(criterion, info.data.get("classes", ()))
                ]
            if criterion.set == "test" and "splits" in info.data and info.data["splits"].shares.test == 0:
                problems.append(((*where, "set"), "test", "needs `splits.shares.test` above 0: it is 0"))
        refuse(problems)
        return evaluation

    @field_validator("drift")
    @classmethod
    def _looks_through_a_model(cls, drift: Drift, info: ValidationInfo) -> Drift:
        if "training" in info.data and drift.novelty.model is not None:
            known = [model.name for model in info.data["training"].models]
            if drift.novelty.model not in known:
                expected = f"expected one of `training.models`: {', '.join(known)}"
                refuse([(("novelty", "model"), drift.novelty.model, expected)])
        return drift

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


def _folders_before(known: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """The folders of the valid sections so far: how a message calls each, and the folder."""
    if "acquisition" in known:
        inbox = known["acquisition"].inbox
        yield "`acquisition.inbox`", inbox
        taken = posixpath.join(posixpath.dirname(posixpath.normpath(inbox)), "taken")
        yield "`taken` beside the inbox, which holds the frames that were taken in", taken
    for name, key in _FOLDERS.items():
        if name in known:
            yield f"`{name}.{key}`", getattr(known[name], key)


def _never_reported(
    criterion: Criterion | Regression, classes: tuple[Class, ...]
) -> Iterable[tuple[str, str]]:
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
