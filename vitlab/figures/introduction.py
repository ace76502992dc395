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
    (page,) = new_axes(height=4.1)
    page.set(xlim=(0, 100), ylim=(68, 0))  # percent of the width, downwards
    page.set_axis_off()

    photograph = page.inset_axes((36.5, 0, 27, 16.2), transform=page.transData)
    paint(photograph, image[0])
    for line in range(patch_size, image.shape[-2], patch_size):
        photograph.axhline(line - 0.5, color="white", linewidth=1)
    for line in range(patch_size, image.shape[-1], patch_size):
        photograph.axvline(line - 0.5, color="white", linewidth=1)

    _arrow(page, 50, 16.6, 21)
    page.text(52, 19.8, "cut into patches; each becomes a token", fontsize=9)
    width = 100 / (n + 1)
    _box(page, 0.4, 21.5, width - 0.8, 6, ORANGE, "class", fontsize=8)
    for i in range(1, n + 1):
        token = page.inset_axes((i * width + 0.4, 21.5, width - 0.8, 6), transform=page.transData)
        paint(token, unpatchify(patches[:, i - 1 : i], patch_size, (patch_size, patch_size))[0])
    for i in range(n + 1):
        page.text((i + 0.5) * width, 30, str(i), ha="center", fontsize=9, color=GREEN)
    page.text(0, 34, "class token in front", fontsize=9, color=ORANGE)
    page.text(100, 34, "a position added to every token", fontsize=9, color=GREEN, ha="right")

    _arrow(page, 50, 34.5, 39)
    steps = "attention: every token looks at every other one\nfeed-forward network: every token is transformed alone"
    _box(page, 4, 39.5, 92, 13, BLUE, f"L encoder blocks, one after the other\n{steps}")

    _arrow(page, 23, 53, 57.5)
    page.text(25, 56, "the class token", fontsize=9)
    _box(page, 2, 58, 44, 10, ORANGE, "Part I: classification head\none class for the image")
    _arrow(page, 73, 53, 57.5)
    page.text(75, 56, "the patch tokens", fontsize=9)
    _box(page, 54, 58, 44, 10, GREEN, "Part II: segmentation head\na class for every pixel")


def _box(page: Axes, x: float, y: float, width: float, height: float, colour: str, label: str, fontsize=10) -> None:
    page.add_patch(Rectangle((x, y), width, height, color=colour))
    page.text(x + width / 2, y + height / 2, label, ha="center", va="center", fontsize=fontsize, color="white")


def _arrow(page: Axes, x: float, top: float, bottom: float) -> None:
    page.annotate("", (x, bottom), (x, top), arrowprops={"arrowstyle": "-|>", "color": "black"})
