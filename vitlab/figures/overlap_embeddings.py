"""The figures of the chapter on overlapping patches, and of its exercise."""

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from vitlab.figures import BLUE, ORANGE, new_axes, paint, write_numbers


def show_placements(lines: dict[str, tuple[int, int, int, int]]) -> None:
    """Draw a line of pixels between its border of zeros and, below it, every patch that fits in whole.

    Args:
        lines: title -> (size, kernel size, stride, padding).
    """
    axes = new_axes(len(lines), 1, height=1.35 * len(lines))
    widest = max(size + 2 * padding for size, _, _, padding in lines.values())
    for ax, (title, (size, k, s, padding)) in zip(axes, lines.items(), strict=True):
        for x in range(-padding, size + padding):
            inside = 0 <= x < size
            ax.add_patch(Rectangle((x, 0), 1, 1, fc="white" if inside else "0.8", ec="0.4", lw=0.6))
            if not inside:
                ax.text(x + 0.5, 0.46, "0", ha="center", va="center", fontsize=7)
        levels = -(-k // s)  # so many patches lie above each other
        for i, left in enumerate(range(-padding, size + padding - k + 1, s)):
            y = -0.75 - 0.6 * (i % levels)
            ax.add_patch(Rectangle((left + 0.1, y), k - 0.2, 0.4, color=BLUE if i else ORANGE, lw=0))
        ax.set(xlim=(-padding - 0.2, widest - padding + 0.2), ylim=(-0.85 - 0.6 * (levels - 1), 1.2))
        ax.set_title(title, fontsize=10, loc="left")
        ax.set_axis_off()


def show_two_patches(numbers: Tensor, border: int, kernel_size: int, corners: tuple[tuple[int, int], ...]) -> None:
    """Draw an image as numbers within its border of zeros, with two patches framed, the first in orange.

    Args:
        numbers: (H, W), with the border.
        border: how many pixels wide it is.
        kernel_size: k.
        corners: the row and column of each patch's top left number.
    """
    H, W = numbers.shape
    (ax,) = new_axes(height=3)
    for y in range(H):
        for x in range(W):
            inside = border <= y < H - border and border <= x < W - border
            ax.add_patch(Rectangle((x, y), 1, 1, fc="white" if inside else "0.85", ec="0.7", lw=0.6))
            ax.text(x + 0.5, y + 0.5, f"{numbers[y, x]:g}", ha="center", va="center", fontsize=10)
    for (y, x), colour in zip(corners, (ORANGE, BLUE), strict=True):
        ax.add_patch(Rectangle((x, y), kernel_size, kernel_size, fill=False, ec=colour, lw=3))
        ax.add_patch(Rectangle((x, y), kernel_size, kernel_size, fc=colour, alpha=0.15, lw=0))
    ax.set(xlim=(-0.1, W + 0.1), ylim=(H + 0.1, -0.1), aspect="equal")
    ax.set_axis_off()


def show_edge(positions: range, answers: dict[str, Tensor]) -> None:
    """Draw how strongly the patches answer to an edge, wherever it lies.

    Args:
        positions: the first bright pixel.
        answers: title -> (positions,), the strongest answer of any patch.
    """
    (ax,) = new_axes(height=2.8)
    for (title, answer), colour, style in zip(answers.items(), (ORANGE, BLUE), ("o--", "o-"), strict=True):
        ax.plot(positions, answer, style, color=colour, label=title)
    ax.set_ylim(-0.05, 1.3)
    ax.set_xticks(positions)
    ax.set_xlabel("the first bright pixel", fontsize=10)
    ax.set_ylabel("strongest answer", fontsize=10)
    ax.legend(fontsize=9, ncols=2, loc="upper right")
    ax.spines[["top", "right"]].set_visible(False)


def show_squares(maps: dict[str, Tensor]) -> None:
    """Draw maps of whole numbers beside each other, on one scale of colours, with the numbers in them.

    Args:
        maps: title -> (H, W).
    """
    largest = max(float(numbers.max()) for numbers in maps.values())
    for ax, (title, numbers) in zip(new_axes(1, len(maps), height=6 / len(maps) + 0.3), maps.items(), strict=True):
        ax.imshow(numbers.numpy(), cmap="Blues", vmin=0, vmax=largest)
        write_numbers(ax, numbers, "{:.0f}".format, dark=0.6 * largest, fontsize=8)
        ax.set_title(title, fontsize=10)
        ax.set(xticks=[], yticks=[])


def show_pyramid(maps: dict[str, Tensor]) -> None:
    """Draw maps beside each other, each as large as it is: a pixel has the same side in all of them.

    Args:
        maps: title -> (1, C, H, W), values in [0, 1], the largest first.
    """
    gap = 0.06 * next(iter(maps.values())).shape[-1]
    widths = [image.shape[-1] for image in maps.values()]
    tallest = next(iter(maps.values())).shape[-2]
    (ax,) = new_axes(height=6 * 1.25 * tallest / (sum(widths) + gap * len(widths)))
    left = 0.0
    for title, image in maps.items():
        _paint_at(ax, image[0], left, title)
        left += image.shape[-1] + gap
    ax.set(xlim=(-0.5, left - gap), ylim=(tallest * 1.16, 0), aspect="equal")
    ax.set_axis_off()


def _paint_at(ax: Axes, image: Tensor, left: float, title: str) -> None:
    """Draw one image (C, H, W) from that place on, hanging from the upper edge, with its title below."""
    H, W = image.shape[1:]
    paint(ax, image)
    ax.images[-1].set_extent((left, left + W, H, 0))
    ax.text(left, H * 1.02 + 1, title, fontsize=8, va="top")


def show_maps(maps: dict[str, Tensor]) -> None:
    """Draw signed maps beside each other, each on its own scale: blue above 0, red below, white at 0.

    Args:
        maps: title -> (rows, columns).
    """
    height = max(numbers.shape[0] / numbers.shape[1] for numbers in maps.values()) * 6 / len(maps) + 0.4
    for ax, (title, numbers) in zip(new_axes(1, len(maps), height=height), maps.items(), strict=True):
        largest = numbers.abs().max()
        ax.imshow(numbers.numpy(), cmap="RdBu", vmin=-largest, vmax=largest)
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()
