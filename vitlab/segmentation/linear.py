"""The linear head: each token alone says what its patch shows.

Lecture: "ViT for Semantic Segmentation", "Linear Head".
Paper: Strudel et al., "Segmenter: Transformer for Semantic Segmentation", 2021, section 3.2.
"""

from torch import Tensor, nn

from vitlab.encoder import initialize
from vitlab.segmentation.head import Head


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
        return self.classify(tokens).movedim(-1, 1)  # (B, num_classes, rows, columns)
