"""How good a model is on images it has never seen: one pass over them, counted in a confusion matrix."""

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from vitlab.data import DataError, Dataset, Split, load
from vitlab.data.dataset import nfc
from vitlab.fast import upsampled_argmax
from vitlab.pretrained.predictor import Predictor, read_predictor
from vitlab.segmentation.metrics import ConfusionMatrix
from vitlab.training.recipe import TrainingError, data_options
from vitlab.validation import finite

PIXELS_AT_ONCE = 2**19


@torch.no_grad()
def evaluate(
    model: nn.Module,
    split: Split,
    num_classes: int,
    prepare: Callable[[Tensor], Tensor],
    *,
    part: tuple[int, int] = (0, 1),
) -> ConfusionMatrix:
    """Predict every image, or one part of them, and count.

    Args:
        model: a classifier, (B, C, H, W) -> (B, N), or a segmentation, -> (B, N, h, w), in evaluation mode.
        split: the images and their labels.
        num_classes: N.
        prepare: makes what the model sees of images in uint8, (B, C, H, W), on the device of the model.
        part: (i, k): only every k-th batch from the i-th on, for k processes that share the work.

    Returns:
        The counts; an image's class counts like a pixel's.

    Raises:
        FloatingPointError: if a score is no finite number, of which no class follows.
    """
    matrix = ConfusionMatrix(num_classes)
    size = 1  # images of different sizes go one at a time
    if isinstance(split.images, Tensor):
        size = min(max(PIXELS_AT_ONCE // split.images[0, 0].numel(), 1), 256)
    first, parts = part
    for start in range(first * size, len(split), parts * size):
        images, labels = split.images[start : start + size], split.labels[start : start + size]
        if size == 1:
            images, labels = images[0][None], labels[0][None]
        images = prepare(images)
        if labels.ndim == 1:
            predictions = finite(model(images)).argmax(dim=1)
        else:
            predictions = upsampled_argmax(model(images, upsample=False), labels.shape[-2:])
        matrix.update(predictions, labels.to(predictions.device))
    return matrix


def evaluate_checkpoint(id_or_folder: str, name: str) -> dict[str, Any]:
    """The scores of a trained or published model on a data set.

    Args:
        id_or_folder: as in `read_predictor`.
        name: as in `data_options`.

    Raises:
        CheckpointError, DataError: if either cannot be had, or an image does not suit the model.
        TrainingError: if the model's kind or classes are not those of the data.
    """
    return evaluate_predictor(read_predictor(id_or_folder), load(**data_options(name)), id_or_folder, name)


def evaluate_predictor(predictor: Predictor, dataset: Dataset, id_or_folder: str, name: str) -> dict[str, Any]:
    """The same of what has been read: its images are prepared as `vitlab predict` prepares pictures."""
    if predictor.is_segmentation != dataset.is_segmentation:
        kinds = ("whole images", "single pixels")
        model, data = kinds[predictor.is_segmentation], kinds[dataset.is_segmentation]
        raise TrainingError(f"{id_or_folder} tells classes of {model}, but {name} has those of {data}.")
    outputs, classes = list(map(nfc, predictor.classes)), list(map(nfc, dataset.classes))
    if sorted(outputs) != sorted(classes):
        raise TrainingError(
            f"{id_or_folder} has {_listed(outputs)}, but {name} has {_listed(classes)}: the names have to be the same, "
            "in any order; id2label in config.json gives the model's."
        )
    predictor.model.to("cuda" if torch.cuda.is_available() else "cpu")

    def prepare(images: Tensor) -> Tensor:
        pixels = images.permute(0, 2, 3, 1).numpy()  # (B, H, W, C)
        return predictor.prepare(Image.fromarray(each[..., 0] if each.shape[-1] == 1 else each) for each in pixels)

    try:
        matrix = evaluate(predictor.model, dataset.test, len(classes), prepare)
    except ValueError as error:
        raise DataError(f"{name} does not suit {id_or_folder}: {error}") from error
    matrix.counts = matrix.counts[:, [outputs.index(each) for each in classes]]  # its outputs, in the data's order
    return scores(matrix, dataset)


def _listed(names: list[str]) -> str:
    return f"{len(names)} classes ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"


def scores(matrix: ConfusionMatrix, dataset: Dataset) -> dict[str, Any]:
    """The numbers that are reported: accuracy of a classification; mIoU, accuracies and IoUs of a segmentation."""
    if not dataset.is_segmentation:
        return {"test_accuracy": matrix.pixel_accuracy()}
    iou = {
        name: None if value != value else value
        for name, value in zip(dataset.classes, matrix.iou().tolist(), strict=True)
    }
    return {
        "test_miou": matrix.mean_iou(),
        "test_pixel_accuracy": matrix.pixel_accuracy(),
        "test_class_accuracy": matrix.class_accuracy(),
        "test_iou": iou,  # null where a class occurs nowhere
    }


def main_score(results: dict[str, Any]) -> tuple[str, float]:
    """The number by which a model is judged, and its name."""
    name = "test_miou" if "test_miou" in results else "test_accuracy"
    return name, results[name]
