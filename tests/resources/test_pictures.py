import base64
import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from resources.pictures import MAX_BYTES, as_markdown, figure_png, montage

NOISE = np.random.default_rng(7)


def test_a_montage_shows_grey_colour_and_missing_images_in_rows():
    grey = np.full((40, 60), 200, dtype=np.uint8)
    colour = np.zeros((300, 100, 3), dtype=np.uint8)
    drawn = montage(
        [grey, colour, None], ["part 1", "a caption that is too long for its tile", ""], columns=2
    )
    with Image.open(io.BytesIO(drawn)) as sheet:
        assert sheet.format == "JPEG"
        assert sheet.size == (2 * 132 + 4, 2 * 146 + 4)
        assert sheet.getpixel((68, 68)) == (200, 200, 200)


def test_a_montage_of_noise_is_made_smaller_until_it_fits_into_metadata():
    noise = [NOISE.integers(0, 256, (200, 200, 3), dtype=np.uint8) for _ in range(24)]
    assert len(montage(noise, [f"part {place}" for place in range(24)])) <= MAX_BYTES


def test_a_caption_of_several_lines_is_drawn_as_one():
    assert montage([None], ["new\nline.png: low_focus"]) == montage([None], ["new line.png: low_focus"])


@pytest.mark.parametrize(("images", "captions"), [([], []), ([None], [])])
def test_a_montage_needs_images_and_a_caption_for_each(images, captions):
    with pytest.raises(ValueError, match="one caption per image"):
        montage(images, captions)


def test_a_figure_is_drawn_without_pyplot_and_the_same_each_time():
    def drawn():
        figure = Figure(figsize=(4, 2))
        figure.subplots().plot([1, 2, 3])
        return figure_png(figure)

    assert drawn() == drawn()
    assert drawn().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("drawn", "kind"), [(b"\x89PNG some bytes", "png"), (b"\xff\xd8 some bytes", "jpeg")]
)
def test_a_picture_in_markdown_carries_its_own_bytes(drawn, kind):
    text = as_markdown(drawn, "focus [px]\nof 3 frames")
    match = re.fullmatch(r"!\[focus \(px\) of 3 frames\]\(data:image/(\w+);base64,(.+)\)", text)
    assert match is not None
    assert match[1] == kind
    assert base64.b64decode(match[2]) == drawn
