"""Settings of drift, KPIs and retraining: what counts as a change, and what the system does about it by itself."""

from typing import Annotated, Final, Literal, get_args

from pydantic import Field, field_validator, model_validator

from cv_assets.spec.cron import cron_mistake
from cv_assets.spec.section import Count, Name, Section, Share, Text, refuse

Kpi = Literal["escape_rate", "overkill", "fail_precision", "review_share"]
"""What is measured of a release in production."""

KPIS: Final[tuple[Kpi, ...]] = get_args(Kpi)


class Novelty(Section):
    """How far frames lie from what the model trained on, in the features of a frozen backbone."""

    model: Name | None = Field(
        None, description="The model whose backbone is used; null: the first of `training.models`."
    )
    blocks: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="Feature stages to pool; empty: the backbone's own output."
    )
    pool: tuple[Literal["mean", "max", "min"], ...] = Field(
        ("mean",), min_length=1, description="How a stage's positions become one vector."
    )
    dimensions: Count = Field(32, description="Whitened principal components that distances are taken in.")
    neighbours: Count = Field(
        5, description="A frame's novelty is its mean distance to so many nearest ones."
    )
    max_frames: Count = Field(
        20_000, description="Reference frames that are kept, drawn by content; distances to more take longer."
    )


class Drift(Section):
    """When a delivery no longer looks like what the released model was trained on."""

    novelty: Novelty = Novelty()
    bins: int = Field(10, ge=2, le=100, description="Quantile bins of the reference, frozen with it.")
    measure: Literal["psi", "kl"] = Field(
        "psi", description="What is held against its level; the other one is reported beside it."
    )
    level: float = Field(
        0.9,
        gt=0.5,
        lt=1,
        description="Quantile of the reference's own deliveries, each measured against the others, that a delivery "
        "must exceed.",
    )
    tolerance: float = Field(
        0.2,
        ge=0,
        description="A smaller PSI (or KL) is never drift, however alike the reference's deliveries are.",
    )
    patience: Count = Field(
        2,
        description="So many drifted deliveries in a row open an alarm, or one more among twice as many and one: 2 in "
        "a row, or 3 of 5. Fewer warn.",
    )
    min_frames: Count = Field(30, description="A delivery with fewer accepted frames gets no verdict.")
    min_deliveries: Count = Field(
        10, description="A reference of fewer deliveries is not calibrated and gives no verdict."
    )
    max_repeated: Share = Field(
        0.05,
        description="A larger share of pictures that repeat another one alarms the station: a frozen camera.",
    )


class KpiBound(Section):
    """A bound on one KPI."""

    metric: Kpi
    at_least: Share | None = None
    at_most: Share | None = None

    @model_validator(mode="after")
    def _one_side(self) -> "KpiBound":
        smaller = self.metric != "fail_precision"
        if smaller and (self.at_most is None or self.at_least is not None):
            raise ValueError(f"smaller is better for {self.metric}: give `at_most` alone")
        if not smaller and (self.at_least is None or self.at_most is not None):
            raise ValueError(f"greater is better for {self.metric}: give `at_least` alone")
        return self


class Kpis(Section):
    """Quality in production, estimated from what people answered about inspected captures."""

    window: Count = Field(10, description="A figure is about the newest so many deliveries of a release.")
    min_samples: Count = Field(
        30, description="Fewer answered captures in its denominator say nothing, and never alarm."
    )
    min_answered: Share = Field(
        0.8,
        description="While a smaller share of what people were asked is answered, nothing is said either.",
    )
    bounds: tuple[KpiBound, ...] = Field(
        (), description="A KPI whose whole interval lies beyond its bound opens an alarm."
    )

    @field_validator("bounds")
    @classmethod
    def _bounds_each_once(cls, bounds: tuple[KpiBound, ...]) -> tuple[KpiBound, ...]:
        names = [one.metric for one in bounds]
        refuse(
            (
                (number, "metric"),
                name,
                f"expected each KPI to be bounded once: [{names.index(name)}] has it already",
            )
            for number, name in enumerate(names)
            if name in names[:number]
        )
        return bounds


class Retraining(Section):
    """When an alarm becomes a training."""

    min_new_labels: Count = Field(
        100, description="Fresh agreed labels that a retraining waits for: never on the old data alone."
    )
    cooldown_hours: float = Field(
        24.0,
        ge=0,
        le=24 * 365,
        description="Least time between two retrainings that nobody asked for by hand.",
    )
    max_retries: int = Field(
        2,
        ge=0,
        le=10,
        description="How often a failed run is retried, from the failed step, before a person is called.",
    )
    schedule: Text | None = Field(
        None, description="Cron expression (UTC) of the regular retraining, e.g. `0 5 1 * *`; null: none."
    )

    @field_validator("schedule")
    @classmethod
    def _is_a_cron_expression(cls, schedule: str | None) -> str | None:
        if schedule is not None and (mistake := cron_mistake(schedule)):
            raise ValueError(mistake)
        return schedule
