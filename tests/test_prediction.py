"""What `vitlab predict` and `vitlab evaluate` make of checkpoints and pictures: transformers' values, or words."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from support.parity import perturb
from typer.testing import CliRunner

from vitlab import SegFormer, ViT, fast
from vitlab.cli import app
from vitlab.data import DataError, Dataset, Normalization, Split, load
from vitlab.data.pictures import read_picture
from vitlab.mit import MiTConfig
from vitlab.pretrained import CheckpointError, overlay
from vitlab.pretrained.predictor import read_predictor, save_predictor
from vitlab.pretrained.preparation import PREPROCESSOR_FILE
from vitlab.segformer import SegFormerConfig
from vitlab.training import TrainingError, evaluation
from vitlab.training.evaluation import evaluate_checkpoint
from vitlab.vit import ViTConfig

SHAPES = load("shapes", images=2, test_images=3, size=64)
TINY = MiTConfig((4, 8, 20, 16), (1, 1, 1, 1), (1, 2, 5, 4), num_classes=0)


def change(path: Path, **entries) -> None:
    """None takes an entry out of a JSON file."""
    content = json.loads(path.read_text()) | entries
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


@pytest.fixture
def segformer(tmp_path) -> Path:
    torch.manual_seed(0)
    model = perturb(SegFormer(SegFormerConfig(TINY, 12, len(SHAPES.classes))))
    save_predictor(tmp_path / "segformer", model, SHAPES, SHAPES.normalization())
    return tmp_path / "segformer"


@pytest.fixture
def vit(tmp_path) -> Path:
    """As transformers saves it, without names."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    perturb(transformers.ViTForImageClassification(config)).save_pretrained(tmp_path / "vit")
    transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


def photo(path: Path, width: int = 90, height: int = 70) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((width, height)).save(path)
    return path


