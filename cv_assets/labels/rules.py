"""Row rules: which annotations count. One that breaks a rule is diverted; one about an unknown frame only waits."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import unquote

import polars as pl

from cv_assets.labels.entries import BOX
from cv_assets.spec.schema import Spec

BENCHMARK_SETS: Final = ("golden", "challenge")

UNKNOWN: Final = "a frame of that name"
AMBIGUOUS: Final = "a name that only one frame has"
"""What an annotation waits for."""

_FRAME_ID: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True)
class RowRule:
    """One condition on an annotation; `holds` is true, or null where it does not apply."""

    name: str
    says: str
    holds: pl.Expr


def row_rules(spec: Spec) -> tuple[RowRule, ...]:
    """The rules of one row, in the order in which they are asked. They read the columns of `resolve_frames`."""
    guidelines = [spec.labels.guideline, *spec.labels.guidelines]
    classes = ", ".join(spec.class_names)
    tolerance = timedelta(minutes=spec.labels.clock_tolerance_minutes)
    in_time = pl.col("annotated_at") <= pl.col("received_at") + tolerance
    return (
        RowRule("values_are_readable", "every value can be read", pl.col("unread").is_null()),
        RowRule("tool_is_named", "it names its tool and project", _given("tool") & _given("project")),
        RowRule("image_is_named", "it names its image", _given("image")),
        RowRule("annotator_is_named", "it names its annotator", _given("annotator")),
        RowRule("time_is_given", "it says when it was made", _given("annotated_at")),
        RowRule("time_has_passed", "it was made before it was received", in_time),
        RowRule("revision_is_positive", "its revision is not below 0", pl.col("revision") >= 0),
        RowRule("duration_is_positive", "it took no less than 0 seconds", pl.col("seconds") >= 0),
        RowRule(
            "guideline_is_known",
            f"its guideline is one of {', '.join(guidelines)}",
            pl.col("guideline").is_in(guidelines) & _given("guideline"),
        ),
        RowRule("class_is_given", "each object has a class", _each(pl.element().is_not_null(), "class")),
        RowRule(
            "class_is_known",
            f"each class is one of {classes}",
            _each(pl.element().is_in(list(spec.class_names)), "class"),
        ),
        RowRule("box_has_area", "each box is wider and higher than 0", _have_area()),
        RowRule(
            "box_is_in_frame",
            "each box lies within its frame",
            _are_in_frame(spec.labels.box_tolerance_pixels),
        ),
        RowRule(
            "benchmark_is_known",
            "it is for the golden or the challenge set",
            pl.col("benchmark").is_in(BENCHMARK_SETS),
        ),
        RowRule(
            "benchmark_is_verified",
            "who verified it for the benchmark is named",
            pl.col("benchmark").is_null() | _given("verified_by"),
        ),
    )


ONE_ID_ONE_STATEMENT: Final = RowRule(
    "one_id_one_statement",
    "the same annotation and revision says the same everywhere",
    # A repeat is fine: tools export everything each time. So is a vote that is later exported for the benchmark.
    pl.struct("annotator", pl.coalesce("frame_id", "image"), "objects", "uncertain")
    .n_unique()
    .over("annotation_id", "benchmark")
    == 1,
)
"""The one rule between rows. Which of two contradicting rows is right is not guessed: both are diverted."""


def check_annotations(annotations: pl.DataFrame, raw_frames: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """`annotations` with what `resolve_frames` adds, and `broken_rule`: the first rule a row broke, else null."""
    resolved = resolve_frames(annotations, raw_frames)
    judged = resolved.with_columns(
        broken_rule=pl.coalesce(
            *(pl.when(~rule.holds.fill_null(True)).then(pl.lit(rule.name)) for rule in row_rules(spec))
        )
    )
    # A retraction may keep the revision that it takes back.
    comparable = pl.col("broken_rule").is_null() & ~pl.col("retracted")
    contradicting = judged.filter(comparable).filter(~ONE_ID_ONE_STATEMENT.holds).select("export", "row")
    contradiction = contradicting.with_columns(contradiction=pl.lit(ONE_ID_ONE_STATEMENT.name))
    return judged.join(contradiction, on=["export", "row"], how="left", maintain_order="left").select(
        pl.exclude("contradiction", "broken_rule"), broken_rule=pl.coalesce("broken_rule", "contradiction")
    )


def rejected(checked: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """The rows that broke a rule, with `why`: the rule in words."""
    words = {rule.name: rule.says for rule in (*row_rules(spec), ONE_ID_ONE_STATEMENT)}
    return checked.filter(pl.col("broken_rule").is_not_null()).with_columns(
        why=pl.lit("not so: ") + pl.col("broken_rule").replace_strict(words, return_dtype=pl.String)
    )


def resolve_frames(annotations: pl.DataFrame, raw_frames: pl.DataFrame) -> pl.DataFrame:
    """`annotations` with `frame_id`, the frame's `width` and `height`, and `waits_for`: why there is no frame yet.

    The last segment of `image` names the frame: by its frame id (64 hex digits, whatever a tool writes around them),
    which lake paths end in, or else by its original file name, when only one frame has it.
    """
    frames = raw_frames.select("frame_id", "width", "height").unique("frame_id", keep="any")
    by_id = frames.select(name="frame_id", named="frame_id", namesakes=pl.lit(1, dtype=pl.UInt32))
    by_name = (
        raw_frames.group_by(name="file_name")
        .agg(pl.col("frame_id").unique())
        .select("name", named=pl.col("frame_id").list.first(), namesakes=pl.col("frame_id").list.len())
        .join(by_id, on="name", how="anti")
    )
    images = annotations["image"].drop_nulls().unique()
    called = [(image, place, name) for image in images for place, name in enumerate(picture_names(image))]
    meant = (
        pl.DataFrame(called, {"image": pl.String, "place": pl.Int64, "name": pl.String}, orient="row")
        .join(pl.concat([by_id, by_name]), on="name")
        .sort("place")
        .unique("image", keep="first")
        .select("image", "namesakes", frame_id=pl.when(pl.col("namesakes") == 1).then("named"))
    )
    return (
        annotations.join(meant, on="image", how="left", maintain_order="left")
        .with_columns(
            waits_for=pl.when(pl.col("frame_id").is_null()).then(
                pl.when(pl.col("namesakes") > 1).then(pl.lit(AMBIGUOUS)).otherwise(pl.lit(UNKNOWN))
            )
        )
        .drop("namesakes")
        .join(frames, on="frame_id", how="left", maintain_order="left")
    )


def picture_names(image: str) -> list[str]:
    """What an export may mean by `image`, a name, path or address, the likeliest first: frame ids, then file names.

    Tools put a prefix before a name that they take in, percent-encode it, and serve it behind `?d=` or before a query.
    """
    address = unquote(image)
    ends = [_last_segment(address), _last_segment(address.partition("?")[0])]
    ids = [found for end in ends for found in _FRAME_ID.findall(end.lower())]
    served = ends[0].rpartition("?d=")[2]
    names = [_last_segment(image), *ends, served, re.split("[?&#]", served)[0]]
    return list(dict.fromkeys(name for name in (*ids, *names) if name))


def _last_segment(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _given(column: str) -> pl.Expr:
    return pl.col(column).is_not_null()


def _each(condition: pl.Expr, field: str) -> pl.Expr:
    values = pl.col("objects").list.eval(pl.element().struct.field(field))
    return values.list.eval(condition).list.all()


def _have_area() -> pl.Expr:
    x_min, y_min, x_max, y_max = (pl.element().struct.field(name) for name in BOX)
    has_area = (x_max > x_min) & (y_max > y_min)
    return pl.col("objects").list.eval(has_area.fill_null(True)).list.all()


def _are_in_frame(tolerance: float) -> pl.Expr:
    x_min, y_min, x_max, y_max = (pl.col("objects").list.eval(pl.element().struct.field(n)) for n in BOX)
    starts = pl.min_horizontal(x_min.list.min(), y_min.list.min())
    return pl.all_horizontal(
        (starts >= -tolerance).fill_null(True),
        (x_max.list.max() <= pl.col("width") + tolerance).fill_null(True),
        (y_max.list.max() <= pl.col("height") + tolerance).fill_null(True),
    )
