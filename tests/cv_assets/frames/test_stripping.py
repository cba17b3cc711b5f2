"""What files say beside their picture goes, and the picture stays to the bit."""

import hashlib
import io
import struct
import zlib

import cv2
import make_frames
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from cv_assets.frames.headers import UnreadableError, read_header
from cv_assets.frames.preparation import prepare
from cv_assets.frames.stripping import WITHHELD, picture_alone, strip
from cv_assets.spec.acquisition import Preparation

SECRET = b"Jane Doe 59.3293N SN-1234"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CELL = make_frames.cell()


def stripped(content):
    return b"".join(picture_alone(content))


def pixels(content):
    """As OpenCV and Pillow decode them."""
    with Image.open(io.BytesIO(content)) as picture:
        theirs = np.asarray(picture.convert("RGBA") if picture.mode == "P" else picture)
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED), theirs


def exif_of(secret, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    exif[271] = exif[315] = exif[270] = secret.decode("latin-1")
    exif.get_ifd(34665)[37500] = secret  # the maker's notes
    exif.get_ifd(34665)[42033] = secret.decode("latin-1")
    exif.get_ifd(34853)[29] = secret.decode("latin-1")
    return exif.tobytes()


def segment(kind, data):
    return b"\xff" + bytes([kind]) + struct.pack(">H", len(data) + 2) + data


secrets = st.binary(min_size=8, max_size=60).map(lambda noise: SECRET + noise.hex().encode())
pictures = st.builds(
    lambda seed, width, height, mode: Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8), "RGBA"
    ).convert(mode),
    st.integers(0, 99),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["L", "RGB", "RGBA", "P", "LA", "1"]),
)


@given(pictures, secrets, st.integers(1, 8), st.booleans(), st.booleans())
def test_a_png_keeps_its_pixels_orientation_and_profile_and_nothing_else(
    picture, secret, orientation, profiled, at_the_end
):
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", secret.decode("latin-1"), zip=False)
    text.add_itxt("XML:com.adobe.xmp", secret.decode("latin-1"))
    text.add(b"prVt", secret)
    stream = io.BytesIO()
    profile = PROFILE if profiled else None
    picture.save(
        stream, "PNG", pnginfo=text, exif=exif_of(secret, orientation), icc_profile=profile, dpi=(72, 72)
    )
    content = stream.getvalue() + (secret if at_the_end else b"")
    assert secret in content
    kept = stripped(content)
    assert SECRET not in kept
    assert all((one == other).all() for one, other in zip(pixels(kept), pixels(content), strict=True))
    assert read_header(kept).orientation == read_header(content).orientation == orientation
    assert Image.open(io.BytesIO(kept)).info.get("icc_profile") == profile
    assert stripped(kept) == kept


@given(
    pictures.map(lambda picture: picture.convert("L" if picture.mode in ("L", "LA", "1") else "RGB")),
    secrets,
    st.integers(1, 8),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["RGB", "CMYK"]),
)
def test_a_jpeg_keeps_its_pixels_orientation_and_profile_and_nothing_else(
    picture, secret, orientation, profiled, progressive, colours
):
    picture = picture.convert("CMYK") if colours == "CMYK" and picture.mode == "RGB" else picture
    stream = io.BytesIO()
    profile = PROFILE if profiled else None
    picture.save(
        stream, "JPEG", exif=exif_of(secret, orientation), comment=secret, icc_profile=profile,
        xmp=secret, progressive=progressive, restart_marker_blocks=2, dpi=(300, 300),
    )  # fmt: skip
    content = stream.getvalue()
    for kind in (0xE2, 0xE4, 0xED, 0xEF, 0xFE, 0xE1, 0xEE, 0xE0):
        content = content[:-2] + segment(kind, secret) + content[-2:]
    content += secret
    kept = stripped(content)
    assert SECRET not in kept
    assert all((one == other).all() for one, other in zip(pixels(kept), pixels(content), strict=True))
    assert read_header(kept).orientation == read_header(content).orientation == orientation
    with Image.open(io.BytesIO(kept)) as shown:
        assert shown.info.get("icc_profile") == profile
        assert shown.info.get("dpi") == (300, 300)
    assert stripped(kept) == kept