def run(*arguments) -> str:
    """What the command says when it ends in one sentence or well."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.output.strip()


@pytest.mark.parametrize(
    "entries",
    [
        {},
        {"do_normalize": False, "image_mean": None},
        {"do_rescale": False},
        {"rescale_factor": 1 / 127.5},
        {"size": 40},
        {"size": {"shortest_edge": 36}, "do_center_crop": True, "crop_size": {"height": 32, "width": 40}},
        {"do_resize": False, "size": None, "do_center_crop": True, "crop_size": 96},
        *({"resample": number} for number in range(6)),
    ],
    ids=str,
)
def test_pictures_are_prepared_as_transformers_does(entries, vit, tmp_path):
    change(vit / PREPROCESSOR_FILE, **entries)
    predictor, picture = read_predictor(vit), read_picture(photo(tmp_path / "p.png"))
    theirs = transformers.ViTImageProcessorPil.from_pretrained(vit)(picture, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(predictor.prepare([picture]), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "entries",
    [
        {},
        {"do_normalize": False, "image_mean": None, "image_std": None},
        {"do_rescale": False},
        {"do_rescale": False, "do_normalize": False},
        {"rescale_factor": 1 / 127.5},
    ],
    ids=str,
)
def test_tensors_are_normalized_as_pictures_are(entries, vit, tmp_path):
    change(vit / PREPROCESSOR_FILE, **entries)
    predictor, picture = read_predictor(vit), read_picture(photo(tmp_path / "p.png", 32, 32))
    images = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
    torch.testing.assert_close(predictor.normalization(images), predictor.prepare([picture]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "entries, sentence",
    [
        ({"do_pad": True}, "has an entry 'do_pad' that nobody reads"),
        ({"image_std": [0.5, 0.5, 0]}, r"image_std\[2\] is 0, but it must be"),
        ({"image_mean": [0.5, float("nan"), 0.5]}, "must be a finite number"),
        ({"image_mean": [0.5]}, "image_mean and image_std have to have a number for each channel, 3"),
        ({"image_std": None}, "image_mean and image_std have to have a number for each channel, 3"),
        ({"size": None}, "says do_resize, but size has to have either height and width, or shortest_edge"),
        ({"size": 10**6}, "size.height is 1000000, but it must be 4096 or less"),
        ({"size": {"height": 32}}, "says do_resize, but size has to have either"),
        ({"size": {"longest_edge": 32}}, "'longest_edge' that nobody reads"),
        ({"resample": 6}, "resample is 6, but it must be 5 or less"),
        ({"do_center_crop": True}, "says do_center_crop, but crop_size has to have height and width"),
    ],
)
def test_what_cannot_be_followed_is_refused(entries, sentence, vit):
    change(vit / PREPROCESSOR_FILE, **entries)
    with pytest.raises(CheckpointError, match=sentence):
        read_predictor(vit)


@pytest.mark.parametrize(
    "entries, sentence",
    [
        ({"do_center_crop": True, "crop_size": 8}, "a segmentation has to see all of a picture"),
        ({"palette": [[0, 0, 0]]}, "palette, but it has 1 colours for 6 classes"),
        ({"palette": [[-1, 0, 0]] * 6}, r"palette\[0\]\[0\] is -1, but it must be"),
    ],
)
def test_what_does_not_suit_a_segmentation_is_refused(entries, sentence, segformer):
    change(segformer / PREPROCESSOR_FILE, **entries)
    with pytest.raises(CheckpointError, match=sentence):
        read_predictor(segformer)


def test_outputs_without_names_are_numbered_and_one_output_is_refused(vit, tmp_path):
    assert read_predictor(vit).classes == ("LABEL_0", "LABEL_1")
    ViT(ViTConfig(1, 16, 2, 8, 32, num_classes=1)).save_pretrained(tmp_path / "one")
    with pytest.raises(CheckpointError, match="one output, but a softmax needs two or more"):
        read_predictor(tmp_path / "one")


def test_names_cannot_steer_a_terminal(vit, tmp_path):
    change(vit / "config.json", id2label={"0": "\x1b]0;title\x07zero", "1": "one"})
    assert "\x1b" not in run("predict", vit, photo(tmp_path / "p.png"))


def test_no_class_is_made_of_what_is_no_number(segformer, tmp_path):
    weights = segformer / "model.safetensors"
    save_file({name: t.sign() * 3e38 if "classifier" in name else t for name, t in load_file(weights).items()}, weights)
    said = run("predict", segformer, photo(tmp_path / "p.png"))
    assert said == "Error: the scores of the classes are not finite: weights or images hold too large numbers."
    with pytest.raises(FloatingPointError), fast.off():
        read_predictor(segformer).segment(read_picture(tmp_path / "p.png"))
    split = Split(torch.zeros(2, 1, 8, 8).byte(), torch.zeros(2).long())
    with pytest.raises(FloatingPointError):
        evaluation.evaluate(lambda x: torch.full((len(x), 3), torch.inf), split, 3, lambda x: x)


def test_pictures_that_are_open_are_prepared_as_those_of_files(segformer, tmp_path):
    grey = np.random.default_rng(0).integers(0, 2**16, (40, 50), dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    predictor = read_predictor(segformer)
    with Image.open(tmp_path / "grey.png") as opened:
        assert torch.equal(predictor.segment(opened), predictor.segment(read_picture(tmp_path / "grey.png")))
    for other, words in (
        (Image.new("F", (50, 40)), "numbers of 32 bits"),
        (Image.new("L", (0, 40)), "has no pixels: its size is 0 x 40"),
        (grey, "is a ndarray, but must be"),
    ):
        with pytest.raises(DataError, match=words):
            predictor.prepare([other])


def test_what_a_caller_of_a_predictor_gets_wrong_is_named(vit):
    with pytest.raises(DataError, match="a ViT tells classes of whole pictures"):
        read_predictor(vit).segment(Image.new("L", (8, 8)))
    with pytest.raises(CheckpointError, match="None is no path"):
        read_predictor(None)


def test_a_segmentation_is_written_as_a_class_map_and_an_overlay(segformer, tmp_path):
    path, predictor = photo(tmp_path / "p.png"), read_predictor(segformer)
    said = run("predict", segformer, path)
    assert said.endswith(f"Written: {tmp_path / 'p-overlay.png'}, {tmp_path / 'p-classes.png'}")
    picture = read_picture(path)
    expected = predictor(picture).argmax(dim=0)
    assert torch.equal(predictor.segment(picture), expected) and len(expected.unique()) > 1
    with Image.open(tmp_path / "p-classes.png") as written:
        assert written.mode == "P" and np.array_equal(written, expected)
        assert written.getpalette()[: 3 * len(SHAPES.classes)] == SHAPES.palette.flatten().tolist()
    parts = sorted(expected.unique(return_counts=True)[1].tolist(), reverse=True)
    for line, part in zip(said.splitlines()[:-1], parts, strict=True):
        assert line.strip().startswith(f"{part / expected.numel():.2%}")


def test_a_photograph_is_segmented_as_viewers_show_it(segformer, tmp_path):
    photo(tmp_path / "p.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(tmp_path / "p.png") as upright:
        upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "stored.png", exif=exif)
    for name in ("p", "stored"):
        run("predict", segformer, tmp_path / f"{name}.png")
    with Image.open(tmp_path / "p-classes.png") as one, Image.open(tmp_path / "stored-classes.png") as other:
        assert np.array_equal(one, other)


@pytest.mark.parametrize("width, height", [(3000, 30), (20, 1600), (700, 700)])
def test_an_overlay_is_of_bounded_size_whatever_is_in_it(width, height, segformer, tmp_path, recwarn):
    names = {"0": "背景", "1": "x" * 200, "2": "$\\frac{", "3": "_", "4": "é", "5": "e"}
    change(segformer / "config.json", id2label=names, label2id=None)
    run("predict", segformer, photo(tmp_path / "p.png", width, height))
    assert not [warning for warning in recwarn if "lyph" in str(warning.message)]
    with Image.open(tmp_path / "p-overlay.png") as drawn:
        assert max(drawn.size) <= 1800 and min(drawn.size) >= 400
    with Image.open(tmp_path / "p-classes.png") as written:
        assert written.size == (width, height)


def test_the_classes_of_a_photograph_take_less_memory_than_one_map_of_all_scores():
    program = """
