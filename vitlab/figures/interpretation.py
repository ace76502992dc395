"""The figures of the chapter on looking inside."""

import torch
from torch import Tensor

from vitlab.figures import BLUE, GREEN, ORANGE, frame, new_axes, paint


def show_maps(image: Tensor, rows: dict[str, Tensor], titles: list[str], query: tuple[int, int] | None = None) -> None:
    """Draw weights over the patches of an image, all in one scale: white is 0, the darkest blue the largest of all.

    Args:
        image: (C, H, W), values in [0, 1]; it stands in front of every row.
        rows: name -> (k, rows, columns), the weights.
        titles: k of them, one for each column.
        query: row and column of the patch that is asked; it is framed.
    """
    k = len(titles)
    axes = new_axes(len(rows), k + 1, height=min(1.7, 6.3 / (k + 1)) * len(rows) + 0.3)
    top = max(maps.max().item() for maps in rows.values())
    for i, (name, maps) in enumerate(rows.items()):
        row = axes[i * (k + 1) : (i + 1) * (k + 1)]
        paint(row[0], image)
        row[0].set_title(name, fontsize=8)
        for ax, weights, title in zip(row[1:], maps, titles, strict=True):
            ax.imshow(weights.numpy(), cmap="Blues", vmin=0, vmax=top)
            ax.set_axis_off()
            ax.set_title(title, fontsize=9)
            if query:
                frame(ax, *query, 1, -0.5)
        if query:
            frame(row[0], *query, image.shape[1] // maps.shape[-2], -0.5)


def show_by_block(values: dict[str, Tensor], y: str, line: float | None = None, name: str = "") -> None:
    """Draw a number for each head of each block: a dot a head, one field for each model, the same scale in both.

    Args:
        values: title -> (L, h).
        y: what the number is.
        line, name: a value to compare with, and what it is.
    """
    axes = new_axes(1, len(values), height=2.6, sharey=True)
    for ax, (title, each) in zip(axes, values.items(), strict=True):
        blocks = torch.arange(1, len(each) + 1)
        for head in each.unbind(1):
            ax.plot(blocks, head, "o", color=BLUE, alpha=0.7)
        if line is not None:
            ax.axhline(line, color=ORANGE, linewidth=1.2, label=name)
            ax.legend(fontsize=8)
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("block", fontsize=10)
        ax.set_xticks(blocks.tolist())
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(y, fontsize=10)
    axes[0].set_ylim(bottom=0)


def show_entropy_and_kl(runs: dict[str, dict[str, list[float]]], steps: dict[str, int], top: float) -> None:
    """Draw the teacher's entropy and the student's KL divergence along trainings, one field each.

    Args:
        runs: name -> "entropy" and "kl" -> means over equal pieces of the training.
        steps: name -> how many steps it had.
        top: the entropy of a teacher that says all outputs alike, a dotted line.
    """
    axes = new_axes(1, 2, height=2.8)
    for ax, what, title in zip(axes, ("entropy", "kl"), ("entropy of the teacher", "KL divergence"), strict=True):
        for (name, curves), colour in zip(runs.items(), (BLUE, ORANGE, GREEN), strict=False):
            values = curves[what]
            x = (torch.arange(len(values)) + 0.5) * steps[name] / len(values)
            ax.plot(x, values, color=colour, linewidth=1.5, label=name)
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("step", fontsize=10)
        ax.set_ylim(bottom=0)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].axhline(top, color="black", linestyle=":", linewidth=1)
    axes[0].set_ylim(0, 1.1 * top)
    axes[0].set_ylabel("nats", fontsize=10)
    axes[1].legend(fontsize=8, frameon=False)
