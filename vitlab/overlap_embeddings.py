"""Overlapping patch embeddings: patches that share pixels with their neighbours, and the pyramid they build.

Lecture: "Difference 1: Hierarchical Multi-Scale Encoder", "Difference 4: Overlapping Patch Embedding".
Paper: Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers", 2021,
section 3.1.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from vitlab.layer_norm import LayerNorm


def overlapping_patches(images: Tensor, kernel_size: int, stride: int) -> Tensor:
    """Cut images into k x k patches whose corners are s < k pixels apart, and flatten each one.

    The images get a border of k // 2 zeros first, so that every pixel lies in a patch:

        rows = ⌊(H + 2⌊k/2⌋ - k) / s⌋ + 1,    which is ⌈H/s⌉ for odd k;    columns likewise

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
    return patches.permute(0, 2, 3, 4, 5, 1).flatten(3)  # (B, rows, columns, k²·C)


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
        ValueError: if an image has another number of channels.

    Source: lecture, "Difference 4: Overlapping Patch Embedding".
    """

    def __init__(self, channels: int, d: int, *, kernel_size: int, stride: int):
        super().__init__()
        self.projection = nn.Conv2d(channels, d, kernel_size, stride, padding=kernel_size // 2)
        self.norm = LayerNorm(d, eps=1e-5)

    def forward(self, images: Tensor) -> Tensor:
        features = self.projection(self._checked(images))  # (B, d, rows, columns)
        return self.norm(features.permute(0, 2, 3, 1))  # (B, rows, columns, d)

    def as_taught(self, images: Tensor) -> Tensor:
        """The lecture's form of `forward`: (B, C, H, W) -> (B, rows, columns, d)."""
        convolution = self.projection
        patches = overlapping_patches(self._checked(images), convolution.kernel_size[0], convolution.stride[0])
        E = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (d, C, k, k) -> (k²·C, d)
        return self.norm(patches @ E + convolution.bias)

    def _checked(self, images: Tensor) -> Tensor:
        if images.shape[1] != self.projection.in_channels:
            raise ValueError(
                f"the images have {images.shape[1]} channels, but this model was made for "
                f"{self.projection.in_channels}."
            )
        return images