import resource, torch
from vitlab import SegFormer
model, images = SegFormer.from_config("B0", num_classes=150).eval(), torch.zeros(1, 3, 1200, 1600)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
classes = model.segment(images)
print(tuple(classes.shape), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    shape, beyond_the_model = done.stdout.rsplit(" ", 1)
    assert shape == "(1, 1200, 1600)"
    assert int(beyond_the_model) < 4 * 150 * 1200 * 1600 / 2  # float32


def test_places_are_looked_at_before_anything_is_computed(segformer, tmp_path, monkeypatch):
    monkeypatch.setattr(SegFormer, "segment", None)
    path = photo(tmp_path / "p.png")
    (tmp_path / "folder.png").mkdir()
    for out, words in (
        (tmp_path / "nowhere" / "o.png", "there is no folder"),
        (tmp_path / "o.webm", "has to end in .png"),
        (tmp_path / "overlay", "has to end in .png"),
        (tmp_path / "folder.png", "is a folder"),
        (path, "is the picture itself"),
    ):
        said = run("predict", segformer, path, "--out", out)
        assert said.startswith("Error: ") and words in said and "\n" not in said
    predictor = read_predictor(segformer)
    many = type(predictor)(predictor.model, ("x",) * 257, 3, predictor.preparation)
    with pytest.raises(overlay.DataError, match="256 colours at most, but there are 257 classes"):
        overlay.places(path, None, many)


def test_a_picture_that_the_model_cannot_take_is_a_sentence(segformer, tmp_path):
    change(segformer / PREPROCESSOR_FILE, do_resize=False)
    said = run("predict", segformer, photo(tmp_path / "p.png", 50, 10))
    assert "10 x 50 pixels, but height and width must be at least 29" in said
    change(segformer / PREPROCESSOR_FILE, do_resize=True, size={"shortest_edge": 4096})
    assert "are too many for a model" in run("predict", segformer, photo(tmp_path / "p.png", 900, 10))
    change(segformer / PREPROCESSOR_FILE, size={"shortest_edge": 32})
    assert "160000 x 32 pixels are a strip" in run("predict", segformer, photo(tmp_path / "p.png", 1, 5000))


# ---- Evaluation.


def test_evaluation_prepares_images_as_prediction_does(segformer):
    change(segformer / PREPROCESSOR_FILE, size={"shortest_edge": 90})
    predictor, test = read_predictor(segformer), SHAPES.test
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in test.images]
    right = sum((predictor.segment(p) == mask).sum() for p, mask in zip(pictures, test.labels, strict=True))
    found = evaluation.evaluate_predictor(predictor, SHAPES, "it", "shapes")["test_pixel_accuracy"]
    assert found == pytest.approx(right.item() / test.labels.numel())


