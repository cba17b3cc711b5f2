"""Settings of frames: where they arrive, what a file name means, and the pass that prepares them."""

import posixpath
import re
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cv_assets.spec.file_names import misreading, time_format_error
from cv_assets.spec.section import Count, Positive, Section, Share, Side, Text, refuse

CAPTURE_FIELDS = ("station", "camera", "part", "group", "time", "count")
"""Groups of a file-name pattern with a meaning of their own; any other becomes an attribute of the capture."""

OWN_FOLDERS: Final = ("cache", "deliveries", "explanations", "lake", "taken")
"""Folders of the data folder that belong to the product: nobody else writes there."""


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


def outside_own_folders(folder: str) -> str:
    """The folder itself. Raises ValueError when it is, holds or lies in one that belongs to the product."""
    if clashes := [own for own in OWN_FOLDERS if overlap(folder, own)]:
        raise ValueError(
            f"expected a folder of its own, that neither holds nor lies in {', '.join(clashes)}: "
            f"in the data folder {', '.join(OWN_FOLDERS)} belong to the product"
        )
    return folder


def overlap(one: str, other: str) -> bool:
    """Whether two folders, relative to the data folder, are the same or one lies in the other."""
    # Some file systems take `Lake` for `lake`.
    first, second = (posixpath.normpath(folder).casefold().split("/") for folder in (one, other))
    if "." in (*first, *second) or {*first} <= {"..", ""}:
        return True
    shared = min(len(first), len(second))
    return first[:shared] == second[:shared]


Folder = Annotated[Text, AfterValidator(outside_own_folders)]
"""A folder, relative to the data folder, that neither is, holds nor lies in one of the product's own."""


class Acquisition(Section):
    """Where frames arrive and what a file name means."""

    inbox: Folder = Field("inbox", description="The watched folder; relative to the data folder.")
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
    metadata: Literal["keep", "strip"] = Field(
        "keep",
        description="Raw frames keep what their files say beside the picture (place, owner, serial number), or are "
        "stripped of it before they are kept, without a changed pixel.",
    )
    after: Literal["move", "keep"] = Field("move", description="Published files move to `taken/`, or stay.")

    @property
    def attributes(self) -> frozenset[str]:
        """The named groups of `file_name` that are attributes of a capture."""
        return frozenset(re.compile(self.file_name).groupindex) - set(CAPTURE_FIELDS)

    @field_validator("inbox")
    @classmethod
    def _is_not_called_taken(cls, inbox: str) -> str:
        if posixpath.basename(posixpath.normpath(inbox)).casefold() == "taken":
            raise ValueError(
                "expected another name: `taken` beside the inbox holds the files that were taken in"
            )
        return inbox

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
            refuse(((number,), name, wrong) for number, name, wrong in readings if wrong)
        return examples

    @field_validator("close")
    @classmethod
    def _can_be_complete(cls, close: Closing, info: ValidationInfo) -> Closing:
        if close.complete_group and "file_name" in info.data:
            groups = re.compile(info.data["file_name"]).groupindex
            if missing := sorted({"group", "count"} - set(groups)):
                named = " and ".join(f"(?P<{name}>…)" for name in missing)
                refuse([(("complete_group",), True, f"needs the named groups {named} in `file_name`")])
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
    max_pixels: Count = Field(
        64_000_000,
        description="A header that claims more is not decoded; nor is one of more than 4 channels of 16 bits.",
    )

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
