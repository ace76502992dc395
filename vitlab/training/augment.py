"""Augmentation: new images from old ones, in whole batches, on the device where the images are.

An image that is shifted, tilted or recoloured shows the same thing, and a network that has seen it so learns what does
not matter. Every augmentation here has two halves. `draw` makes its random numbers: for the whole batch of a step, on
the CPU, from the seed and the step alone. `apply` is a pure function of images and numbers. So a step is the same
whoever computes it: each of several processes draws the numbers of all and takes the rows of its own images.

Images come as bytes, (B, C, H, W) in uint8, and go as numbers in 0 ... 1. In between they are *levels*: the whole
numbers 0 ... 255 as float32, on which the operations of an image editor are defined.

Papers: Cubuk et al., "RandAugment", 2020; Zhang et al., "mixup", 2018; Yun et al., "CutMix", 2019; Zhong et al.,
"Random Erasing Data Augmentation", 2020; Xie et al., "SegFormer", 2021, section 4.1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vitlab.data.dataset import IGNORE

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

    crop_padding: int = 0
    flip: bool = False
    num_ops: int = 0
    magnitude: float = 9.0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    smoothing: float = 0.0

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

    crop: tuple[int, int] | None = None
    scale: tuple[float, float] = (1.0, 1.0)
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


# Geometry: where each pixel comes from. All of it is one matrix an image, so that an image is sampled only once.


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


# Photometry: levels (B, C, H, W) and one number for each image, (B, 1, 1, 1), to levels of the same shape.


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
    brightness = grey(levels)
    mean = brightness.sum(dim=(1, 2, 3), keepdim=True, dtype=torch.int64) / brightness[0].numel()
    return blend(mean.round().expand_as(levels), levels, factor)


def colour(levels: Tensor, factor: Tensor) -> Tensor:
    """Towards the same image in grey, or away from it."""
    return blend(grey(levels).expand_as(levels), levels, factor)


def sharpness(levels: Tensor, factor: Tensor) -> Tensor:
    """Towards a blurred image, or away from it. A blurred pixel is the mean of 3 x 3, where it counts five times."""
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


# RandAugment. The strength m is in -1 ... 1: the magnitude with a random sign.

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


# Rectangles and mixtures.


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
    lam = weights.mean(dim=(2, 3))  # (B, 1)
    return torch.lerp(swap(images), images, weights), torch.lerp(swap(targets), targets, lam)


def swap(x: Tensor) -> Tensor:
    """Exchange the rows 2k and 2k + 1: (B, ...) -> (B, ...)."""
    return x[torch.arange(len(x), device=x.device) ^ 1]


def smooth(targets: Tensor, smoothing: float) -> Tensor:
    """Label smoothing: take ε from the targets and give it to all classes alike.

        (1 - ε) y + ε / N_classes

    Args:
        targets: (B, N_classes).
        smoothing: ε.
    """
    return (1 - smoothing) * targets + smoothing / targets.shape[1]
