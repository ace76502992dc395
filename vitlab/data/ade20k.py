"""A small, reproducible subset of ADE20K: the scenes of SceneParse150, each pixel one of 150 classes.

The published zip has 22,210 images in 967 MB. Here a few hundred are chosen by a seed, and only these are fetched.
"""

import difflib
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from vitlab.ade20k import shift_labels
from vitlab.data.dataset import IGNORE, Card, DataError, Dataset, Split
from vitlab.data.download import (
    NoRangesError,
    RangeFile,
    RemoteFile,
    cache_folder,
    exclusive,
    fetch,
    find_given,
    say,
)
from vitlab.data.pictures import open_picture, read_picture
from vitlab.files import written_whole
from vitlab.validation import Many, Names, Seed, Size

# The SHA-1 is the one in dmlc/gluon-cv, scripts/datasets/ade20k.py.
ZIP = RemoteFile(
    "ade20k/ADEChallengeData2016.zip",
    967_382_037,
    "sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7",
    (
        "https://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
        "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
    ),
)
FOLDER = "ADEChallengeData2016"  # the one at the top of the zip
LARGEST = 64_000_000  # bytes of a member; the published ones are far smaller
SHARE = 0.01  # of an image's pixels must belong to the classes that were asked for
LOOKS = 20  # images are looked at for each one that is wanted, in search of those classes

# The 150 classes in the order of their labels, 1 to 150, with their colours in hexadecimal. Facts from
# github.com/CSAILVision/sceneparsing (BSD 3-Clause): objectInfo150.txt, of whose names each class keeps the first, as
# published models do, and color150.mat, in which `road` and `skyscraper` do have the same colour.
CLASSES_AND_COLOURS = """\
wall 787878, building b47878, sky 06e6e6, floor 503232, tree 04c803, ceiling 787850, road 8c8c8c, bed cc05ff,
windowpane e6e6e6, grass 04fa07, cabinet e005ff, sidewalk ebff07, person 96053d, earth 787846, door 08ff33,
table ff0652, mountain 8fff8c, plant ccff04, curtain ff3307, chair cc4603, car 0066c8, water 3de6fa, painting ff0633,
sofa 0b66ff, shelf ff0747, house ff09e0, sea 0907e6, mirror dcdcdc, rug ff095c, field 7009ff, armchair 08ffd6,
seat 07ffe0, fence ffb806, desk 0aff47, rock ff290a, wardrobe 07ffff, lamp e0ff08, bathtub 6608ff, railing ff3d06,
cushion ffc207, base ff7a08, box 00ff14, column ff0829, signboard ff0599, chest of drawers 0633ff, counter eb0cff,
sand a09614, sink 00a3ff, skyscraper 8c8c8c, fireplace fa0a0f, refrigerator 14ff00, grandstand 1fff00, path ff1f00,
stairs ffe000, runway 99ff00, case 0000ff, pool table ff4700, pillow 00ebff, screen door 00adff, stairway 1f00ff,
river 0bc8c8, bridge ff5200, bookcase 00fff5, blind 003dff, coffee table 00ff70, toilet 00ff85, flower ff0000,
book ffa300, hill ff6600, bench c2ff00, countertop 008fff, stove 33ff00, palm 0052ff, kitchen island 00ff29,
computer 00ffad, swivel chair 0a00ff, boat adff00, bar 00ff99, arcade machine ff5c00, hovel ff00ff, bus ff00f5,
towel ff0066, light ffad00, truck ff0014, tower ffb8b8, chandelier 001fff, awning 00ff3d, streetlight 0047ff,
booth ff00cc, television receiver 00ffc2, airplane 00ff52, dirt track 000aff, apparel 0070ff, pole 3300ff, land 00c2ff,
bannister 007aff, escalator 00ffa3, ottoman ff9900, bottle 00ff0a, buffet ff7000, poster 8fff00, stage 5200ff,
van a3ff00, ship ffeb00, fountain 08b8aa, conveyer belt 8500ff, canopy 00ff5c, washer b800ff, plaything ff001f,
swimming pool 00b8ff, stool 00d6ff, barrel ff0070, basket 5cff00, waterfall 00e0ff, tent 70e0ff, bag 46b8a0,
minibike a300ff, cradle 9900ff, oven 47ff00, ball ff00a3, food ffcc00, step ff008f, tank 00ffeb, trade name 85ff00,
microwave ff00eb, pot f500ff, animal ff007a, bicycle fff500, lake 0abed4, dishwasher d6ff00, screen 00ccff,
blanket 1400ff, sculpture ffff00, hood 0099ff, sconce 0029ff, vase 00ffcc, traffic light 2900ff, tray 29ff00,
ashcan ad00ff, fan 00f5ff, pier 4700ff, crt screen 7a00ff, plate 00ffb8, monitor 005cff, bulletin board b8ff00,
shower 0085ff, radiator ffd600, glass 19c2c2, clock 66ff00, flag 5c00ff"""
CLASSES = tuple(entry.strip().rsplit(" ", 1)[0] for entry in CLASSES_AND_COLOURS.split(","))
PALETTE = torch.tensor([list(bytes.fromhex(entry.split()[-1])) for entry in CLASSES_AND_COLOURS.split(",")]).byte()


