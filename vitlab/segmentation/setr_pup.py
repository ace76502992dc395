"""SETR-PUP: convolutions and upsampling in turns, so that the map grows little by little.

Lecture: "ViT for Semantic Segmentation", "CNN-based Decoders".
Paper: Zheng et al., "Rethinking Semantic Segmentation from a Sequence-to-Sequence Perspective with Transformers", 2021,
section 3.3, "Progressive upsampling (PUP)".
"""

from torch import Tensor, nn

from vitlab.decoder import upsample
from vitlab.encoder import initialize
from vitlab.layer_norm import LayerNorm
from vitlab.segmentation.head import Head, conv_bn_relu


class ProgressiveUpsampling(nn.Module):
    """LN, 3x3 convolutions with upsampling by 2 between them, a 1x1 classifier.

        X_0 = LN(F),    X_1 = ReLU(BN(conv_1(X_0))),    X_k = ReLU(BN(conv_k(upsample(X_{k-1})))),  k = 2 ... K
        logits = classify(X_K)

    Args:
        d: embedding dimension of the ViT.
        num_classes: N_classes.
        C: channels in between.
        num_convolutions: K.

    Shapes: (B, d, rows, columns) -> (B, num_classes, 2^{K-1}·rows, 2^{K-1}·columns).

    Source: Zheng et al., section 3.3.
    """

    def __init__(self, d: int, num_classes: int, C: int, num_convolutions: int):
        super().__init__()
        self.norm = LayerNorm(d)
        self.convolutions = nn.ModuleList(conv_bn_relu(d if k == 0 else C, C, 3) for k in range(num_convolutions))
        self.classify = nn.Conv2d(C, num_classes, 1)

    def forward(self, feature: Tensor) -> Tensor:
        X = self.norm(feature.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # each token of (B, d, rows, columns) on its own
        X = self.convolutions[0](X)  # (B, C, rows, columns)
        for convolution in self.convolutions[1:]:
            h, w = X.shape[-2:]
            X = convolution(upsample(X, (2 * h, 2 * w)))  # (B, C, 2h, 2w)
        return self.classify(X)


class SETRPUPHead(Head):
    """Progressive upsampling of the last block's map, with auxiliary heads that help in training.

    There are four convolutions and three upsamplings by 2. The paper upsamples a fourth time and then classifies:
    2⁴ = 16 = P, the size of the image. A 1x1 convolution and bilinear upsampling commute, so the same logits come from
    classifying first and upsampling the logits, and no map with C channels is ever as large as the image.

    An auxiliary head has one convolution. There is one at two, three, four and five fifths of the depth.

    Args:
        d: embedding dimension of the ViT.
        num_classes: N_classes.
        C: channels in between.

    Shapes: four maps (B, d, rows, columns) -> (B, num_classes, 8·rows, 8·columns); auxiliary logits are
    (B, num_classes, rows, columns).

    Source: lecture, "CNN-based Decoders"; Zheng et al., sections 3.3 and 4.1.
    """

    last_norm = False  # it brings an LN for every map

    def __init__(self, d: int, num_classes: int, *, C: int = 256):
        super().__init__(d)
        self.main_head = ProgressiveUpsampling(d, num_classes, C, num_convolutions=4)
        self.auxiliary_heads = nn.ModuleList(
            ProgressiveUpsampling(d, num_classes, C, num_convolutions=1) for _ in range(4)
        )
        self.apply(initialize)

    @staticmethod
    def blocks(depth: int) -> list[int]:
        """9, 14, 19 and 23 of ViT-L's 24 blocks, and the same fractions of any other depth."""
        return [-(-depth * fifths // 5) - 1 for fifths in (2, 3, 4, 5)]  # -(-a // b) rounds up

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.main_head(features[-1])

    def auxiliary(self, features: list[Tensor]) -> list[Tensor]:
        return [head(feature) for head, feature in zip(self.auxiliary_heads, features, strict=True)]
