"""A folder of images and annotations: what is read, and every fault in one sentence that names the file."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitlab.data import IGNORE, DataError, load
from vitlab.data.dataset import default_palette

CLASSES = ("sky", "road", "car")


def write(path: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels.astype(np.uint8))
    (image.convert(mode) if mode else image).save(path)


def scene(seed: int, H: int = 20, W: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (H, W, 3)), rng.choice([0, 1, 2, 9], (H, W))


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv("VITLAB_DATA", raising=False)
    for split, seeds in (("train", (0, 1)), ("val", (2,))):
        for seed in seeds:
            image, annotation = scene(seed)
            write(tmp_path / "toy" / "images" / split / f"{seed}.png", image)
            write(tmp_path / "toy" / "annotations" / split / f"{seed}.png", annotation)
    return tmp_path / "toy"


def read(root: Path | str, **options):
    return load("folder", **{"path": root, "classes": CLASSES, "ignore": 9} | options)


def expect_error(root: Path, words: str, **options) -> None:
    with pytest.raises(DataError) as caught:
        read(root, **options)
    assert words in str(caught.value) and str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_images_and_masks_are_those_of_the_files(root):
    toy = read(root)
    assert toy.train.images.shape == (2, 3, 20, 30) and toy.train.images.dtype == torch.uint8
    for split, seeds in ((toy.train, (0, 1)), (toy.test, (2,))):
        for i, seed in enumerate(seeds):
            image, annotation = scene(seed)
            assert torch.equal(split.images[i], torch.from_numpy(image).permute(2, 0, 1).byte())
            expected = np.where(annotation == 9, IGNORE, annotation)
            assert torch.equal(split.labels[i], torch.from_numpy(expected).byte())
    assert toy.classes == CLASSES and toy.is_segmentation and toy.card.name == "toy"


def test_a_mapping_gives_values_other_classes(root):
    toy = read(root, classes=["still", "moves"], mapping={"0": 0, "1": 0, "2": 1}, ignore=9)  # keys as in TOML
    _, annotation = scene(0)
    assert torch.equal(toy.train.labels[0] == 1, torch.from_numpy(annotation == 2))
    assert torch.equal(toy.train.labels[0] == IGNORE, torch.from_numpy(annotation == 9))
    toy = read(root, classes=["road", "car"], mapping={"0": IGNORE, "1": 0, "2": 1}, ignore=9)
    assert torch.equal(toy.train.labels[0] == 0, torch.from_numpy(annotation == 1))
    assert set(toy.train.labels.unique().tolist()) == {0, 1, IGNORE}


def test_several_sizes_become_lists_and_one_size_on_demand(root):
    image, annotation = scene(5, 40, 25)
    write(root / "images" / "train" / "5.png", image)
    write(root / "annotations" / "train" / "5.png", annotation)
    toy = read(root)
    assert [tuple(x.shape) for x in toy.train.images] == [(3, 20, 30)] * 2 + [(3, 40, 25)]
    assert [tuple(x.shape) for x in toy.train.labels] == [(20, 30)] * 2 + [(40, 25)]
    toy = read(root, size=(10, 15))
    assert toy.train.images.shape == (3, 3, 10, 15) and toy.train.labels.shape == (3, 10, 15)
    quarters = torch.from_numpy(scene(0)[0]).float().reshape(10, 2, 15, 2, 3).mean((1, 3)).permute(2, 0, 1)
    assert (toy.train.images[0] - quarters).abs().mean() < 20  # averaged, where the pixels alone differ by 60
    assert set(toy.train.labels.unique().tolist()) <= {0, 1, 2, IGNORE}


def test_a_relative_path_is_looked_for_in_vitlab_data_and_then_here(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    assert len(read("toy").train) == 2
    monkeypatch.chdir(root)
    monkeypatch.setenv("VITLAB_DATA", str(root.parent))
    assert len(read("toy").train) == 2


def test_the_default_palette_is_distinct():
    assert len({tuple(colour) for colour in default_palette(256)}) == 256
    assert default_palette(3) == default_palette(256)[:3]


def test_grey_images_become_coloured(root):
    write(root / "images" / "val" / "2.png", scene(2)[0], "L")
    images = read(root).test.images
    assert images.shape[1] == 3 and torch.equal(images[:, 0], images[:, 2])


def test_images_are_upright_and_in_8_bits(root):
    image, _ = scene(1)
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down; the annotation was drawn on what viewers show
    Image.fromarray(image.astype(np.uint8)[::-1, ::-1].copy()).save(root / "images" / "train" / "1.png", exif=exif)
    Image.fromarray(image[..., 0].astype(np.uint16) * 257).save(root / "images" / "val" / "2.png")
    toy = read(root)
    assert torch.equal(toy.train.images[1], torch.from_numpy(image).permute(2, 0, 1).byte())
    assert torch.equal(toy.test.images[0, 1], torch.from_numpy(image[..., 0]).byte())


def test_names_are_the_same_however_they_were_typed(root):
    (root / "images" / "train" / "1.png").rename(root / "images" / "train" / "caf\u00e9.png")
    (root / "annotations" / "train" / "1.png").rename(root / "annotations" / "train" / "cafe\u0301.png")
    assert len(read(root).train) == 2
    expect_error(root, "needs two or more, each with a name of its own", classes=("caf\u00e9", "cafe\u0301", "tree"))


# Faults.


def test_a_missing_folder(root):
    expect_error(root / "nowhere", "there is no folder")
    expect_error(root, "images/validation", test="validation")


def test_a_folder_without_images(root):
    (root / "images" / "val" / "2.png").unlink()
    (root / "images" / "val" / "notes.txt").write_text("nothing")
    expect_error(root, "val has no files that end in .jpeg or .jpg or .png")


def test_an_image_without_annotation(root):
    (root / "annotations" / "train" / "1.png").unlink()
    expect_error(root, "images/train/1.png has no annotation")


def test_an_annotation_without_image(root):
    (root / "images" / "train" / "1.png").unlink()
    expect_error(root, "annotations/train/1.png has no image")


def test_two_images_of_one_name(root):
    write(root / "images" / "train" / "1.jpg", scene(1)[0])
    expect_error(root, "1.png and 1.jpg have the same name")


def test_sizes_that_differ(root):
    write(root / "annotations" / "train" / "1.png", scene(1, 20, 31)[1])
    expect_error(root, "1.png has 20 x 30 pixels and")


def test_a_value_that_is_no_class(root):
    write(root / "annotations" / "val" / "2.png", np.full((20, 30), 3))
    expect_error(root, "annotations/val/2.png has the value 3, which is neither a class nor ignored")
    expect_error(root, "has the value 9", ignore=None)
    expect_error(root, "has the value 0", classes=["road"], mapping={1: 0})


def test_one_class_or_none_that_counts(root):
    expect_error(root, "it needs two or more", classes=("road",), mapping={"0": 0, "1": 0, "2": 0})
    write(root / "annotations" / "val" / "2.png", np.full((20, 30), 9))
    expect_error(root, "every pixel in", ignore=9)


@pytest.mark.parametrize("mode", ["RGB", "P", "I;16", "1"])
def test_an_annotation_that_is_not_grey(root, mode):
    write(root / "annotations" / "val" / "2.png", scene(2)[1], mode)
    expect_error(root, "annotations/val/2.png holds colours or numbers of another kind")


def test_an_annotation_that_was_compressed_with_losses(root):
    path = root / "annotations" / "val" / "2.png"
    Image.open(path).save(path, format="JPEG")  # its values are near the right ones, and other classes
    expect_error(root, "annotations/val/2.png cannot be read as a picture (it is none, or damaged): give one in PNG.")


@pytest.mark.parametrize("folder", ["images", "annotations"])
@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2], lambda content: b"", lambda _: b"%!PS"]
)
def test_a_damaged_file(root, folder, damage):
    path = root / folder / "train" / "1.png"
    path.write_bytes(damage(path.read_bytes()))
    expect_error(root, f"{folder}/train/1.png cannot be read as a picture")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mapping": {0: 3}}, "the value 0 in annotations cannot stand for 3: values are 0 to 255, and classes 0 to 2"),
        ({"mapping": {"sky": 0}}, "the value sky in annotations cannot stand for 0"),
        ({"palette": [[0, 0, 0]]}, "the palette has 1 colours, but there are 3 classes"),
        ({"test": "train"}, "train and test are both 'train'"),
        ({"images": "images/{spli}"}, "there is no folder"),
        ({"images": "images/{split"}, "there is no folder"),
        ({"annotations": "{0}"}, "there is no folder"),
    ],
)
def test_options_that_make_no_sense(root, options, words):
    expect_error(root, words, **options)


def test_camvid():
    """Real photographs, where they are at hand."""
    names = "sky building pole road pavement tree sign fence car pedestrian bicyclist".split()
    if not (Path(os.environ.get("VITLAB_DATA", "")) / "camvid").is_dir():
        pytest.skip("the folder that VITLAB_DATA names has no camvid")
    camvid = load("folder", path="camvid", classes=names, ignore=11, size=(90, 120))
    assert (len(camvid.train), len(camvid.test)) == (367, 101)
    share = torch.bincount(camvid.train.labels.flatten().long(), minlength=256) / camvid.train.labels.numel()
    assert share[names.index("road")] > 0.2 and (share[:11] > 0.001).all() and 0 < share[IGNORE] < 0.1
