"""What a data set is here: images, labels, and a card that says where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vitlab.data.normalization import Normalization

IGNORE = 255  # the label of pixels that do not count, in every mask


class DataError(Exception):
    """A data set cannot be had, read or used; the sentence says why and what to do."""


@dataclass(frozen=True)
class Card:
    """What a reader must know about a data set.

    Attributes:
        name: its full name.
        source: the address it comes from, or how it is made.
        licence: under what conditions it may be used.
        size: how many images of how many pixels, and how many bytes are downloaded.
        citation: whom to cite.
    """

    name: str
    source: str
    licence: str
    size: str
    citation: str


@dataclass(frozen=True)
class Split:
    """Images and their labels, all in memory, as bytes.

    Attributes:
        images: (N, C, H, W) in uint8; or, where sizes differ, N tensors (C, H_i, W_i).
        labels: (N,) in int64, one class an image; or masks, (N, H, W) in uint8 or N tensors (H_i, W_i), one class a
            pixel, `IGNORE` for pixels that do not count.
    """

    images: Tensor | Sequence[Tensor]
    labels: Tensor | Sequence[Tensor]

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> "Split":
        """The same on a device: small data sets stay there for the whole training."""

        def move(x: Tensor | Sequence[Tensor]) -> Tensor | Sequence[Tensor]:
            return x.to(device) if isinstance(x, Tensor) else [each.to(device) for each in x]

        return replace(self, images=move(self.images), labels=move(self.labels))


@dataclass(frozen=True)
class Dataset:
    """A data set to train on and to test on.

    Attributes:
        card: where it comes from.
        classes: the name of each class.
        train, test: its two splits; `test` is the one that results are reported on.
        palette: (N_classes, 3) in uint8, a colour for each class of a segmentation; None for a classification.
    """

    card: Card
    classes: tuple[str, ...]
    train: Split
    test: Split
    palette: Tensor | None = None

    @property
    def is_segmentation(self) -> bool:
        return self.palette is not None

    def normalization(self) -> Normalization:
        """The one that suits the images of `train`."""
        return Normalization.of(self.train.images)


def default_palette(count: int) -> list[list[int]]:
    """A distinct colour for each of up to 256 classes; the first is black.

    The bits of the number go in turn to red, green and blue, the lowest to the highest: neighbours look different.
    """
    return [
        [sum((number >> (3 * i + channel) & 1) << (7 - i) for i in range(8)) for channel in range(3)]
        for number in range(count)
    ]
