"""The figures of the chapter on the Mix-FFN."""

from collections.abc import Sequence

from matplotlib.patches import Rectangle
from torch import Tensor

from vitlab.figures import BLUE, GREEN, ORANGE, PINK, new_axes, write_numbers


def show_numbers(maps: dict[str, Tensor], *, token: tuple[int, int] | None = None) -> None:
    """Draw small grids with their numbers, all on one scale; white is 0, blue positive, red negative.

    Args:
        maps: title -> (H, W).
        token: its row and column, framed in orange.
    """
    axes = new_axes(1, len(maps), height=2.3)
    largest = 1.6 * max(float(values.abs().max()) for values in maps.values())
    for ax, (title, values) in zip(axes, maps.items(), strict=True):
        ax.imshow(values, cmap="RdBu", vmin=-largest, vmax=largest)
        write_numbers(ax, values, lambda value: f"{value:.3g}".replace("-", "−"), dark=largest)
        if token:
            corner = (token[1] - 0.5, token[0] - 0.5)
            ax.add_patch(Rectangle(corner, 1, 1, fill=False, ec=ORANGE, lw=2, clip_on=False))
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()


def show_rings(different: dict[str, Tensor]) -> None:
    """Draw which tokens differ from the one in the middle: orange; those that are still like it are white.

    Args:
        different: title -> (H, W), booleans.
    """
    axes = new_axes(1, len(different), height=1.6)
    for ax, (title, tokens) in zip(axes, different.items(), strict=True):
        H, W = tokens.shape
        for i in range(H):
            for j in range(W):
                colour = ORANGE if tokens[i, j] else "white"
                ax.add_patch(Rectangle((j, i), 1, 1, facecolor=colour, edgecolor="grey", linewidth=0.5))
        ax.set_xlim(-0.1, W + 0.1)
        ax.set_ylim(H + 0.1, -0.1)
        ax.set_aspect("equal")
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()


def show_read(curves: dict[str, Tensor]) -> None:
    """Draw in which column a probe believes the tokens of each column to be, beside the truth.

    Args:
        curves: name -> (W,), the column that is read, in 1 ... W.
    """
    (ax,) = new_axes(height=3)
    styles = zip((ORANGE, ORANGE, ORANGE, GREEN), (":", "--", "-", "-"), strict=True)
    for (name, read), (colour, style) in zip(curves.items(), styles, strict=False):
        columns = range(1, len(read) + 1)
        ax.plot(columns, read, style, marker=".", color=colour, label=name)
    ax.plot(columns, columns, color="black", linewidth=0.6, label="the truth")
    ax.set_xlabel("column of the token", fontsize=10)
    ax.set_ylabel("column that is read", fontsize=10)
    ax.legend(fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)


def show_scores(scores: dict[str, Sequence[Sequence[float]]], ticks: Sequence[str], *, x: str, y: str) -> None:
    """Draw scores as lines with a band from the lowest to the highest seed.

    Args:
        scores: name -> for each tick the score of every seed.
        ticks: what the places on the x axis are called.
        x, y: what the axes say.
    """
    (ax,) = new_axes(height=2.9)
    styles = zip((ORANGE, GREEN, BLUE, PINK), ("-", ":", "-", "--"), strict=True)
    for (name, of_ticks), (colour, style) in zip(scores.items(), styles, strict=False):
        middle = [sum(seeds) / len(seeds) for seeds in of_ticks]
        ax.plot(ticks, middle, style, marker="o", color=colour, label=name)
        lowest, highest = [min(seeds) for seeds in of_ticks], [max(seeds) for seeds in of_ticks]
        ax.fill_between(ticks, lowest, highest, color=colour, alpha=0.2, linewidth=0)
    ax.set_ylim(0, 1)
    ax.set_xlabel(x, fontsize=10)
    ax.set_ylabel(y, fontsize=10)
    ax.legend(fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
