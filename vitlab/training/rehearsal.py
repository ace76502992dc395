"""The whole way of a training, taken once before its first step."""

from collections.abc import Callable
from copy import deepcopy

from torch import Tensor, nn

from vitlab.data import Dataset, Split
from vitlab.machine import is_out_of_memory
from vitlab.training.batches import Batches
from vitlab.training.evaluation import evaluate
from vitlab.training.recipe import TrainingError


def rehearse(
    model: nn.Module,
    average: nn.Module,
    loss_on: Callable[[nn.Module, int], Tensor],
    batches: Batches,
    dataset: Dataset,
    prepare: Callable[[Tensor], Tensor],
) -> None:
    """A batch, and a test image of every size: what does not fit shall be found now, and not at the end.

    Args:
        model: to be trained; it stays as it is.
        average: what is tested, in evaluation mode.
        loss_on: the loss of a model in a step.
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
        loss = loss_on(deepcopy(model), 0)
        loss.backward()
        for i in of_each_size:
            evaluate(average, Split(test.images[i][None], test.labels[i][None]), len(dataset.classes), prepare)
    except (ValueError, TypeError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise TrainingError(f"the model and the data do not suit each other: {error}") from error
    if not loss.isfinite():
        raise TrainingError(
            "the loss is not a number before the first step: that is due to the model's numbers or first weights, not "
            "to the learning rate."
        )
