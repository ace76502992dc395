"""How images become numbers of a like size: each channel with the mean 0 and the deviation 1."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Normalization:
    """Subtract the mean of each channel and divide by its deviation.

        x̂ = (x - μ) / σ

    Attributes:
        mean, deviation: (C,), μ and σ, of pixels that are scaled to 0 ... 1.

    Shapes: (B, C, H, W), in 0 ... 1, -> the same.
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, images: Iterable[Tensor]) -> Self:
        """The one that suits these images, (C, H_i, W_i) each in uint8: over all their pixels."""
        total, squares, count = 0.0, 0.0, 0
        for image in images:
            pixels = image.flatten(1).double() / 255  # (C, H·W)
            total, squares, count = total + pixels.sum(1), squares + (pixels**2).sum(1), count + pixels.shape[1]
        mean = total / count
        return cls(mean.float(), (squares / count - mean**2).clamp(min=0).sqrt().float())

    def __call__(self, images: Tensor) -> Tensor:
        return (images - self.mean.view(-1, 1, 1)) / self.deviation.view(-1, 1, 1)

    def to(self, device: torch.device | str) -> Self:
        """The same on a device."""
        return type(self)(self.mean.to(device), self.deviation.to(device))
