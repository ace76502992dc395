"""Rectangles that are erased, images that are mixed, and targets that follow.

Papers: Zhang et al., "mixup", 2018; Yun et al., "CutMix", 2019; Zhong et al., "Random Erasing Data Augmentation", 2020.
"""

import math

import torch
from torch import Tensor

from vitlab.cifar import mixup, mixup_targets


def rectangle(top: Tensor, left: Tensor, height: Tensor, width: Tensor, size: tuple[int, int]) -> Tensor:
    """Which pixels lie in a rectangle, all (B,) and in pixels: (B, 1, H, W), true or false."""
    y, x = (torch.arange(side, device=top.device) + 0.5 for side in size)  # centres of the pixels
    top, left, height, width = (each[:, None] for each in (top, left, height, width))
    in_rows, in_columns = (y >= top) & (y < top + height), (x >= left) & (x < left + width)  # (B, H), (B, W)
    return in_rows[:, None, :, None] & in_columns[:, None, None, :]


def erased(numbers: Tensor, probability: float, size: tuple[int, int]) -> Tensor:
    """Random erasing: which pixels vanish. The rectangle has 2% to 33% of the image, and sides as 0.3 to 3.3.

    Args:
        numbers: (B, 5) in 0 ... 1: whether at all, area, ratio of the sides, place from the top and from the left.
        probability: that any pixel vanishes.
        size: (H, W) in pixels.

    Returns:
        (B, 1, H, W), true or false.

    Source: Zhong et al., section 3.2.
    """
    H, W = size
    whether, area, ratio, from_top, from_left = numbers.unbind(1)
    area, ratio = H * W * (0.02 + 0.31 * area), (math.log(0.3) + math.log(3.3 / 0.3) * ratio).exp()
    height, width = (area * ratio).sqrt().clamp(max=H), (area / ratio).sqrt().clamp(max=W)
    inside = rectangle(from_top * (H - height), from_left * (W - width), height, width, size)
    return inside & (whether < probability)[:, None, None, None]


def mixup_weights(lam: Tensor, size: tuple[int, int]) -> Tensor:
    """mixup: every pixel of an image weighs λ, (B,) -> (B, 1, H, W).

    Source: Zhang et al., section 2.
    """
    return lam[:, None, None, None].expand(-1, 1, *size)


def cutmix_weights(lam: Tensor, centre: Tensor, size: tuple[int, int]) -> Tensor:
    """CutMix: pixels in a rectangle weigh 0, the others 1. Its sides are √(1 - λ) of the image's, before the image's
    border cuts it.

    Args:
        lam: (B,), λ.
        centre: (B, 2) in 0 ... 1, of the rectangle: from the top and from the left.
        size: (H, W) in pixels.

    Returns:
        (B, 1, H, W).

    Source: Yun et al., section 3.1.
    """
    H, W = size
    side = (1 - lam).sqrt()
    y, x = centre.unbind(1)
    return 1 - rectangle(H * (y - side / 2), W * (x - side / 2), H * side, W * side, size).float()


def mix(images: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mix every image with its partner, and the targets in the same proportion.

        x̃_i = w_i x_i + (1 - w_i) x_j,    ỹ_i = λ_i y_i + (1 - λ_i) y_j,    λ_i = mean(w_i)

    Partners are neighbours, the images 2k and 2k + 1, so that no partner is with another process.

    Args:
        images: (B, C, H, W).
        targets: (B, N_classes).
        weights: (B, 1, H, W), w, in 0 ... 1.

    Returns:
        images and targets, in the same shapes.

    Raises:
        ValueError: if B is odd.
    """
    if len(images) % 2:
        raise ValueError(f"images are mixed in pairs, but there are {len(images)} in this process: make it even.")
    partner = torch.arange(len(images), device=images.device) ^ 1  # (B,): 1, 0, 3, 2, ...
    lam = weights.mean(dim=(2, 3))  # (B, 1)
    return mixup(images, targets, weights, partner), mixup_targets(targets, lam, partner)


def smooth(targets: Tensor, smoothing: float) -> Tensor:
    """Label smoothing: take ε from the targets and give it to all classes alike.

        (1 - ε) y + ε / N_classes

    Args:
        targets: (B, N_classes).
        smoothing: ε.
    """
    return (1 - smoothing) * targets + smoothing / targets.shape[1]