class _Zip(ZipFile):
    """The published zip, or what is given for it."""

    def read(self, name: str) -> bytes:
        size = self.getinfo(name).file_size
        if size > LARGEST:
            raise DataError(f"{name} says that it has {size:,} bytes, which no image of ADE20K has.")
        return super().read(name)


class _Folder:
    """The unpacked zip."""

    def __init__(self, folder: Path):
        self._parent = folder.parent

    def namelist(self) -> list[str]:
        return [path.relative_to(self._parent).as_posix() for path in self._parent.glob(f"{FOLDER}/images/*/*.jpg")]

    def read(self, member: str) -> bytes:
        return (self._parent / member).read_bytes()


class _Cache:
    """What was fetched before, and the published zip for the rest: it is asked only for members that are not here."""

    def __init__(self, members: Path):
        self._members = members
        self._remote: RangeFile | None = None
        self._archive: _Zip | None = None
        try:
            with gzip.open(members, "rt") as content:  # gzip notices damage
                self._checksums = dict(json.load(content))
            if not self._checksums:
                raise ValueError("nothing is in it")
        except FileNotFoundError:
            self._open()
        except (OSError, EOFError, zlib.error, ValueError, TypeError):
            say(f"{members} is damaged and is fetched again.")
            self._open()

    def namelist(self) -> list[str]:
        return list(self._checksums)

    def read(self, member: str) -> bytes:
        path = self._members.parent / member
        if path.exists():
            content = path.read_bytes()
            if zlib.crc32(content) == self._checksums[member]:
                return content
            say(f"{path} is damaged and is fetched again.")
        content = self._fetch(member)
        with written_whole(path) as draft, open(draft, "wb") as out:
            out.write(content)
        return content

    def _fetch(self, member: str) -> bytes:
        if self._archive is None:
            self._open()
        info = self._archive.getinfo(member)
        if self._remote is not None:  # header, name, extra field and data by one request
            self._remote.prefetch(info.header_offset, 30 + len(member) + 256 + info.compress_size)
        return self._archive.read(member)

    def _open(self) -> None:
        """Open the published zip, and keep the list of what is in it."""
        say("ADE20K: reading the list of what is in the published zip.")
        try:
            self._remote = None if (cache_folder() / ZIP.path).exists() else RangeFile(ZIP)
            self._archive = _open_zip(self._remote or fetch(ZIP))
        except NoRangesError:
            say(f"ADE20K: the server sends only the whole zip, of {_megabytes()}.")
            self._remote = None
            self._archive = _open_zip(fetch(ZIP))
        self._checksums = {info.filename: info.CRC for info in self._archive.infolist()}
        with written_whole(self._members) as draft, open(draft, "wb") as out:
            out.write(gzip.compress(json.dumps(self._checksums).encode()))


