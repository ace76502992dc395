"""The figures of the chapter on the encoder."""

from collections.abc import Sequence

from matplotlib.colors import TwoSlopeNorm
from torch import Tensor

from vitlab.figures import BLUE, ORANGE, new_axes

STYLES = ((BLUE, "-"), (ORANGE, "-"), (BLUE, "--"), (ORANGE, "--"))  # of up to four curves, in their order


def show_token(steps: dict[str, Tensor]) -> None:
    """Draw what becomes of one token: a row for each step, a column for each feature; red is negative, blue positive.

    Args:
        steps: name -> (d,).
    """
    (ax,) = new_axes(height=0.3 + 0.34 * len(steps))
    largest = max(float(values.abs().max()) for values in steps.values())
    rows = [values.tolist() for values in steps.values()]
    ax.imshow(rows, cmap="RdBu", norm=TwoSlopeNorm(0, -largest, largest), aspect="auto")
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            ax.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=10,
                    color="white" if abs(value) > 0.6 * largest else "black")  # fmt: skip
    ax.set_xticks([])
    ax.set_yticks(range(len(steps)), list(steps), fontsize=10)
    ax.tick_params(length=0)


def show_curves(curves: dict[str, Sequence[float]], *, x: str, y: str, first: int = 1, log: bool = False) -> None:
    """Draw curves over blocks or steps, each in the style of its place: the same things keep their colours.

    Args:
        curves: label -> values.
        x, y: what the axes say.
        first: the number of the first value on the x axis.
        log: a logarithmic y axis.
    """
    (ax,) = new_axes(height=3)
    for (label, values), (colour, dashes) in zip(curves.items(), STYLES, strict=False):
        ax.plot(range(first, first + len(values)), values, dashes, color=colour, linewidth=2, label=label)
    if log:
        ax.set_yscale("log")
    ax.set_xlabel(x, fontsize=10)
    ax.set_ylabel(y, fontsize=10)
    ax.legend(fontsize=9, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
