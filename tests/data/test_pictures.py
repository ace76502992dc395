"""The one reader of pictures: whatever is in the file, what a viewer would show comes out, or one sentence."""

import io
import os
import subprocess

import numpy as np
import pytest
from PIL import Image

from vitlab.data import DataError
from vitlab.data.pictures import FORMATS, read_picture

COLOURS = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8))


def filed(picture: Image.Image, form: str = "PNG", **options) -> bytes:
    content = io.BytesIO()
    picture.save(content, form, **options)
    return content.getvalue()


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_of_the_list_is_read(form):
    assert (read_picture(filed(COLOURS, form), form).mode, read_picture(filed(COLOURS, form), form).size) == (
        "RGB",
        (6, 4),
    )


@pytest.mark.parametrize(
    "orientation, back",
    enumerate(
        [
            None,
            Image.Transpose.FLIP_LEFT_RIGHT,
            Image.Transpose.ROTATE_180,
            Image.Transpose.FLIP_TOP_BOTTOM,
            Image.Transpose.TRANSPOSE,
            Image.Transpose.ROTATE_270,
            Image.Transpose.TRANSVERSE,
            Image.Transpose.ROTATE_90,
        ],
        start=1,
    ),
)
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_a_picture_is_turned_as_its_exif_entry_says(orientation, back, form):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = COLOURS if back is None else COLOURS.transpose(back)
    options = {"lossless": True} if form == "WEBP" else {}
    assert np.array_equal(read_picture(filed(COLOURS, form, exif=exif, **options), "x"), upright)


@pytest.mark.parametrize("form, kind", [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2")])
def test_grey_of_16_bits_is_scaled(form, kind):
    grey = np.arange(256).reshape(16, 16)
    picture = read_picture(filed(Image.fromarray((grey * 257).astype(kind)), form), "x")
    assert picture.mode == "L" and np.array_equal(picture, grey)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_numbers_without_a_white_are_refused(kind):
    with pytest.raises(DataError, match=r"x holds numbers of 32 bits .* store it with 8 or 16 bits\.$"):
        read_picture(filed(Image.fromarray(np.ones((3, 3), kind)), "TIFF"), "x")


def test_what_is_transparent_lies_on_white():
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([9, 9, 9])
    for content, seen in (
        (filed(Image.new("RGBA", (1, 1), (9, 9, 9, 0))), (255, 255, 255)),
        (filed(Image.new("RGBA", (1, 1), (0, 0, 0, 51))), (204, 204, 204)),
        (filed(Image.new("LA", (1, 1), (9, 0))), (255, 255, 255)),
        (filed(Image.new("I;16", (1, 1), 2570)), 10),
        (filed(Image.new("I;16", (1, 1), 2570), transparency=2570), 255),
        (filed(palette, transparency=0), (255, 255, 255)),
        (filed(palette, "GIF", transparency=0), (255, 255, 255)),
        (filed(palette), (9, 9, 9)),
        (filed(Image.new("RGB", (1, 1), (9, 9, 9)), transparency=(9, 9, 9)), (255, 255, 255)),
    ):
        assert read_picture(content, "x").getpixel((0, 0)) == seen


@pytest.mark.parametrize("content", [b"", b"%!PS-Adobe-3.0\n", filed(COLOURS)[:60], filed(COLOURS, "JPEG")[:300]])
def test_what_is_no_whole_picture_starts_no_program(content, tmp_path, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", never)
    (tmp_path / "photo.png").write_bytes(content)
    with pytest.raises(DataError, match=r"photo\.png cannot be read as a picture \(.*\): give one in JPEG, .*\.$"):
        read_picture(tmp_path / "photo.png")


def test_a_missing_file_a_folder_and_a_pipe_say_so(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")  # to be waited for, if it was opened
    for path, words in (
        (tmp_path / "none.png", "No such file"),
        (tmp_path, "no file"),
        (tmp_path / "pipe.png", "no file"),
    ):
        with pytest.raises(DataError, match=words):
            read_picture(path)


@pytest.mark.parametrize("side", [100, 200])  # Pillow warns of the first, and refuses the second
def test_too_many_pixels_are_refused_before_they_are_unpacked(side, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9_000)
    with pytest.raises(DataError, match="x has too many pixels: 9,000 are the most"):
        read_picture(filed(Image.new("1", (side, side))), "x")
