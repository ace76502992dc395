"""A small convolutional network, which a ViT of the same cost is compared with.

Papers: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015; with
BatchNorm and a global mean, as it is used today.
"""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from vitlab.segmentation.unet import double_convolution
from vitlab.validation import Classes, Levels, Size


@dataclass(frozen=True)
class CNNConfig:
    """The numbers that make a CNN.

    Attributes:
        num_classes: N.
        width: channels of the first level; every level below has twice as many.
        levels: how many levels there are.
        channels: C of the images.
    """

    num_classes: Classes
    width: Size = 32
    levels: Levels = 3
    channels: Size = 3


class CNN(nn.Module):
    """Levels of two 3 x 3 convolutions, each at half the resolution of the one above; the mean of all pixels; a head.

    Args:
        config: its numbers.

    Shapes: (B, C, H, W) -> (B, num_classes), for H and W from 2^{levels - 1} up.

    Source: Simonyan and Zisserman, section 2.
    """

    Config = CNNConfig

    def __init__(self, config: CNNConfig):
        super().__init__()
        widths = [config.width * 2**level for level in range(config.levels)]
        self.levels = nn.ModuleList(double_convolution(*pair) for pair in pairwise([config.channels, *widths]))
        self.head = nn.Linear(widths[-1], config.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, num_classes)."""
        x = images
        for number, level in enumerate(self.levels):
            x = level(F.max_pool2d(x, 2) if number else x)  # (B, width·2^number, H / 2^number, W / 2^number)
        return self.head(x.mean(dim=(2, 3)))
