"""Settings of inspection and review: where verdicts are told, and what people look at."""

from pydantic import Field

from cv_assets.spec.acquisition import Folder
from cv_assets.spec.section import Positive, Section


class Inspection(Section):
    """Where the line reads its verdicts."""

    outbox: Folder = Field(
        "outbox", description="The folder of verdict files, one per delivery; relative to the data folder."
    )


class Review(Section):
    """What people look at, and by when."""

    folder: Folder = Field(
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
