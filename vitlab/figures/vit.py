"""The figures of the chapter on the Vision Transformer."""

from PIL import Image
from torch import Tensor

from vitlab.figures import BLUE, ORANGE, new_axes


def show_cost(matrices: dict[int, float], pairs: dict[int, float]) -> None:
    """Draw the multiplications for one image as stacked bars, one a patch size.

    Args:
        matrices: patch size -> billions of products with weight matrices.
        pairs: patch size -> billions of products of pairs of tokens.
    """
    (ax,) = new_axes(height=3)
    names = [f"/{patch_size}" for patch_size in matrices]
    ax.bar(names, list(matrices.values()), color=BLUE, label="$12nd^2$: weight matrices")
    ax.bar(names, list(pairs.values()), bottom=list(matrices.values()), color=ORANGE, label="$2n^2d$: pairs of tokens")
    ax.set_xlabel("patch size", fontsize=10)
    ax.set_ylabel("billion multiplications", fontsize=10)
    ax.legend(fontsize=9, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)


def show_answers(pictures: list[Image.Image], probabilities: list[Tensor], classes: tuple[str, ...]) -> None:
    """Draw pictures and, under each, the three most probable classes.

    Args:
        pictures: of one size.
        probabilities: for each, (N,).
        classes: the N names.
    """
    axes = new_axes(2, len(pictures), height=2.9, height_ratios=(3, 2))
    above, below = axes[: len(pictures)], axes[len(pictures) :]
    for upper, lower, picture, row in zip(above, below, pictures, probabilities, strict=True):
        upper.imshow(picture)
        upper.set_axis_off()
        best = row.topk(3)
        lower.barh([classes[k] for k in best.indices], best.values, color=BLUE)
        lower.invert_yaxis()
        lower.set_xlim(0, 1)
        lower.set_xticks([0, 1])
        lower.tick_params(labelsize=8, length=0)
        lower.spines[["top", "right"]].set_visible(False)