def _open_zip(file: Path | RangeFile) -> _Zip:
    try:
        return _Zip(file)
    except BadZipFile as error:
        where = file if isinstance(file, Path) else ZIP.mirrors[0]
        raise DataError(f"{where} is not a whole zip: {error}.") from error


Source = _Zip | _Folder | _Cache  # each has namelist() and read(name)


@contextmanager
def _open() -> Iterator[Source]:
    """The data set, wherever it is."""
    folder, archive = find_given(f"ade20k/{FOLDER}"), find_given(ZIP.path)
    if folder:
        yield _Folder(folder)
    elif archive:
        with _open_zip(fetch(ZIP)) as source:  # which compares its hash
            yield source
    else:
        members = cache_folder() / "ade20k" / "members.json.gz"
        with exclusive(members):
            yield _Cache(members)


def _megabytes() -> str:
    return f"{ZIP.size / 1e6:.0f} MB"


def load(
    *,
    images: Many = 200,
    test_images: Many = 50,
    classes: Names | None = None,
    most_frequent: Many | None = None,
    shorter_side: Size = 256,
    seed: Seed = 0,
) -> Dataset:
    """So many images of the official training split, and so many of the official validation split as `test`.

    A copy in VITLAB_DATA is used where there is one: ade20k/ADEChallengeData2016.zip or the folder unpacked from it,
    ade20k/ADEChallengeData2016. Else the images are fetched out of the published zip and kept in the cache.

    Args:
        images, test_images: how many. The first of a larger number are those of a smaller one.
        classes: names out of `CLASSES`. Only images are chosen in which they cover 1% of the pixels or more, and the
            pixels of all other classes are ignored.
        most_frequent: keep as many classes, those with most pixels in the chosen training images, in this order; all
            others are merged into one more class, "other".
        shorter_side: of the images, in pixels; larger images are made smaller, smaller ones stay.
        seed: another seed chooses other images.

    Raises:
        DataError: if an option is wrong, there are not so many such images, or the data cannot be had or read.

    Source: B. Zhou et al., "Scene Parsing through ADE20K Dataset", CVPR 2017.
    """
    if classes is not None and most_frequent is not None:
        raise DataError("choose either classes or the most_frequent ones, not both.")
    chosen = None if classes is None else _indices(classes)
    with _open() as source:
        train = _read_split(source, "training", images, chosen, shorter_side, seed)
        test = _read_split(source, "validation", test_images, chosen, shorter_side, seed)
    names, palette = CLASSES, PALETTE
    if most_frequent is not None:
        chosen = _most_frequent(train, most_frequent)
    if chosen is not None:
        others = IGNORE if most_frequent is None else len(chosen)
        train, test = (_relabel(split, chosen, others) for split in (train, test))
        names, palette = tuple(CLASSES[i] for i in chosen), PALETTE[chosen]
    if most_frequent is not None:
        names, palette = (*names, "other"), torch.cat([palette, torch.zeros(1, 3).byte()])
    what = f"{images} + {test_images} images, seed {seed}, {'all 150 classes' if chosen is None else ', '.join(names)}"
    card = Card(
        name=f"ADE20K (SceneParse150), a subset: {what}",
        source="http://sceneparsing.csail.mit.edu",
        licence="images: non-commercial research and education only; annotations: BSD 3-Clause",
        size=f"{images} of 20,210 training and {test_images} of 2,000 validation images, shorter side at most "
        f"{shorter_side} pixels; only these are downloaded where the server allows it, else {_megabytes()}",
        citation="B. Zhou et al., Scene Parsing through ADE20K Dataset, CVPR 2017",
    )
    return Dataset(card, names, train, test, palette)


def _indices(classes: tuple[str, ...]) -> list[int]:
    for name in classes:
        if name not in CLASSES:
            close = difflib.get_close_matches(name, CLASSES, cutoff=0.5) or CLASSES[:5]
            raise DataError(f"ADE20K has no class {name!r}; it has {', '.join(close)}, among others.")
    return [CLASSES.index(name) for name in classes]


