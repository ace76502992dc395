"""The class of every pixel from small logits, without ever holding them all at full size."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from vitlab.fast.switch import is_on
from vitlab.fast.upsampling import bands, rows_below, upsampling_matrix
from vitlab.validation import checked_size, finite

COLUMNS = 128  # of a tile: with the rows that fit into the cache it is nearly a square, and needs few small logits
STRIP = 256  # rows of pixels for which small logits are there at once


def upsampled_argmax(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """argmax(upsample(logits)): (B, N, h, w) -> (B, *size), integers.

    At full size 150 classes of a photograph of 12 million pixels are 7 GB. Here a tile of rows and columns at a time is
    upsampled, read and forgotten.

    Raises:
        FloatingPointError: if the highest score of a pixel is no finite number.
    """
    if not is_on() or torch.compiler.is_compiling():
        logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        finite(logits.amax(dim=1))
        return logits.argmax(dim=1)
    return argmax_of_rows(lambda low, high: logits[:, :, low:high], logits, size)


def argmax_of_rows(rows: Callable[[int, int], Tensor], like: Tensor, size: tuple[int, int]) -> Tensor:
    """`upsampled_argmax` of small logits that are not there all at once either.

    Args:
        rows: of these logits, from the first number to before the second: (B, N, rows, w).
        like: (B, ..., h, w), on the device that computes.
        size: (H, W) of the result.
    """
    (H, W), (h, w) = checked_size(size), like.shape[-2:]
    classes = torch.empty(len(like), H, W, dtype=torch.long, device=like.device)
    extremes = []
    for start in range(0, H, STRIP):
        end = min(start + STRIP, H)
        skipped, beyond = rows_below(start, end, h, H)
        x = rows(skipped, beyond)
        x = x.to(torch.promote_types(x.dtype, torch.float32)).permute(0, 2, 1, 3)  # (B, rows, N, w)
        U_H, U_W = upsampling_matrix(h, H, x)[start:end, skipped:beyond], upsampling_matrix(w, W, x)
        with torch.autocast(x.device.type, enabled=False):
            for left in range(0, W, COLUMNS):
                right = min(left + COLUMNS, W)
                first, last = rows_below(left, right, w, W)
                U = U_W[left:right, first:last].T  # (columns below, columns)
                for top, bottom in bands(end - start, x.shape[2] * (right - left), like=x):
                    low, high = (row - skipped for row in rows_below(start + top, start + bottom, h, H))
                    for image in range(len(x)):
                        wide = x[image, low:high, :, first:last] @ U  # (low rows, N, columns)
                        z = U_H[top:bottom, low:high] @ wide.flatten(1)  # (rows, N·columns)
                        z = z.view(bottom - top, -1, 1, right - left)  # (rows, N, 1, columns)
                        # A maximum and its place for many columns at once: to PyTorch, a pooling with channels last.
                        z = z.permute(0, 3, 1, 2)  # (rows, columns, N, 1)
                        score, place = F.max_pool2d(z, (z.shape[2], 1), return_indices=True)  # (rows, columns, 1, 1)
                        classes[image, start + top : start + bottom, left:right] = place[:, :, 0, 0]
                        extremes.append(torch.stack(score.aminmax()))
    if extremes:
        finite(torch.stack(extremes))
    return classes
