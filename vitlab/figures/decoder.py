"""The figures of the chapter on SegFormer's decoder."""

from matplotlib.colors import TwoSlopeNorm
from torch import Tensor

from vitlab.figures import BLUE, GREEN, ORANGE, PINK, new_axes, paint, write_numbers


def show_maps(maps: dict[str, Tensor], *, numbers: bool = False) -> None:
    """Draw maps beside each other on one scale: red is negative, 0 is white, blue is positive.

    Args:
        maps: title -> (H, W), each drawn at the same size.
        numbers: write each number on its pixel.
    """
    axes = new_axes(1, len(maps), height=6 / len(maps) + 0.4)
    largest = max(float(values.abs().max()) for values in maps.values())
    for ax, (title, values) in zip(axes, maps.items(), strict=True):
        ax.imshow(values.numpy(), cmap="RdBu", norm=TwoSlopeNorm(0, -largest, largest))
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()
        if numbers:
            write_numbers(ax, values, "{:.2g}".format, dark=0.6 * largest, fontsize=8)


def show_answers(image: Tensor, answers: dict[str, Tensor], palette: Tensor) -> None:
    """Draw an image and, beside it, the classes of its pixels in their colours.

    Args:
        image: (C, H, W), in 0 ... 1.
        answers: title -> classes, (h, w).
        palette: the colour of each class, (N, 3) in uint8.
    """
    first, *others = new_axes(1, 1 + len(answers), height=6 / (1 + len(answers)) + 0.4)
    paint(first, image)
    first.set_title("the scene", fontsize=10)
    for ax, (title, classes) in zip(others, answers.items(), strict=True):
        ax.imshow(palette[classes.long()].numpy())
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()


def show_costs(costs: dict[str, dict[str, float]]) -> None:
    """Draw the products of each step as stacked bars, one bar below the other.

    Args:
        costs: what is compared -> step -> billions of products; a step has the same colour in every bar.
    """
    (ax,) = new_axes(height=0.8 + 0.5 * len(costs))
    steps = list(dict.fromkeys(step for of_bar in costs.values() for step in of_bar))
    start = [0.0] * len(costs)
    for step, colour in zip(steps, (BLUE, ORANGE, GREEN, PINK), strict=False):
        widths = [of_bar.get(step, 0.0) for of_bar in costs.values()]
        ax.barh(list(costs), widths, left=start, color=colour, label=step)
        start = [left + width for left, width in zip(start, widths, strict=True)]
    ax.invert_yaxis()
    ax.set_xlabel("billion multiplications", fontsize=10)
    ax.legend(fontsize=9, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)


def show_scores(scores: dict[str, float], *, x: str) -> None:
    """Draw a score between 0 and 1 for each name, as a bar with its number.

    Args:
        scores: name -> score.
        x: what the axis says.
    """
    (ax,) = new_axes(height=0.8 + 0.35 * len(scores))
    bars = ax.barh(list(scores), list(scores.values()), color=BLUE)
    ax.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.08)
    ax.set_xlabel(x, fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
