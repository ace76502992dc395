"""CIFAR from the authors' archives and from JPEG copies, with tiny ones made here, and with real copies where given."""

import hashlib
import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.misbehaving_server import Server

from vitlab.data import DataError, cifar, load

VITLAB_DATA = os.environ.get("VITLAB_DATA", "")  # the reader's; the tests set their own
TRAIN, TEST = 7, 3  # records in each file
NAMES = {"cifar10": ("airplane", "automobile", "bird"), "cifar100": ("apple", "aquarium_fish")}


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch) -> None:
    """An empty cache, and an empty VITLAB_DATA."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("VITLAB_DATA", str(tmp_path / "given"))
    (tmp_path / "given" / "cifar10").mkdir(parents=True)


def make_archive(name: str) -> tuple[bytes, dict[str, np.ndarray]]:
    """An archive like the authors', and its records."""
    archive = cifar.ARCHIVES[name]
    rng = np.random.default_rng(0)
    records, buffer = {}, io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:

        def add(member: str, content: bytes) -> None:
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))

        add(archive.classes, "\n".join((*NAMES[name], "")).encode())
        for members, count in ((archive.test, TEST), (archive.train, TRAIN)):
            for member in members:
                records[member] = rng.integers(0, 256, (count, archive.label_bytes + 3072)).astype(np.uint8)
                records[member][:, archive.label_bytes - 1] %= len(NAMES[name])
                add(member, records[member].tobytes())
        add("../outside", b"is never unpacked")
    return buffer.getvalue(), records


def publish(monkeypatch, name: str, content: bytes, *mirrors: str) -> None:
    """Let this be the archive that the authors have published."""
    archive = cifar.ARCHIVES[name]
    file = replace(
        archive.file, size=len(content), hash=f"sha256:{hashlib.sha256(content).hexdigest()}", mirrors=mirrors
    )
    monkeypatch.setitem(cifar.ARCHIVES, name, replace(archive, file=file))


def assert_pixel_by_pixel(split, records: list[np.ndarray], label_bytes: int) -> None:
    records = np.concatenate(records)
    assert split.images.dtype == torch.uint8 and split.images.shape == (len(records), 3, 32, 32)
    assert split.labels.dtype == torch.int64 and split.labels.shape == (len(records),)
    for i, record in enumerate(records):
        assert split.labels[i] == record[label_bytes - 1]
        for channel, row, column in ((0, 0, 0), (1, 0, 31), (2, 31, 30), (0, 17, 4)):
            number = label_bytes + channel * 1024 + row * 32 + column  # as the authors' page describes it
            assert split.images[i, channel, row, column] == record[number]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_download_and_read(monkeypatch, name, tmp_path):
    content, records = make_archive(name)
    archive = cifar.ARCHIVES[name]
    with Server({"a": content}, "corrupt") as bad, Server({"a": content}) as good:
        publish(monkeypatch, name, content, bad.address("a"), good.address("a"))
        dataset = load(name)
        again = load(name)
    assert len(bad.requests) == len(good.requests) == 1
    assert dataset.classes == NAMES[name] and not dataset.is_segmentation
    assert_pixel_by_pixel(dataset.train, [records[member] for member in archive.train], archive.label_bytes)
    assert_pixel_by_pixel(dataset.test, [records[member] for member in archive.test], archive.label_bytes)
    assert torch.equal(dataset.train.images, again.train.images)
    assert "Krizhevsky" in dataset.card.citation and "downloaded" in dataset.card.size
    assert not list(tmp_path.rglob("outside"))


def test_the_authors_archive_is_taken_from_vitlab_data(monkeypatch, tmp_path):
    content, _ = make_archive("cifar10")
    publish(monkeypatch, "cifar10", content)
    (tmp_path / "given" / "cifar10" / "cifar-10-binary.tar.gz").write_bytes(content)
    give_jpeg_copies(tmp_path)
    assert "JPEG" not in load("cifar10").card.name
    assert not (tmp_path / "cache").exists()


def test_without_a_mirror_the_error_says_what_to_do(monkeypatch):
    with Server({}, "404") as server:
        publish(monkeypatch, "cifar100", b"...", server.address("a"))
        with pytest.raises(DataError, match=r"answered 404.*VITLAB_DATA"):
            load("cifar100")


def test_an_unknown_name():
    with pytest.raises(DataError, match="cifar10, cifar100"):
        cifar.load(name="cifar1000")


