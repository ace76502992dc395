"""The figures of the chapter on embeddings."""

import torch
from torch import Tensor
from torch.nn import functional as F

from vitlab.embeddings import patch_grid, patchify, unpatchify
from vitlab.figures import BLUE, GREEN, ORANGE, PINK, new_axes, paint


def show_patch_grid(image: Tensor, patch_size: int, gap: int = 6) -> None:
    """Draw an image with its patches pulled apart and the first and last of them numbered.

    Args:
        image: (1, C, H, W), values in [0, 1].
        patch_size: P.
        gap: white pixels between two patches.
    """
    rows, columns = patch_grid(image, patch_size)
    n = rows * columns
    tiles = image.reshape(1, -1, rows, patch_size, columns, patch_size)
    tiles = F.pad(tiles.permute(0, 1, 2, 4, 3, 5), (0, gap, 0, gap), value=1)  # (1, C, rows, columns, P+gap, P+gap)
    apart = tiles.permute(0, 1, 2, 4, 3, 5).flatten(4).flatten(2, 3)  # (1, C, rows·(P+gap), columns·(P+gap))
    (ax,) = new_axes(height=6 * apart.shape[-2] / apart.shape[-1])
    paint(ax, apart[0])
    for i in (0, 1, 2, columns - 1, columns, n - 1):
        y, x = (i // columns + 0.5) * (patch_size + gap), (i % columns + 0.5) * (patch_size + gap)
        ax.text(
            x, y, str(i + 1), ha="center", va="center", fontsize=9, color="white", bbox={"color": "black", "pad": 1}
        )


def show_tiny_patches(image: Tensor, patch_size: int) -> None:
    """Draw an image of four patches with its numbers, and beside it the patches as rows.

    Args:
        image: (1, 1, H, W).
        patch_size: P, so that there are four patches.
    """
    colours = (BLUE, ORANGE, GREEN, PINK)
    patches = patchify(image, patch_size)[0]  # (4, P²)
    of_patch = torch.arange(4.0)[None, :, None].expand(1, 4, patch_size**2)  # which patch a pixel belongs to
    owners = unpatchify(of_patch, patch_size, tuple(image.shape[-2:]))[0, 0]
    left, right = new_axes(1, 2, height=2.8)
    for ax, numbers, owner in ((left, image[0, 0], owners), (right, patches, of_patch[0])):
        for (y, x), i in zip(torch.cartesian_prod(*map(torch.arange, numbers.shape)), owner.flatten(), strict=True):
            ax.fill([x - 0.5, x + 0.5, x + 0.5, x - 0.5], [y - 0.5, y - 0.5, y + 0.5, y + 0.5], colours[int(i)], ec="w")
            ax.text(x, y, f"{numbers[y, x]:g}", ha="center", va="center", color="white", fontsize=11)
        ax.set(xlim=(-0.5, numbers.shape[1] - 0.5), ylim=(numbers.shape[0] - 0.5, -0.5), aspect="equal", xticks=[])
        ax.spines[:].set_visible(False)
    left.set(title=f"image, {image.shape[-2]} × {image.shape[-1]}", yticks=[])
    right.set_title(f"sequence, {patches.shape[0]} × {patches.shape[1]}")
    right.set_yticks(range(4), [f"$x_p^{i}$" for i in range(1, 5)], fontsize=12)
    right.tick_params(length=0)


def show_flattening(patch: Tensor) -> None:
    """Draw a patch and, below it, the vector that flattening makes of it: row, column, channel.

    Args:
        patch: (3, P, P), red, green and blue in [0, 1].
    """
    P = patch.shape[-1]
    numbers = patch.permute(1, 2, 0).flatten()  # (P·P·3)
    colours = torch.eye(3).repeat(P * P, 1) * numbers[:, None]  # (P·P·3, 3): each number in the colour of its channel
    above, below = new_axes(2, 1, height=3.6, height_ratios=(5, 1))
    paint(above, patch)
    for i in range(P * P):
        light = patch[:, i // P, i % P].mean() > 0.5
        above.text(
            i % P, i // P, str(i + 1), ha="center", va="center", fontsize=10, color="black" if light else "white"
        )
    below.imshow(colours[None].numpy(), aspect="auto")
    below.set_xticks([3 * i + 1 for i in range(P * P)], [str(i + 1) for i in range(P * P)], fontsize=9)
    below.set_yticks([])
    below.set_xlabel("pixel: its red, green and blue", fontsize=10)
    for i in range(1, P * P):
        below.axvline(3 * i - 0.5, color="white", linewidth=2)


def show_sequence(patches: Tensor, patch_size: int, shown: list[int]) -> None:
    """Draw some patches of a sequence in a line, each under its name.

    Args:
        patches: (1, n, P²·C).
        patch_size: P.
        shown: numbers of the patches, from 1 as in the lecture.
    """
    for ax, i in zip(new_axes(1, len(shown), height=1.1), shown, strict=True):
        paint(ax, unpatchify(patches[:, i - 1 : i], patch_size, (patch_size, patch_size))[0])
        ax.set_title(f"$x_p^{{{i}}}$", fontsize=11)


def show_projection(E: Tensor, patch_embeddings: Tensor, grid: tuple[int, int], names: list[str]) -> None:
    """Draw each column of E as a picture of a patch, and beside it what it measures over the image.

    Args:
        E: (P²·3, d).
        patch_embeddings: (1, n, d).
        grid: (rows, columns) of patches.
        names: a name for each of the d columns.
    """
    P = int((E.shape[0] / 3) ** 0.5)
    columns = unpatchify(E.T[None], P, (P, P * E.shape[1]))[0]  # (3, P, d·P): the columns side by side
    features = patch_embeddings[0].T.reshape(-1, *grid)  # (d, rows, columns)
    axes = new_axes(len(names), 2, height=1.95 * len(names), width_ratios=(1, 1.6))
    for j, name in enumerate(names):
        column = columns[:, :, j * P : (j + 1) * P]
        paint(axes[2 * j], 0.5 + 0.5 * column / column.abs().max())  # grey where E is zero
        axes[2 * j].set(xticks=[], yticks=[])
        axes[2 * j].set_axis_on()  # the frame, for a column may be white
        axes[2 * j].set_title(f"column {j + 1} of $E$: {name}", fontsize=10)
        axes[2 * j + 1].imshow(features[j].numpy(), cmap="gray")
        axes[2 * j + 1].set_axis_off()
        axes[2 * j + 1].set_title(f"$z_p^i$, number {j + 1}", fontsize=10)


def show_similarity(embeddings: dict[str, tuple[Tensor, tuple[int, int]]], places: list[tuple[float, float]]) -> None:
    """Draw, for some places, the cosine similarity of their position embedding with every other one.

    Args:
        embeddings: title -> ((1+n, d) position embedding, its (rows, columns)).
        places: where to look, as fractions of the height and the width of the image.
    """
    axes = iter(new_axes(len(embeddings), len(places), height=2.15 * len(embeddings) + 0.5))
    for title, (position_embedding, (rows, columns)) in embeddings.items():
        unit = F.normalize(position_embedding[1:], dim=1)  # (n, d), without the row of the class embedding
        for place in places:
            y, x = int(place[0] * rows), int(place[1] * columns)
            ax = next(axes)
            picture = ax.imshow(
                (unit @ unit[y * columns + x]).reshape(rows, columns).numpy(), vmin=-1, vmax=1, cmap="viridis"
            )
            ax.plot(x, y, "x", color=ORANGE, markersize=7, markeredgewidth=2)
            ax.set_title(f"{title}, row {y}, column {x}", fontsize=9)
            ax.set_axis_off()
    bar = ax.figure.colorbar(picture, ax=ax.figure.axes, location="bottom", shrink=0.6, aspect=40)
    bar.set_label("cosine similarity", fontsize=10)
