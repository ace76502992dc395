"""What the segmentation heads share: what goes in, what comes out, and the convolution of the CNN-based ones.

Lecture: "ViT for Semantic Segmentation".
"""

from torch import Tensor, nn


class Head(nn.Module):
    """A segmentation head: feature maps of some blocks of a ViT in, a score for every class and position out.

    A head answers three questions about itself, and these are the usual answers: it reads the last block only
    (`blocks`), as the encoder's last LN leaves it (`last_norm`), and its logits are all it has to say (`auxiliary`).

    Args:
        d: embedding dimension of the ViT.

    Shapes: maps (B, d, rows, columns), one for each block it reads -> logits (B, num_classes, h, w). h and w are
    multiples of rows and columns; `SegmentationViT` upsamples them to the size of the image.
    """

    last_norm = True  # whether the map of the last block passes the encoder's last LN before it comes here

    def __init__(self, d: int):
        super().__init__()
        self.d = d

    @staticmethod
    def blocks(depth: int) -> list[int]:
        """Which blocks of a ViT with `depth` blocks the head reads, counted from 0, the last one last."""
        return [depth - 1]

    def auxiliary(self, features: list[Tensor]) -> list[Tensor]:
        """Further logits that only the training loss sees: maps as in `forward` -> (B, num_classes, h, w) each."""
        return []


def conv_bn_relu(channels: int, C: int, kernel_size: int) -> nn.Sequential:
    """Convolution, batch normalization, ReLU: (B, channels, h, w) -> (B, C, h, w).

    The convolution has no bias, because the normalization would subtract it again.
    """
    return nn.Sequential(
        nn.Conv2d(channels, C, kernel_size, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(C),
        nn.ReLU(inplace=True),
    )