def give_jpeg_copies(tmp_path: Path, seed: int = 1, **changes) -> np.ndarray:
    """JPEG copies in VITLAB_DATA, of 7 and 3 images, each of one colour; `changes` are made to both."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (TRAIN + TEST, 3)).astype(np.uint8)
    streams = []
    for colour in colours:
        buffer = io.BytesIO()
        Image.new("RGB", (32, 32), tuple(colour.tolist())).save(buffer, "JPEG", quality=95)
        streams.append(buffer.getvalue())
    for path, part in zip(cifar.JPEG_COPIES, (slice(0, TRAIN), slice(TRAIN, None)), strict=True):
        chosen = streams[part]
        content = {
            "jpeg": np.frombuffer(b"".join(chosen), np.uint8),
            "offsets": np.cumsum([0, *map(len, chosen)]).astype(np.uint32),
            "labels": np.arange(len(chosen), dtype=np.uint8) % 3,
            "class_names": np.array(NAMES["cifar10"]),
        }
        np.savez(tmp_path / "given" / path, **(content | changes))
    return colours


def test_jpeg_copies(tmp_path):
    colours = give_jpeg_copies(tmp_path)
    dataset = load("cifar10")
    assert dataset.card.name == "CIFAR-10, JPEG copies" and dataset.classes == NAMES["cifar10"]
    images = torch.cat([dataset.train.images, dataset.test.images])
    assert images.shape == (TRAIN + TEST, 3, 32, 32) and images.dtype == torch.uint8
    assert (images.int() - torch.from_numpy(colours)[:, :, None, None]).abs().max() <= 4
    assert dataset.train.labels.tolist() == [0, 1, 2, 0, 1, 2, 0] and dataset.test.labels.tolist() == [0, 1, 2]


def test_decoded_copies_are_kept_and_damage_is_noticed(tmp_path, monkeypatch, capsys):
    give_jpeg_copies(tmp_path)
    images = load("cifar10").train.images
    decode = cifar._decode
    decoded = []
    monkeypatch.setattr(cifar, "_decode", lambda *arguments: decoded.append(1) or decode(*arguments))
    assert torch.equal(load("cifar10").train.images, images) and not decoded

    (kept,) = (tmp_path / "cache").rglob("cifar10_train_jpeg-*.npz")
    good = kept.read_bytes()
    middle = len(good) // 2
    for bad in (good[:middle], good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :], b"", b"nonsense"):
        kept.write_bytes(bad)
        decoded.clear()
        assert torch.equal(load("cifar10").train.images, images) and len(decoded) == 1
        assert "is damaged and is made again" in capsys.readouterr().err
        assert kept.read_bytes() == good


def test_changed_copies_are_decoded_again(tmp_path):
    give_jpeg_copies(tmp_path)
    load("cifar10")
    colours = give_jpeg_copies(tmp_path, seed=2)
    images = load("cifar10").train.images
    assert (images.int() - torch.from_numpy(colours)[:TRAIN, :, None, None]).abs().max() <= 4


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": np.array([0, 1])},
        {"labels": np.full(TRAIN, 3)},
        {"jpeg": np.zeros(9, np.uint8)},
        {"class_names": np.array([{"a": "pickle"}], object)},
        {"offsets": np.zeros(TRAIN + 1)},
        {"class_names": np.array([NAMES["cifar10"]])},
    ],
    ids=["labels for other images", "a label without a class", "no JPEGs", "a pickle", "decimals", "names in pairs"],
)
def test_wrong_jpeg_copies(tmp_path, changes):
    give_jpeg_copies(tmp_path, **changes)
    with pytest.raises(DataError, match=r"cifar10_train_jpeg\.npz cannot be read"):
        load("cifar10")


def test_a_copy_that_is_no_archive_or_missing_is_named(tmp_path):
    give_jpeg_copies(tmp_path)
    train, test = (tmp_path / "given" / path for path in cifar.JPEG_COPIES)
    test.unlink()
    with pytest.raises(DataError, match=r"cifar10_test_jpeg\.npz"):
        load("cifar10")
    np.save(train.with_suffix(".npy"), np.zeros(3))
    train.with_suffix(".npy").replace(train)
    give = train.read_bytes()
    test.write_bytes(give)
    with pytest.raises(DataError, match=r"cifar10_train_jpeg\.npz cannot be read \(it is no \.npz file\)"):
        load("cifar10")


def test_the_real_jpeg_copies(monkeypatch):
    if not all((Path(VITLAB_DATA) / path).is_file() for path in cifar.JPEG_COPIES):
        pytest.skip(f"VITLAB_DATA names no folder with {' and '.join(cifar.JPEG_COPIES)}")
    monkeypatch.setenv("VITLAB_DATA", VITLAB_DATA)
    dataset = load("cifar10")
    assert dataset.train.images.shape == (50_000, 3, 32, 32) and dataset.test.images.shape == (10_000, 3, 32, 32)
    assert dataset.train.labels.bincount().tolist() == [5000] * 10
    assert dataset.test.labels.bincount().tolist() == [1000] * 10
    mean = dataset.normalization().mean
    assert (mean - torch.tensor([0.4914, 0.4822, 0.4465])).abs().max() < 0.001  # of the original pixels, as published
