"""The linear head: each token alone says what its patch shows.

Lecture: "ViT for Semantic Segmentation", "Linear Head".
Paper: Strudel et al., "Segmenter: Transformer for Semantic Segmentation", 2021, section 3.2.
"""

from torch import Tensor, nn

from vitlab.decoder import upsample
from vitlab.encoder import initialize
from vitlab.segmentation.head import Head


def linear_head(tokens: Tensor, W: Tensor, b: Tensor, grid: tuple[int, int], patch_size: int) -> Tensor:
    """A score for every class and pixel, from each patch's token alone.

        logits^i = z_L^i W + b,    laid out as the grid of patches, and upsampled bilinearly

    Args:
        tokens: (B, n, d), of the patches, without the class token.
        W: (d, N).
        b: (N,).
        grid: (rows, columns) of patches; n = rows · columns.
        patch_size: P, the side of a patch in pixels.

    Returns:
        (B, N, rows·P, columns·P).

    Source: lecture, "Linear Head"; Strudel et al., section 3.2, "Linear".
    """
    rows, columns = grid
    scores = tokens @ W + b  # (B, n, N)
    scores_first = scores.transpose(1, 2)  # (B, N, n)
    logits = scores_first.unflatten(2, (rows, columns))  # (B, N, rows, columns)
    return upsample(logits, (rows * patch_size, columns * patch_size))


class LinearHead(Head):
    """One linear layer for every token.

        logits^i = z_L^i W + b

    Laid out as the grid of patches and upsampled bilinearly, they are the logits of the pixels.

    Args:
        d: embedding dimension of the ViT.
        num_classes: N_classes.

    Shapes: [(B, d, rows, columns)] -> (B, num_classes, rows, columns).

    Source: lecture, "Linear Head"; Strudel et al., section 3.2, "Linear".
    """

    def __init__(self, d: int, num_classes: int):
        super().__init__(d)
        self.classify = nn.Linear(d, num_classes)
        self.apply(initialize)

    def forward(self, features: list[Tensor]) -> Tensor:
        tokens = features[-1].movedim(1, -1)  # (B, rows, columns, d)
        return self.classify(tokens).permute(0, 3, 1, 2)  # (B, num_classes, rows, columns)
