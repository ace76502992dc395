"""The figures of the chapter on attention."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vitlab.embeddings import patch_grid, patchify
from vitlab.figures import BLUE, ORANGE, new_axes, paint


def describe_patches(image: Tensor, patch_size: int) -> Tensor:
    """Tokens made by hand: what three simple measurements say about each patch.

    Columns 0 ... 7 hold colour, 8 ... 15 texture, 16 ... 23 position. Each group of eight has length 1 in every token,
    so that the dot product of two tokens' groups is their cosine similarity.

    - colour: the share of the eight corners of the colour cube (black, blue, ..., white) in the patch, after its
      colours were made three times as vivid;
    - texture: how strong the edges are in eight directions;
    - position: sines and cosines of the row and the column, two frequencies each.

    Args:
        image: (1, 3, H, W), values in [0, 1].
        patch_size: P.

    Returns:
        (1, n, 24).
    """
    rows, columns = patch_grid(image, patch_size)

    grey = image.mean(dim=1, keepdim=True)  # (1, 1, H, W)
    vivid = (grey + 3 * (image - grey)).clamp(0, 1)[:, None]  # (1, 1, 3, H, W)
    at_corner = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)  # (8, 3), the corners of the colour cube
    at_corner = at_corner[:, :, None, None]
    shares = (vivid * at_corner + (1 - vivid) * (1 - at_corner)).prod(dim=2)  # (1, 8, H, W), summing to 1 in each pixel
    colour = patchify(shares, patch_size).unflatten(-1, (-1, 8)).mean(dim=-2)  # (1, n, 8)

    dy, dx = torch.gradient(grey[:, 0], dim=(1, 2))
    angles = torch.arange(8) * math.pi / 8
    edges = (
        dx[:, None] * angles.cos()[:, None, None] + dy[:, None] * angles.sin()[:, None, None]
    ).abs()  # (1, 8, H, W)
    texture = patchify(edges, patch_size).unflatten(-1, (-1, 8)).mean(dim=-2)  # (1, n, 8)

    def waves(steps: int) -> Tensor:
        phases = torch.arange(steps)[:, None] * torch.tensor([0.1, 0.3])
        return torch.cat([phases.sin(), phases.cos()], dim=1)  # (steps, 4)

    of_row = waves(rows)[:, None].expand(rows, columns, 4)
    of_column = waves(columns)[None].expand(rows, columns, 4)
    position = torch.cat([of_row, of_column], dim=-1).reshape(1, rows * columns, 8)

    centred = (colour - colour.mean(dim=1, keepdim=True), texture - texture.mean(dim=1, keepdim=True), position)
    return torch.cat([F.normalize(group, dim=-1) for group in centred], dim=-1)  # (1, n, 24)


def show_matrices(matrices: dict[str, Tensor], *, rows: list[str], columns: dict[str, list[str]] | None = None) -> None:
    """Draw matrices beside each other with their numbers in them.

    Args:
        matrices: title -> (number of rows, any).
        rows: a name for each row.
        columns: title -> a name for each column of that matrix.
    """
    widths = [matrix.shape[1] for matrix in matrices.values()]
    axes = new_axes(1, len(matrices), height=0.7 + 3.4 * len(rows) / sum(widths), width_ratios=widths)
    for ax, (title, matrix) in zip(axes, matrices.items(), strict=True):
        ax.imshow(matrix.numpy(), cmap="Blues", aspect="auto")
        threshold = 0.4 * matrix.min() + 0.6 * matrix.max()
        for y, x in torch.cartesian_prod(*map(torch.arange, matrix.shape)):
            colour = "white" if matrix[y, x] > threshold else "black"
            number = f"{matrix[y, x]:.2f}" if matrix.is_floating_point() else str(matrix[y, x].item())
            ax.text(x, y, number, ha="center", va="center", fontsize=10, color=colour)
        names = (columns or {}).get(title, [])
        ax.set_xticks(range(len(names)), names, fontsize=10)
        ax.set_yticks([])
        ax.tick_params(length=0)
        ax.set_title(title, fontsize=10)
    axes[0].set_yticks(range(len(rows)), rows, fontsize=10)


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


def show_attention(image: Tensor, rows: dict[str, Tensor], patch_size: int, query: int) -> None:
    """Draw what one query looks at: patches with a large weight shine, the others are dark; the query is framed.

    Args:
        image: (1, C, H, W), values in [0, 1].
        rows: title -> (n,), the query's row of the attention weights. Each is divided by its largest weight.
        patch_size: P.
        query: number of the query's patch, from 0.
    """
    grid = patch_grid(image, patch_size)
    y, x = query // grid[1] * patch_size, query % grid[1] * patch_size
    columns = 1 if len(rows) == 1 else 2
    lines = -(-len(rows) // columns)
    axes = new_axes(lines, columns, height=lines * (6 / columns * image.shape[-2] / image.shape[-1] + 0.25))
    for ax in axes:
        ax.set_axis_off()
    for ax, (title, row) in zip(axes, rows.items(), strict=False):
        light = (row / row.max()).reshape(grid).repeat_interleave(patch_size, 0).repeat_interleave(patch_size, 1)
        paint(ax, image[0] * (0.12 + 0.88 * light))
        frame = [x, x + patch_size, x + patch_size, x, x], [y, y, y + patch_size, y + patch_size, y]
        ax.plot(*frame, color="white", linewidth=3)
        ax.plot(*frame, color=ORANGE, linewidth=1.5)
        ax.set_title(title, fontsize=10)
