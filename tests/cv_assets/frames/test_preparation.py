import struct
from concurrent.futures import ThreadPoolExecutor

import cv2
import make_frames
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cv_assets.frames.preparation import decode, eight_bit_rgb, preparation_digest, prepare, statistics
from cv_assets.frames.schema import REASONS, STATISTICS
from cv_assets.spec.acquisition import Bounds, Preparation
from cv_assets.spec.schema import Spec

CELL = make_frames.cell()


def decoded(png: bytes):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)


def test_the_default_pass_is_grey_512_area_min_max_with_a_focus_bound_of_80():
    frame = prepare(make_frames.png(CELL), Preparation())
    focus = cv2.Laplacian(CELL, cv2.CV_64F).var()
    resized = cv2.resize(CELL, (512, 512), interpolation=cv2.INTER_AREA)
    assert frame.accepted
    assert frame.decoded["focus"] == pytest.approx(focus)
    assert (decoded(frame.png) == cv2.normalize(resized, None, 0, 255, cv2.NORM_MINMAX)).all()
    assert (frame.width, frame.height, frame.channels, frame.depth_bits) == (64, 64, 1, 8)


@pytest.mark.parametrize(
    ("content", "reason", "score", "bound"),
    [
        (b"", "unreadable", None, None),
        (b"no image at all", "unreadable", None, None),
        (make_frames.png(CELL)[:300], "truncated", 300, None),
        (make_frames.png(CELL)[:-12], "truncated", None, None),
        (make_frames.jpeg(CELL)[:-2], "truncated", None, None),
        (make_frames.jpeg(CELL)[:700] + b"\x00" * 3000, "truncated", 3700, None),
        (make_frames.bmp(CELL)[:-1], "truncated", None, None),
        (make_frames.tiff(CELL)[:8] + b"\x00" * 9000, "unreadable", None, None),
        (make_frames.png_that_claims(60_000, 60_000), "too_large", 3_600_000_000, 64_000_000),
        (make_frames.png_that_claims(64, 64), "unreadable", None, None),
        (make_frames.png(make_frames.cell(size=(48, 64))), "wrong_size", 3072, 4096),
        (make_frames.png(make_frames.dark(CELL)), "too_dark", None, 5),
        (make_frames.png(make_frames.bright(CELL)), "too_bright", None, 250),
        (make_frames.png(np.full((64, 64), 128, np.uint8)), "low_contrast", 0, 1),
        (make_frames.png(make_frames.blurred(CELL)), "low_focus", None, 80),
    ],
)
def test_a_rejected_frame_says_why_with_its_score_and_the_bound_it_broke(content, reason, score, bound):
    frame = prepare(content, Preparation(bounds=Bounds(size=(64, 64))))
    assert (frame.reason, frame.bound, frame.accepted, frame.png) == (reason, bound, False, None)
    assert score is None or frame.score == score
    assert reason in REASONS
    assert frame.detail or frame.score is not None


def tiff_that_claims(**tags):
    """A TIFF of 64 x 64 grey pixels that are there, with other claims."""
    tags = {"width": 64, "height": 64, "bits": 8, "channels": 1, "rows": 64} | tags
    numbers = {
        "width": 256, "height": 257, "bits": 258, "channels": 277, "rows": 278, "tile_width": 322, "tile_height": 323,
    }  # fmt: skip
    said = {numbers[name]: value for name, value in tags.items()} | {262: 1, 273: 8, 279: 4096}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(said.items()))
    start = struct.pack("<I", 8 + 4096)
    return b"II*\x00" + start + bytes(4096) + struct.pack("<H", len(said)) + entries + bytes(4)


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        (tiff_that_claims(channels=5), "unreadable", "it has 5 channels of 8 bits, expected at most 4 of 16"),
        (
            tiff_that_claims(channels=60_000, bits=16),
            "unreadable",
            "it has 60000 channels of 16 bits, expected",
        ),
        (tiff_that_claims(bits=64), "unreadable", "it has 1 channels of 64 bits, expected at most 4 of 16"),
        (tiff_that_claims(rows=1 << 24), "too_large", "one of its tiles or strips takes 1073741824 bytes"),
        (
            tiff_that_claims(tile_width=1 << 15, tile_height=1 << 15, channels=4),
            "too_large",
            "one of its tiles or strips takes 4294967296 bytes",
        ),
    ],
)
def test_a_small_picture_that_takes_much_memory_is_not_decoded(content, reason, detail, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", None)
    frame = prepare(content, Preparation())
    assert frame.reason == reason
    assert detail in frame.detail


def test_a_tiff_in_one_strip_is_read_however_it_says_so():
    for rows in (64, 65, 4096, (1 << 32) - 1):
        assert decode(tiff_that_claims(rows=rows), max_pixels=100_000) is not None


def test_a_frame_at_its_bound_is_accepted():
    focus = statistics(CELL)["focus"]
    assert prepare(make_frames.png(CELL), Preparation(bounds=Bounds(min_focus=focus))).accepted
    assert not prepare(make_frames.png(CELL), Preparation(bounds=Bounds(min_focus=focus * 1.001))).accepted


def test_a_bound_that_is_switched_off_rejects_nothing():
    off = Bounds(min_focus=None, min_brightness=None, max_brightness=None, min_contrast=None)
    black = make_frames.png(np.zeros((10, 10), np.uint8))
    assert prepare(black, Preparation(bounds=off)).accepted


def test_statistics_of_a_picture_worked_by_hand():
    picture = np.zeros((3, 4), np.uint8)
    picture[:, 2:] = 240
    measured = statistics(picture)
    assert list(measured) == list(STATISTICS)
    assert measured["brightness"] == 120
    assert measured["contrast"] == 120
    assert measured["entropy"] == 1
    assert (measured["dark_share"], measured["bright_share"]) == (0.5, 0.5)
    # Laplacian of a row 0 0 240 240 with mirrored borders: 0, 240, -240, 0.
    assert measured["focus"] == pytest.approx(28_800)
    assert measured["median_laplacian"] == 120


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
    )
)
def test_counting_the_values_of_the_laplacian_gives_the_variance_and_median_of_sorting_them(picture):
    laplacian = cv2.Laplacian(picture, cv2.CV_64F) * (255 / np.iinfo(picture.dtype).max)
    measured = statistics(picture)
    assert measured["focus"] == pytest.approx(laplacian.var(), rel=1e-12, abs=1e-12)
    assert measured["median_laplacian"] == pytest.approx(np.median(np.abs(laplacian)), rel=1e-12)


