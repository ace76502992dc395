"""How many operations a training takes: unlike seconds, the same on every machine."""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vitlab.data import Dataset
from vitlab.training.recipe import Recipe


def flop_of_forward(scores: Callable[[Tensor], Tensor], images: Tensor) -> int:
    """The operations of the matrix products, convolutions and attention of a forward pass, on the meta device."""
    with FlopCounterMode(display=False) as counter:
        scores(images)
    return counter.get_total_flops()


def flop_of_an_image(model: nn.Module, recipe: Recipe, dataset: Dataset) -> int:
    """The operations that training has to do for one image: those of three forward passes.

    Where patches are left out, the image has as many as in the middle of the training.
    """
    model = deepcopy(model).to("meta").eval()
    if recipe.patch_dropout:
        model.train().patch_dropout = recipe.patch_dropout / 2
    image = dataset.train.images[0]
    size = recipe.augmentation.get("crop") or image.shape[1:]
    return 3 * flop_of_forward(model, torch.empty(1, image.shape[0], *size, device="meta"))
