"""What the chapters draw, one file a topic; here what they share.

The functions draw with pyplot and return nothing: a notebook shows the open figure at the end of the cell.
Figures are white and at most six inches wide, so that their letters stay legible on a narrow or dark screen.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO, StringIO

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

BLUE, ORANGE, GREEN, PINK = "#0072b2", "#d55e00", "#009e73", "#cc79a7"  # told apart by colour-blind eyes (Okabe, Ito)

DPI = 108  # of the pictures in a figure: six inches are then as wide as a photograph of scikit-learn, 640 pixels


class LightFigure(Figure):
    """A figure that a notebook shows as SVG, so that a page with many of them loads at once."""

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display({"image/svg+xml": to_svg(self)}, raw=True)


def to_svg(figure: Figure) -> str:
    """The figure as SVG: letters and lines stay sharp at every size; pictures within are WebP, which is what weighs.

    The same figure gives the same text.
    """
    svg = StringIO()
    with plt.rc_context({"svg.hashsalt": "vitlab"}):
        figure.savefig(svg, format="svg", metadata={"Date": None})
    return re.sub(r"data:image/png;base64,\s*([^\"]+)", _png_to_webp, svg.getvalue())


def _png_to_webp(png: re.Match) -> str:
    picture = Image.open(BytesIO(b64decode(png[1])))
    has_few_colours = picture.getcolors(256) is not None  # a map or a mask and not a photograph
    webp = BytesIO()
    picture.save(webp, "webp", lossless=has_few_colours)
    return f"data:image/webp;base64,{b64encode(webp.getvalue()).decode()}"


def new_axes(rows: int = 1, columns: int = 1, *, height: float, width: float = 6, **options) -> list[Axes]:
    """The axes of a new white figure, row by row; sizes in inches, `options` as for `plt.subplots`."""
    _, axes = plt.subplots(
        rows,
        columns,
        FigureClass=LightFigure,
        figsize=(width, height),
        dpi=DPI,
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


def write_numbers(ax: Axes, numbers: Tensor, words: Callable[[float], str], *, dark: float, fontsize: int = 9) -> None:
    """Write each number of a map (rows, columns) in its place, in white where it lies beyond ±dark."""
    for y, row in enumerate(numbers.tolist()):
        for x, value in enumerate(row):
            colour = "white" if abs(value) > dark else "black"
            ax.text(x, y, words(value), ha="center", va="center", fontsize=fontsize, color=colour)


def frame(ax: Axes, row: int, column: int, side: float, start: float = 0, width: float = 1.3) -> None:
    """Frame the patch in a row and a column of patches of that side: an orange line of that width on a white one."""
    corner = (start + column * side, start + row * side)
    for colour, lw in (("white", 2 * width), (ORANGE, width)):
        ax.add_patch(Rectangle(corner, side, side, fill=False, ec=colour, lw=lw))


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
        print(f"This result cannot be drawn ({type(error).__name__}: {error}). The check says why.")
