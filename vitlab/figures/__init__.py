"""What the chapters draw, one file a topic; here what they share.

The functions draw with pyplot and return nothing: a notebook shows the open figure at the end of the cell.
Figures are white and at most six inches wide, so that their letters stay legible on a narrow or dark screen.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from torch import Tensor

BLUE, ORANGE, GREEN, PINK = "#0072b2", "#d55e00", "#009e73", "#cc79a7"  # told apart by colour-blind eyes (Okabe, Ito)


def new_axes(rows: int = 1, columns: int = 1, *, height: float, width: float = 6, **options) -> list[Axes]:
    """The axes of a new white figure, row by row; sizes in inches, `options` as for `plt.subplots`."""
    _, axes = plt.subplots(
        rows,
        columns,
        figsize=(width, height),
        dpi=150,
        facecolor="white",
        layout="constrained",
        squeeze=False,
        **options,
    )
    return list(axes.flat)


def paint(ax: Axes, image: Tensor) -> None:
    """Draw one image (C, H, W) with values in [0, 1] on the axes, without ticks."""
    ax.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1)  # (H, W, C)
    ax.set_axis_off()


def show_images(images: dict[str, Tensor], *, columns: int = 1) -> None:
    """Draw images under their titles.

    Args:
        images: title -> (1, C, H, W), values in [0, 1].
        columns: how many stand beside each other.
    """
    rows = -(-len(images) // columns)
    height_of_one = max(image.shape[-2] / image.shape[-1] for image in images.values()) * 6 / columns + 0.3
    axes = new_axes(rows, columns, height=rows * height_of_one)
    for ax in axes:
        ax.set_axis_off()
    for ax, (title, image) in zip(axes, images.items(), strict=False):
        paint(ax, image[0])
        ax.set_title(title, fontsize=10)


@contextmanager
def look_at_it() -> Iterator[None]:
    """For pictures of what a student wrote: where nothing can be drawn, a sentence instead of an error."""
    try:
        yield
    except NotImplementedError:
        print("Nothing to see yet: write the function above, run its cell, then this one.")
    except Exception as error:
        plt.close()  # half a picture helps nobody
        print(f"This result cannot be drawn ({type(error).__name__}: {error}). The check below says why.")
