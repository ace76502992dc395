"""Overlapping patch embeddings: patches that share pixels with their neighbours, and the pyramid they build.

Lecture: "Difference 1: Hierarchical Multi-Scale Encoder", "Difference 4: Overlapping Patch Embedding".
Paper: Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers", 2021,
section 3.1.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from vitlab.layer_norm import LayerNorm
from vitlab.validation import checked_channels

EPS = 1e-5  # ε of every LN in SegFormer's published models


def output_size(size: int, kernel_size: int, stride: int, padding: int) -> int:
    """How many patches lie beside each other along one axis.

        ⌊(size + 2 · padding - k) / s⌋ + 1

    Args:
        size: of the image along that axis, in pixels.
        kernel_size: k.
        stride: s.
        padding: pixels added at either end.

    Source: lecture, "Difference 4: Overlapping Patch Embedding".
    """
    padded = size + 2 * padding
    return (padded - kernel_size) // stride + 1


def overlapping_patches(images: Tensor, kernel_size: int, stride: int) -> Tensor:
    """Cut images into k x k patches whose corners are s < k pixels apart, and flatten each one.

    The images get a border of k // 2 zeros first, so that every pixel lies in a patch:

        rows = `output_size`(H, k, s, ⌊k/2⌋),    which is ⌈H/s⌉ for odd k;    columns likewise

    Args:
        images: (B, C, H, W), images or feature maps.
        kernel_size: k, odd.
        stride: s.

    Returns:
        (B, rows, columns, k²·C), each patch flattened row, column, channel, as `patchify` does.

    Source: lecture, "Difference 4: Overlapping Patch Embedding".
    """
    k, s = kernel_size, stride
    border = k // 2
    padded = F.pad(images, (border, border, border, border))
    patches = padded.unfold(2, k, s).unfold(3, k, s)  # (B, C, rows, columns, k, k)
    channels_last = patches.permute(0, 2, 3, 4, 5, 1)  # (B, rows, columns, k, k, C)
    return channels_last.flatten(3)  # (B, rows, columns, k²·C)


def embed_overlapping_patches(images: Tensor, E: Tensor, b: Tensor, kernel_size: int, stride: int) -> Tensor:
    """Project every overlapping patch to d numbers.

        z_p = x_p E + b

    Args:
        images: (B, C, H, W), images or feature maps.
        E: (k²·C, d).
        b: (d,).
        kernel_size: k, odd.
        stride: s.

    Returns:
        (B, rows, columns, d).

    Source: lecture, "Difference 4: Overlapping Patch Embedding".
    """
    patches = overlapping_patches(images, kernel_size, stride)  # (B, rows, columns, k²·C)
    return patches @ E + b


class OverlapEmbeddings(nn.Module):
    """Every overlapping patch projected to d numbers, then LN: `forward` as used, `as_taught` patch by patch.

        z = LN(x_p E + b)

    E is kept as the equal convolution with kernel k, stride s and padding k // 2. The tokens stay on their grid: the
    sequence (B, n, d) is `.flatten(1, 2)`.

    Args:
        channels: C of the images or feature maps.
        d: embedding dimension.
        kernel_size: k, odd: 7 in SegFormer's first stage, 3 in the others.
        stride: s: 4 in the first stage, 2 in the others.

    Shapes: (B, C, H, W) -> (B, ⌈H/s⌉, ⌈W/s⌉, d).

    Raises:
        ValueError: if k is even, or an image has another number of channels or no batch axis.

    Source: lecture, "Difference 4: Overlapping Patch Embedding".
    """

    def __init__(self, channels: int, d: int, *, kernel_size: int, stride: int):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}, but it must be odd: an even one makes too many patches.")
        self.projection = nn.Conv2d(channels, d, kernel_size, stride, padding=kernel_size // 2)
        self.norm = LayerNorm(d, eps=EPS)

    def forward(self, images: Tensor) -> Tensor:
        features = self.projection(checked_channels(images, self.projection.in_channels))  # (B, d, rows, columns)
        return self.norm(features.permute(0, 2, 3, 1))  # (B, rows, columns, d)

    def as_taught(self, images: Tensor) -> Tensor:
        """The lecture's form of `forward`: (B, C, H, W) -> (B, rows, columns, d)."""
        convolution = self.projection
        images = checked_channels(images, convolution.in_channels)
        E = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (d, C, k, k) -> (k²·C, d)
        k, s = convolution.kernel_size[0], convolution.stride[0]
        return self.norm(embed_overlapping_patches(images, E, convolution.bias, k, s))
