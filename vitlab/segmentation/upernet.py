"""UPerNet: pyramid pooling for the context, a feature pyramid network for the detail, and a fusion of all scales.

Lecture: "ViT for Semantic Segmentation", "CNN-based Decoders".
Papers: Xiao et al., "Unified Perceptual Parsing for Scene Understanding", 2018, section 3.1; Zhao et al., "Pyramid
Scene Parsing Network", 2017, section 3.2; Lin et al., "Feature Pyramid Networks for Object Detection", 2017, section 3.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitlab.decoder import upsample
from vitlab.encoder import initialize
from vitlab.segmentation.head import Head, conv_bn_relu
from vitlab.segmentation.pyramid import pyramid, quarter_blocks


class PyramidPooling(nn.Module):
    """Every position sees the means of the whole map, and of its parts, beside its own features.

        Y_s = upsample(conv_s(pool_s(X))),    s = 1, 2, 3, 6
        PPM(X) = conv(Concat(X, Y_1, Y_2, Y_3, Y_6))

    pool_s cuts the map into s x s parts and takes the mean of each; every conv has BN and ReLU behind it.

    Args:
        d: channels of the map.
        C: channels of each Y_s and of the result.

    Shapes: (B, d, h, w) -> (B, C, h, w).

    Raises:
        ValueError: if BN is in training, with one image in a batch: a single number per channel has no variance.

    Source: Zhao et al., section 3.2.
    """

    SIZES = (1, 2, 3, 6)

    def __init__(self, d: int, C: int):
        super().__init__()
        self.convolutions = nn.ModuleList(conv_bn_relu(d, C, 1) for _ in self.SIZES)
        self.fuse = conv_bn_relu(d + len(self.SIZES) * C, C, 3)

    def forward(self, X: Tensor) -> Tensor:
        # SyncBatchNorm, which is another class, takes the images of all processes together.
        norm = self.convolutions[0][1]
        if norm.training and len(X) == 1 and isinstance(norm, nn.BatchNorm2d):
            raise ValueError(
                "this batch has one image, but pyramid pooling normalizes the mean of each image over the batch: train "
                "with at least 2 images in a batch."
            )
        pooled = [
            upsample(convolution(F.adaptive_avg_pool2d(X, s)), X.shape[-2:])
            for s, convolution in zip(self.SIZES, self.convolutions, strict=True)
        ]  # each (B, C, h, w)
        return self.fuse(torch.cat([X, *pooled], dim=1))  # (B, d + 4C, h, w) -> (B, C, h, w)


class UPerNetHead(Head):
    """Four scales, from the coarsest to the finest and then all together.

        P_4 = PPM(F_4),    P_i = lateral_i(F_i) + upsample(P_{i+1}),  i = 3, 2, 1
        X = conv(Concat(smooth_1(P_1), upsample(smooth_2(P_2)), upsample(smooth_3(P_3)), upsample(P_4)))
        logits = classify(dropout(X))

    F_1 ... F_4 is the ViT's `pyramid`. lateral_i is a 1x1 convolution, smooth_i and conv are 3x3 ones, each with BN and
    ReLU behind it. lateral_i brings d channels to C; P_i thus joins what is fine with what is known of the whole.

    Args:
        d: embedding dimension of the ViT.
        num_classes: N_classes.
        C: channels in between.
        dropout: rate at which whole channels are dropped before the classifier.

    Shapes: four maps (B, d, rows, columns) -> (B, num_classes, 4·rows, 4·columns).

    Raises:
        ValueError: in training with one image in a batch; see `PyramidPooling`.

    Source: lecture, "CNN-based Decoders"; Xiao et al., section 3.1.
    """

    def __init__(self, d: int, num_classes: int, *, C: int = 512, dropout: float = 0.1):
        super().__init__(d)
        self.pooling = PyramidPooling(d, C)
        self.laterals = nn.ModuleList(conv_bn_relu(d, C, 1) for _ in range(3))
        self.smooth = nn.ModuleList(conv_bn_relu(C, C, 3) for _ in range(3))
        self.fuse = conv_bn_relu(4 * C, C, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(C, num_classes, 1)
        self.apply(initialize)

    @staticmethod
    def blocks(depth: int) -> list[int]:
        return quarter_blocks(depth)

    def forward(self, features: list[Tensor]) -> Tensor:
        *finer, coarsest = pyramid(features)
        P = self.pooling(coarsest)  # P_4
        maps = [P]
        for F_i, lateral, smooth in zip(finer[::-1], self.laterals[::-1], self.smooth[::-1], strict=True):
            P = lateral(F_i) + upsample(P, F_i.shape[-2:])  # P_3, then P_2, then P_1
            maps.insert(0, smooth(P))
        size = finer[0].shape[-2:]
        X = self.fuse(torch.cat([upsample(P_i, size) for P_i in maps], dim=1))  # (B, 4C, h, w) -> (B, C, h, w)
        return self.classify(self.dropout(X))
