"""The figures of the chapter on segmentation, and of its exercise."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vitlab.figures import BLUE, new_axes, paint

IGNORED = (220, 220, 220)  # light grey, which no class of a palette has


def coloured(mask: Tensor, palette: Tensor) -> Tensor:
    """A mask in its classes' colours, grey where a pixel is ignored: (H, W) integers, (N, 3) uint8 -> (H, W, 3)."""
    known = (mask >= 0) & (mask < len(palette))
    colours = palette[mask.where(known, 0).long()]  # (H, W, 3)
    return torch.where(known[..., None], colours, torch.tensor(IGNORED, dtype=torch.uint8))


def show_masks(scenes: Tensor, rows: dict[str, Tensor], palette: Tensor, *, beside: bool = False) -> None:
    """Draw scenes, and under each one masks of it in the colours of the classes.

    Args:
        scenes: (S, 3, H, W), values in [0, 1].
        rows: what made the masks -> (S, H, W), integers.
        palette: (N, 3), uint8.
        beside: the masks stand beside their scene instead of under it, which is better for many.
    """
    names = ["scene", *rows]
    high, wide = (len(scenes), len(names)) if beside else (len(names), len(scenes))
    side = min((6 if beside else 5) / wide, 3.6 / high)  # of one picture, in inches
    axes = new_axes(high, wide, height=side * high + 0.3 * beside, width=side * wide + 1 * (not beside))
    for k, scene in enumerate(scenes):
        for r, name in enumerate(names):
            ax = axes[k * wide + r] if beside else axes[r * wide + k]
            ax.set_axis_off()
            if r == 0:
                paint(ax, scene)
            else:
                ax.imshow(coloured(rows[name][k], palette).numpy(), interpolation="nearest")
            if k == 0 and beside:
                ax.set_title(name, fontsize=9)
            elif k == 0:
                ax.text(-0.08, 0.5, name, transform=ax.transAxes, ha="right", va="center", fontsize=9)


def show_numbers(masks: dict[str, Tensor], palette: Tensor) -> None:
    """Draw small masks beside each other with the number of the class in each pixel; × where a pixel is ignored.

    Args:
        masks: title -> (H, W), integers.
        palette: (N, 3), uint8.
    """
    axes = new_axes(1, len(masks), height=2.4)
    for ax, (title, mask) in zip(axes, masks.items(), strict=True):
        colours = coloured(mask, palette)
        ax.imshow(colours.numpy())
        for y, x in torch.cartesian_prod(*map(torch.arange, mask.shape)):
            dark = colours[y, x].float().mean() < 110
            number = int(mask[y, x])
            words = str(number) if 0 <= number < len(palette) else "×"
            ax.text(x, y, words, ha="center", va="center", fontsize=11, color="white" if dark else "black")
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()


def show_scores(maps: dict[str, Tensor]) -> None:
    """Draw maps of scores beside each other, on one scale: white is 0, and no map is below it.

    Args:
        maps: title -> (H, W).
    """
    axes = new_axes(1, len(maps), height=1.9)
    largest = max(float(each.max()) for each in maps.values())
    for ax, (title, each) in zip(axes, maps.items(), strict=True):
        ax.imshow(each.detach().numpy(), cmap="Blues", vmin=0, vmax=largest)
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()


def show_bars(fields: dict[str, Sequence[float]], names: Sequence[str], words: Sequence[str]) -> None:
    """Draw one field of horizontal bars for each quantity, in the same order, with the numbers behind the bars.

    Args:
        fields: title -> a number for every name.
        names: what is compared.
        words: for each field a format of its numbers, such as "{:.2f}".
    """
    axes = new_axes(1, len(fields), height=0.5 + 0.36 * len(names), sharey=True)
    for ax, (title, values), form in zip(axes, fields.items(), words, strict=True):
        bars = ax.barh(range(len(names)), values, color=BLUE, height=0.65)
        ax.bar_label(bars, [form.format(value) for value in values], fontsize=9, padding=3)
        ax.set_title(title, fontsize=10)
        ax.set_xticks([])
        ax.margins(x=0.35)
        ax.spines[["top", "right", "bottom"]].set_visible(False)
    axes[0].set_yticks(range(len(names)), names, fontsize=10)
    axes[0].invert_yaxis()
