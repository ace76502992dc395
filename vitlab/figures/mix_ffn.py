"""The figures of the chapter on the Mix-FFN."""

from collections.abc import Sequence

from matplotlib.patches import Rectangle
from torch import Tensor

from vitlab.figures import BLUE, GREEN, ORANGE, PINK, new_axes


def show_numbers(maps: dict[str, Tensor], *, token: tuple[int, int] | None = None, frame: int = 0) -> None:
    """Draw small grids with their numbers, all on one scale that begins at 0.

    Args:
        maps: title -> (H, W).
        token: its row and column, framed in orange.
        frame: how many rows and columns around the token are framed with it.
    """
    axes = new_axes(1, len(maps), height=2.3)
    largest = max(float(values.max()) for values in maps.values())
    for ax, (title, values) in zip(axes, maps.items(), strict=True):
        ax.imshow(values, cmap="Blues", vmin=0, vmax=1.6 * largest)
        for i, row in enumerate(values.tolist()):
            for j, value in enumerate(row):
                ax.text(j, i, f"{value:.3g}", ha="center", va="center", fontsize=9)
        if token:
            corner, side = (token[1] - frame - 0.5, token[0] - frame - 0.5), 2 * frame + 1
            ax.add_patch(Rectangle(corner, side, side, fill=False, ec=ORANGE, lw=2, clip_on=False))
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()


def show_rings(different: dict[str, Tensor]) -> None:
    """Draw which tokens differ from the one in the middle: orange; those that are still like it are white.

    Args:
        different: title -> (H, W), booleans.
    """
    axes = new_axes(1, len(different), height=1.9)
    for ax, (title, tokens) in zip(axes, different.items(), strict=True):
        H, W = tokens.shape
        for i in range(H):
            for j in range(W):
                colour = ORANGE if tokens[i, j] else "white"
                ax.add_patch(Rectangle((j, i), 1, 1, facecolor=colour, edgecolor="grey", linewidth=0.5))
        ax.set_xlim(0, W)
        ax.set_ylim(H, 0)
        ax.set_aspect("equal")
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()


def show_places(places: dict[str, Tensor]) -> None:
    """Draw where a probe believes the tokens of a grid to be, neighbours joined by lines, beside the true grid's frame.

    Args:
        places: title -> (H, W, 2), row and column, in -1 ... 1.
    """
    axes = new_axes(1, len(places), height=2.1, sharex=True, sharey=True)
    for ax, (title, grid) in zip(axes, places.items(), strict=True):
        ax.add_patch(Rectangle((-1, -1), 2, 2, fill=False, ec="grey", lw=0.6, ls=":"))
        for lines in (grid, grid.transpose(0, 1)):  # (lines, tokens of the line, 2)
            for line in lines:
                ax.plot(line[:, 1], line[:, 0], color=BLUE, linewidth=0.8)
        ax.scatter(grid[0, 0, 1], grid[0, 0, 0], s=22, color=ORANGE, zorder=3)  # the token in the corner
        ax.set_xlim(-1.15, 1.15)
        ax.set_ylim(1.15, -1.15)
        ax.set_aspect("equal")
        ax.set_title(title, fontsize=9)
        ax.set_axis_off()


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
