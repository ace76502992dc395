"""The figures of the chapter on MiT, SegFormer's encoder."""

from matplotlib.patches import Rectangle
from torch import Tensor

from vitlab.figures import BLUE, GREEN, ORANGE, PINK, new_axes, paint


def show_place(image: Tensor, row: int, column: int, sides: tuple[int, ...]) -> None:
    """Draw an image with a pixel and, around it, the square that its token stands for at each resolution.

    Args:
        image: (C, H, W), values in [0, 1].
        row, column: of the pixel.
        sides: of the squares, in pixels.
    """
    (ax,) = new_axes(height=3, width=3)
    paint(ax, image)
    for side in sides:
        corner = (column // side * side - 0.5, row // side * side - 0.5)
        for colour, width in (("white", 4), (ORANGE, 2)):
            ax.add_patch(Rectangle(corner, side, side, fill=False, ec=colour, lw=width))
    ax.plot(column, row, "s", color=ORANGE, markersize=3)


def show_feature_maps(lines: dict[str, list[Tensor]], titles: list[str]) -> None:
    """Draw lines of small pictures, every one as large as the others, whatever its number of pixels.

    Args:
        lines: title -> (1, 3, H, W) each, values in [0, 1].
        titles: one for each column.
    """
    columns = len(titles)
    axes = new_axes(len(lines), columns, height=(6 / columns + 0.1) * len(lines) + 0.2)
    for line, (name, pictures) in enumerate(lines.items()):
        for column, picture in enumerate(pictures):
            ax = axes[line * columns + column]
            paint(ax, picture[0])
            ax.set_axis_on()  # for the line's name
            ax.set(xticks=[], yticks=[])
            if line == 0:
                ax.set_title(titles[column], fontsize=10)
        axes[line * columns].set_ylabel(name, fontsize=10)


def show_probes(charts: dict[str, dict[str, list[float]]]) -> None:
    """Draw charts of what can be read from each map, all on the scale from 0 to 1.

    Args:
        charts: title -> {name: a share for each map}.
    """
    for ax, (title, lines) in zip(new_axes(1, len(charts), height=2.6), charts.items(), strict=True):
        for (name, shares), colour, style in zip(lines.items(), (ORANGE, BLUE), ("o-", "o--"), strict=True):
            ax.plot(range(1, len(shares) + 1), shares, style, color=colour, label=name)
        ax.set_ylim(0, 1.02)
        ax.set_xticks(range(1, len(shares) + 1), [f"$F_{k}$" for k in range(1, len(shares) + 1)])
        ax.set_title(title, fontsize=10)
        ax.legend(fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)


def show_shares(quantities: dict[str, list[float]]) -> None:
    """Draw, for each quantity, a bar that is divided as the stages share it.

    Args:
        quantities: name -> a number for each of four stages.
    """
    (ax,) = new_axes(height=2.4)
    for y, numbers in enumerate(quantities.values()):
        left = 0.0
        for k, (number, colour) in enumerate(zip(numbers, (BLUE, ORANGE, GREEN, PINK), strict=True), start=1):
            share = 100 * number / sum(numbers)
            ax.barh(y, share, left=left, color=colour, label=f"stage {k}" if y == 0 else None)
            if share > 4:
                ax.text(left + share / 2, y, f"{share:.0f}%", ha="center", va="center", fontsize=9, color="white")
            left += share
    ax.set_yticks(range(len(quantities)), list(quantities), fontsize=10)
    ax.invert_yaxis()
    ax.set_xticks([])
    ax.legend(fontsize=9, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.22))
    ax.spines[:].set_visible(False)
