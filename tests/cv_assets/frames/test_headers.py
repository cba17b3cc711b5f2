import struct

import cv2
import make_frames
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.frames.headers import UnreadableError, mapped, read_header
from cv_assets.frames.tags import TagsError, directories

WIDE = make_frames.cell(size=(40, 24))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (make_frames.png(WIDE), ("png", 40, 24, 1, 8)),
        (make_frames.png(WIDE.astype(np.uint16)), ("png", 40, 24, 1, 16)),
        (make_frames.png(make_frames.colour_cell(size=(40, 24))), ("png", 40, 24, 3, 8)),
        (make_frames.jpeg(WIDE), ("jpeg", 40, 24, 1, 8)),
        (make_frames.jpeg(make_frames.colour_cell(size=(40, 24))), ("jpeg", 40, 24, 3, 8)),
        (make_frames.bmp(WIDE), ("bmp", 40, 24, 1, 8)),
        (make_frames.tiff(WIDE.astype(np.uint16)), ("tiff", 40, 24, 1, 16)),
    ],
)
def test_a_header_says_format_size_channels_and_depth(content, expected):
    header = read_header(content)
    assert (header.format, header.width, header.height, header.channels, header.depth_bits) == expected
    assert header.missing == ""


def test_a_header_is_read_even_when_the_pixels_are_not_there():
    header = read_header(make_frames.png(WIDE)[:60])
    assert (header.width, header.height, header.missing) == (40, 24, "its end (IEND)")


def test_what_follows_the_end_of_a_picture_does_not_matter():
    assert read_header(make_frames.png(WIDE) + b"\x00" * 100).missing == ""
    assert read_header(make_frames.jpeg(WIDE) + b"\x00" * 100).missing == ""


def test_a_file_that_was_given_its_length_but_not_its_bytes_is_not_whole():
    for content in (make_frames.png(WIDE), make_frames.jpeg(WIDE)):
        half = len(content) // 2
        assert read_header(content[:half] + b"\x00" * half).missing


def test_camera_settings_are_kept_and_what_identifies_people_and_places_is_not():
    exif = make_frames.exif(
        {271: "Basler", 272: "acA1920", 34855: 400, 42033: "SN-1234", 315: "Jane Doe", 34853: 8}
    )
    header = read_header(make_frames.jpeg_with_exif(make_frames.jpeg(WIDE), exif))
    assert header.camera == {"make": "Basler", "model": "acA1920", "iso": 400}


def test_a_damaged_exif_block_costs_nothing_but_itself():
    header = read_header(make_frames.jpeg_with_exif(make_frames.jpeg(WIDE), b"II*\x00\xff\xff\xff\xff"))
    assert (header.width, header.camera, header.orientation) == (40, {}, 1)


def test_a_chain_of_directories_that_leads_back_into_itself_ends():
    looped = b"II*\x00" + struct.pack("<IH", 8, 0) + struct.pack("<I", 8)
    assert len(directories(looped)) == 1


def test_a_tag_cannot_claim_more_than_the_block_holds():
    with pytest.raises(TagsError, match="claims 4000000 bytes in a block of 26"):
        directories(b"II*\x00" + struct.pack("<IHHHIII", 8, 1, 271, 2, 4_000_000, 8, 0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"GIF89a", "it is no PNG, JPEG, BMP or TIFF"),
        (b"\x89PNG\r\n\x1a\n", "IHDR"),
        (b"\xff\xd8\xff\xd9", "without a frame header"),
        (b"BM", "damaged or cut short"),
        (make_frames.png_that_claims(0, 5), "claims 0 x 5 pixels"),
    ],
)
def test_bytes_without_a_header_say_what_they_lack(content, message):
    with pytest.raises(UnreadableError, match=message):
        read_header(content)


@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"BM"]),
    st.binary(max_size=300),
)
def test_any_bytes_have_a_header_or_are_unreadable(start, rest):
    try:
        header = read_header(start + rest)
    except UnreadableError:
        return
    assert header.width >= 1
    assert header.height >= 1


@pytest.mark.parametrize("read_whole_below", [1, 1 << 20])
def test_a_mapped_file_reads_like_its_bytes(tmp_path, monkeypatch, read_whole_below):
    monkeypatch.setattr("cv_assets.frames.headers._SMALL", read_whole_below)
    file = tmp_path / "frame.tiff"
    for content in (make_frames.tiff(WIDE), make_frames.jpeg(WIDE), make_frames.png(WIDE)):
        file.write_bytes(content)
        with mapped(file) as held:
            assert read_header(held) == read_header(content)
    file.write_bytes(b"")
    with mapped(file) as held:
        assert held == b""


def test_no_later_picture_speaks_for_a_tiff_that_begins_with_a_huge_thumbnail():
    """The decoder takes the first picture: its 30,000 x 30,000 pixels would pass as 16 x 16."""
    huge, small = {254: 1, 256: 30_000, 257: 30_000}, {254: 0, 256: 16, 257: 16}
    first, second = (make_frames.exif(tags)[8:-4] for tags in (huge, small))
    content = b"II*\x00" + struct.pack("<I", 8) + first
    content += struct.pack("<I", len(content) + 4) + second + struct.pack("<I", 0)
    assert len(directories(content)) == 2
    with pytest.raises(UnreadableError, match="it is a TIFF that begins with a thumbnail"):
        read_header(content)


def test_pages_of_a_tiff_are_counted():
    encoded, content = cv2.imencodemulti(".tiff", [WIDE, WIDE])
    assert encoded
    assert read_header(content.tobytes()).pictures == 2
