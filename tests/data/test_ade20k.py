"""ADE20K out of a zip on a server, a zip or a folder: a tiny data set of the same form, made here."""

import csv
import gzip
import io
import os
import zlib
from dataclasses import replace
from hashlib import sha1
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
import pytest
import torch
from PIL import Image
from support.misbehaving_server import Server

from vitlab.data import IGNORE, DataError, ade20k, download, load

VITLAB_DATA = os.environ.get("VITLAB_DATA", "")  # the reader's; the tests set their own
TRAINING, VALIDATION = 12, 5
WALL, SKY, FLAG = 1, 3, 150  # labels as published


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch) -> None:
    """An empty cache, and an empty VITLAB_DATA."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("VITLAB_DATA", str(tmp_path / "given"))
    (tmp_path / "given" / "ade20k").mkdir(parents=True)


def make_mask(i: int) -> np.ndarray:
    """A column of 0, one of `WALL`, one of the label i + 20, each 10 wide; in every third image, a column of `SKY`."""
    mask = np.repeat(np.array([0, WALL, i + 20, SKY if i % 3 == 0 else WALL]), 10)
    return np.broadcast_to(mask, (30, 40)).astype(np.uint8)


def make_members() -> dict[str, bytes]:
    """Every file of a small SceneParse150: image i is the grey i, in the size 40 x 30."""
    members = {"ADEChallengeData2016/": b"", "ADEChallengeData2016/objectInfo150.txt": b"not read"}
    for split, short, count in (("training", "train", TRAINING), ("validation", "val", VALIDATION)):
        for i in range(count):
            name = f"ADE_{short}_{i + 1:08}"
            picture = Image.new("RGB" if i else "L", (40, 30), (i, i, i) if i else 0)  # some of the real ones are grey
            members[f"ADEChallengeData2016/images/{split}/{name}.jpg"] = encode(picture, "JPEG")
            members[f"ADEChallengeData2016/annotations/{split}/{name}.png"] = encode(make_mask(i), "PNG")
    return members


def encode(image: Image.Image | np.ndarray, form: str) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, form)
    return buffer.getvalue()


def make_zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content, ZIP_STORED if name.endswith("jpg") else ZIP_DEFLATED)
        archive.writestr("ADEChallengeData2016/rest", np.random.default_rng(0).bytes(500_000))
    return buffer.getvalue()


def publish(monkeypatch, *servers: Server, members: dict[str, bytes] | None = None) -> bytes:
    """Let the servers have the zip that is published."""
    content = make_zip(members or make_members())
    for server in servers:
        server.files["ade.zip"] = content
    file = replace(
        ade20k.ZIP,
        size=len(content),
        hash=f"sha1:{sha1(content).hexdigest()}",
        mirrors=tuple(server.address("ade.zip") for server in servers),
    )
    monkeypatch.setattr(ade20k, "ZIP", file)
    return content


def give(tmp_path: Path, members: dict[str, bytes]) -> None:
    """The unpacked zip, in VITLAB_DATA."""
    for name, content in members.items():
        if not name.endswith("/"):
            path = tmp_path / "given" / "ade20k" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def number(image: torch.Tensor) -> int:
    """Which one this is."""
    return int(image.float().mean().round())


def assert_same(one, other) -> None:
    for a, b in ((one.train, other.train), (one.test, other.test)):
        for x, y in zip([*a.images, *a.labels], [*b.images, *b.labels], strict=True):
            assert torch.equal(x, y)


def fetched(server: Server) -> int:
    """Bytes that were asked for by range."""
    spans = [span.removeprefix("bytes=").split("-") for _, span in server.requests]
    return sum(int(last) - int(first) + 1 for first, last in spans)


def test_the_table_of_classes():
    assert len(ade20k.CLASSES) == len(set(ade20k.CLASSES)) == 150 and ade20k.PALETTE.shape == (150, 3)
    assert (ade20k.CLASSES[0], ade20k.PALETTE[0].tolist()) == ("wall", [120, 120, 120])
    assert (ade20k.CLASSES[149], ade20k.PALETTE[149].tolist()) == ("flag", [92, 0, 255])


def test_labels_are_shifted_once_and_zero_is_ignored(tmp_path):
    give(tmp_path, make_members())
    dataset = load("ade20k", images=TRAINING, test_images=VALIDATION)
    assert dataset.classes == ade20k.CLASSES and dataset.is_segmentation
    assert sorted(number(image) for image in dataset.train.images) == list(range(TRAINING))
    for image, labels in zip(dataset.train.images, dataset.train.labels, strict=True):
        i = number(image)
        assert image.shape == (3, 30, 40) and image.dtype == labels.dtype == torch.uint8
        assert labels[7, ::10].tolist() == [IGNORE, WALL - 1, i + 19, SKY - 1 if i % 3 == 0 else WALL - 1]
        assert labels.shape == (30, 40) and torch.equal(labels, labels[:1].expand(30, 40))


def test_only_what_is_needed_is_fetched_and_kept(monkeypatch, tmp_path):
    with Server({}) as server:
        content = publish(monkeypatch, server)
        dataset = load("ade20k", images=3, test_images=2)
        assert len(server.requests) < 4 + 2 * 5  # the list, and one for each image and each annotation
        assert fetched(server) < len(content) / 10
        before = len(server.requests)
        assert_same(load("ade20k", images=3, test_images=2), dataset)
        assert len(server.requests) == before
        larger = load("ade20k", images=4, test_images=2)
        assert len(server.requests) < before + 4 + 2  # the list again, one image and its annotation
        assert [number(x) for x in larger.train.images][:3] == [number(x) for x in dataset.train.images]
        assert len([1 for path in (tmp_path / "cache").rglob("ADE_*") if path.is_file()]) == 2 * 6
    give(tmp_path, make_members())
    assert_same(load("ade20k", images=3, test_images=2), dataset)


def test_another_seed_chooses_other_images(tmp_path):
    give(tmp_path, make_members())
    first, again, other = (load("ade20k", images=5, test_images=1, seed=seed).train.images for seed in (0, 0, 1))
    assert [number(x) for x in first] == [number(x) for x in again] != [number(x) for x in other]
    assert len({number(x) for x in first}) == 5


def test_a_given_zip_needs_no_network(monkeypatch, tmp_path):
    content = publish(monkeypatch)
    (tmp_path / "given" / "ade20k" / "ADEChallengeData2016.zip").write_bytes(content)
    dataset = load("ade20k", images=3, test_images=2)
    give(tmp_path, make_members())
    assert_same(load("ade20k", images=3, test_images=2), dataset)


@pytest.mark.parametrize("fault", ["no ranges", "wrong ranges"])
def test_without_ranges_the_whole_zip_is_fetched_once(monkeypatch, tmp_path, fault, capsys):
    with Server({}, fault) as server:
        publish(monkeypatch, server)
        dataset = load("ade20k", images=3, test_images=2)
        assert "sends only the whole zip, of 1 MB" in capsys.readouterr().err
        before = len(server.requests)
        larger = load("ade20k", images=4, test_images=2)
        assert len(server.requests) == before
    assert [number(x) for x in larger.train.images][:3] == [number(x) for x in dataset.train.images]


@pytest.mark.parametrize("fault", ["500", "404", "another file", "truncated", "corrupt", "stalled", "lying ranges"])
def test_a_fault_is_an_error_and_leaves_nothing_bad(monkeypatch, tmp_path, fault):
    if fault == "stalled":
        monkeypatch.setattr(download, "STALL", 0.2)
    give(tmp_path, make_members())
    right = load("ade20k", images=3, test_images=2)
    monkeypatch.delenv("VITLAB_DATA")
    with Server({}, fault) as server:
        publish(monkeypatch, server)
        with pytest.raises(DataError):  # in the list of the members
            load("ade20k", images=3, test_images=2)
        server.fault = None
        load("ade20k", images=1, test_images=1)
        server.fault = fault
        with pytest.raises(DataError):  # in the members
            load("ade20k", images=3, test_images=2)
        server.fault = None
        assert_same(load("ade20k", images=3, test_images=2), right)


def test_another_mirror_helps(monkeypatch):
    with Server({}, "truncated") as bad, Server({}) as good:
        publish(monkeypatch, bad, good)
        assert len(load("ade20k", images=3, test_images=2).train) == 3


def test_damage_in_the_cache_is_noticed(monkeypatch, tmp_path, capsys):
    with Server({}) as server:
        publish(monkeypatch, server)
        dataset = load("ade20k", images=1, test_images=1)
        files = [path for path in (tmp_path / "cache" / "vitlab").rglob("*") if path.suffix in (".jpg", ".png", ".gz")]
        assert len(files) == 2 * 2 + 1
        for path in files:
            content = path.read_bytes()
            whole_but_wrong = [gzip.compress(text) for text in (b"{}", b"[1]")] if path.suffix == ".gz" else []
            for bad in (content[:-1], content[:40] + bytes([content[40] ^ 1]) + content[41:], *whole_but_wrong):
                path.write_bytes(bad)
                capsys.readouterr()
                assert_same(load("ade20k", images=1, test_images=1), dataset)
                assert f"{path} is damaged and is fetched again" in capsys.readouterr().err
                assert zlib.crc32(path.read_bytes()) == zlib.crc32(content) or path.suffix == ".gz"


def test_chosen_classes(tmp_path):
    give(tmp_path, make_members())
    dataset = load("ade20k", images=4, test_images=2, classes=("sky", "wall"))
    assert dataset.classes == ("sky", "wall") and dataset.palette.tolist() == [[6, 230, 230], [120, 120, 120]]
    for image, labels in zip(dataset.train.images, dataset.train.labels, strict=True):
        assert labels[7, ::10].tolist() == [IGNORE, 1, IGNORE, 0 if number(image) % 3 == 0 else 1]
    sky = load("ade20k", images=4, test_images=2, classes=("sky", "boat"))
    assert sorted(number(image) for image in sky.train.images) == [0, 3, 6, 9]
    assert "sky" in sky.card.name


def test_the_most_frequent_classes(tmp_path):
    give(tmp_path, make_members())
    dataset = load("ade20k", images=TRAINING, test_images=VALIDATION, most_frequent=2)
    assert dataset.classes == ("wall", "sky", "other")
    assert dataset.palette.tolist() == [[120, 120, 120], [6, 230, 230], [0, 0, 0]]
    for image, labels in zip(dataset.test.images, dataset.test.labels, strict=True):
        assert labels[7, ::10].tolist() == [IGNORE, 0, 2, 1 if number(image) % 3 == 0 else 0]


def test_large_images_are_made_smaller_and_small_ones_stay(tmp_path):
    give(tmp_path, make_members())
    dataset = load("ade20k", images=3, test_images=1, shorter_side=15)
    for image, labels in zip(dataset.train.images, dataset.train.labels, strict=True):
        assert image.shape == (3, 15, 20) and labels.shape == (15, 20)
        i = number(image)
        assert labels[7, ::5].tolist() == [IGNORE, WALL - 1, i + 19, SKY - 1 if i % 3 == 0 else WALL - 1]
        assert len(labels.unique()) <= 4  # no mixtures of labels


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"classes": ("swimmingpool",)}, "no class 'swimmingpool'; it has swimming pool,"),
        ({"classes": ("sky",)}, "needs two or more"),
        ({"classes": ("sky",), "most_frequent": 2}, "not both"),
        ({"classes": ("boat",)}, "only 0 of the 12 training images"),
        ({"classes": ("sky",), "images": 5}, "only 4 of the 12 training images"),
        ({"most_frequent": 150}, "has to be 1 to"),
        ({"images": 13}, "13 training images were asked for, but there are only 12"),
    ],
)
def test_wrong_options(tmp_path, options, sentence):
    give(tmp_path, make_members())
    with pytest.raises(DataError, match=sentence):
        load("ade20k", **({"images": 2, "test_images": 1} | options))


MASK = "ADEChallengeData2016/annotations/training/ADE_train_00000001.png"
PICTURE = "ADEChallengeData2016/images/training/ADE_train_00000001.jpg"


@pytest.mark.parametrize(
    ("member", "content", "sentence"),
    [
        (
            MASK,
            encode(np.zeros((30, 41), np.uint8), "PNG"),
            r"has \(40, 30\) pixels, but its annotation has \(41, 30\)",
        ),
        (MASK, encode(np.full((30, 40), 151, np.uint8), "PNG"), "has the label 151"),
        (MASK, encode(np.zeros((30, 40, 3), np.uint8), "PNG"), "has the mode RGB"),
        (MASK, make_members()[MASK][:-30], "cannot be read as a picture"),
        (PICTURE, make_members()[PICTURE][:-30], "cannot be read as a picture"),
        (PICTURE, b"%!PS", "cannot be read as a picture"),
        (MASK, None, "is missing"),
    ],
    ids=["size", "label", "mode", "truncated mask", "truncated image", "another format", "missing"],
)
def test_wrong_data(tmp_path, member, content, sentence):
    members = make_members()
    del members[member]
    give(tmp_path, members | ({member: content} if content else {}))
    with pytest.raises(DataError, match=sentence):
        load("ade20k", images=TRAINING, test_images=1)


@pytest.mark.parametrize("given", [True, False])
def test_a_member_of_absurd_size_is_refused(given, monkeypatch, tmp_path):
    monkeypatch.setattr(ade20k, "LARGEST", 50)
    with Server({}) as server:
        content = publish(monkeypatch, server)
        if given:
            (tmp_path / "given" / "ade20k" / "ADEChallengeData2016.zip").write_bytes(content)
        with pytest.raises(DataError, match="which no image of ADE20K has"):
            load("ade20k", images=1, test_images=1)


def test_real_pairs(tmp_path, monkeypatch):
    real = Path(VITLAB_DATA) / "ade20k_mini"
    if not VITLAB_DATA or not (real / "pairs.csv").is_file():
        pytest.skip("VITLAB_DATA names no folder with ade20k_mini")
    rows = list(csv.DictReader((real / "pairs.csv").open()))
    for row in rows:
        for kind, end in (("images", "jpg"), ("annotations", "png")):
            path = tmp_path / "given/ade20k/ADEChallengeData2016" / kind / row["split"] / f"{row['name']}.{end}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(real / kind / f"{row['name']}.{end}")
    count = {split: sum(row["split"] == split for row in rows) for split in ("training", "validation")}
    dataset = load("ade20k", images=count["training"], test_images=count["validation"])
    ours = sorted((mask == IGNORE).double().mean().item() for mask in [*dataset.train.labels, *dataset.test.labels])
    theirs = sorted(float(row["unlabelled"]) for row in rows)
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 1e-4
    with (real / "palette150.csv").open() as palette:
        colours = [[int(row[channel]) for channel in "rgb"] for row in csv.DictReader(palette)]
    assert ade20k.PALETTE.tolist() == colours
    with (real / "objectInfo150.csv").open() as info:
        words = [set(row["Name"].split(";")) for row in csv.DictReader(info)]
    for name, known in zip(ade20k.CLASSES, words, strict=True):
        assert set(name.split()) <= known | {"of"}, name
