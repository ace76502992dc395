"""The figures of the chapter on training."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vitlab.figures import BLUE, GREEN, ORANGE, PINK, new_axes, paint

COLOURS = (BLUE, ORANGE, GREEN, PINK)


def show_curves(curves: dict[str, tuple[Sequence, Sequence]], *, x: str, y: str, style: str = "-", **limits) -> None:
    """Draw curves in one field, each with its name.

    Args:
        curves: name -> (x, y).
        x, y: what stands at the axes.
        style: of the lines, "o-" for points that are joined.
        limits: further settings of the axes, such as ylim or xscale.
    """
    (ax,) = new_axes(height=2.8)
    for (name, (xs, ys)), colour in zip(curves.items(), COLOURS, strict=False):
        ax.plot(xs, ys, style, color=colour, label=name)
    ax.set(**limits)
    ax.set_xlabel(x, fontsize=10)
    ax.set_ylabel(y, fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
    if len(curves) > 1:
        ax.legend(fontsize=9)


def show_rows(rows: dict[str, Tensor]) -> None:
    """Draw rows of small images, each under the same columns, with the row's name at its left.

    Args:
        rows: name -> (k, C, H, W), values in [0, 1].
    """
    columns = max(len(images) for images in rows.values())
    axes = new_axes(len(rows), columns, height=6.2 * len(rows) / (columns + 1))
    for ax in axes:
        ax.set_axis_off()
    for k, (name, images) in enumerate(rows.items()):
        row = axes[k * columns : (k + 1) * columns]
        for ax, image in zip(row, images, strict=False):
            paint(ax, image)
        row[0].text(-0.1, 0.5, name, transform=row[0].transAxes, ha="right", va="center", fontsize=9)


def show_gallery(images: Tensor, titles: list[str], columns: int = 5) -> None:
    """Draw small images with a title of one or two lines over each.

    Args:
        images: (k, C, H, W), values in [0, 1].
        titles: k of them.
    """
    rows = -(-len(images) // columns)
    axes = new_axes(rows, columns, height=rows * (6 / columns + 0.35))
    for ax in axes:
        ax.set_axis_off()
    for ax, image, title in zip(axes, images, titles, strict=False):
        paint(ax, image)
        ax.set_title(title, fontsize=9)


def show_confusion(counts: Tensor, classes: Sequence[str]) -> None:
    """Draw a confusion matrix with its numbers: a row a class, a column a prediction; the diagonal is right.

    Args:
        counts: (N, N), integers.
        classes: N names.
    """
    (ax,) = new_axes(height=4)
    shares = counts / counts.sum(dim=1, keepdim=True)
    ax.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for y, x in torch.cartesian_prod(*map(torch.arange, counts.shape)):
        if counts[y, x]:
            colour = "white" if shares[y, x] > 0.6 else "black"
            ax.text(x, y, str(counts[y, x].item()), ha="center", va="center", fontsize=8, color=colour)
    ax.set_xticks(range(len(classes)), classes, rotation=40, ha="right", fontsize=9)
    ax.set_yticks(range(len(classes)), classes, fontsize=9)
    ax.set_xlabel("prediction", fontsize=10)
    ax.set_ylabel("class", fontsize=10)
    ax.tick_params(length=0)
