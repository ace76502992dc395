"""Photometry: levels (B, C, H, W) and one number for each image, (B, 1, 1, 1), to levels of the same shape."""

import torch
from torch import Tensor
from torch.nn import functional as F


def blend(start: Tensor, end: Tensor, factor: Tensor) -> Tensor:
    """start + factor (end - start), in whole levels; a factor above 1 goes beyond the end."""
    return torch.lerp(start, end, factor).clamp(0, 255).round()


def grey(levels: Tensor) -> Tensor:
    """How bright a pixel looks: (B, 3, H, W) -> (B, 1, H, W), 0.299 R + 0.587 G + 0.114 B. Grey images stay."""
    if levels.shape[1] != 3:
        return levels
    R, G, B = levels.split(1, dim=1)
    return (0.299 * R + 0.587 * G + 0.114 * B).round()


def brightness(levels: Tensor, factor: Tensor) -> Tensor:
    """Towards black for a factor below 1, away from it above."""
    return blend(torch.zeros_like(levels), levels, factor)


def contrast(levels: Tensor, factor: Tensor) -> Tensor:
    """Towards the grey of the whole image, or away from it."""
    in_grey = grey(levels)
    mean = in_grey.sum(dim=(1, 2, 3), keepdim=True, dtype=torch.int64) / in_grey[0].numel()
    return blend(mean.round().expand_as(levels), levels, factor)


def colour(levels: Tensor, factor: Tensor) -> Tensor:
    """Towards the same image in grey, or away from it."""
    return blend(grey(levels).expand_as(levels), levels, factor)


def sharpness(levels: Tensor, factor: Tensor) -> Tensor:
    """Towards a blurred image, or away from it. A blurred pixel is the mean of 3 x 3, where it counts five times."""
    if min(levels.shape[2:]) < 3:  # all border
        return levels
    blurred = levels.clone()
    inner = blurred[..., 1:-1, 1:-1]  # the border stays as it is
    inner.copy_(((9 * F.avg_pool2d(levels, 3, stride=1) + 4 * inner) / 13).round())
    return blend(blurred, levels, factor)


def posterize(levels: Tensor, bits: Tensor) -> Tensor:
    """Keep the first bits of each level."""
    step = 2 ** (8 - bits)
    return (levels / step).floor() * step


def solarize(levels: Tensor, threshold: Tensor) -> Tensor:
    """Invert the levels from a threshold on."""
    return torch.where(levels >= threshold, 255 - levels, levels)


def autocontrast(levels: Tensor) -> Tensor:
    """Stretch each channel of each image to 0 ... 255."""
    low, high = levels.amin(dim=(2, 3), keepdim=True), levels.amax(dim=(2, 3), keepdim=True)
    return torch.where(high > low, (levels - low) * 255 / (high - low), levels).round()


def equalize(levels: Tensor) -> Tensor:
    """Make all levels about equally frequent, in each channel of each image.

        new level of v = (step / 2 + number of pixels below v) / step,    step = (H W - pixels of the top level) / 255

    all in whole numbers, rounded down; where the step is 0 nothing changes.
    """
    index = levels.flatten(2).long()  # (B, C, H·W)
    histogram = index.new_zeros(*index.shape[:2], 256).scatter_add_(2, index, torch.ones_like(index))  # (B, C, 256)
    below = histogram.cumsum(-1) - histogram
    step = below.gather(2, index.amax(dim=2, keepdim=True)) // 255  # below the top level are all others
    table = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, table.gather(2, index), index).float().view(levels.shape)
