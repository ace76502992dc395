"""The figures of the chapter on ADE20K."""

from collections.abc import Sequence

import torch
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

from vitlab.figures import BLUE, ORANGE, new_axes, paint


def show_palette(classes: Sequence[str], palette: Tensor, columns: int = 3) -> None:
    """Draw a square in the colour of each class, with its name, column by column.

    Args:
        classes: N names.
        palette: (N, 3), in uint8.
    """
    rows = -(-len(classes) // columns)
    (ax,) = new_axes(height=0.3 * rows)
    for i, (name, colour) in enumerate(zip(classes, palette.tolist(), strict=True)):
        column, row = divmod(i, rows)
        x = column * 10
        ax.add_patch(Rectangle((x, row + 0.1), 1, 0.8, color=[value / 255 for value in colour]))
        ax.text(x + 1.3, row + 0.5, name, va="center", fontsize=9)
    ax.set(xlim=(0, 10 * columns), ylim=(rows, 0))
    ax.set_axis_off()


def show_class_scores(scores: dict[str, dict[str, float]]) -> None:
    """Draw a score between 0 and 1 of each class, a bar a model, in the order of the first model's.

    Args:
        scores: model -> class -> score; at most two models.
    """
    first = next(iter(scores.values()))
    classes = sorted(first, key=first.get, reverse=True)
    (ax,) = new_axes(height=3.6)
    thickness = 0.8 / len(scores)
    for k, ((model, of_model), colour) in enumerate(zip(scores.items(), (BLUE, ORANGE), strict=False)):
        places = [i + k * thickness for i in range(len(classes))]
        ax.barh(places, [of_model[name] for name in classes], thickness, color=colour, label=model)
    ax.set_yticks([i + 0.4 - thickness / 2 for i in range(len(classes))], classes, fontsize=9)
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.set_xlabel("IoU", fontsize=10)
    ax.legend(fontsize=9, frameon=False, loc="lower right")
    ax.spines[["top", "right"]].set_visible(False)


def show_overlay(photograph: Tensor, classes: Tensor, names: Sequence[str], palette: Tensor) -> None:
    """Draw a photograph and, beside it, the same coloured by the classes of its pixels; their names are below.

    Args:
        photograph: (3, H, W), in 0 ... 1.
        classes: (H, W).
        names: of the N classes.
        palette: (N, 3), in uint8.
    """
    left, right = new_axes(1, 2, height=2.7)
    paint(left, photograph)
    colours = palette[classes.long()].permute(2, 0, 1) / 255  # (3, H, W)
    paint(right, (photograph + colours) / 2)
    counts = torch.bincount(classes.flatten(), minlength=len(names))
    shown = [i for i in counts.argsort(descending=True).tolist() if counts[i]]
    patches = [Patch(color=(palette[i] / 255).tolist(), label=names[i]) for i in shown]
    left.figure.legend(handles=patches, loc="outside lower center", ncols=6, fontsize=9, frameon=False)
