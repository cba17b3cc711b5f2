import json
import os
from datetime import UTC, datetime, timedelta

import make_frames
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.frames.captures import capture_id, capture_row, file_time, lake_path, read_file_name
from cv_assets.frames.files import Identity
from cv_assets.spec.acquisition import Acquisition

CELLS = Acquisition(
    file_name=r"(?P<station>[^_]+)_(?P<camera>[^_]+)_(?P<time>\d{8}T\d{6})_(?P<product>mono|poly)"
    r"_(?P<group>m\d+)of(?P<count>\d+)_(?P<part>[^_.]+)\.png",
    time_format="%Y%m%dT%H%M%S",
    close={"files": 1},
)
NAME = "line1_cam1_20260302T081530_mono_m07of60_m07c012.png"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
NOON_NS = int(NOON.timestamp()) * 10**9


def row(name, content, acquisition=CELLS, modified_ns=0, delivery="d1"):
    return capture_row(
        name,
        content=content,
        frame_id="ab" * 32,
        identity=Identity(len(content), modified_ns, changed_ns=NOON_NS, inode=1),
        delivery=delivery,
        received_at=NOON,
        acquisition=acquisition,
    )


def test_a_file_name_says_station_camera_part_group_time_and_attributes():
    file = read_file_name(NAME, CELLS)
    assert (file.station, file.camera, file.part, file.group, file.count) == (
        "line1",
        "cam1",
        "m07c012",
        "m07",
        60,
    )
    assert file.captured_at == datetime(2026, 3, 2, 8, 15, 30, tzinfo=UTC)
    assert file.attributes == {"product": "mono"}


def test_a_name_that_the_pattern_does_not_fit_is_its_own_part():
    file = read_file_name("holiday.jpg", CELLS)
    assert (file.matched, file.part, file.station, file.group) == (False, "holiday.jpg", None, None)


def test_a_time_that_no_calendar_knows_falls_back_on_the_file():
    values = row(NAME.replace("20260302", "20261399"), b"", modified_ns=1_772_000_000_123_456_789)
    assert values["captured_at_source"] == "file_time"
    assert values["captured_at"] == datetime(2026, 2, 25, 6, 13, 20, 123456, tzinfo=UTC)


def test_a_time_with_a_zone_is_told_in_utc():
    zoned = Acquisition(
        file_name=r"(?P<part>\w+) (?P<time>.+)", time_format="%Y%m%d %H%M%z", close={"files": 1}
    )
    assert read_file_name("a 20260302 0815+0200", zoned).captured_at == datetime(
        2026, 3, 2, 6, 15, tzinfo=UTC
    )


def test_a_row_holds_what_the_header_says_and_nothing_of_bytes_that_are_no_image():
    content = make_frames.jpeg_with_exif(
        make_frames.jpeg(make_frames.cell()), make_frames.exif({271: "Basler"})
    )
    image, text = row(NAME, content), row(NAME, b"text")
    assert (image["width"], image["height"], image["channels"], image["depth_bits"]) == (64, 64, 1, 8)
    assert json.loads(image["camera_metadata"]) == {"make": "Basler"}
    assert image["captured_at_source"] == "file_name"
    assert (text["width"], text["camera_metadata"], text["size_bytes"]) == (None, None, 4)


def test_the_same_file_dropped_again_is_the_same_capture_although_its_own_time_is_another():
    plain = Acquisition(file_name=r"(?P<part>\w+)\.png", close={"files": 1})
    first, again = (row("a.png", b"", plain, modified_ns=time, delivery=str(time)) for time in (1, 10**15))
    assert first["capture_id"] == again["capture_id"]


def test_a_file_arrives_when_it_was_last_changed_in_the_inbox_and_not_when_its_bytes_were_made():
    copied = row(NAME, b"", modified_ns=10**15)
    assert copied["arrived_at"] == NOON


@pytest.mark.parametrize(
    ("name", "frame_id"),
    [(NAME.replace("cam1", "cam2"), "a"), (NAME.replace("m07c", "m08c"), "a"), (NAME, "b")],
)
def test_another_camera_part_or_content_is_another_capture(name, frame_id):
    def identify(name, frame_id):
        return capture_id(name, frame_id, read_file_name(name, CELLS), NOON)

    assert identify(name, frame_id) != identify(NAME, "a")


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.PNG", ".png"), ("a", ""), ("a.tar.gz", ".gz"), ("a.p/g", ""), ("a.ü", ""), ("a.", "")],
)
def test_bytes_lie_in_the_lake_under_their_hash_with_a_plain_suffix(name, suffix):
    assert lake_path("line1-m07-3fa2c1", "f00", name) == f"raw_frames/line1-m07-3fa2c1/f00{suffix}"


@given(
    st.binary(min_size=1, max_size=40).filter(lambda name: b"/" not in name and b"\x00" not in name),
    st.integers(),
)
def test_any_file_name_and_time_make_a_row(name, modified_ns):
    values = row(os.fsdecode(name), b"", modified_ns=modified_ns)
    assert json.dumps(values["part"]).isascii()
    assert values["file_name"].encode()
    assert values["captured_at"].tzinfo is UTC


@given(st.integers(0, 10**17))
def test_a_file_time_is_exact_to_the_microsecond(microseconds):
    assert file_time(microseconds * 1000 + 999) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        microseconds=microseconds
    )
