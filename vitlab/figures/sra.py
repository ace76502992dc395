"""The figures of the chapter on spatial-reduction attention."""

from torch import Tensor

from vitlab.figures import BLUE, ORANGE, frame, new_axes, paint


def show_growth(seconds: dict[str, tuple[list[int], list[float]]], names: list[str]) -> None:
    """Draw how long attention takes over the number of tokens, both axes logarithmic, and a line of slope 2.

    Args:
        seconds: what was measured -> (n of each measurement, seconds of each).
        names: what each n is, such as "128²".
    """
    (ax,) = new_axes(height=2.9)
    for (name, (n, measured)), colour, marker in zip(seconds.items(), (ORANGE, BLUE), "os", strict=False):
        ax.loglog(n, measured, marker, color=colour, label=name)
        ax.loglog(n, [measured[-1] * (one / n[-1]) ** 2 for one in n], color=colour, linewidth=1)
    ax.set_xticks(n, names)
    ax.minorticks_off()
    ax.set_xlabel("pixels of the image (lines: proportional to $n^2$)", fontsize=10)
    ax.set_ylabel("seconds", fontsize=10)
    ax.legend(fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)


def show_squares(image: Tensor, side: int, square: tuple[int, int]) -> None:
    """Draw an image with the borders of its squares, one of which is framed.

    Args:
        image: (C, H, W), values in [0, 1].
        side: of a square, in pixels of the image.
        square: row and column of the one that is framed.
    """
    (ax,) = new_axes(height=5.4 * image.shape[-2] / image.shape[-1], width=5.4)
    paint(ax, image)
    H, W = image.shape[-2:]
    ax.hlines(range(side, H, side), -0.5, W - 0.5, color="white", linewidth=0.6)
    ax.vlines(range(side, W, side), -0.5, H - 0.5, color="white", linewidth=0.6)
    frame(ax, *square, side, -0.5, width=3)  # the grid is white, too


def show_steps(square: Tensor, flattened: Tensor, token: Tensor) -> None:
    """Draw a square of tokens whose features are colours, the square as a sequence, and the token it becomes.

    Args:
        square: (R, R, 3); flattened: (R², 3); token: (3,); values in [0, 1].
    """
    left, middle, right = new_axes(1, 3, height=1.9, width_ratios=(1, 3, 0.5))
    R = len(square)
    titles = (f"{R} × {R} tokens", f"flattened: {R * R} tokens in a row", "projected")
    pictures = (square, flattened[None].expand(6, -1, -1), token[None, None])
    for ax, picture, title in zip((left, middle, right), pictures, titles, strict=True):
        paint(ax, picture.permute(2, 0, 1))
        ax.set_title(title, fontsize=10)


def show_cost(ratios: list[int], measured: list[float], formula: list[float]) -> None:
    """Draw measured seconds for each R beside what a formula says, both relative to the first R.

    Args:
        ratios: R; measured: seconds; formula: operations.
    """
    (ax,) = new_axes(height=2.7)
    ax.loglog(ratios, [one / measured[0] for one in measured], "o", color=ORANGE, label="measured time")
    ax.loglog(ratios, [one / formula[0] for one in formula], color=BLUE, label="formula")
    ax.loglog(ratios, [1 / R**2 for R in ratios], ":", color="black", label="$1 / R^2$")
    ax.set_xticks(ratios, [f"R = {R}" for R in ratios])
    ax.minorticks_off()
    ax.set_ylabel("share of R = 1", fontsize=10)
    ax.legend(fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)


def show_answers(image: Tensor, rows: dict[str, list[Tensor]], titles: list[str], token: tuple[int, int, int]) -> None:
    """Draw which squares a token looks at, one row for each model; all maps are on one scale, 0 is white.

    Args:
        image: (C, H, W), values in [0, 1]; it stands in front of every row.
        rows: name -> a map (rows, columns) of weights for each title.
        titles: of the columns.
        token: row and column of the token that asks, and its side in pixels.
    """
    k = len(titles)
    top = max(weights.max().item() for maps in rows.values() for weights in maps)
    axes = new_axes(len(rows), k + 1, height=1.65 * len(rows) + 0.3)
    for i, (name, maps) in enumerate(rows.items()):
        row = axes[i * (k + 1) : (i + 1) * (k + 1)]
        paint(row[0], image)
        row[0].set_title(name, fontsize=9)
        frame(row[0], *token, -0.5)
        for ax, weights, title in zip(row[1:], maps, titles, strict=True):
            ax.imshow(weights.numpy(), cmap="Blues", vmin=0, vmax=top)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.set_title(f"{title}\nlargest {weights.max():.2f}", fontsize=8)
