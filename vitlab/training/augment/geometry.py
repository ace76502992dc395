"""Geometry: where each pixel comes from. All of it is one matrix an image, so that an image is sampled only once."""

import torch
from torch import Tensor
from torch.nn import functional as F


def warp(
    images: Tensor, matrix: Tensor, size: tuple[int, int], *, fill: Tensor | float, mode: str = "bilinear"
) -> Tensor:
    """Move pixels: each pixel p of the new image is what the old one shows at M p.

        y(p) = x(M p),    p = (horizontal, vertical, 1), in pixels from the centre of either image

    Args:
        images: (B, C, H, W).
        matrix: (B, 3, 3), M.
        size: (H', W') of the new images.
        fill: (B, C, 1, 1) or one number: what is seen outside the old image.
        mode: "bilinear", or "nearest" for masks, which must not be mixed.

    Returns:
        (B, C, H', W').
    """
    H, W = images.shape[-2:]
    x, y = (torch.arange(side, device=images.device) + (1 - side) / 2 for side in reversed(size))  # of pixel centres
    M = matrix.to(images.device)[..., None, None]  # (B, 3, 3, 1, 1)
    from_x, from_y = (M[:, i, 0] * x + M[:, i, 1] * y[:, None] + M[:, i, 2] for i in (0, 1))  # (B, H', W')
    grid = torch.stack([from_x * (2 / W), from_y * (2 / H)], dim=-1)  # grid_sample calls the borders -1 and 1
    return F.grid_sample(images - fill, grid, mode=mode, align_corners=False) + fill  # outside, grid_sample sees 0


def mean_level(images: Tensor) -> Tensor:
    """The mean colour of each image, rounded: (B, C, H, W) in uint8 -> (B, C, 1, 1) in float32."""
    total = images.sum(dim=(2, 3), keepdim=True)  # of whole numbers, exact in any order
    return (total / images[0, 0].numel()).round()


def affine(*, angle: Tensor, shear: Tensor, shift: Tensor) -> Tensor:
    """Matrices that rotate, shear and shift.

        M = [1 s_x t_x]   [cos a  -sin a  0]
            [s_y 1 t_y] · [sin a   cos a  0]
            [0   0   1]   [0       0      1]

    Args:
        angle: (B,), a, in radians.
        shear, shift: (B, 2), horizontal and vertical; the shift in pixels.

    Returns:
        (B, 3, 3).
    """
    cos, sin = angle.cos(), angle.sin()
    (s_x, s_y), (t_x, t_y) = shear.unbind(1), shift.unbind(1)
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    return _matrix([cos + s_x * sin, s_x * cos - sin, t_x], [s_y * cos + sin, cos - s_y * sin, t_y], [zero, zero, one])


def shift_and_flip(shift: Tensor, flip: Tensor) -> Tensor:
    """Shift by (B, 2) pixels, horizontally and vertically, and mirror left to right where `flip` (B,): (B, 3, 3).

    A shift of whole pixels is what padding an image and cropping it at random comes to.
    """
    zero, one = torch.zeros(len(flip)), torch.ones(len(flip))
    return _matrix([torch.where(flip, -one, one), zero, shift[:, 0]], [zero, one, shift[:, 1]], [zero, zero, one])


def scale_and_crop(scale: Tensor, place: Tensor, size: tuple[int, int], crop: tuple[int, int]) -> Tensor:
    """Resize and cut out.

    Args:
        scale: (B,), the factor by which each image is resized.
        place: (B, 2) in 0 ... 1, where the crop lies in the image: from the left and from the top. Along a side where
            the resized image is smaller than the crop, it is where the image lies in the crop.
        size, crop: (H, W) of the image and of the crop, in pixels.

    Returns:
        (B, 3, 3).

    Source: Xie et al., section 4.1.
    """
    room = scale[:, None] * torch.tensor([size[1], size[0]]) - torch.tensor([crop[1], crop[0]])  # (B, 2)
    x, y = ((place - 0.5) * room / scale[:, None]).unbind(1)  # of the crop's centre in the image
    zero, one = torch.zeros_like(scale), torch.ones_like(scale)
    return _matrix([1 / scale, zero, x], [zero, 1 / scale, y], [zero, zero, one])


def _matrix(*lines: list[Tensor]) -> Tensor:
    return torch.stack([torch.stack(line, dim=-1) for line in lines], dim=-2)  # (B, 3, 3)
