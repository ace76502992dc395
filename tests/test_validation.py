"""What comes from files and callers is refused in one sentence that names the entry, before anything is made of it."""

from dataclasses import dataclass

import pytest

from vitlab.data import DataError, load
from vitlab.validation import validated

FOLDER = {"path": "nowhere", "classes": ["sky", "road"]}


@pytest.mark.parametrize(
    "name, option, wrong, right",
    [
        ("digits", "seed", -1, "0 or more"),
        ("digits", "seed", 2**32, "below 4294967296"),
        ("shapes", "seed", "a", "a whole number"),
        ("shapes", "seed", 2**70, "below"),
        ("shapes", "images", 0, "1 or more"),
        ("shapes", "images", 8.0, "a whole number"),
        ("shapes", "test_images", True, "a whole number"),
        ("shapes", "size", 8, "16 or more or must be a list"),
        ("shapes", "size", [32], "a whole number or must have more entries"),
        ("shapes", "size", [64, 15], "16 or more"),
        ("shapes", "size", "32", "a whole number or must be a list"),
        ("folder", "path", 5, "a text"),
        ("folder", "classes", "sky", "a list"),
        ("folder", "classes", [], "at least 1 item"),
        ("folder", "classes", ["sky", "sky"], "names nothing twice"),
        ("folder", "classes", ["sky", "\x1b[2J"], "a line that can be printed"),
        ("folder", "mapping", [0, 1], "a table"),
        ("folder", "mapping", {"0": 1.5}, "a whole number"),
        ("folder", "ignore", 256, "255 or less"),
        ("folder", "palette", [[300, 0, 0]] * 2, "255 or less"),
        ("folder", "palette", [[-5, 0.5, 0]] * 2, "0 or more"),
        ("folder", "palette", [[0, 0]] * 2, "more entries"),
        ("folder", "size", [64.5, 64], "a whole number"),
        ("folder", "size", [0, 64], "1 or more"),
        ("folder", "images", 5, "a text"),
        ("ade20k", "images", "4", "a whole number"),
        ("ade20k", "test_images", 0, "1 or more"),
        ("ade20k", "shorter_side", 0, "1 or more"),
        ("ade20k", "classes", "wall", "a list"),
        ("ade20k", "classes", [1], "a text"),
        ("ade20k", "most_frequent", 1.5, "a whole number"),
    ],
)
def test_options_of_data_sets(name, option, wrong, right):
    with pytest.raises(DataError, match=rf"^{name}: {option}\S* is .*, but it must .*{right}"):
        load(name, **(FOLDER if name == "folder" else {}) | {option: wrong})


@dataclass
class Inner:
    width: int = 1


@dataclass
class Outer:
    optional: Inner | None = None
    listed: tuple[Inner, ...] = ()
    either: int | Inner = 0


@pytest.mark.parametrize(
    "content", [{"optional": {"widht": 2}}, {"listed": [{}, {"widht": 2}]}, {"either": {"widht": 2}}]
)
def test_an_unknown_entry_is_named_however_its_table_is_declared(content):
    with pytest.raises(ValueError, match=r"^there has an entry 'widht' that nobody reads: did you mean 'width'"):
        validated(Outer, content, "there")
