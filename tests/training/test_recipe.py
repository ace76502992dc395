"""Every table of a recipe is checked when the recipe is read, before any data or any model."""

from copy import deepcopy

import pytest

from vitlab.training import TrainingError, read_recipe
from vitlab.training.recipe import data_options, make_recipe

NAN, INFINITY = float("nan"), float("inf")
CLASSIFIER = {
    "name": "made up",
    "steps": 4,
    "batch_size": 16,
    "lr": 1e-3,
    "data": {"name": "digits"},
    "model": {"kind": "ViT", "depth": 2, "d": 16, "num_heads": 2, "patch_size": 4, "image_size": 8, "channels": 1},
    "augmentation": {},
}
STAGES = {"d": [8, 16], "depths": [1, 1], "num_heads": [1, 2], "sr_ratios": [2, 1], "kernel_sizes": [7, 3]}
SEGMENTATION = CLASSIFIER | {
    "data": {"name": "shapes"},
    "model": {"kind": "SegFormer", "C": 8, "encoder": STAGES | {"strides": [4, 2]}},
}


def read_with(recipe: dict, **changes) -> None:
    """Read it with entries changed: steps=3, model__encoder__d=[8]."""
    content = deepcopy(recipe)
    for name, value in changes.items():
        *tables, entry = name.split("__")
        table = content
        for each in tables:
            table = table[each]
        table[entry] = value
    make_recipe(content, "r.toml")


def test_the_recipes_here_are_right():
    read_with(CLASSIFIER)
    read_with(SEGMENTATION, augmentation={"crop": [16, 24], "scale": [1, 1]}, model__dropout=0)


@pytest.mark.parametrize(
    "name, wrong, right",
    [
        ("name", "../outside", "the name of a folder"),
        ("name", "/absolute", "the name of a folder"),
        ("name", "..", "the name of a folder"),
        ("name", "", "a line that can be printed"),
        ("name", "a\nb", "a line that can be printed"),
        ("steps", 2.0, "a whole number"),
        ("steps", True, "a whole number"),
        ("lr", NAN, "a finite number"),
        ("lr", INFINITY, "a finite number"),
        ("lr", 10**400, "a finite number"),
        ("lr", "1e-3", "a number"),
        ("weight_decay", 1e300, "1000000 or less"),
        ("weight_decay", -5.0, "0 or more"),
        ("weight_decay", NAN, "a finite number"),
        ("average", 2.0, "below 1"),
        ("average", -1.0, "0 or more"),
        ("average", NAN, "a finite number"),
        ("clip", 0.0, "above 0"),
        ("head_lr_factor", -1.0, "0 or more"),
        ("layer_lr_decay", -1.0, "above 0"),
        ("layer_lr_decay", 1e200, "1 or less"),
        ("compile", "yes", "true or false"),
        ("seed", -1, "0 or more"),
        ("seed", 2**70, "below"),
        ("data", "digits", "a table"),
        ("model__kind", 5, "'ViT', 'MiT', 'SegFormer', 'UNet' or 'CNN'"),
        ("model__depth", 0, "1 or more"),
        ("model__depth", 10**9, "1000 or less"),
        ("model__d", -4, "1 or more"),
        ("model__d", 10**9, "32768 or less"),
        ("model__num_heads", 0, "1 or more"),
        ("model__patch_size", -4, "1 or more"),
        ("model__image_size", [8], "a whole number or must have more entries"),
        ("model__eps", "x", "a number"),
        ("model__eps", -1.0, "above 0"),
        ("model__d_ff", -3, "1 or more"),
        ("model__drop_path", 1.0, "below 1"),
        ("model__pretrained", 5, "a text"),
        ("augmentation__flip", "yes", "true or false"),
        ("augmentation__crop_padding", -1, "0 or more"),
        ("augmentation__crop_padding", "2", "a whole number"),
        ("augmentation__num_ops", 2.5, "a whole number"),
        ("augmentation__num_ops", -1, "0 or more"),
        ("augmentation__magnitude", 1e9, "10 or less"),
        ("augmentation__mixup", NAN, "a finite number"),
        ("augmentation__cutmix", -0.5, "0 or more"),
        ("augmentation__erase", 2.0, "1 or less"),
        ("augmentation__smoothing", 2.0, "below 1"),
    ],
)
def test_numbers_of_a_classifier(name, wrong, right):
    with pytest.raises(TrainingError, match=rf"{name.rpartition('__')[2]} is .*, but it must be {right}"):
        read_with(CLASSIFIER, **{name: wrong})


