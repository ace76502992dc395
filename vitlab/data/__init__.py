"""Data sets, one file each, behind one small interface: `load(name)` gives a `Dataset`."""

from importlib import import_module

from vitlab.data.dataset import IGNORE, Card, DataError, Dataset, Split
from vitlab.data.normalization import Normalization
from vitlab.validation import validated

NAMES = ("digits", "shapes", "cifar10", "cifar100", "ade20k", "folder")
WITH_MASKS = ("shapes", "ade20k", "folder")

__all__ = ["IGNORE", "NAMES", "WITH_MASKS", "Card", "DataError", "Dataset", "Normalization", "Split", "load"]


def load(name: str, **options) -> Dataset:
    """A data set by its name; `options` are those of its file's `load`.

    Raises:
        DataError: if there is no such data set, an option is unknown, of the wrong kind or out of range, or the data
            cannot be had.
    """
    if name not in [*NAMES]:
        raise DataError(f"there is no data set {name!r}; these exist: {', '.join(NAMES)}.")
    module = "cifar" if name.startswith("cifar") else name
    function = import_module(f"vitlab.data.{module}").load
    return validated(function, ({"name": name} if module == "cifar" else {}) | options, name, DataError)