def test_a_thumbnail_in_the_header_of_a_jpeg_goes():
    with_thumbnail = b"JFIF\x00\x01\x02\x01\x00\x48\x00\x48\x02\x04" + SECRET[:24]
    content = make_frames.jpeg(CELL)
    content = content[:2] + segment(0xE0, with_thumbnail) + content[20:]
    kept = stripped(content)
    assert SECRET[:24] not in kept
    assert (pixels(kept)[0] == pixels(content)[0]).all()


@pytest.mark.parametrize("picture", [CELL, make_frames.colour_cell(), make_frames.colour_cell(size=(33, 7))])
def test_a_bmp_keeps_its_pixels_and_neither_gap_nor_end(picture):
    content = make_frames.bmp(picture)
    (start,) = struct.unpack_from("<I", content, 10)
    gap = content[:6] + SECRET[:4] + struct.pack("<I", start + len(SECRET)) + content[14:start] + SECRET
    content = gap + content[start:] + SECRET
    kept = stripped(content)
    assert SECRET not in kept
    assert SECRET[:4] not in kept
    assert all((one == other).all() for one, other in zip(pixels(kept), pixels(content), strict=True))


def test_the_name_of_a_colour_profile_and_what_follows_it_go():
    said = SECRET + b"\x00\x00" + zlib.compress(PROFILE) + SECRET
    kept = stripped(make_frames.png_with(make_frames.png(CELL), b"iCCP", said))
    assert SECRET not in kept
    assert Image.open(io.BytesIO(kept)).info["icc_profile"] == PROFILE


PNG, JPEG = make_frames.png(CELL), make_frames.jpeg(CELL)
SMALL = Preparation(size=(16, 16))
DAMAGED = PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is no picture whose header can be read"),
        (SECRET, "it is no picture whose header can be read"),
        (PNG[:300] + SECRET, "it ends too early"),
        (JPEG[:-2], "it ends too early"),
        (DAMAGED, "one of its chunks is damaged"),
        (make_frames.png_with(PNG, b"NeeD", SECRET), "a chunk that the picture may need and that is not known"),
        (make_frames.png_with(PNG, b"iCCP", b"x\x00\x00" + SECRET), "its colour profile is damaged"),
        (make_frames.png_with(PNG, b"acTL", struct.pack(">II", 2, 0)), "it holds more than one picture"),
        (make_frames.png_with(PNG, b"acTL", struct.pack(">II", 1, 0)), "a chunk that the picture may need"),
        (JPEG[:20] + SECRET + JPEG[20:], "there is something between its segments"),
        (JPEG[:20] + b"\xff\xe1\x00\x01" + JPEG[20:], "one of its segments has no proper length"),
        (JPEG[:20] + segment(0xF3, SECRET) + JPEG[20:], "it has a segment F3 that is not known"),
        (make_frames.bmp(CELL)[:30] + b"\x01" + make_frames.bmp(CELL)[31:], "it is a BMP of an uncommon kind"),
        (make_frames.tiff(CELL), "it is a TIFF: have the camera write PNG"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_stripped_is_withheld_whole_with_the_reason(content, why, tmp_path):
    file = tmp_path / "0"
    file.write_bytes(content)
    came = hashlib.sha256(content).hexdigest()
    kept_sha256 = strip(file, came)
    kept = file.read_bytes()
    assert kept.startswith(WITHHELD)
    assert why in kept.decode()
    assert came in kept.decode()
    assert SECRET[:8] not in kept
    assert hashlib.sha256(kept).hexdigest() == kept_sha256
    assert [one.name for one in tmp_path.iterdir()] == ["0"]
    frame = prepare(kept, Preparation())
    assert frame.reason == "unreadable"
    assert why in frame.detail


@given(
    st.sampled_from([PNG, JPEG, make_frames.bmp(CELL)]),
    st.integers(0, 6000),
    st.binary(min_size=1, max_size=8),
)
def test_whatever_bytes_are_overwritten_it_is_the_same_picture_or_withheld(content, at, patch):
    broken = content[:at] + patch + content[at + len(patch) :]
    try:
        kept = stripped(broken)
    except UnreadableError:
        return
    before, after = (
        cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_UNCHANGED) for one in (broken, kept)
    )
    assert (before is None and after is None) or (before == after).all()
    assert prepare(kept, SMALL) == prepare(broken, SMALL)
    assert stripped(kept) == kept


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(*chunks):
    return PNG[:33] + b"".join(chunks) + chunk(b"IEND", b"")


