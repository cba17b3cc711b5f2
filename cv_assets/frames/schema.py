"""Contracts of the frames step. Times are UTC; sizes are pixels; grey levels are 0 to 255."""

from typing import Final

import dataframely as dy
import polars as pl

REASONS: Final = (
    "unreadable",
    "truncated",
    "too_large",
    "wrong_size",
    "too_dark",
    "too_bright",
    "low_contrast",
    "low_focus",
    "unknown_name",
)
"""Why a frame is rejected. The first that applies, in this order."""

STATISTICS: Final = (
    "brightness",
    "contrast",
    "focus",
    "median_laplacian",
    "entropy",
    "dark_share",
    "bright_share",
)
"""What is measured of a grey image: mean, standard deviation, variance and median magnitude of the Laplacian,
entropy in bits, shares of pixels below 16 and above 239."""


def _statistics(of: str) -> dy.Struct:
    columns: dict[str, dy.Column] = {name: dy.Float64() for name in STATISTICS}
    return dy.Struct(
        columns,
        nullable=True,
        description=f"Statistics of the {of} image; null when there is none. brightness and contrast are the mean and "
        "standard deviation of the grey levels (0 to 255), focus and median_laplacian the variance and median "
        "magnitude of the Laplacian, entropy is in bits (0 to 8), dark_share and bright_share are shares (0 to 1) of "
        "the pixels below 16 and above 239.",
    )


class RawFrames(dy.Schema):
    """One capture: what arrived, from where, when, and where its bytes are."""

    capture_id = dy.String(
        primary_key=True, description="Hash of station, camera, part, time, file name, content."
    )
    frame_id = dy.String(regex="^[0-9a-f]{64}$", description="sha256 of the bytes that are kept.")
    delivery = dy.String(description="The delivery it came with.")
    file_name = dy.String(description="As acquisition named it.")
    station = dy.String(nullable=True, description="From the file name.")
    camera = dy.String(nullable=True, description="From the file name.")
    part = dy.String(
        description="From the file name; the file name itself when it does not match the pattern."
    )
    group = dy.String(
        nullable=True, description="What belongs together (a scene, a module); from the file name."
    )
    attributes = dy.String(description="The file name's other named groups, as JSON with sorted keys.")
    path = dy.String(description="Where the bytes are in the lake.")
    size_bytes = dy.Int64(min=0, description="Size of what is kept, in bytes.")
    width = dy.Int64(nullable=True, min=1, description="In pixels; null when the bytes are no image.")
    height = dy.Int64(nullable=True, min=1, description="In pixels; null when the bytes are no image.")
    channels = dy.Int64(
        nullable=True,
        min=1,
        description="1 grey, 3 colour, with alpha 2 or 4; null when the bytes are no image.",
    )
    depth_bits = dy.Int64(
        nullable=True,
        min=1,
        description="Bits per channel, 8 or 16 as a rule; null when the bytes are no image.",
    )
    camera_metadata = dy.String(nullable=True, description="Kept EXIF fields, as JSON.")
    captured_at = dy.Datetime(time_zone="UTC", time_unit="us", description="When the shutter opened.")
    captured_at_source = dy.String(regex="^(file_name|file_time)$", description="Where captured_at is from.")
    arrived_at = dy.Datetime(
        time_zone="UTC",
        time_unit="us",
        metadata={"volatile": True},
        description="When its file was complete in the inbox: last written, renamed or touched there.",
    )
    received_at = dy.Datetime(
        time_zone="UTC", time_unit="us", description="When it was taken in.", metadata={"volatile": True}
    )


class PreparedFrames(dy.Schema):
    """The same capture after the one deterministic pass: accepted, or rejected with the reason and its score."""

    capture_id = dy.String(primary_key=True, description="The capture, as in raw_frames.")
    frame_id = dy.String(description="sha256 of the raw bytes.")
    delivery = dy.String(description="The delivery it came with.")
    accepted = dy.Bool(description="May a model see it?")
    reason = dy.String(description="`ok`, or why it was rejected.")
    score = dy.Float64(nullable=True, description="What was measured for the reason, e.g. the focus.")
    bound = dy.Float64(nullable=True, description="The bound that the score broke, in its unit.")
    detail = dy.String(
        nullable=True, description="What was wrong, in words, where the score does not say it."
    )
    path = dy.String(
        nullable=True,
        description="Where the PNG is, named by the sha256 of its bytes; null when rejected.",
    )
    preparation = dy.String(description="Digest of the pass: its parameters and the library's version.")
    decoded = _statistics("decoded")
    prepared = _statistics("prepared")

    @dy.rule()
    def rejected_has_a_reason(cls) -> pl.Expr:  # noqa: N805, D102
        return (cls.reason.col == "ok") == cls.accepted.col

    @dy.rule()
    def accepted_has_a_picture(cls) -> pl.Expr:  # noqa: N805, D102
        return cls.path.col.is_not_null() == cls.accepted.col


class InboxReconciliation(dy.Schema):
    """One file that is not where manifests and lake say, or waits for too long."""

    place = dy.String(
        primary_key=True, regex="^(inbox|taken)$", description="The folder it lies in, or should."
    )
    delivery = dy.String(
        primary_key=True, description="The delivery that claims it, or below whose name it lies; empty: none."
    )
    file_name = dy.String(
        primary_key=True, description="Its name; a byte that is no text is written as \\xNN."
    )
    found = dy.String(
        regex="^(waits|astray|copy|missing|unpublished)$",
        description="waits: in the inbox for more than a day, and no delivery claims it. astray: below taken/, no "
        "manifest claims it, and the lake lacks its content. copy: the same, but the lake has its content. missing: a "
        "delivery that is not in the lake yet claims it, and it is gone. unpublished: its delivery is finished, but "
        "the lake does not have it.",
    )
    why = dy.String(description="What was found, in words.")
    do = dy.String(description="What a person can do, or what was done.")
