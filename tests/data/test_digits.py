"""The digits: real values, a fair and repeatable split."""

import pytest
import torch
from sklearn.datasets import load_digits

from vitlab.data import DataError, load


def sorted_rows(images: torch.Tensor) -> torch.Tensor:
    return torch.unique(images.flatten(1), dim=0)


def test_every_digit_is_in_one_split_with_its_values_and_label():
    digits = load("digits")
    images = torch.cat([digits.train.images, digits.test.images])
    labels = torch.cat([digits.train.labels, digits.test.labels])
    assert (len(digits.train), len(digits.test)) == (1437, 360)
    assert images.dtype == torch.uint8 and images.shape[1:] == (1, 8, 8) and labels.dtype == torch.int64
    original = load_digits()
    expected = torch.cat([torch.from_numpy(original.data), torch.from_numpy(original.target)[:, None]], dim=1)
    found = torch.cat([(images / 255 * 16).round().flatten(1).double(), labels[:, None]], dim=1)
    assert images.max() == 255 and torch.equal(sorted_rows(found), sorted_rows(expected))
    assert digits.classes == tuple("0123456789") and not digits.is_segmentation


def test_both_splits_have_the_same_share_of_every_class():
    digits = load("digits")
    shares = [torch.bincount(split.labels) / len(split) for split in (digits.train, digits.test)]
    assert torch.allclose(*shares, atol=1 / len(digits.test))


def test_the_seed_decides_the_split():
    assert torch.equal(load("digits", seed=3).test.images, load("digits", seed=3).test.images)
    assert not torch.equal(load("digits", seed=3).test.images, load("digits", seed=4).test.images)


def test_a_data_set_that_does_not_exist_is_named():
    with pytest.raises(DataError, match="no data set 'digit'; these exist: digits"):
        load("digit")


def test_an_option_that_does_not_exist_or_is_missing_is_named():
    with pytest.raises(DataError, match=r"digits has an entry 'sede' that nobody reads: did you mean 'seed'"):
        load("digits", sede=1)
    with pytest.raises(DataError, match="cifar10 has an entry 'images' that nobody reads"):
        load("cifar10", images=1)
    with pytest.raises(DataError, match="folder has no 'path'"):
        load("folder")
