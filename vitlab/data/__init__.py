"""Data sets, one file each, behind one small interface: `load(name)` gives a `Dataset`."""

from importlib import import_module
from inspect import signature

from vitlab.data.dataset import IGNORE, Card, DataError, Dataset, Split
from vitlab.data.normalization import Normalization

NAMES = ("digits", "shapes", "cifar10", "cifar100", "ade20k", "folder")

__all__ = ["IGNORE", "NAMES", "Card", "DataError", "Dataset", "Normalization", "Split", "load"]


def load(name: str, **options) -> Dataset:
    """A data set by its name; `options` are those of its file's `load`.

    Raises:
        DataError: if there is no such data set or option, or it cannot be had.
    """
    if name not in NAMES:
        raise DataError(f"there is no data set {name!r}; these exist: {', '.join(NAMES)}.")
    module = "cifar" if name.startswith("cifar") else name
    function = import_module(f"vitlab.data.{module}").load
    options = ({"name": name} if module == "cifar" else {}) | options
    try:
        signature(function).bind(**options)
    except TypeError as error:
        known = ", ".join(each for each in signature(function).parameters if each != "name") or "none"
        raise DataError(f"{name} cannot be loaded with these options, {error}: it takes {known}.") from error
    return function(**options)
