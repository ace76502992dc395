"""RandAugment: operations drawn at random, all with the same strength m in -1 ... 1: the magnitude with a random sign.

Paper: Cubuk et al., "RandAugment", 2020.
"""

import torch
from torch import Tensor

from vitlab.training.augment.colours import (
    autocontrast,
    brightness,
    colour,
    contrast,
    equalize,
    posterize,
    sharpness,
    solarize,
)
from vitlab.training.augment.geometry import affine

GEOMETRIC = {  # angle in degrees, shear, or share of the side, where m = 1
    "rotate": 30.0,
    "shear_x": 0.3,
    "shear_y": 0.3,
    "translate_x": 0.3,
    "translate_y": 0.3,
}
PHOTOMETRIC = {
    "brightness": lambda levels, m: brightness(levels, 1 + 0.9 * m),
    "contrast": lambda levels, m: contrast(levels, 1 + 0.9 * m),
    "colour": lambda levels, m: colour(levels, 1 + 0.9 * m),
    "sharpness": lambda levels, m: sharpness(levels, 1 + 0.9 * m),
    "posterize": lambda levels, m: posterize(levels, 8 - (4 * m.abs()).round()),
    "solarize": lambda levels, m: solarize(levels, 256 * (1 - m.abs())),
    "autocontrast": lambda levels, m: autocontrast(levels),
    "equalize": lambda levels, m: equalize(levels),
    "invert": lambda levels, m: 255 - levels,
}
OPERATIONS = ("identity", *GEOMETRIC, *PHOTOMETRIC)


def rand_affine(operation: Tensor, strength: Tensor, size: tuple[int, int]) -> Tensor:
    """The geometric operations of RandAugment. What is drawn twice for an image is done twice as much.

    Args:
        operation: (B, N), each an index into `OPERATIONS`.
        strength: (B, N), m.
        size: (H, W) in pixels.

    Returns:
        (B, 3, 3).

    Source: Cubuk et al., section 3.
    """
    first = OPERATIONS.index("rotate")
    chosen = operation[:, :, None] == torch.arange(first, first + len(GEOMETRIC))  # (B, N, 5)
    amount = (chosen * strength[:, :, None]).sum(1) * torch.tensor(list(GEOMETRIC.values()))  # (B, 5)
    shift = amount[:, 3:] * torch.tensor([size[1], size[0]])
    return affine(angle=amount[:, 0].deg2rad(), shear=amount[:, 1:3], shift=shift)


def rand_photometric(levels: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    """The other operations of RandAugment, each on the images for which it was drawn.

    Args:
        levels: (B, C, H, W), which are changed in place.
        operation: (B, N), on the CPU, each an index into `OPERATIONS`.
        strength: (B, N), on the CPU, m.

    Returns:
        (B, C, H, W).

    Source: Cubuk et al., section 3.
    """
    for i in range(operation.shape[1]):
        for name, change in PHOTOMETRIC.items():
            chosen = (operation[:, i] == OPERATIONS.index(name)).nonzero()[:, 0]  # the indices of images
            if len(chosen):
                m = strength[chosen, i, None, None, None].to(levels.device)
                chosen = chosen.to(levels.device)
                levels[chosen] = change(levels[chosen], m)
    return levels
