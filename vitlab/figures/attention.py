"""The figures of the chapter and the exercise on attention."""

import torch
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from vitlab.figures import BLUE, ORANGE, frame, new_axes, paint, write_numbers


def show_places(image: Tensor, patch_size: int, places: dict[str, tuple[int, int]]) -> None:
    """Draw an image with a frame around some of its patches, and their names.

    Args:
        image: (1, C, H, W), values in [0, 1].
        patch_size: P.
        places: name -> (row, column) of its patch.
    """
    (ax,) = new_axes(height=6 * image.shape[-2] / image.shape[-1])
    paint(ax, image[0])
    for name, (row, column) in places.items():
        frame(ax, row, column, patch_size)
        label = {"color": "white", "fontsize": 10, "bbox": {"color": "black", "pad": 1.5}}
        ax.text((column + 1.4) * patch_size, (row + 0.5) * patch_size, name, va="center", **label)


def show_matrices(
    matrices: dict[str, Tensor],
    *,
    rows: list[str],
    columns: dict[str, list[str]] | None = None,
    followed: int | None = None,
) -> None:
    """Draw matrices beside each other with their numbers in them: blue above 0, red below, all on one scale.

    Args:
        matrices: title -> (number of rows, any).
        rows: a name for each row.
        columns: title -> a name for each column of that matrix.
        followed: the row that gets a frame, from 0.
    """
    widths = [matrix.shape[1] for matrix in matrices.values()]
    axes = new_axes(1, len(matrices), height=0.7 + min(0.4, 3.4 / sum(widths)) * len(rows), width_ratios=widths)
    largest = max(matrix.abs().max() for matrix in matrices.values())
    for ax, (title, matrix) in zip(axes, matrices.items(), strict=True):
        ax.imshow(matrix.numpy(), cmap="RdBu", vmin=-largest, vmax=largest, aspect="auto")
        write_numbers(ax, matrix, "{:.2f}".format, dark=0.6 * largest)
        names = (columns or {}).get(title, [])
        ax.set_xticks(range(len(names)), names, fontsize=9)
        ax.set_yticks([])
        ax.tick_params(length=0)
        ax.set_title(title, fontsize=10)
        if followed is not None:
            frame = Rectangle((-0.5, followed - 0.5), matrix.shape[1], 1, fill=False, ec=ORANGE, lw=3, clip_on=False)
            ax.add_patch(frame)
    axes[0].set_yticks(range(len(rows)), rows, fontsize=10)


def show_columns(matrices: dict[str, tuple[Tensor, Tensor]], *, rows: list[str] | None = None) -> None:
    """Draw matrices beside each other with their numbers in them, each number in the colour of its head.

    Args:
        matrices: title -> (the numbers, the head of each one from 0, or -1 for none), both of one shape.
        rows: a name for each row of the first matrix.
    """
    colours = {-1: "#e6e6e6", 0: "#9ecae1", 1: "#fdae6b"}
    widths = [numbers.shape[1] for numbers, _ in matrices.values()]
    highest = max(len(numbers) for numbers, _ in matrices.values())
    axes = new_axes(1, len(matrices), height=0.6 + 0.3 * highest, width_ratios=widths)
    for ax, (title, (numbers, heads)) in zip(axes, matrices.items(), strict=True):
        digits = _digits(numbers.double())
        for y, x in torch.cartesian_prod(*map(torch.arange, numbers.shape)):
            ax.add_patch(Rectangle((x, y), 1, 1, fc=colours[int(heads[y, x])], ec="white"))
            number = f"{numbers[y, x]:.{digits}f}"
            ax.text(x + 0.5, y + 0.5, number, ha="center", va="center", fontsize=9)
        ax.set(xlim=(0, numbers.shape[1]), ylim=(highest, 0), xticks=[], yticks=[])
        ax.set_title(title, fontsize=10)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    if rows:
        axes[0].set_yticks([y + 0.5 for y in range(len(rows))], rows, fontsize=10)


def show_score_variance(d_k: list[int], unscaled: list[float], scaled: list[float]) -> None:
    """Draw measured variances of scores against d_k, without and with the division by √d_k."""
    (ax,) = new_axes(height=3)
    ax.loglog(d_k, unscaled, "o", color=ORANGE, label="$q \\cdot k$, measured")
    ax.loglog(d_k, d_k, color=ORANGE, label="the line: variance = $d_k$")
    ax.loglog(d_k, scaled, "s", color=BLUE, label="$q \\cdot k / \\sqrt{d_k}$, measured")
    ax.set_xlabel("$d_k$", fontsize=10)
    ax.set_ylabel("variance of the scores", fontsize=10)
    ax.legend(fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)


def show_weights(weights: dict[str, Tensor]) -> None:
    """Draw rows of attention weights as bars, two beside each other.

    Args:
        weights: title -> (m,).
    """
    axes = new_axes(-(-len(weights) // 2), 2, height=1.5 * -(-len(weights) // 2), sharey=True, sharex=True)
    for ax, (title, row) in zip(axes, weights.items(), strict=True):
        ax.bar(range(1, len(row) + 1), row, color=BLUE)
        ax.set_title(f"{title}: largest {row.max():.2f}", fontsize=10)
        ax.set_ylim(0, 1)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[-2:]:
        ax.set_xlabel("key", fontsize=10)


def show_attention(
    maps: dict[str, tuple[int, Tensor]],
    grid: tuple[int, int],
    *,
    image: Tensor | None = None,
    columns: int = 4,
    label: str = "weight",
) -> None:
    """Draw what queries look at, as heat maps on one scale: white is 0, red below. The query's patch is framed.

    Args:
        maps: title -> (number of the query's patch, from 0; its row of attention weights or scores, (n,)).
        grid: (rows, columns) of patches.
        image: (1, C, H, W), values in [0, 1]; drawn first if given.
        columns: how many stand beside each other.
        label: what the numbers are.
    """
    pictures = len(maps) + (image is not None)
    lines, columns = -(-pictures // columns), min(columns, pictures)
    axes = new_axes(lines, columns, height=lines * (6 / columns * grid[0] / grid[1] + 0.25) + 0.6)
    for ax in axes:
        ax.set_axis_off()
    cells = iter(axes)
    if image is not None:
        ax = next(cells)
        paint(ax, image[0])
        for query in {query for query, _ in maps.values()}:
            frame(ax, *divmod(query, grid[1]), image.shape[-1] // grid[1])
    signed = any(bool((row < 0).any()) for _, row in maps.values())
    largest = max(row.abs().max() for _, row in maps.values())
    scale = {"cmap": "RdBu", "vmin": -largest} if signed else {"cmap": "Blues", "vmin": 0}
    for ax, (title, (query, row)) in zip(cells, maps.items(), strict=False):
        picture = ax.imshow(row.reshape(grid).numpy(), **scale, vmax=largest)
        ax.set_title(title, fontsize=10)
        frame(ax, *divmod(query, grid[1]), 1, -0.5)
        outline = Rectangle((-0.5, -0.5), grid[1], grid[0], fill=False, ec="grey", lw=0.5, clip_on=False)
        ax.add_patch(outline)
    bar = ax.figure.colorbar(picture, ax=axes, location="bottom", shrink=0.6, aspect=40, ticks=MaxNLocator(5))
    bar.set_label(label, fontsize=10)
    bar.ax.tick_params(labelsize=9)


def _digits(numbers: Tensor) -> int:
    """How many digits behind the point the numbers need, two at most."""
    return next((k for k in (0, 1) if torch.allclose(numbers, numbers.round(decimals=k))), 2)
