"""Bilinear upsampling as a small matrix on each side, a band of rows at a time."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

# Few enough for the cache of a processor core; many enough to keep a GPU busy.
NUMBERS_AT_A_TIME = {"cpu": 2**19, "gpu": 2**25}


def upsampling_matrix(n: int, new_n: int, like: Tensor) -> Tensor:
    """The matrix U of linear interpolation from n to `new_n` points, so that upsample(X) = U X Uᵀ for one channel.

    Every row holds at most two weights other than 0, and they sum to 1.

    Args:
        n, new_n: numbers of points.
        like: a tensor whose dtype and device U shall have.

    Returns:
        (new_n, n).
    """
    identity = torch.eye(n, dtype=like.dtype, device=like.device)
    return F.interpolate(identity[None], size=new_n, mode="linear", align_corners=False)[0].T  # (new_n, n)


def bands(height: int, numbers_in_a_row: int, like: Tensor, together: int = 1) -> Iterator[tuple[int, int]]:
    """Cut an image into bands of rows, each small enough for the memory that is near.

    Args:
        height: rows of the image.
        numbers_in_a_row: its channels times its width.
        like: a tensor on the device that computes.
        together: as many bands as this make one.

    Returns:
        (top, bottom) of each band: the rows top ... bottom - 1.
    """
    numbers = together * NUMBERS_AT_A_TIME["cpu" if like.device.type == "cpu" else "gpu"]
    rows = max(1, numbers // max(1, numbers_in_a_row))  # of no image at all a row has 0 numbers
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def rows_below(top: int, bottom: int, n: int, new_n: int) -> tuple[int, int]:
    """Of n rows that are stretched to `new_n`, those from which the new rows `top` ... `bottom` - 1 are made.

    Only for them has `upsampling_matrix` weights in its rows `top` ... `bottom` - 1.

    Returns:
        (low, high): the rows low ... high - 1.
    """
    return max(int((top + 0.5) * n / new_n - 0.5), 0), min(int((bottom - 0.5) * n / new_n - 0.5) + 2, n)