def _read_split(
    source: Source, split: str, count: int, chosen: list[int] | None, shorter_side: int, seed: int
) -> Split:
    pattern = re.compile(f"{FOLDER}/images/{split}/(ADE_\\w+)\\.jpg")
    names = [match[1] for match in map(pattern.fullmatch, source.namelist()) if match]
    # Ordered by a hash and not by a random generator: the choice stays, whatever becomes of the generators.
    names.sort(key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    if len(names) < count:
        raise DataError(f"{count} {split} images were asked for, but there are only {len(names)}.")
    pictures, masks = [], []
    candidates = names[: count if chosen is None else LOOKS * count]
    with tqdm(desc=f"ADE20K, {split}", total=count) as bar:
        for name in candidates:
            path = f"{FOLDER}/annotations/{split}/{name}.png"
            mask = open_picture(_read(source, path), path)
            labels = _shift(mask, name)
            if chosen is not None and np.isin(labels, chosen).mean() < SHARE:
                continue
            path = f"{FOLDER}/images/{split}/{name}.jpg"
            picture = read_picture(_read(source, path), path).convert("RGB")
            if picture.size != mask.size:
                raise DataError(f"{name} has {picture.size} pixels, but its annotation has {mask.size}.")
            scale = min(1, shorter_side / min(picture.size))
            size = tuple(round(side * scale) for side in picture.size)
            pixels = np.array(picture.resize(size, Image.Resampling.BICUBIC))  # (H, W, 3)
            pictures.append(torch.from_numpy(pixels).permute(2, 0, 1).contiguous())  # (3, H, W)
            masks.append(torch.from_numpy(np.array(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))))
            bar.update()
            if len(masks) == count:
                return Split(pictures, masks)
    raise DataError(
        f"only {len(masks)} of the {len(candidates)} {split} images that were looked at show these classes on "
        f"{SHARE:.0%} of their pixels: ask for fewer than {count}, or for more classes."
    )


def _read(source: Source, member: str) -> bytes:
    try:
        return source.read(member)
    except (KeyError, FileNotFoundError):
        raise DataError(f"{member} is missing in this copy of ADE20K.") from None
    except (BadZipFile, zlib.error) as error:
        raise DataError(
            f"{member} came damaged ({error}): try again, or replace the copy in VITLAB_DATA if it is from there."
        ) from error


def _shift(mask: Image.Image, name: str) -> np.ndarray:
    """Labels as published, 0 for unlabelled and 1 ... 150, to 0 ... 149 and `IGNORE`: (H, W) in uint8."""
    labels = np.array(mask)
    if mask.mode not in ("L", "P"):
        raise DataError(f"the annotation of {name} has the mode {mask.mode}, but one byte a pixel is wanted.")
    if labels.max() > len(CLASSES):
        raise DataError(f"the annotation of {name} has the label {labels.max()}, but {len(CLASSES)} is the last.")
    return shift_labels(torch.from_numpy(labels)).numpy()


def _most_frequent(train: Split, count: int) -> list[int]:
    pixels = sum(torch.bincount(mask.flatten(), minlength=256) for mask in train.labels)[: len(CLASSES)]
    present = int((pixels > 0).sum())
    if not 1 <= count < present:
        raise DataError(f"most_frequent is {count}, but has to be 1 to {present - 1}: {present} classes occur.")
    return pixels.argsort(descending=True, stable=True)[:count].tolist()


def _relabel(split: Split, chosen: list[int], others: int) -> Split:
    """Class `chosen[i]` becomes i, every other one `others`; `IGNORE` stays."""
    new = torch.full((256,), others, dtype=torch.uint8)
    new[chosen] = torch.arange(len(chosen), dtype=torch.uint8)
    new[IGNORE] = IGNORE
    return Split(split.images, [new[mask.long()] for mask in split.labels])
