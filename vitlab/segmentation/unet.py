"""A U-Net, the convolutional network that SegFormer is compared with.

Paper: Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015; with BatchNorm and
padding, as it is used today.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitlab.validation import Classes, Levels, Size


@dataclass(frozen=True)
class UNetConfig:
    """The numbers that make a U-Net.

    Attributes:
        num_classes: N_classes.
        width: channels of the first level; every level below has twice as many.
        levels: how many levels there are.
        channels: C of the images.
    """

    num_classes: Classes
    width: Size = 32
    levels: Levels = 5
    channels: Size = 3


def double_convolution(channels: int, width: int) -> nn.Sequential:
    """Twice a 3 x 3 convolution, BatchNorm and ReLU: (B, channels, H, W) -> (B, width, H, W)."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Down by halves, up by doubles, with the maps of the way down handed across.

    Args:
        config: its numbers.

    Shapes: (B, C, H, W) -> (B, num_classes, H, W), for H and W from 2^{levels - 1} up.

    Source: Ronneberger et al., section 2.
    """

    Config = UNetConfig

    def __init__(self, config: UNetConfig):
        super().__init__()
        widths = [config.width * 2**level for level in range(config.levels)]
        self.down = nn.ModuleList(double_convolution(*pair) for pair in pairwise([config.channels, *widths]))
        self.widen = nn.ModuleList(nn.ConvTranspose2d(deep, shallow, 2, stride=2) for shallow, deep in pairwise(widths))
        self.up = nn.ModuleList(double_convolution(2 * shallow, shallow) for shallow in widths[:-1])
        self.head = nn.Conv2d(config.width, config.num_classes, 1)

    def forward(self, images: Tensor, upsample: bool = True) -> Tensor:
        """(B, C, H, W) -> (B, num_classes, H, W); `upsample` changes nothing, for the logits have full size anyway."""
        x, across = images, []
        for level, down in enumerate(self.down):
            x = down(F.max_pool2d(x, 2) if level else x)
            across.append(x)  # (B, width·2^level, H / 2^level, W / 2^level)
        for level in reversed(range(len(self.up))):
            x = self.widen[level](x)
            x = F.interpolate(x, size=across[level].shape[-2:]) if x.shape[-2:] != across[level].shape[-2:] else x
            x = self.up[level](torch.cat([across[level], x], dim=1))
        return self.head(x)
