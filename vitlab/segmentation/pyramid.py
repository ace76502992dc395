"""A feature pyramid from a ViT, for decoders that were made for backbones with several scales.

Lecture: "ViT for Semantic Segmentation"; "Difference 1: Hierarchical Multi-Scale Encoder".
"""

from torch import Tensor

from vitlab.decoder import upsample


def quarter_blocks(depth: int) -> list[int]:
    """The last block of each quarter of the depth, counted from 0: 2, 5, 8 and 11 of ViT-B's 12 blocks."""
    return [-(-depth * quarters // 4) - 1 for quarters in (1, 2, 3, 4)]  # -(-a // b) rounds up


def pyramid(features: list[Tensor]) -> list[Tensor]:
    """Rescale four maps of one size by 4, 2, 1 and 1/2, bilinearly.

    All blocks of a ViT work at one resolution, H/P. With P = 16 the rescaled maps have the resolutions H/4, H/8, H/16
    and H/32 of a hierarchical encoder.

    Args:
        features: four maps (B, d, rows, columns), the earliest block's first.

    Returns:
        (B, d, 4·rows, 4·columns), (B, d, 2·rows, 2·columns), (B, d, rows, columns), (B, d, ⌈rows/2⌉, ⌈columns/2⌉).
    """
    rows, columns = features[0].shape[-2:]
    sizes = [(4 * rows, 4 * columns), (2 * rows, 2 * columns), (rows, columns), ((rows + 1) // 2, (columns + 1) // 2)]
    return [upsample(feature, size) for feature, size in zip(features, sizes, strict=True)]
