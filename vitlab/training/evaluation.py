"""How good a model is on images it has never seen: one pass over them, counted in a confusion matrix."""

from typing import Any

import torch
from torch import Tensor, nn

from vitlab.data import Dataset, Normalization, Split, load
from vitlab.pretrained.predictor import read_predictor
from vitlab.segmentation.metrics import ConfusionMatrix
from vitlab.training.recipe import TrainingError, data_options


@torch.no_grad()
def evaluate(
    model: nn.Module,
    split: Split,
    num_classes: int,
    normalization: Normalization,
    *,
    batch_size: int = 256,
    part: tuple[int, int] = (0, 1),
) -> ConfusionMatrix:
    """Predict every image, or one part of them, and count.

    Args:
        model: a classifier, (B, C, H, W) -> (B, N), or a segmentation, -> (B, N, H, W), in evaluation mode.
        split: the images and their labels, on the device of the model.
        num_classes: N.
        normalization: of the images that the model was trained on, on the same device.
        batch_size: images at a time; images of different sizes go one at a time.
        part: (i, k): only every k-th batch from the i-th on, for k processes that share the work.

    Returns:
        The counts; an image's class counts like a pixel's.
    """
    matrix = ConfusionMatrix(num_classes)
    size = batch_size if isinstance(split.images, Tensor) else 1
    first, parts = part
    for start in range(first * size, len(split), parts * size):
        images, labels = split.images[start : start + size], split.labels[start : start + size]
        if size == 1:
            images, labels = images[0][None], labels[0][None]
        predictions = model(normalization(images.float() / 255)).argmax(dim=1)
        matrix.update(predictions, labels)
    return matrix


def evaluate_checkpoint(id_or_folder: str, name: str) -> dict[str, Any]:
    """The scores of a trained or published model on a data set.

    Args:
        id_or_folder: as in `read_predictor`.
        name: as in `data_options`.

    Raises:
        CheckpointError, DataError: if either cannot be had.
        TrainingError: if the model's classes are not those of the data.
    """
    predictor = read_predictor(id_or_folder)
    dataset = load(**data_options(name))
    if len(predictor.classes) != len(dataset.classes):
        raise TrainingError(
            f"{id_or_folder} tells {len(predictor.classes)} classes apart, but {name} has {len(dataset.classes)}."
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, normalization = predictor.model.to(device), predictor.normalization.to(device)
    matrix = evaluate(model, dataset.test.to(device), len(dataset.classes), normalization)
    return scores(matrix, dataset)


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
