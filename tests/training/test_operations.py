"""The operations of a training."""

from torch import nn

from vitlab.data import load
from vitlab.training import Recipe
from vitlab.training.operations import flop_of_an_image
from vitlab.training.recipe import build_model


def test_an_image_costs_three_forward_passes():
    digits = load("digits")  # 8 x 8 pixels
    recipe = Recipe("linear", {"name": "digits"}, {}, steps=1, batch_size=2, lr=1.0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    assert flop_of_an_image(model, recipe, digits) == 3 * 2 * 64 * 10
    assert next(model.parameters()).device.type == "cpu" and model.training


def test_patches_that_are_left_out_cost_nothing():
    digits = load("digits")
    numbers = {"kind": "ViT", "depth": 2, "d": 16, "num_heads": 2, "patch_size": 1, "image_size": 8, "channels": 1}
    flop = [
        flop_of_an_image(build_model(recipe, digits), recipe, digits)
        for recipe in (Recipe("vit", {}, numbers, steps=1, batch_size=2, lr=1.0, patch_dropout=p) for p in (0, 0.5))
    ]
    assert 9 / 16 < flop[1] / flop[0] < 3 / 4  # a quarter of the patches is missing on average; attention is quadratic


def test_a_segmentation_costs_what_its_crop_costs():
    shapes = load("shapes", images=4, test_images=1, size=64)
    encoder = {"d": (8, 16), "depths": (1, 1), "num_heads": (1, 2), "sr_ratios": (1, 1), "kernel_sizes": (3, 3)}
    numbers = {"kind": "SegFormer", "C": 8, "encoder": encoder | {"strides": (4, 2)}}
    flop = [
        flop_of_an_image(build_model(recipe, shapes), recipe, shapes)
        for recipe in (
            Recipe("shapes", {}, numbers, steps=1, batch_size=2, lr=1.0, augmentation=augmentation)
            for augmentation in ({}, {"crop": None}, {"crop": (32, 32)})
        )
    ]
    assert flop[0] == flop[1]
    assert 4 < flop[0] / flop[2] < 8  # four times the pixels, and attention grows with their square
