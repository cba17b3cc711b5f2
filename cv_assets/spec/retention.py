"""Settings of retention: how long bytes are kept. Null keeps them for ever; rows of tables are kept for ever anyhow."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from cv_assets.spec.section import Count, Section


class Retention(Section):
    """How long what is kept. What a release, a label or an open question needs stays however old it is."""

    frames_days: Count | None = Field(
        None,
        description="Raw frames, and what was prepared of them, so many days after they were taken in; null: for ever.",
    )
    prepared_days: Count | None = Field(
        None,
        description="Prepared frames so many days after they were taken in, no later than the raw ones; they can be "
        "made again of those. Null: as long as the raw ones.",
    )
    refused_days: Count | None = Field(
        None, description="Checkpoints of refused candidates so many days after the refusal; null: for ever."
    )
    runs_days: Count | None = Field(
        None, description="Dagster's runs and their logs so many days after they ended; null: for ever."
    )
    apply: Literal["person", "automatic"] = Field(
        "person",
        description="Who lets go of what is past its date: a person who looked at the plan, or the monthly schedule.",
    )

    @field_validator("prepared_days")
    @classmethod
    def _no_longer_than_raw(cls, days: int | None, info: ValidationInfo) -> int | None:
        frames_days = info.data.get("frames_days")
        if days is not None and frames_days is not None and days > frames_days:
            raise ValueError(
                f"prepared frames go with the raw ones at the latest: expected at most {frames_days}, as frames_days"
            )
        return days

    @property
    def keeps_everything(self) -> bool:
        """Whether no bytes of the lake have a date."""
        return (self.frames_days, self.prepared_days, self.refused_days) == (None, None, None)


def kept(asset: str, retention: Retention) -> str:
    """How long what the asset holds is kept, in words."""
    match asset:
        case "raw_frames":
            return f"rows: for ever; frames: {_days(retention.frames_days)}"
        case "prepared_frames":
            return f"rows: for ever; pictures: {_days(retention.prepared_days or retention.frames_days)}"
        case _ if asset.endswith("_checkpoint"):
            return (
                f"rows: for ever; weights: for ever, of a refused candidate {_days(retention.refused_days)}"
            )
        case _:
            return "for ever"


def _days(days: int | None) -> str:
    return "for ever" if days is None else f"{days} days, and as long as they are needed"
