"""The figure of the introduction: the whole course in one picture."""

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from vitlab.embeddings import patchify, unpatchify
from vitlab.figures import BLUE, GREEN, ORANGE, new_axes, paint


def show_pipeline(image: Tensor, patch_size: int) -> None:
    """Draw the way from an image to its class and to the class of every pixel, from top to bottom.

    Args:
        image: (1, C, H, W), values in [0, 1].
        patch_size: P; choose it large, for every patch is drawn as a token.
    """
    patches = patchify(image, patch_size)  # (1, n, P²·C)
    n = patches.shape[1]
    (page,) = new_axes(height=7)
    page.set(xlim=(0, 100), ylim=(116, 0))  # percent of the width, downwards
    page.set_axis_off()

    photograph = page.inset_axes((28, 0, 44, 26), transform=page.transData)
    paint(photograph, image[0])
    for line in range(patch_size, image.shape[-2], patch_size):
        photograph.axhline(line - 0.5, color="white", linewidth=1.5)
    for line in range(patch_size, image.shape[-1], patch_size):
        photograph.axvline(line - 0.5, color="white", linewidth=1.5)

    _arrow(page, 50, 27, 33)
    page.text(53, 31, "cut into patches; each becomes a token", fontsize=10)
    width = 100 / (n + 1)
    _box(page, 0.4, 35, width - 0.8, 8, ORANGE, "class", fontsize=9)
    for i in range(1, n + 1):
        token = page.inset_axes((i * width + 0.4, 35, width - 0.8, 8), transform=page.transData)
        paint(token, unpatchify(patches[:, i - 1 : i], patch_size, (patch_size, patch_size))[0])
    for i in range(n + 1):
        page.text((i + 0.5) * width, 47, str(i), ha="center", fontsize=10, color=GREEN)
    page.text(0, 52.5, "class token in front", fontsize=10, color=ORANGE)
    page.text(100, 52.5, "a position added to every token", fontsize=10, color=GREEN, ha="right")

    _arrow(page, 50, 54, 60)
    steps = "attention: every token looks at every other one\nfeed-forward network: every token is transformed alone"
    _box(page, 4, 61, 92, 20, BLUE, f"L encoder blocks, one after the other\n\n{steps}")

    _arrow(page, 23, 82, 92)
    page.text(26, 88, "the class token", fontsize=10)
    _box(page, 2, 93, 44, 20, ORANGE, "Part I\n\nclassification head:\none class for the image")
    _arrow(page, 73, 82, 92)
    page.text(76, 88, "the patch tokens", fontsize=10)
    _box(page, 54, 93, 44, 20, GREEN, "Part II\n\nsegmentation head:\na class for every pixel")


def _box(page: Axes, x: float, y: float, width: float, height: float, colour: str, label: str, fontsize=10) -> None:
    page.add_patch(Rectangle((x, y), width, height, color=colour))
    page.text(x + width / 2, y + height / 2, label, ha="center", va="center", fontsize=fontsize, color="white")


def _arrow(page: Axes, x: float, top: float, bottom: float) -> None:
    page.annotate("", (x, bottom), (x, top), arrowprops={"arrowstyle": "-|>", "color": "black"})
