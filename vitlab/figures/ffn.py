"""The figures of the chapter on the feed-forward network."""

from torch import Tensor

from vitlab.figures import BLUE, GREEN, ORANGE, PINK, new_axes


def show_curves(x: Tensor, curves: dict[str, Tensor]) -> None:
    """Draw functions of one number; the first is the one that matters, in orange.

    Args:
        x: (N,).
        curves: name -> (N,).
    """
    (ax,) = new_axes(height=3)
    styles = zip((ORANGE, BLUE, GREEN, PINK), ("-", "--", ":", "-."), strict=True)
    for (name, y), (colour, style) in zip(curves.items(), styles, strict=False):
        ax.plot(x, y, style, color=colour, label=name)
    ax.axhline(0, color="black", linewidth=0.6)
    ax.set_xlabel("$x$", fontsize=10)
    ax.legend(fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)


def show_grids(grids: dict[str, Tensor]) -> None:
    """Draw where the points of a square grid have gone, with the lines that joined them, all on one scale.

    Args:
        grids: title -> (side, side, 2), the points.
    """
    axes = new_axes(1, len(grids), height=1.9, sharex=True, sharey=True)
    for ax, (title, points) in zip(axes, grids.items(), strict=True):
        for lines in (points, points.transpose(0, 1)):  # (side, side, 2): one line after the other
            for line in lines:
                ax.plot(*line.T, color=BLUE, linewidth=0.7)
        ax.set_aspect("equal")
        ax.set_axis_off()
        ax.set_title(title, fontsize=9)


def show_influence(matrices: dict[str, Tensor]) -> None:
    """Draw how much each output token depends on each input token; white is not at all.

    Args:
        matrices: title -> (n, n), row: output, column: input.
    """
    axes = new_axes(1, len(matrices), height=3)
    for ax, (title, matrix) in zip(axes, matrices.items(), strict=True):
        ax.imshow(matrix / matrix.max(), cmap="Blues", vmin=0, vmax=1)
        for row in range(len(matrix)):
            for column in range(len(matrix)):
                share = matrix[row, column] / matrix.max()
                number = "0" if share == 0 else f"{matrix[row, column]:.2f}"
                colour = "white" if share > 0.6 else "black"
                ax.text(column, row, number, ha="center", va="center", fontsize=9, color=colour)
        ticks = range(len(matrix)), range(1, len(matrix) + 1)
        ax.set_xticks(*ticks)
        ax.set_yticks(*ticks)
        ax.set_xlabel("input token", fontsize=9)
        ax.set_title(title, fontsize=10)
    axes[0].set_ylabel("output token", fontsize=9)


def show_shares(shares: dict[str, list[float]]) -> None:
    """Draw, for each model, a share in each block.

    Args:
        shares: the model's name -> a share of each block.
    """
    (ax,) = new_axes(height=2.6)
    for (name, of_blocks), colour in zip(shares.items(), (ORANGE, BLUE), strict=True):
        ax.plot(range(1, len(of_blocks) + 1), of_blocks, "o-", color=colour, label=name)
    ax.set_xlabel("block", fontsize=10)
    ax.set_ylabel("share of hidden numbers", fontsize=10)
    ax.set_ylim(0, 1)
    ax.legend(fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
