"""The figures of the chapter on embeddings."""

import torch
from matplotlib.axes import Axes
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


def show_projection(E: Tensor, embedded: Tensor, grid: tuple[int, int], names: list[str]) -> None:
    """Draw each column of E as a picture of a patch, and below it what it measures over the image: blue above 0.

    Args:
        E: (P²·3, d).
        embedded: (1, n, d), the patch embeddings.
        grid: (rows, columns) of patches.
        names: a name for each of the d columns.
    """
    maps = embedded[0].T.reshape(-1, *grid)  # (d, rows, columns)
    axes = new_axes(2, len(names), height=2.9)
    for j, name in enumerate(names):
        above, below = axes[j], axes[len(names) + j]
        _paint_pattern(above, E[:, j])
        above.set_title(f"column {j + 1}:\n{name}", fontsize=10)
        largest = maps[j].abs().max()
        below.imshow(maps[j].numpy(), cmap="RdBu", vmin=-largest, vmax=largest)
        below.set_axis_off()


def show_patterns(matrices: dict[str, Tensor]) -> None:
    """Draw columns of projection matrices as pictures of patches, a line for each matrix.

    Args:
        matrices: title -> (P²·3, any number of columns, the same for all).
    """
    count = next(iter(matrices.values())).shape[1]
    axes = new_axes(len(matrices), count, height=(6 / count + 0.1) * len(matrices))
    for line, (title, E) in enumerate(matrices.items()):
        for j in range(count):
            _paint_pattern(axes[line * count + j], E[:, j])
        axes[line * count].set_ylabel(title, fontsize=10)


def _paint_pattern(ax: Axes, column: Tensor) -> None:
    """Draw a column of E, (P²·3,), as a patch: grey where it is 0."""
    P = round((len(column) / 3) ** 0.5)
    picture = unpatchify(column[None, None], P, (P, P))[0]  # (3, P, P)
    paint(ax, 0.5 + 0.5 * picture / picture.abs().max())
    ax.set(xticks=[], yticks=[])
    ax.set_axis_on()  # the frame, for a column may be white


def show_similarity(maps: dict[str, tuple[Tensor, tuple[int, int]]], place: tuple[float, float]) -> None:
    """Draw the cosine similarity of one place's position embedding with every other one: blue above 0, red below.

    Args:
        maps: title -> ((1+n, d) position embedding, its (rows, columns)).
        place: where to look, as fractions of the height and the width of the image.
    """
    axes = new_axes(1, len(maps), height=6 / len(maps) + 0.9)
    for ax, (title, (position_embedding, (rows, columns))) in zip(axes, maps.items(), strict=True):
        unit = F.normalize(position_embedding[1:], dim=1)  # (n, d), without the row of the class embedding
        y, x = int(place[0] * rows), int(place[1] * columns)
        similar = (unit @ unit[y * columns + x]).reshape(rows, columns)
        picture = ax.imshow(similar.numpy(), vmin=-1, vmax=1, cmap="RdBu")
        ax.plot(x, y, "x", color=ORANGE, markersize=7, markeredgewidth=2)
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()
    bar = ax.figure.colorbar(picture, ax=axes, location="bottom", shrink=0.6, aspect=40)
    bar.set_label("cosine similarity", fontsize=10)