@pytest.mark.parametrize(
    "name, wrong, sentence",
    [
        ("data__name", "scenes", "has no 'name' of a data set; these exist: digits, shapes"),
        ("data__name", ["shapes"], "has no 'name' of a data set"),
        ("model__C", 0, "C is 0, but it must be 1 or more"),
        ("model__dropout", 1.0, "dropout is 1.0, but it must be below 1"),
        ("model__encoder", 3, "encoder is 3, but it must be a table"),
        ("model__encoder__heads", 3, "has an entry 'heads' that nobody reads"),
        ("model__encoder__strides", [0, 2], r"encoder.strides\[0\] is 0, but it must be 1 or more"),
        ("model__encoder__depths", [0, 0], r"encoder.depths\[0\] is 0"),
        ("model__encoder__d", [], "must have at least 1 item"),
        ("model__encoder__d", [8], "makes no SegFormer: every stage needs one number of each kind"),
        ("model__encoder__num_heads", [3, 2], "makes no SegFormer: d = 8 is not a multiple of num_heads = 3"),
        ("model__encoder__d", [2**15, 2**15], "parameters, which this machine has no memory to train"),
        ("model", CLASSIFIER["model"], "a ViT does not suit these data, whose images have a mask each"),
        ("model", {"kind": "UNet", "width": 0}, "width is 0, but it must be 1 or more"),
        ("model", {"kind": "UNet", "size": "B0"}, "there is no size 'B0'; these exist: none"),
        ("model", {"kind": "SegFormer", "size": "B9"}, "there is no size 'B9'; these exist: B0"),
        (
            "model",
            {"kind": "SegFormer", "pretrained": "x", "size": "B0"},
            "the pretrained weights decide size",
        ),
        ("model", {"kind": "UNet", "encoder_weights": "x"}, "encoder_weights are for a SegFormer, not for a UNet"),
        ("model", {"kind": "UNet", "pretrained": "x"}, "weights are for ViT, MiT, SegFormer; a UNet has none"),
        ("model", {"kind": "SegFormer", "pretrained": "x", "encoder_weights": "y"}, "leave encoder_weights out"),
        ("model__num_classes", 3, "the data decide num_classes: leave it out"),
        ("augmentation__scale", [2.0, 0.5], "the lower number first"),
        ("augmentation__scale", [0.0, 0.0], "0.01 or more"),
        ("augmentation__scale", [1e9, 1e9], "100 or less"),
        ("augmentation__crop", [16.5, 16], "a whole number"),
        ("augmentation__photometric", 5, "true or false"),
        ("augmentation__mixup", 0.5, "an entry 'mixup' that nobody reads"),
    ],
)
def test_numbers_of_a_segmentation(name, wrong, sentence):
    with pytest.raises(TrainingError, match=sentence):
        read_with(SEGMENTATION, **{name: wrong})


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("MARK.TOML", "\ufeffsteps = 0", "has no 'data'"),  # read, in spite of the mark and the capitals
        ("deep.toml", "a = " + "[" * 10_000, "is no TOML file, or a damaged one"),
        ("latin.toml", b"name = '\xe9'", "is no TOML file, or a damaged one"),
        ("folder.toml", None, r"the recipe .*folder.toml cannot be read: Is a directory"),
    ],
)
def test_files_that_are_no_recipes(name, content, sentence, tmp_path):
    path = tmp_path / name
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(TrainingError, match=sentence):
        read_recipe(str(path))


def test_a_folder_alone_is_no_data_set():
    assert data_options("digits") == {"name": "digits"}
    with pytest.raises(TrainingError, match="needs options: give a recipe"):
        data_options("folder")
