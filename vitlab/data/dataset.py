"""What a data set is here: images, labels, and a card that says where they come from."""

import unicodedata
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

    Raises:
        DataError: if there are fewer than two classes, or two of one name.
    """

    card: Card
    classes: tuple[str, ...]
    train: Split
    test: Split
    palette: Tensor | None = None

    def __post_init__(self):
        if len(set(map(nfc, self.classes))) < max(2, len(self.classes)):
            raise DataError(
                f"{self.card.name} has the classes {', '.join(self.classes) or 'none'}, but it needs two or more, each "
                "with a name of its own: one alone tells nothing apart."
            )

    @property
    def is_segmentation(self) -> bool:
        return self.palette is not None

    def normalization(self) -> Normalization:
        """The one that suits the images of `train`."""
        return Normalization.of(self.train.images)


def nfc(name: str) -> str:
    """A name in the one of Unicode's forms that names are compared in: é is one character or two, as it was typed."""
    return unicodedata.normalize("NFC", name)


def default_palette(count: int) -> list[list[int]]:
    """A distinct colour for each of up to 256 classes; the first is black.

    The bits of the number go in turn to red, green and blue, the lowest to the highest: neighbours look different.
    """
    return [
        [sum((number >> (3 * i + channel) & 1) << (7 - i) for i in range(8)) for channel in range(3)]
        for number in range(count)
    ]
