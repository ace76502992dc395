"""A folder of images and annotations: one image file and one annotation file of the same name for each scene."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitlab.data.dataset import IGNORE, Card, DataError, Dataset, Split, default_palette, nfc
from vitlab.data.download import find_given
from vitlab.data.pictures import open_picture, read_picture
from vitlab.validation import Byte, Colour, Names, Size

VALUES = {str(value) for value in range(256)}


def load(
    *,
    path: str | Path,
    classes: Names,
    images: str = "images/{split}",
    annotations: str = "annotations/{split}",
    train: str = "train",
    test: str = "val",
    ignore: Byte | None = None,
    mapping: dict[str, Byte] | None = None,
    palette: tuple[Colour, ...] | None = None,
    size: tuple[Size, Size] | None = None,
) -> Dataset:
    """Images, and annotations that give a class for every pixel: grey PNG files of 8 bits.

    Args:
        path: the folder. Where it is relative, it is looked for in the folder that the environment variable
            VITLAB_DATA names, then in the working directory.
        classes: their names, at most 255.
        images, annotations: the folders below it, in which {split} stands for the name of the split.
        train, test: the names of the splits.
        ignore: the value in the files of pixels that do not count.
        mapping: from the values in the files to classes 0, 1, ..., or to 255 for values to ignore; by default each
            value is a class.
        palette: (N_classes, 3) in 0 ... 255, a colour for each class; by default distinct ones.
        size: (H, W) to which images and annotations are resized.

    Returns:
        images (N, 3, H, W) and masks (N, H, W) where all sizes are equal, else lists of them.

    Raises:
        DataError: if a folder or file is missing, is damaged, or does not fit the others or the classes.
    """
    root = Path(path).expanduser()
    root = root if root.is_absolute() else find_given(str(root)) or root
    class_of = _class_of(len(classes), ignore, {i: i for i in range(len(classes))} if mapping is None else mapping)
    palette = default_palette(len(classes)) if palette is None else palette
    if len(palette) != len(classes):
        raise DataError(f"the palette has {len(palette)} colours, but there are {len(classes)} classes.")
    if train == test:
        raise DataError(f"train and test are both {train!r}, but a model is tested on images that it has not learned.")
    splits = [
        _read_split(*(root / each.replace("{split}", split) for each in (images, annotations)), class_of, size)
        for split in (train, test)
    ]
    return Dataset(
        card=Card(
            name=root.name,
            source=f"the folder {root.name}",
            licence="that of its images",
            size=f"{len(splits[0])} images to train on and {len(splits[1])} to test on; nothing is downloaded",
            citation="the authors of its images",
        ),
        classes=tuple(classes),
        train=splits[0],
        test=splits[1],
        palette=torch.tensor(palette, dtype=torch.uint8),
    )


def _class_of(num_classes: int, ignore: int | None, mapping: Mapping[int | str, int]) -> np.ndarray:
    """(256,): the class of each value in an annotation, `IGNORE`, or -1 where there is none."""
    table = np.full(256, -1)
    ignored = {} if ignore is None else {ignore: IGNORE}
    for value, index in (dict(mapping) | ignored).items():
        if str(value) not in VALUES or index not in {*range(num_classes), IGNORE}:
            raise DataError(
                f"the value {value} in annotations cannot stand for {index}: values are 0 to 255, and classes 0 to "
                f"{num_classes - 1}, or {IGNORE} for what is ignored."
            )
        table[int(value)] = index  # the keys of a TOML file are text
    return table


def _read_split(images: Path, annotations: Path, class_of: np.ndarray, size: Sequence[int] | None) -> Split:
    image_of, annotation_of = _files(images, {".jpg", ".jpeg", ".png"}), _files(annotations, {".png"})
    for name in sorted(image_of.keys() ^ annotation_of.keys()):
        if name in image_of:
            raise DataError(f"{image_of[name]} has no annotation: there should be {annotations / name}.png.")
        raise DataError(f"{annotation_of[name]} has no image: there should be {images / name}.jpg or .png.")
    pairs = [_read_pair(image_of[name], annotation_of[name], class_of, size) for name in sorted(image_of)]
    if all((mask == IGNORE).all() for _, mask in pairs):
        raise DataError(f"every pixel in {annotations} is ignored: at least one has to have a class.")
    return Split(*map(_together, zip(*pairs, strict=True)))


def _files(folder: Path, suffixes: set[str]) -> dict[str, Path]:
    """The files with one of these suffixes, by their name without it."""
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}: `path`, `images` and `annotations` say where it should be, below "
            f"VITLAB_DATA or the working directory."
        )
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            name = nfc(path.stem)
            if name in files:
                raise DataError(f"{path} and {files[name].name} have the same name: there should be only one.")
            files[name] = path
    if not files:
        raise DataError(f"{folder} has no files that end in {' or '.join(sorted(suffixes))}.")
    return files


def _read_pair(image: Path, annotation: Path, class_of: np.ndarray, size: Sequence[int] | None):
    picture, values = read_picture(image).convert("RGB"), open_picture(annotation, annotation, ["PNG"])
    if values.mode != "L":
        raise DataError(
            f"{annotation} holds colours or numbers of another kind (Pillow's mode {values.mode}): an annotation is a "
            f"grey PNG file of 8 bits whose values are the classes."
        )
    if picture.size != values.size:
        raise DataError(
            f"{image} has {picture.height} x {picture.width} pixels and {annotation} {values.height} x {values.width}: "
            f"they should be equal."
        )
    unknown = [value for value, count in enumerate(values.histogram()) if count and class_of[value] < 0]
    if unknown:
        raise DataError(
            f"{annotation} has the value {unknown[0]}, which is neither a class nor ignored: add it to the "
            f"classes, to the `mapping`, or `ignore` it."
        )
    if size is not None:
        H, W = size
        picture = picture.resize((W, H), Image.Resampling.BILINEAR)  # Pillow averages where it makes smaller
        values = values.resize((W, H), Image.Resampling.NEAREST)
    mask = class_of[np.asarray(values)].astype(np.uint8)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous(), torch.from_numpy(mask)


def _together(tensors: Sequence[Tensor]) -> Tensor | list[Tensor]:
    return torch.stack(list(tensors)) if len({tensor.shape for tensor in tensors}) == 1 else list(tensors)
