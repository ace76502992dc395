"""Handwritten digits, real and tiny: scikit-learn ships them, so nothing is downloaded."""

from typing import Annotated

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from vitlab.data.dataset import Card, Dataset, Split
from vitlab.validation import Limits

CARD = Card(
    name="Optical Recognition of Handwritten Digits (scikit-learn's copy)",
    source="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    licence="CC BY 4.0",
    size="1,797 grey images of 8 x 8 pixels, 10 classes; nothing is downloaded, scikit-learn brings them",
    citation="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, "
    "1998, https://doi.org/10.24432/C50P49",
)


def load(*, seed: Annotated[int, Limits(ge=0, lt=2**32)] = 0) -> Dataset:
    """The digits, split into 80% to train on and 20% to test on; every class has the same share in both.

    Args:
        seed: of the split.

    Returns:
        images (N, 1, 8, 8), whose 17 grey levels are stretched to 0 ... 255, and labels (N,).
    """
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]  # (N, 1, 8, 8)
    parts = train_test_split(
        images, digits.target.astype(np.int64), test_size=0.2, stratify=digits.target, random_state=seed
    )
    train_images, test_images, train_labels, test_labels = map(torch.from_numpy, parts)
    return Dataset(
        card=CARD,
        classes=tuple(str(digit) for digit in digits.target_names),
        train=Split(train_images, train_labels),
        test=Split(test_images, test_labels),
    )
