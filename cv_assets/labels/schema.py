"""Contracts of the labels step. Boxes are (x_min, y_min, x_max, y_max) in raw-frame pixels, origin top left."""

from typing import Final

import dataframely as dy

RESOLUTIONS: Final = ("unanimous", "majority", "unsure", "disagreed", "too_few_votes")
"""How the votes on a frame were resolved. The first two give a label; the others wait for people."""


def _objects() -> dy.List:
    box = {name: dy.Float64(nullable=True) for name in ("x_min", "y_min", "x_max", "y_max")}
    return dy.List(
        dy.Struct({"class": dy.String(nullable=True), **box}),
        description="What is there: a class each, with a box in raw-frame pixels or none. Empty: nothing was seen.",
    )


class Annotations(dy.Schema):
    """One annotator's statement about one frame, as the export gave it.

    Whether it counts is judged later, by the spec in force: a row holds null where the export held nothing readable.
    """

    export = dy.String(primary_key=True, description="The export it came with.")
    row = dy.Int64(primary_key=True, min=1, description="Its place in the export.")
    annotation_id = dy.String(description="`tool/project/annotation/revision`.")
    tool = dy.String(nullable=True, description="Where it was made, e.g. label_studio.")
    project = dy.String(nullable=True, description="The tool's project.")
    annotation = dy.String(nullable=True, description="The tool's own key of it; else `annotator@image`.")
    revision = dy.Int64(
        nullable=True, description="A later one supersedes. Without a number: its time, in µs."
    )
    image = dy.String(
        nullable=True, description="How the export names the picture: frame id, path or file name."
    )
    objects = _objects()
    uncertain = dy.Bool(nullable=True, description="The annotator was not sure.")
    retracted = dy.Bool(nullable=True, description="The annotator took it back.")
    annotator = dy.String(nullable=True, description="Who said so.")
    annotated_at = dy.Datetime(
        nullable=True,
        time_zone="UTC",
        time_unit="us",
        description="When it was made, by the tool's clock, in UTC.",
    )
    seconds = dy.Float64(nullable=True, description="How long the annotator took, in seconds.")
    guideline = dy.String(nullable=True, description="Version of the guideline it was made by.")
    benchmark = dy.String(nullable=True, description="`golden` or `challenge` when meant for the benchmark.")
    verified_by = dy.String(nullable=True, description="Who verified a benchmark frame.")
    unread = dy.String(
        nullable=True, description="What the export held that could not be read, with its value."
    )
    evidence = dy.String(description="Where the export's own bytes are in the lake.")
    received_at = dy.Datetime(
        time_zone="UTC", time_unit="us", description="When it was taken in.", metadata={"volatile": True}
    )


class RejectedAnnotations(Annotations):
    """An annotation that breaks a row rule of the contract: it has no vote."""

    frame_id = dy.String(nullable=True, description="The frame meant; null while no such frame is known.")
    broken_rule = dy.String(description="The first rule it breaks.")
    why = dy.String(description="The rule in words.")


class LabelTable(dy.Schema):
    """The agreed label of one frame."""

    frame_id = dy.String(
        primary_key=True,
        description="sha256 of the raw file's bytes, 64 hexadecimal digits; names the frame.",
    )
    objects = _objects()
    label = dy.String(nullable=True, description="The class of the whole frame; null when not agreed.")
    status = dy.String(regex="^(agreed|review)$", description="Does it train, or does it wait for people?")
    resolution = dy.String(regex=f"^({'|'.join(RESOLUTIONS)})$", description="How it was resolved.")
    disputed = dy.Bool(description="Not all votes agree.")
    votes = dy.Int64(min=1, description="How many annotators' statements count for this frame.")
    agreement = dy.Float64(min=0, max=1, description="Share of the votes that the winning class has, 0 to 1.")
    annotations = dy.List(dy.String(), description="The annotations behind it.")
    annotators = dy.List(dy.String(), description="Who gave them.")
    labelled_at = dy.Datetime(time_zone="UTC", time_unit="us", description="The newest annotation's time.")


class BenchmarkFrames(dy.Schema):
    """One golden or challenge frame, verified by a named person; never changed by votes."""

    frame_id = dy.String(
        primary_key=True,
        description="sha256 of the raw file's bytes, 64 hexadecimal digits; names the frame.",
    )
    set = dy.String(
        regex="^(golden|challenge)$",
        description="golden: a fair sample that judges; challenge: hard cases, gathered on purpose.",
    )
    label = dy.String(description="The verified class.")
    objects = _objects()
    verified_by = dy.String(description="The person who verified the class.")
    verified_at = dy.Datetime(time_zone="UTC", time_unit="us", description="When it was verified, in UTC.")
    version = dy.Int64(min=1, description="The version of the benchmark that it joined with.")
    annotation_id = dy.String(description="The annotation that says so.")
