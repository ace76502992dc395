"""What a segmentation leaves beside a picture: the class of every pixel, and the picture coloured by its classes."""

import os
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitlab.data import DataError
from vitlab.files import written_whole
from vitlab.pretrained.predictor import Predictor

LONGEST = 1600  # pixels of a side of the overlay, whatever the picture has
SHOWN = 12  # classes in the legend
LETTERS = 30  # of a name there


def places(picture: Path, out: Path | None, predictor: Predictor) -> tuple[Path, Path]:
    """Where the overlay and the class map will be, looked at before anything is computed.

    Args:
        picture: the path of the picture.
        out: of the overlay; None for NAME-overlay.png beside the picture. The class map is NAME-classes.png.
        predictor: of a segmentation.

    Raises:
        DataError: if one of them cannot be written, or a class map cannot hold so many classes.
    """
    overlay = out or picture.with_name(f"{picture.stem}-overlay.png")
    class_map = overlay.with_name(f"{overlay.stem.removesuffix('-overlay')}-classes.png")
    if overlay.suffix.lower() != ".png":
        raise DataError(f"the overlay is a PNG, so that {overlay} has to end in .png.")
    if not overlay.parent.is_dir():
        raise DataError(f"there is no folder {overlay.parent}: make it first.")
    if not os.access(overlay.parent, os.W_OK):
        raise DataError(f"nothing can be written to the folder {overlay.parent}: choose another place with --out.")
    for path in (overlay, class_map):
        if path.is_dir() or (path.exists() and path.samefile(picture)):
            raise DataError(f"{path} is {'a folder' if path.is_dir() else 'the picture itself'}: choose another --out.")
    if len(predictor.classes) > 256:
        raise DataError(
            f"a class map is a PNG with 256 colours at most, but there are {len(predictor.classes)} classes."
        )
    return overlay, class_map


def write_class_map(classes: Tensor, predictor: Predictor, path: Path) -> None:
    """A PNG with a palette: (H, W), whose values are the classes."""
    picture = Image.fromarray(classes.byte().numpy()).convert("P")
    picture.putpalette(predictor.palette.flatten().tolist())
    with written_whole(path) as draft:
        picture.save(draft, format="PNG")


def draw_overlay(picture: Image.Image, classes: Tensor, predictor: Predictor, path: Path) -> dict[str, float]:
    """Colour a picture by its classes, with a legend; of bounded size, whatever the picture's.

    Args:
        picture: of H x W pixels.
        classes: (H, W).
        predictor: names and colours.
        path: of the PNG to write.

    Returns:
        The part of the picture that each class takes, the largest first.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    counts = torch.bincount(classes.flatten(), minlength=len(predictor.classes))
    order = [i for i in counts.argsort(descending=True).tolist() if counts[i]]
    parts = [(i, counts[i].item() / classes.numel()) for i in order]

    small = picture.convert("RGB")
    small.thumbnail((LONGEST, LONGEST))
    labels = Image.fromarray(classes.byte().numpy()).resize(small.size, Image.Resampling.NEAREST)
    colours = predictor.palette.numpy()[np.asarray(labels)]  # (H', W', 3)
    mixed = (np.asarray(small) * 0.5 + colours * 0.5).astype(np.uint8)
    figure = Figure(figsize=(8, min(max(6 * small.height / small.width, 3), 12)), layout="constrained")
    ax = figure.subplots()
    ax.imshow(mixed)
    ax.axis("off")
    patches = [
        Patch(color=predictor.palette[i].numpy() / 255, label=f"{part:.0%} {_short(predictor.classes[i])}")
        for i, part in parts[:SHOWN]
    ]
    figure.legend(handles=patches, loc="outside right upper", fontsize=9)
    with warnings.catch_warnings(), written_whole(path) as draft:
        warnings.simplefilter("ignore")  # of letters that the font lacks: the terminal has the name
        figure.savefig(draft, dpi=150, format="png")
    return {predictor.classes[i]: part for i, part in parts}


def _short(name: str) -> str:
    name = name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"
    return name.replace("$", r"\$")  # else Matplotlib reads a formula
