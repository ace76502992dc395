"""The All-MLP head, made for SegFormer's encoder, on a ViT.

Lecture: "ViT for Semantic Segmentation", "All-MLP Decoder"; "SegFormer Decoder (All-MLP Head)".
Paper: Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers", 2021,
section 3.2.
"""

from torch import Tensor

from vitlab.decoder import AllMLPDecoder
from vitlab.encoder import initialize
from vitlab.segmentation.head import Head
from vitlab.segmentation.pyramid import pyramid, quarter_blocks


class AllMLPHead(Head):
    """SegFormer's decoder on the ViT's `pyramid`: it is the same one, so that encoders can be compared.

    Args:
        d: embedding dimension of the ViT.
        num_classes: N_classes.
        C: channels in between.
        dropout: rate at which whole channels are dropped before the classifier.

    Shapes: four maps (B, d, rows, columns) -> (B, num_classes, 4·rows, 4·columns).

    Source: lecture, "SegFormer Decoder (All-MLP Head)"; `vitlab.decoder.AllMLPDecoder`.
    """

    def __init__(self, d: int, num_classes: int, *, C: int = 256, dropout: float = 0.1):
        super().__init__(d)
        self.decoder = AllMLPDecoder((d, d, d, d), C, num_classes, dropout=dropout)
        self.apply(initialize)

    @staticmethod
    def blocks(depth: int) -> list[int]:
        return quarter_blocks(depth)

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.decoder(pyramid(features))
