"""Settings of splits and training: what belongs together, and the models of a candidate."""

from typing import Annotated, Final, Literal

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cv_assets.spec.section import _SHA256, Count, Name, Positive, Section, Share, Text, refuse, repeated

WEIGHT_PACKAGES: Final = {
    "efficientnet_lite0": "tf_efficientnet_lite0",
    "vit_s_focus": "vit_small_patch14_dinov2",
}
"""Installable packages of pretrained weights, and the one architecture that each of them fits."""

RELEASED: Final = "released"
"""What reports call the model that is in force; no model of a candidate has this name."""

SPLIT_COLUMNS: Final = ("station", "camera", "part", "group")
"""Capture fields by which frames can be kept together; attributes can too."""


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
                refuse([(("name",), name, f"expected a weight package: {known}; or another `source`")])
            elif given not in (None, fits):
                expected = f"expected weights of {given}: this package holds those of {fits}"
                refuse([(("name",), name, expected)])
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
        names = [model.name for model in models]
        refuse(repeated(names))
        taken = "expected another name: reports call the model in force so"
        refuse(((number, "name"), name, taken) for number, name in enumerate(names) if name == RELEASED)
        return models