def test_classes_are_matched_by_name(segformer, monkeypatch):
    monkeypatch.setattr(evaluation, "load", lambda **options: SHAPES)
    straight = evaluate_checkpoint(str(segformer), "shapes")
    tensors = read_predictor(segformer).model
    order = [3, 1, 5, 0, 2, 4]
    with torch.no_grad():
        for parameter in tensors.decoder.classify.parameters():
            parameter.copy_(parameter[order])
    shuffled = Dataset(SHAPES.card, tuple(SHAPES.classes[i] for i in order), SHAPES.train, SHAPES.test, SHAPES.palette)
    save_predictor(segformer, tensors, shuffled, SHAPES.normalization())
    assert evaluate_checkpoint(str(segformer), "shapes") == straight
    change(segformer / "config.json", id2label={str(i): f"class {i}" for i in range(6)})
    ours, theirs = r"6 classes \(class 0, .*, class 4, \.\.\.\)", r"6 classes \(background, .*, \.\.\.\)"
    sentence = f"segformer has {ours}, but shapes has {theirs}: the names have to be the same"
    with pytest.raises(TrainingError, match=sentence):
        evaluate_checkpoint(str(segformer), "shapes")


def test_kinds_that_differ_are_named(segformer, vit):
    for folder, name, words in (
        (segformer, "digits", "of single pixels, but"),
        (vit, "shapes", "of whole images, but"),
    ):
        assert words in run("evaluate", folder, name)


@pytest.mark.parametrize("side, at_once", [(8, 256), (64, 128), (512, 2), (1024, 1)])
def test_the_images_of_a_batch_follow_their_size(side, at_once):
    seen = []

    def model(images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return torch.zeros(len(images), 2)

    count = 2 * at_once + 1
    split = Split(torch.zeros(1, 1, side, side, dtype=torch.uint8).expand(count, -1, -1, -1), torch.zeros(count).long())
    matrix = evaluation.evaluate(model, split, 2, lambda images: images)
    assert seen == [at_once, at_once, 1] and matrix.counts[0, 0] == count


def test_a_trained_segmentation_says_the_size_that_it_was_tested_with(segformer, tmp_path):
    assert json.loads((segformer / PREPROCESSOR_FILE).read_text())["size"] == {"shortest_edge": 64}
    assert transformers.SegformerImageProcessorPil.from_pretrained(segformer).size["shortest_edge"] == 64
    one, other = torch.zeros(3, 40, 40).byte(), torch.zeros(3, 50, 40).byte()
    sizes = Dataset(SHAPES.card, SHAPES.classes, SHAPES.train, Split([one, other], [one[0], other[0]]), SHAPES.palette)
    model = SegFormer(SegFormerConfig(TINY, 12, len(SHAPES.classes)))
    save_predictor(tmp_path / "sizes", model, sizes, Normalization(torch.zeros(3), torch.ones(3)))
    assert not json.loads((tmp_path / "sizes" / PREPROCESSOR_FILE).read_text())["do_resize"]
