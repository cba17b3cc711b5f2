"""The verdict file and its contract."""

import json
import re
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from cv_assets.frames.schema import RawFrames
from cv_assets.inspection.outbox import CONTRACT, differing, told_rows, verdict_file
from cv_assets.inspection.schema import REASONS, Inspections, Outbox
from resources.deployments import ROOT

DOCUMENT = (ROOT / "docs" / "outbox.md").read_text("utf-8")
(EXAMPLE,) = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def tables(entries):
    """Rows of inspections and of raw_frames that say what these entries of a verdict file say."""
    times = [
        {name: datetime.fromisoformat(entry[name]) for name in ("captured_at", "decided_at")}
        for entry in entries
    ]
    rows = pl.DataFrame([{**entry, **time} for entry, time in zip(entries, times, strict=True)])
    rows = rows.with_columns(arrived_at=pl.col("captured_at") + timedelta(seconds=5))
    return tuple(
        pl.concat(
            [schema.create_empty(), rows.select(set(rows.columns) & set(schema.column_names()))],
            how="diagonal_relaxed",
        )
        .cast(dict(schema.create_empty().schema))
        .select(schema.column_names())
        for schema in (Inspections, RawFrames)
    )


def entry(part, *, second=0, verdict="PASS", reason="below_lower", release="v1.0.0"):
    return {
        "part": part, "verdict": verdict, "reason": reason, "release": release, "defect_score": 0.1,
        "captured_at": (NOON + timedelta(seconds=second)).isoformat(),
        "decided_at": (NOON + timedelta(minutes=5)).isoformat(),
        "station": "line1", "camera": None, "file_name": f"{part}.png", "capture_id": f"c-{part}-{second}",
    }  # fmt: skip


def test_the_documented_example_is_what_is_written_to_the_byte():
    example = json.loads(EXAMPLE)
    inspections, raw_frames = tables(example["verdicts"])
    assert verdict_file(inspections, raw_frames, example["delivery"]).decode() == EXAMPLE


def test_every_key_and_every_reason_is_documented():
    example = json.loads(EXAMPLE)
    for name in {*example, *example["verdicts"][0]} - {"verdicts"}:
        assert re.search(rf"^\|.*`{name}`.*\|", DOCUMENT, re.MULTILINE), name
    for reason in REASONS:
        assert f"`{reason}`" in DOCUMENT
    assert f"stays {CONTRACT} while" in DOCUMENT


def test_the_order_of_the_rows_changes_no_byte_and_entries_come_as_they_were_taken():
    inspections, raw_frames = tables([entry("p2", second=20), entry("p1", second=10), entry("p1", second=30)])
    content = verdict_file(inspections, raw_frames, "d1")
    assert verdict_file(inspections.reverse(), raw_frames.reverse(), "d1") == content
    said = json.loads(content)["verdicts"]
    assert [(one["part"], one["capture_id"]) for one in said] == [
        ("p1", "c-p1-10"), ("p2", "c-p2-20"), ("p1", "c-p1-30")
    ]  # fmt: skip


def test_a_delivery_without_captures_is_told_as_such():
    content = verdict_file(Inspections.create_empty(), RawFrames.create_empty(), "d1")
    assert json.loads(content) == {"contract": CONTRACT, "delivery": "d1", "verdicts": []}
    assert told_rows(content, RawFrames.create_empty(), file="d1.json", told_at=NOON).is_empty()


def test_names_that_are_not_ascii_survive():
    inspections, raw_frames = tables([entry("Zelle-ä\N{REPLACEMENT CHARACTER}")])
    content = verdict_file(inspections, raw_frames, "d1")
    assert "Zelle-ä" in content.decode()
    assert json.loads(content)["verdicts"][0]["part"] == "Zelle-ä\N{REPLACEMENT CHARACTER}"


def test_what_the_line_was_told_is_read_from_the_file_with_the_time_it_took():
    inspections, raw_frames = tables([entry("p1"), entry("p2", second=90, release=None)])
    content = verdict_file(inspections, raw_frames, "d1")
    rows = told_rows(content, raw_frames, file="d1.json", told_at=NOON + timedelta(minutes=6))
    Outbox.validate(rows)
    assert rows.select("part", "verdict", "release", "seconds", "file").rows() == [
        ("p1", "PASS", "v1.0.0", 355.0, "d1.json"),
        ("p2", "PASS", None, 265.0, "d1.json"),
    ]
    assert differing(rows, inspections).is_empty()


@pytest.mark.parametrize("column", ["part", "verdict", "reason", "release"])
def test_a_verdict_that_the_file_tells_otherwise_is_found_on_both_sides(column):
    inspections, raw_frames = tables([entry("p1"), entry("p2")])
    rows = told_rows(verdict_file(inspections, raw_frames, "d1"), raw_frames, file="d1.json", told_at=NOON)
    other = inspections.with_columns(
        pl.when(pl.col("part") == "p2").then(pl.lit("other")).otherwise(column).alias(column)
    )
    found = differing(rows, other)
    assert found["only_in"].to_list() == ["the file", "inspections"]
    assert found[column].to_list() == [inspections[column][1], "other"]


def test_a_verdict_that_the_file_lacks_is_found():
    inspections, raw_frames = tables([entry("p1"), entry("p2")])
    content = verdict_file(inspections.head(1), raw_frames, "d1")
    rows = told_rows(content, raw_frames, file="d1.json", told_at=NOON)
    assert differing(rows, inspections).select("part", "only_in").rows() == [("p2", "inspections")]