def test_a_picture_of_more_pixels_than_single_precision_counts_is_counted_exactly():
    picture = np.zeros((4097, 4097), np.uint8)
    picture[0, 0] = 255
    assert statistics(picture)["bright_share"] == 1 / picture.size
    assert statistics(picture)["dark_share"] == (picture.size - 1) / picture.size


def test_a_16_bit_frame_measures_and_prepares_like_its_8_bit_twin():
    preparation = Preparation(size=(64, 64), normalize="none")
    eight = prepare(make_frames.png(CELL), preparation)
    sixteen = prepare(make_frames.png(CELL.astype(np.uint16) * 257), preparation)
    assert sixteen.decoded == pytest.approx(eight.decoded)
    assert (decoded(sixteen.png) == decoded(eight.png)).all()
    assert sixteen.depth_bits == 16


def test_a_12_bit_camera_in_a_16_bit_file_is_stretched_before_it_loses_depth():
    twelve = np.tile(np.arange(4096, dtype=np.uint16), (8, 1))
    off = Bounds(min_focus=None, min_brightness=None, min_contrast=None)
    frame = prepare(make_frames.png(twelve), Preparation(size=(4096, 8), bounds=off))
    assert len(np.unique(decoded(frame.png))) == 256


def test_colour_stays_colour_and_grey_becomes_colour_when_the_spec_says_rgb():
    preparation = Preparation(colour="rgb", size=(64, 64), normalize="none")
    picture = make_frames.colour_cell()
    assert (decoded(prepare(make_frames.png(picture), preparation).png) == picture).all()
    grey = decoded(prepare(make_frames.png(CELL), preparation).png)
    assert (grey == np.dstack([CELL, CELL, CELL])).all()


def test_stretching_a_colour_frame_keeps_its_hue():
    preparation = Preparation(colour="rgb", size=(64, 64), bounds=Bounds(min_focus=None))
    picture = make_frames.colour_cell() // 2
    stretched = decoded(prepare(make_frames.png(picture), preparation).png)
    assert stretched.max() == 255
    assert (stretched[:8, :8] == (0, 0, 255)).all()


def test_alpha_is_left_out_and_a_palette_becomes_its_colours():
    preparation = Preparation(colour="rgb", size=(64, 64), normalize="none")
    picture = make_frames.colour_cell()
    alpha = np.dstack([picture, np.zeros((64, 64), np.uint8)])
    assert (decoded(prepare(make_frames.png(alpha), preparation).png) == picture).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_the_exif_orientation_is_applied(orientation, kind):
    shown = np.full((16, 32), 60, np.uint8)
    shown[:8, :8] = 240
    stored = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).T,
        8: lambda a: np.rot90(a, -1),
    }[orientation](shown)
    exif = make_frames.exif({274: orientation})
    if kind == "png":
        content = make_frames.png_with(make_frames.png(stored), b"eXIf", exif)
    else:
        content = make_frames.jpeg_with_exif(make_frames.jpeg(stored, quality=100), exif)
    frame = prepare(content, Preparation(size=(32, 16), normalize="none", bounds=Bounds(min_focus=None)))
    assert (frame.width, frame.height) == (32, 16)
    assert np.abs(decoded(frame.png).astype(int) - shown).max() <= 2


