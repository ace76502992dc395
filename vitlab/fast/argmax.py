"""The class of every pixel from small logits, without ever holding them all at full size."""

import torch
from torch import Tensor
from torch.nn import functional as F

from vitlab.fast.switch import is_on
from vitlab.fast.upsampling import bands, rows_below, upsampling_matrix

COLUMNS = 128  # of a tile: with the rows that fit into the cache it is nearly a square, and needs few small logits


def upsampled_argmax(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """argmax(upsample(logits)): (B, N, h, w) -> (B, *size), integers.

    At full size 150 classes of a photograph of 12 million pixels are 7 GB. Here a tile of rows and columns at a time is
    upsampled, read and forgotten.
    """
    if not is_on() or torch.compiler.is_compiling():
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=False).argmax(dim=1)
    (H, W), (N, h, w) = size, logits.shape[1:]
    x = logits.to(torch.promote_types(logits.dtype, torch.float32)).permute(0, 2, 1, 3)  # (B, h, N, w)
    U_H, U_W = upsampling_matrix(h, H, x), upsampling_matrix(w, W, x)
    classes = torch.empty(len(x), H, W, dtype=torch.long, device=x.device)
    with torch.autocast(x.device.type, enabled=False):
        for left in range(0, W, COLUMNS):
            right = min(left + COLUMNS, W)
            first, last = rows_below(left, right, w, W)
            U = U_W[left:right, first:last].T
            for top, bottom in bands(H, N * (right - left), like=x):
                low, high = rows_below(top, bottom, h, H)
                for image in range(len(x)):
                    wide = x[image, low:high, :, first:last] @ U  # (low rows, N, columns)
                    rows = U_H[top:bottom, low:high] @ wide.flatten(1)  # (rows, N·columns)
                    z = rows.view(-1, N, 1, right - left)  # (rows, N, 1, columns)
                    # A maximum and its place for many columns at once: to PyTorch, a pooling with channels last.
                    z = z.permute(0, 3, 1, 2)  # (rows, columns, N, 1)
                    _, place = F.max_pool2d(z, (N, 1), return_indices=True)  # (rows, columns, 1, 1)
                    classes[image, top:bottom, left:right] = place[:, :, 0, 0]
    return classes