PIXELS = zlib.compress(b"".join(b"\0" + row.tobytes() for row in CELL))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (png_of(chunk(b"IDAT", PIXELS), chunk(b"IDAT", SECRET)), "not all there, or not alone"),
        (png_of(chunk(b"IDAT", zlib.compress(zlib.decompress(PIXELS) + SECRET))), "not all there, or not alone"),
        (png_of(chunk(b"IDAT", PIXELS[:9]), chunk(b"teXt", SECRET), chunk(b"IDAT", PIXELS[9:])), "not alone"),
        (PNG[:-1] + b"\0", "one of its chunks is damaged"),
        (png_of(chunk(b"IDAT", PIXELS), PNG[8:33]), "twice that may be there once"),
        (make_frames.png_with(PNG, b"text", SECRET), "may need and that is not known"),
        (make_frames.png_with(PNG, b"iCCP", b"x\0\0" + zlib.compress(SECRET * 4)), "for a colour profile is none"),
        (JPEG[:2] + segment(0xE2, b"ICC_PROFILE\0\1\1" + SECRET * 4) + JPEG[2:], "for a colour profile is none"),
        (JPEG[:2] + segment(0xE2, b"ICC_PROFILE\0\1\2" + PROFILE) + JPEG[2:], "not there once and whole"),
        (JPEG[:2] + segment(0xE2, b"ICC_PROFILE\0\1\1" + PROFILE + SECRET) + JPEG[2:], "profile is none"),
        (JPEG[:2] + segment(0xDD, b"\0\0" + SECRET) + JPEG[2:], "no proper length"),
        (JPEG[:2] + segment(0xDB, b"\0" + b"\1" * 64 + SECRET) + JPEG[2:], "no proper length"),
        (JPEG[:2] + segment(0xC4, b"\0" + b"\0" * 16 + SECRET) + JPEG[2:], "no proper length"),
    ],
)  # fmt: skip
def test_what_hides_in_a_part_of_the_picture_withholds_it(content, why):
    with pytest.raises(UnreadableError, match=why):
        picture_alone(content)


def test_a_palette_beside_colours_that_are_written_out_goes():
    content = make_frames.png_with(make_frames.png(make_frames.colour_cell()), b"PLTE", SECRET[:24])
    kept = stripped(content)
    assert SECRET[:24] not in kept
    assert (pixels(kept)[0] == pixels(content)[0]).all()


@pytest.mark.parametrize("picture", [CELL, make_frames.colour_cell()])
def test_what_the_header_of_a_bmp_says_beside_the_picture_goes(picture):
    content = bytearray(make_frames.bmp(picture))
    info = bytearray(content[14:54] + bytes(16) + b"BGRs" + bytes(64))
    (start,) = struct.unpack_from("<I", content, 10)
    content[10:18] = struct.pack("<II", start + 84, len(info))
    info[:4] = struct.pack("<I", len(info))
    info[24:32], info[36:40], info[40:56], info[60:84] = SECRET[:8], SECRET[:4], SECRET[:16], SECRET[:24]
    palette = bytearray(content[54:start])
    palette[3::4] = (SECRET * 11)[: len(palette) // 4]
    planted = bytes(content[:14] + info + palette + content[start:])
    kept = stripped(planted)
    assert SECRET[:4] not in kept
    assert kept[54 + 84 :][3 : len(palette) : 4] == bytes(len(palette) // 4)
    assert all((one == other).all() for one, other in zip(pixels(kept), pixels(planted), strict=True))


def test_a_large_file_is_stripped_piece_by_piece(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200), np.uint8)
    content = make_frames.png_with(make_frames.png(noise), b"tEXt", b"Author\x00" + SECRET)
    pieces = list(picture_alone(content))
    assert max(map(len, pieces)) <= 1 << 20 < len(content)
    assert (pixels(b"".join(pieces))[0] == noise).all()