def chunks(png: bytes) -> set[bytes]:
    found, at = set(), 8
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        found.add(kind)
        at += 12 + length
    return found


@pytest.mark.parametrize(
    "content",
    [
        make_frames.jpeg_with_exif(make_frames.jpeg(CELL), make_frames.exif({315: "Jane Doe", 34853: 8})),
        make_frames.png_with(make_frames.png(CELL), b"eXIf", make_frames.exif({42032: "Jane Doe", 34853: 8})),
        make_frames.png_with(make_frames.png(CELL), b"tEXt", b"Author\x00Jane Doe, 52.5 N 13.4 E"),
    ],
    ids=["artist and place in a jpeg", "owner and place in a png", "author in a text of a png"],
)
def test_a_prepared_frame_is_pixels_without_what_its_file_says_of_people_and_places(content):
    assert b"Jane Doe" in content
    frame = prepare(content, Preparation())
    assert chunks(frame.png) == {b"IHDR", b"IDAT", b"IEND"}
    assert b"Jane Doe" not in frame.png


def test_an_animation_is_not_a_frame():
    frames = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)
    animation = cv2.Animation()
    animation.frames, animation.durations = list(frames), [100, 100]
    encoded, content = cv2.imencodeanimation(".png", animation)
    assert encoded
    frame = prepare(content.tobytes(), Preparation())
    assert (frame.reason, frame.detail) == ("unreadable", "it holds 2 pictures, and a frame is one")


@pytest.mark.parametrize("encode", [make_frames.png, make_frames.jpeg, make_frames.bmp, make_frames.tiff])
def test_each_format_is_read(encode):
    assert prepare(encode(CELL), Preparation()).accepted
    assert prepare(encode(make_frames.colour_cell()), Preparation(colour="rgb")).accepted


def test_the_same_bytes_give_the_same_png_in_any_thread():
    content = make_frames.png(make_frames.cell(size=(200, 200)))
    with ThreadPoolExecutor(4) as threads:
        frames = list(threads.map(lambda _: prepare(content, Preparation()).png, range(16)))
    assert len(set(frames)) == 1


def test_the_digest_of_the_pass_changes_with_each_parameter():
    passes = [
        Preparation(),
        Preparation(size=(64, 64)),
        Preparation(bounds=Bounds(min_focus=1)),
        Preparation(colour="rgb"),
    ]
    assert len({preparation_digest(one) for one in passes}) == len(passes)
    assert preparation_digest(Preparation()) == preparation_digest(Preparation())


def test_settings_that_reach_no_pixel_keep_the_digest_of_the_pass(spec):
    sections = spec.model_dump(mode="json")
    for section, setting, value in [
        ("labels", "clock_tolerance_minutes", 60.0),
        ("labels", "box_tolerance_pixels", 3.0),
        ("training", "device", "cpu"),
        ("evaluation", "calibration_bins", 5),
        ("evaluation", "latency_frames", 100),
        ("evaluation", "assumed_correlation", 0.5),
    ]:
        other = Spec.model_validate(sections | {section: sections[section] | {setting: value}})
        assert other != spec, setting
        assert preparation_digest(other.preparation) == preparation_digest(spec.preparation), setting


def test_people_see_red_as_red_and_16_bits_as_8():
    assert (eight_bit_rgb(make_frames.colour_cell())[0, 0] == (255, 0, 0)).all()
    assert (eight_bit_rgb(CELL.astype(np.uint16) * 257) == CELL).all()
    assert decode(make_frames.png(CELL), max_pixels=100) is None


FILES = [
    make_frames.png(CELL),
    make_frames.jpeg_with_exif(make_frames.jpeg(CELL), make_frames.exif({271: "Basler", 274: 6})),
    make_frames.bmp(CELL),
    make_frames.tiff(CELL),
]


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=400), st.binary(max_size=100).map(lambda end: FILES[0][:33] + end)))
def test_no_bytes_raise(content):
    assert prepare(content, Preparation(size=(8, 8))).reason in (*REASONS, "ok")


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FILES), st.integers(0, 4096), st.integers(0, 4096), st.binary(min_size=1, max_size=8))
def test_neither_cuts_nor_overwritten_bytes_raise(content, cut, at, patch):
    spoilt = bytearray(content)
    spoilt[at : at + len(patch)] = patch
    whole = bytes(spoilt)
    for spoilt_file in (whole, whole[:cut]):
        assert prepare(spoilt_file, Preparation(size=(8, 8))).reason in (*REASONS, "ok")


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True))
def test_a_file_that_was_cut_is_never_accepted(content, share):
    assert prepare(content[: int(len(content) * share)], Preparation()).reason in ("unreadable", "truncated")
