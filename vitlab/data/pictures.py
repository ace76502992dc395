"""The one reader of pictures: for `vitlab predict`, folders, CIFAR's JPEG copies and ADE20K."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from stat import S_ISREG

import numpy as np
from PIL import Image, ImageOps

from vitlab.data.dataset import DataError

# Pillow knows more, but some of them start other programs, and none is needed here.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
BOMBS = (Image.DecompressionBombWarning, Image.DecompressionBombError)


def open_picture(source: Path | bytes, name: str | Path, formats: Sequence[str] = FORMATS) -> Image.Image:
    """What a file holds, turned upright as its EXIF entry says, and in Pillow's mode of its own.

    Args:
        source: its path, or its bytes.
        name: what to call it in an error.
        formats: that it may have, whatever its name says.

    Raises:
        DataError: if it is missing, damaged, of another format, or has too many pixels.
    """
    try:
        if not isinstance(source, bytes) and not S_ISREG(Path(source).stat().st_mode):
            raise ValueError("it is a folder or a pipe, and no file")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats)
        return ImageOps.exif_transpose(picture)  # loads it
    except BOMBS as error:
        raise DataError(f"{name} has too many pixels: {Image.MAX_IMAGE_PIXELS:,} are the most that is read.") from error
    except Exception as error:  # damaged files make Pillow raise many kinds
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "it is none, or damaged"
        raise DataError(f"{name} cannot be read as a picture ({reason}): give one in {', '.join(formats)}.") from error


def read_picture(source: Path | bytes, name: str | Path | None = None) -> Image.Image:
    """A picture in 8 bits, in the mode "L" or "RGB": on white where it is transparent, 16 bits of grey scaled to 8.

    Args:
        source: its path, or its bytes.
        name: what to call it in an error; by default the path.

    Raises:
        DataError: as `open_picture`, or if it holds numbers of which nobody says which one is white.
    """
    name = source if name is None else name
    return in_8_bits(open_picture(source, name), name)


def in_8_bits(picture: Image.Image, name: str | Path) -> Image.Image:
    """`read_picture` of a picture that is open."""
    if not isinstance(picture, Image.Image):
        raise DataError(f"{name} is a {type(picture).__name__}, but must be one of PIL: `read_picture` reads a file.")
    if not all(picture.size):
        raise DataError(f"{name} has no pixels: its size is {picture.width} x {picture.height}.")
    if picture.mode.startswith("I;16"):
        levels, transparent = np.asarray(picture), picture.info.get("transparency", -1)
        return Image.fromarray(np.where(levels == transparent, 255, levels // 257).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise DataError(
            f"{name} holds numbers of 32 bits (Pillow's mode {picture.mode}), and nothing says which one is white: "
            "store it with 8 or 16 bits."
        )
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")
