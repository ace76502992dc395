"""How good a segmentation is: mean intersection over union, pixel accuracy, class accuracy, over a whole data set.

Lecture: "ViT for Semantic Segmentation", "Need dense pixel-wise predictions".
Paper: Long et al., "Fully Convolutional Networks for Semantic Segmentation", 2015, section 5.
"""

import torch
from torch import Tensor


def confusion_matrix(predictions: Tensor, labels: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Count the pixels of each class that were called each class.

        n_ij = number of pixels of class i that were called class j

    Args:
        predictions: (B, H, W), integers, a class for every pixel.
        labels: (B, H, W), integers, the right class for every pixel, or `ignore_index`.
        num_classes: N.
        ignore_index: the label of pixels that do not count.

    Returns:
        (N, N), integers: the label in the row, the prediction in the column.

    Source: Long et al., section 5, "Metrics".
    """
    N = num_classes
    counted = labels != ignore_index  # (B, H, W)
    i, j = labels[counted].long(), predictions[counted].long()  # (pixels,) both
    pairs = i * N + j  # each pair (i, j) as one number
    counts = torch.bincount(pairs, minlength=N * N)
    return counts.reshape(N, N)  # (N²,) -> (N, N)


def mean_iou(counts: Tensor) -> Tensor:
    """The mean intersection over union of the classes that occur in labels or predictions.

        IoU_i = n_ii / (t_i + p_i - n_ii),    t_i = Σ_j n_ij,    p_j = Σ_i n_ij,    mIoU = mean_i IoU_i

    Args:
        counts: (N, N), integers, the n_ij of `confusion_matrix`.

    Returns:
        A number in [0, 1]; not a number where nothing was counted.

    Source: Long et al., section 5, "Metrics".
    """
    n = counts.double()  # holds every count below 2⁵³ exactly
    intersection = n.diagonal()
    union = n.sum(dim=1) + n.sum(dim=0) - intersection
    iou = intersection / union  # 0 / 0, of a class that occurs nowhere, is not a number
    return iou.nanmean()


class ConfusionMatrix:
    """Counts of pixels, from which every measure follows.

        n_ij = number of pixels of class i that were called class j,    t_i = Σ_j n_ij,    p_j = Σ_i n_ij

        IoU_i = n_ii / (t_i + p_i - n_ii)        mIoU = mean_i IoU_i
        accuracy_i = n_ii / t_i                  class accuracy = mean_i accuracy_i
        pixel accuracy = Σ_i n_ii / Σ_i t_i

    Batches are added up by `update`, and the measures are those of all pixels together: the mean of the batches'
    measures would be another number.

    A class that neither occurs in the labels nor was ever predicted (t_i = p_i = 0) has no IoU and no accuracy: those
    are not numbers, and both means leave it out. A class that does not occur but was predicted has an IoU and an
    accuracy of 0 and lowers both means.

    Args:
        num_classes: N_classes.
        ignore_index: the label of pixels that do not count, whatever was predicted there.

    Attributes:
        counts: (N_classes, N_classes), the n_ij: the class in the row, the prediction in the column. Those of several
            processes may be added.

    Raises:
        ValueError: if there is no such number of classes, or `ignore_index` is one of them.

    Source: Long et al., section 5, "Metrics".
    """

    def __init__(self, num_classes: int, *, ignore_index: int = 255):
        if not isinstance(num_classes, int) or num_classes < 1:
            raise ValueError(f"num_classes is {num_classes!r}, but it must be a whole number from 1 on.")
        if 0 <= ignore_index < num_classes:
            raise ValueError(
                f"ignore_index is {ignore_index}, which is one of the classes 0 ... {num_classes - 1}: it must be none "
                f"of them."
            )
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        """Count the pixels of a batch.

        Args:
            predictions: (B, H, W), a class for every pixel: `logits.argmax(dim=1)`.
            labels: (B, H, W), the right class for every pixel, or `ignore_index`.

        Raises:
            ValueError: if the shapes differ, the numbers are no integers, or one is neither a class nor, in the labels,
                `ignore_index`.
        """
        if predictions.shape != labels.shape:
            raise ValueError(
                f"predictions are {tuple(predictions.shape)} and labels {tuple(labels.shape)}, but every label needs "
                f"one prediction: logits become predictions by argmax(dim=1)."
            )
        for name, classes in (("labels", labels), ("predictions", predictions)):
            if classes.is_floating_point():
                raise ValueError(f"the {name} are {classes.dtype}, but classes are integers.")
        labels, predictions = labels.long(), predictions.long()  # beside a byte, -100 would be taken for 156
        counted = labels != self.ignore_index
        for name, classes in (("labels", labels[counted]), ("predictions", predictions[counted])):
            wrong = classes[(classes < 0) | (classes >= self.num_classes)]
            if wrong.numel():
                raise ValueError(
                    f"the {name} hold {wrong[0].item()}, but classes are 0 ... {self.num_classes - 1}, and only the "
                    f"label {self.ignore_index} is ignored."
                )
        counts = confusion_matrix(predictions, labels, self.num_classes, self.ignore_index)
        self.counts += counts.to(self.counts.device)

    def iou(self) -> Tensor:
        """IoU_i, (N_classes,); not a number where class i occurs neither in labels nor in predictions."""
        labelled, predicted, right = self._sums()
        return right / (labelled + predicted - right)  # 0 / 0 is not a number

    def accuracy(self) -> Tensor:
        """accuracy_i, (N_classes,); not a number where class i occurs neither in labels nor in predictions."""
        labelled, predicted, right = self._sums()
        never_there = (labelled == 0) & (predicted > 0)
        return torch.where(never_there, 0, right / labelled)

    def mean_iou(self) -> float:
        """mIoU, in [0, 1]; not a number before any pixel was counted."""
        return mean_iou(self.counts).item()

    def class_accuracy(self) -> float:
        """The mean of accuracy_i, in [0, 1]; not a number before any pixel was counted."""
        return self.accuracy().nanmean().item()

    def pixel_accuracy(self) -> float:
        """The fraction of pixels that were called right, in [0, 1]; not a number before any pixel was counted."""
        labelled, _, right = self._sums()
        return (right.sum() / labelled.sum()).item()

    def _sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """t_i, p_i and n_ii, each (N_classes,), in float64, which holds every count below 2⁵³ exactly."""
        counts = self.counts.double()
        return counts.sum(dim=1), counts.sum(dim=0), counts.diagonal()
