"""The two kinds of augmentation: of images that have one label each, and of images that have a mask each.

Papers: Cubuk et al., "RandAugment", 2020; Xie et al., "SegFormer", 2021, section 4.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vitlab.data.dataset import IGNORE
from vitlab.training.augment.colours import brightness, colour, contrast
from vitlab.training.augment.geometry import mean_level, scale_and_crop, shift_and_flip, warp
from vitlab.training.augment.mixing import cutmix_weights, erased, mix, mixup_weights, smooth
from vitlab.training.augment.randaugment import OPERATIONS, rand_affine, rand_photometric
from vitlab.validation import Limits, Rate, Scales, Share, Size

Draws = dict[str, Tensor]  # random numbers; each tensor has one row for each image of the batch


@dataclass(frozen=True)
class ImageAugmentation:
    """How to augment images that have one label each. By default nothing is done.

    Attributes:
        crop_padding: the most pixels by which an image is shifted, in each direction.
        flip: whether to mirror every second image, left to right.
        num_ops: N of RandAugment, operations an image.
        magnitude: M of RandAugment, 0 ... 10.
        erase: probability that a rectangle is erased.
        mixup, cutmix: their α. Where both are above 0, a coin gives each image one of them.
        smoothing: ε of label smoothing.
    """

    crop_padding: Annotated[int, Limits(ge=0, le=2**15)] = 0
    flip: bool = False
    num_ops: Annotated[int, Limits(ge=0, le=100)] = 0
    magnitude: Annotated[float, Limits(ge=0, le=10)] = 9.0
    erase: Share = 0.0
    mixup: Annotated[float, Limits(ge=0, le=100)] = 0.0
    cutmix: Annotated[float, Limits(ge=0, le=100)] = 0.0
    smoothing: Rate = 0.0

    def draw(self, batch: int, *, seed: int, step: int) -> Draws:
        """The random numbers of a step for all images of its batch, those of the other processes included."""
        rng = np.random.default_rng((seed, step))
        return _tensors(
            shift=rng.random((batch, 2), np.float32),
            flip=rng.random(batch, np.float32),
            operation=rng.random((batch, self.num_ops), np.float32),
            sign=rng.random((batch, self.num_ops), np.float32),
            erase=rng.random((batch, 5), np.float32),
            mix=rng.random((batch, 3), np.float32),
            mixup=rng.beta(self.mixup, self.mixup, batch) if self.mixup else np.ones(batch),
            cutmix=rng.beta(self.cutmix, self.cutmix, batch) if self.cutmix else np.ones(batch),
        )

    def apply(self, images: Tensor, labels: Tensor, draws: Draws, *, num_classes: int) -> tuple[Tensor, Tensor]:
        """Augment the images of one process.

        Args:
            images: (B, C, H, W) in uint8.
            labels: (B,), classes.
            draws: the numbers of these images, on the CPU.
            num_classes: N_classes.

        Returns:
            images (B, C, H, W) in 0 ... 1, and targets (B, N_classes), the probability of each class.

        Raises:
            ValueError: if images shall be mixed in pairs but B is odd.
        """
        size, fill = images.shape[-2:], mean_level(images)
        levels = images.float()
        operation = (draws["operation"] * len(OPERATIONS)).long()  # (B, num_ops)
        strength = torch.where(draws["sign"] < 0.5, -1, 1) * self.magnitude / 10  # (B, num_ops), in -1 ... 1
        if self.crop_padding or self.flip or self.num_ops:
            shift = (draws["shift"] * (2 * self.crop_padding + 1)).floor() - self.crop_padding  # (B, 2), whole pixels
            flip = self.flip & (draws["flip"] < 0.5)
            matrix = shift_and_flip(shift, flip) @ rand_affine(operation, strength, size)
            levels = warp(levels, matrix, size, fill=fill).round()
        levels = rand_photometric(levels, operation, strength)
        draws = {name: numbers.to(images.device) for name, numbers in draws.items()}
        if self.erase:
            levels = torch.where(erased(draws["erase"], self.erase, size), fill, levels)
        images, targets = levels / 255, F.one_hot(labels, num_classes).float()
        if self.mixup or self.cutmix:
            cut = draws["mix"][:, 0] < (self.cutmix > 0) / ((self.cutmix > 0) + (self.mixup > 0))
            of_cutmix = cutmix_weights(draws["cutmix"], draws["mix"][:, 1:], size)
            of_mixup = mixup_weights(draws["mixup"], size)
            images, targets = mix(images, targets, torch.where(cut[:, None, None, None], of_cutmix, of_mixup))
        return images, smooth(targets, self.smoothing)


@dataclass(frozen=True)
class MaskAugmentation:
    """How to augment images that have a mask each. By default nothing is done.

    Attributes:
        crop: (S_h, S_w), the size that is cut out; None for that of the image.
        scale: between which factors an image is resized, before.
        flip: whether to mirror every second image, left to right.
        photometric: whether to change brightness, contrast and colour, each by a factor of 0.5 ... 1.5.
    """

    crop: tuple[Size, Size] | None = None
    scale: Scales = (1.0, 1.0)
    flip: bool = False
    photometric: bool = False

    def draw(self, batch: int, *, seed: int, step: int) -> Draws:
        """The random numbers of a step for all images of its batch, those of the other processes included."""
        rng = np.random.default_rng((seed, step))
        return _tensors(
            scale=rng.random(batch, np.float32),
            place=rng.random((batch, 2), np.float32),
            flip=rng.random(batch, np.float32),
            factors=rng.random((batch, 3), np.float32),
        )

    def apply(
        self, images: Tensor | Sequence[Tensor], labels: Tensor | Sequence[Tensor], draws: Draws, *, num_classes: int
    ) -> tuple[Tensor, Tensor]:
        """Augment the images of one process.

        Args:
            images: (B, C, H, W) in uint8, or B tensors (C, H_i, W_i).
            labels: masks, (B, H, W) in uint8, or B tensors (H_i, W_i).
            draws: the numbers of these images, on the CPU.
            num_classes: makes no difference here; both kinds of augmentation are called alike.

        Returns:
            images (B, C, S_h, S_w) in 0 ... 1, and masks (B, S_h, S_w) in int64. Where an image does not fill the crop
            there is its mean colour, and `IGNORE` in the mask.

        Raises:
            ValueError: if the images have several sizes but there is no crop.
        """
        if isinstance(images, Tensor):
            return self._apply(images, labels, draws)
        if self.crop is None and len({image.shape for image in images}) > 1:
            raise ValueError("the images have several sizes: give a crop, so that they fit into one batch.")
        parts = [
            self._apply(image[None], mask[None], rows(draws, slice(i, i + 1)))
            for i, (image, mask) in enumerate(zip(images, labels, strict=True))
        ]
        return tuple(map(torch.cat, zip(*parts, strict=True)))

    def _apply(self, images: Tensor, masks: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        size = images.shape[-2:]
        crop = self.crop or size
        levels, labels = images.float(), masks[:, None].float()  # labels (B, 1, H, W)
        if self != MaskAugmentation(photometric=self.photometric):
            low, high = self.scale
            matrix = scale_and_crop(low + (high - low) * draws["scale"], draws["place"], size, crop)
            matrix = matrix @ shift_and_flip(torch.zeros(len(images), 2), self.flip & (draws["flip"] < 0.5))
            levels = warp(levels, matrix, crop, fill=mean_level(images)).round()
            labels = warp(labels, matrix, crop, fill=IGNORE, mode="nearest")
        if self.photometric:
            factors = 0.5 + draws["factors"].to(levels.device)[:, :, None, None, None]  # (B, 3, 1, 1, 1)
            for change, factor in zip((brightness, contrast, colour), factors.unbind(1), strict=True):
                levels = change(levels, factor)
        return levels / 255, labels[:, 0].long()


def rows(draws: Draws, part: slice) -> Draws:
    """The numbers of some images: process r, with B images of its own a step, takes `slice(r * B, (r + 1) * B)`."""
    return {name: numbers[part] for name, numbers in draws.items()}


def _tensors(**draws: np.ndarray) -> Draws:
    return {name: torch.from_numpy(numbers).float() for name, numbers in draws.items()}
