"""Settings of inspection and review: where verdicts are told, and what people look at."""

from pydantic import Field, field_validator

from cv_assets.spec.acquisition import outside_own_folders
from cv_assets.spec.section import Positive, Section, Text


class Inspection(Section):
    """Where the line reads its verdicts."""

    outbox: Text = Field(
        "outbox", description="The folder of verdict files, one per delivery; relative to the data folder."
    )

    @field_validator("outbox")
    @classmethod
    def _is_no_folder_of_the_product(cls, outbox: str) -> str:
        return outside_own_folders(outbox)


class Review(Section):
    """What people look at, and by when."""

    folder: Text = Field(
        "review", description="The folder of the worklist for people; relative to the data folder."
    )
    audit_share: float = Field(
        0.05,
        gt=0,
        le=1,
        description="Share of the automatic verdicts that a person sees all the same, drawn at random: without them "
        "nobody knows what passes unseen.",
    )
    due_hours: Positive = Field(
        48.0, le=24 * 365, description="How long after it came up an item is due; at most a year."
    )

    @field_validator("folder")
    @classmethod
    def _is_no_folder_of_the_product(cls, folder: str) -> str:
        return outside_own_folders(folder)
