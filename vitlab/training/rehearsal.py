"""The whole way of a training, taken once before its first step."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitlab.data import Dataset, Split
from vitlab.training.batches import Batches
from vitlab.training.evaluation import evaluate
from vitlab.training.recipe import TrainingError


@torch.no_grad()
def rehearse(model: nn.Module, batches: Batches, dataset: Dataset, prepare: Callable[[Tensor], Tensor]) -> None:
    """A batch, and a test image of every size: what does not fit shall be found now, and not at the end.

    Args:
        model: in evaluation mode, which leaves it as it is.
        batches: of the training.
        dataset: what is tested on.
        prepare: as in `evaluate`.

    Raises:
        TrainingError: if the model, the images and the augmentation do not suit each other.
    """
    if not isinstance(dataset.train.images, Tensor) and batches.augmentation.crop is None:
        raise TrainingError("the images have several sizes: give a crop, so that they fit into one batch.")
    test = dataset.test
    of_each_size = {image.shape: i for i, image in enumerate(test.images)}.values()
    try:
        images, _ = batches(0)
        model(prepare(255 * images))
        for i in of_each_size:
            evaluate(model, Split(test.images[i][None], test.labels[i][None]), len(dataset.classes), prepare)
    except (ValueError, TypeError) as error:
        raise TrainingError(f"the model and the data do not suit each other: {error}") from error
