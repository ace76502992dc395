"""Checks of the exercise `segmentation`: the confusion matrix, mIoU, the linear head and Segmenter's masks."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from vitlab.checks.engine.exercise import Exercise, Part, Sizes
from vitlab.segmentation import confusion_matrix, linear_head, mask_scores, mean_iou

# ---- confusion_matrix


def _segmentations(generator: Generator, sizes: dict[str, int], dtype: torch.dtype) -> tuple[Tensor, Tensor, int, int]:
    """Predictions that are right in half of the pixels; a fifth of the labels is ignored, and one more for certain."""
    N, shape = sizes["N"], [sizes[size] for size in ("B", "H", "W")]
    labels, other = torch.randint(N, (2, *shape), generator=generator)
    predictions = torch.where(torch.rand(shape, generator=generator) < 0.5, labels, other)
    labels[torch.rand(shape, generator=generator) < 0.2] = 255
    labels[-1, -1, 0] = 255
    return predictions, labels, N, 255


def _ignored(value: int) -> Callable:
    """Another number for the pixels that do not count, even one of the classes: then a pixel that counts is called so."""

    def change(predictions: Tensor, labels: Tensor, num_classes: int, ignore_index: int) -> tuple:
        labels = labels.where(labels != ignore_index, value)
        if value >= 0:
            predictions[0, 0, 0], labels[0, 0, 0] = value, num_classes - 1
        return predictions, labels, num_classes, value

    return change


def _none_ignored(predictions: Tensor, labels: Tensor, num_classes: int, ignore_index: int) -> tuple:
    return predictions, labels.where(labels != ignore_index, predictions), num_classes, ignore_index


def _classes_missing(predictions: Tensor, labels: Tensor, num_classes: int, ignore_index: int) -> tuple:
    """The last class occurs nowhere, and the first is never predicted."""
    seldom = predictions.where(predictions != num_classes - 1, 0)
    return seldom.clamp(min=1), labels.where(labels != num_classes - 1, 0), num_classes, ignore_index


matrix = Exercise(
    confusion_matrix,
    takes={"predictions": "B H W < N", "labels": "B H W < N", "num_classes": "N", "ignore_index": 255},
    returns="N N",
    axes="label prediction",
    draw=_segmentations,
    steps={
        "counted": "the mask of pixels that count",
        "pairs": "label · N + prediction",
        "i": "the label",
        "j": "the prediction",
        "counts": "the matrix",
    },
    parts=(
        Part(
            "every pixel counts",
            1,
            Sizes("no ignored pixel", _none_ignored),
            Sizes("one image", _none_ignored, B=1),
            Sizes("many pixels", _none_ignored, B=1, H=36, W=48, N=2),
        ),
        Part(
            "some pixels are ignored, some classes occur nowhere",
            2,
            Sizes("ignored pixels"),
            Sizes("one image", B=1),
            Sizes("classes that do not occur", _classes_missing, N=5),
            Sizes("a last class that does not occur, one image", _classes_missing, B=1, H=7, W=9, N=29),
            Sizes("ignored pixels of label 0", _ignored(0), B=4),
            Sizes("ignored pixels of label -1", _ignored(-1)),
            Sizes("all sizes alike", H="B", W="B", N="B", B=3),
        ),
    ),
)  # fmt: skip


@matrix.formulation
def _(predictions, labels, num_classes, ignore_index):
    counted = labels != ignore_index
    i = F.one_hot(labels[counted], num_classes)  # (pixels, N)
    j = F.one_hot(predictions[counted], num_classes)  # (pixels, N)
    return i.transpose(0, 1) @ j


@matrix.formulation
def _(predictions, labels, num_classes, ignore_index):
    pairs = labels * num_classes + predictions
    counted = pairs[labels != ignore_index]
    counts = torch.bincount(counted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


@matrix.formulation
def _(predictions, labels, num_classes, ignore_index):
    counted = labels != ignore_index
    i, j = labels[counted], predictions[counted]
    zeros = torch.zeros(num_classes, num_classes, dtype=torch.long)
    return zeros.index_put((i, j), torch.ones_like(i), accumulate=True)


def counted_pixels(predictions, labels, ignore_index):
    """The labels and predictions that count, which wrong versions are read with as if it were written out."""
    counted = labels != ignore_index
    return labels[counted], predictions[counted]


def table(i, j, num_classes):
    """The counts of pairs (i, j)."""
    pairs = i * num_classes + j
    counts = torch.bincount(pairs, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


@matrix.misconception(
    "Rows and columns are exchanged: the label says the row, the prediction the column, label · N + prediction."
)
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    return table(j, i, num_classes)


AND_EXCHANGED = " And rows and columns are exchanged: the label says the row."
BY_CLASS = (
    "Pixels are left out because their label is no class (0 ≤ label < N): leave out those whose label is ignore_index, which "
    "may be any number, even a class."
)


@matrix.misconception(BY_CLASS)
def _(predictions, labels, num_classes, ignore_index):
    counted = (labels >= 0) & (labels < num_classes)
    return table(labels[counted], predictions[counted], num_classes)


@matrix.misconception(BY_CLASS + AND_EXCHANGED)
def _(predictions, labels, num_classes, ignore_index):
    counted = (labels >= 0) & (labels < num_classes)
    return table(predictions[counted], labels[counted], num_classes)


BY_255 = (
    "Pixels are left out because their label is 255, or too large for a class: leave out those whose label is ignore_index, "
    "which may be any number, even a class."
)


@matrix.misconception(BY_255)
def _(predictions, labels, num_classes, ignore_index):
    counted = labels != 255
    return table(labels[counted], predictions[counted], num_classes)


@matrix.misconception(BY_255)
def _(predictions, labels, num_classes, ignore_index):
    counted = labels != 255
    i, j = labels[counted], predictions[counted]
    zeros = torch.zeros(num_classes, num_classes, dtype=torch.long)
    return zeros.index_put((i, j), torch.ones_like(i), accumulate=True)  # -1 is the last class


@matrix.misconception(BY_255 + AND_EXCHANGED)
def _(predictions, labels, num_classes, ignore_index):
    counted = labels != 255
    return table(predictions[counted], labels[counted], num_classes)


NOT_LEFT_OUT = (
    "Ignored pixels are not left out, and 255 is no class: leave them out of labels and predictions, with a mask "
    "labels != ignore_index, before counting."
)


@matrix.misconception(NOT_LEFT_OUT)
def _(predictions, labels, num_classes, ignore_index):
    return table(labels.flatten(), predictions.flatten(), num_classes)


@matrix.misconception(NOT_LEFT_OUT)
def _(predictions, labels, num_classes, ignore_index):
    i = F.one_hot(labels.flatten(), num_classes)
    j = F.one_hot(predictions.flatten(), num_classes)
    return i.transpose(0, 1) @ j


@matrix.misconception(NOT_LEFT_OUT)
def _(predictions, labels, num_classes, ignore_index):
    zeros = torch.zeros(num_classes, num_classes, dtype=torch.long)
    return zeros.index_put((labels, predictions), torch.ones_like(labels), accumulate=True)


@matrix.misconception(
    "Ignored pixels are left out of the labels alone: leave them out of the predictions, too, predictions[counted], or pairs no "
    "longer fit."
)
def _(predictions, labels, num_classes, ignore_index):
    counted = labels != ignore_index
    pairs = labels[counted] * num_classes + predictions.flatten()
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


EXTRA_ROW = (
    "Ignored pixels are counted as a class N of their own: cut it off at the end, counts[:N, :N], which are (N, N)."
)


@matrix.misconception(EXTRA_ROW)
def _(predictions, labels, num_classes, ignore_index):
    i = labels.where(labels != ignore_index, num_classes)
    return table(i.flatten(), predictions.flatten(), num_classes + 1)


@matrix.misconception(EXTRA_ROW)
def _(predictions, labels, num_classes, ignore_index):
    i = labels.where(labels != ignore_index, num_classes)
    return table(i.flatten(), predictions.flatten(), num_classes + 1)[:, :-1]


AS_CLASS = (
    "Ignored pixels are counted, as pixels of the class {}: leave them out of labels and predictions before counting."
)


@matrix.misconception(AS_CLASS.format("0"))
def _(predictions, labels, num_classes, ignore_index):
    i = labels.where(labels != ignore_index, 0)
    return table(i.flatten(), predictions.flatten(), num_classes)


@matrix.misconception(AS_CLASS.format("0, as if they had been called 0 as well"))
def _(predictions, labels, num_classes, ignore_index):
    counted = labels != ignore_index
    return table((labels * counted).flatten(), (predictions * counted).flatten(), num_classes)


@matrix.misconception(AS_CLASS.format("N - 1, where clamp puts 255"))
def _(predictions, labels, num_classes, ignore_index):
    i = labels.clamp(0, num_classes - 1)
    return table(i.flatten(), predictions.flatten(), num_classes)


@matrix.misconception(AS_CLASS.format("that was predicted, so that all of them are right"))
def _(predictions, labels, num_classes, ignore_index):
    i = labels.where(labels != ignore_index, predictions)
    return table(i.flatten(), predictions.flatten(), num_classes)


@matrix.misconception(
    "Pixels are left out whose prediction is ignore_index: it is the label that says whether a pixel counts."
)
def _(predictions, labels, num_classes, ignore_index):
    counted = predictions != ignore_index
    return table(labels[counted], predictions[counted], num_classes)


@matrix.misconception(
    "Pixels are left out whose prediction is ignore_index, or whose label is no class: leave out those whose label is "
    "ignore_index, and no others."
)
def _(predictions, labels, num_classes, ignore_index):
    counted = (predictions != ignore_index) & (labels >= 0) & (labels < num_classes)
    return table(labels[counted], predictions[counted], num_classes)


@matrix.misconception(
    "Pixels are left out whose label or prediction is ignore_index: the label alone decides, and what was called a class "
    "that is ignored is a mistake like others."
)
def _(predictions, labels, num_classes, ignore_index):
    counted = (labels != ignore_index) & (predictions != ignore_index)
    return table(labels[counted], predictions[counted], num_classes)


@matrix.misconception("Only ignored pixels are counted: the comparison is the wrong way round, labels != ignore_index.")
def _(predictions, labels, num_classes, ignore_index):
    counted = labels == ignore_index
    return table(predictions[counted], predictions[counted], num_classes)


@matrix.misconception("Only the pixels that are right are counted, on the diagonal: count the mistakes, too.")
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    return table(i[i == j], j[i == j], num_classes)


@matrix.misconception("Only mistakes are counted: pixels that are right belong on the diagonal.")
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    return table(i[i != j], j[i != j], num_classes)


FIRST_IMAGE = "The first image alone is counted: all images of the batch go into one matrix."


@matrix.misconception(FIRST_IMAGE)
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions[0], labels[0], ignore_index)
    return table(i, j, num_classes)


@matrix.misconception(FIRST_IMAGE + AND_EXCHANGED)
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions[0], labels[0], ignore_index)
    return table(j, i, num_classes)


@matrix.misconception("The last image alone is counted: is the matrix made anew for every image? Add the images up.")
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions[-1], labels[-1], ignore_index)
    return table(i, j, num_classes)


ONCE = (
    "Each pair is counted once, however often it occurs: counts[i, j] += 1 with tensors i, j adds one for each different pair "
    "only. bincount, or index_put_ with accumulate=True, counts."
)


@matrix.misconception(ONCE + AND_EXCHANGED)
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    return table(j, i, num_classes).clamp(max=1)


@matrix.misconception(ONCE)
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    return table(i, j, num_classes).clamp(max=1)


@matrix.misconception(
    "bincount gives as many counts as the largest number asks for, too few where the last class does not occur: pass minlength."
)
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    return torch.bincount(i * num_classes + j).reshape(num_classes, num_classes)


@matrix.misconception("The number of classes is taken from the pixels (max + 1): some class may not occur, N is given.")
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    found = int(torch.cat([i, j]).max()) + 1
    return table(i, j, found)


@matrix.misconception(
    "The bins of the histogram lie between the smallest and the largest class that occur (torch.histc and np.histogram2d "
    "without a range do so): every class is a bin, 0 … N - 1, also where it does not occur."
)
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    counts = np.histogram2d(i.numpy(), j.numpy(), bins=num_classes)[0]
    return torch.from_numpy(counts).long()


AVERAGED = "The counts are divided by the number of images: return the counts themselves."


@matrix.misconception(AVERAGED)
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    return table(i, j, num_classes) / len(labels)


@matrix.misconception(AVERAGED)
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    return table(i, j, num_classes) // len(labels)


PER_IMAGE = "There is a matrix for each image: all images of the batch are counted in one, so add them up."


@matrix.misconception(PER_IMAGE)
def _(predictions, labels, num_classes, ignore_index):
    images = zip(predictions, labels, strict=True)
    return torch.stack([confusion_matrix(p[None], y[None], num_classes, ignore_index) for p, y in images])


@matrix.misconception(PER_IMAGE)
def _(predictions, labels, num_classes, ignore_index):
    counted = (labels != ignore_index).unsqueeze(-1)
    i = F.one_hot(labels.where(labels != ignore_index, 0), num_classes) * counted  # (B, H, W, N)
    j = F.one_hot(predictions, num_classes)  # (B, H, W, N)
    return torch.einsum("bhwi,bhwj->bij", i, j)


@matrix.misconception(PER_IMAGE + AND_EXCHANGED)
def _(predictions, labels, num_classes, ignore_index):
    counted = (labels != ignore_index).unsqueeze(-1)
    i = F.one_hot(labels.where(labels != ignore_index, 0), num_classes) * counted  # (B, H, W, N)
    j = F.one_hot(predictions, num_classes)  # (B, H, W, N)
    return torch.einsum("bhwi,bhwj->bji", i, j)


SMALL = "The counts are kept in {0}, which ends at {1}: a pair may occur more often, so count in torch.long."


@matrix.misconception(SMALL.format("uint8", "255"))
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    return table(i, j, num_classes).to(torch.uint8)


@matrix.misconception(SMALL.format("int8", "127"))
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    return table(i, j, num_classes).to(torch.int8)


@matrix.misconception(
    "The pairs, label · N + prediction, are computed in uint8, which ends at 255: convert with .long() first."
)
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    return table(i.to(torch.uint8), j.to(torch.uint8), num_classes)


@matrix.misconception("The last class is missing: classes are 0 … N - 1, and range(num_classes) ends there by itself.")
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    known = (i < num_classes - 1) & (j < num_classes - 1)
    return table(i[known], j[known], num_classes)


@matrix.misconception("The matrix and its transpose are added up: the label says the row, the prediction the column.")
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    return table(i, j, num_classes) + table(j, i, num_classes)


SHARES = "These are shares of the pixels {}: return the counts themselves, integers."


@matrix.misconception(SHARES.format("of each label"))
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    counts = table(i, j, num_classes)
    return counts / counts.sum(dim=1, keepdim=True)


@matrix.misconception(SHARES.format("of each label"))
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    counts = table(i, j, num_classes)
    return counts / counts.sum(dim=1, keepdim=True).clamp(min=1)


@matrix.misconception(SHARES.format("that count"))
def _(predictions, labels, num_classes, ignore_index):
    i, j = counted_pixels(predictions, labels, ignore_index)
    return table(i, j, num_classes) / len(i)


# ---- mean_iou


def _counts(generator: Generator, sizes: dict[str, int], dtype: torch.dtype) -> tuple[Tensor]:
    """More right than wrong, and classes of very different sizes."""
    N = sizes["N"]
    counts = torch.randint(0, 12, (N, N), generator=generator)
    right = torch.randint(3, 90, (N,), generator=generator)
    counts = counts + right.diag()
    counts[0, 0] += 200  # background
    return (counts,)


def _without(*, labels: bool, predictions: bool) -> Callable:
    """The last class but one in no label, or in no prediction, or in neither."""

    def change(counts: Tensor) -> Tensor:
        counts = counts.clone()
        counts[-2] *= not labels
        counts[:, -2] *= not predictions
        return counts

    return change


def _never_right(counts: Tensor) -> Tensor:
    return counts - counts.diagonal().diag() * (torch.arange(len(counts)) == 1)


score = Exercise(
    mean_iou,
    takes={"counts": "N N"},
    returns="",
    draw=_counts,
    parts=(
        Part(
            "every class occurs",
            1,
            Sizes(),
            Sizes("two classes", N=2),
            Sizes("many classes", N="large"),
            Sizes("a class that is never right", _never_right, N=5),
        ),
        Part(
            "classes that do not occur",
            2,
            Sizes("a class in no label, but predicted", _without(labels=True, predictions=False), N=5),
            Sizes("a class in labels, never predicted", _without(labels=False, predictions=True), N=6),
            Sizes("a class that occurs nowhere", _without(labels=True, predictions=True), N=4),
            Sizes("a class of many that occurs nowhere", _without(labels=True, predictions=True), N="large"),
        ),
    ),
)


@score.formulation
def _(counts):
    n = counts.double()
    tp = n.diagonal()
    fn = n.sum(dim=1) - tp
    fp = n.sum(dim=0) - tp
    iou = tp / (tp + fp + fn)
    return iou[~iou.isnan()].mean()


@score.formulation
def _(counts):
    n = counts.double()
    intersection = n.diagonal()
    union = n.sum(dim=1) + n.sum(dim=0) - intersection
    occurs = union > 0
    iou = intersection[occurs] / union[occurs]
    return iou.sum() / occurs.sum()


def parts_of(counts):
    """n_ii, t_i and p_i, which wrong versions are read with as if it were written out."""
    n = counts.double()
    return n.diagonal(), n.sum(dim=1), n.sum(dim=0)


ABSENT = "A class that occurs nowhere, 0 / 0, counts as {} in the mean: leave it out, and divide by the number of classes that occur."


@score.misconception(ABSENT.format("0"))
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p - right)
    return iou.nan_to_num(0).mean()


@score.misconception(ABSENT.format("1"))
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p - right)
    return iou.nan_to_num(1).mean()


@score.misconception(
    "A class that occurs nowhere gives 0 / 0, which is not a number, and so is the mean: leave it out."
)
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p - right)
    return iou.mean()


OF_LABELS = "The mean is over the classes that occur in the labels: a class that is only predicted occurs, too, and has an IoU of 0."


@score.misconception(OF_LABELS)
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p - right)
    return iou[t > 0].mean()


@score.misconception("The mean is over the classes that were predicted: one that was never found has an IoU of 0.")
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p - right)
    return iou[p > 0].mean()


@score.misconception(
    "Classes are left out that are missing from the labels or from the predictions: leave out those that are missing from both."
)
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p - right)
    return iou[(t > 0) & (p > 0)].mean()


@score.misconception("Classes with an IoU of 0 are left out of the mean: leave out only those that occur nowhere.")
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p - right)
    return iou[right > 0].mean()


DICE = "This is the Dice score (F1), 2 n_ii / (t_i + p_i): the IoU divides by the union, n_ii / (t_i + p_i - n_ii)."


@score.misconception(DICE)
def _(counts):
    right, t, p = parts_of(counts)
    iou = 2 * right / (t + p)
    return iou.nanmean()


@score.misconception(DICE)
def _(counts):
    n = counts.double()
    precision = n.diagonal() / n.sum(dim=0)
    recall = n.diagonal() / n.sum(dim=1)
    return (2 * precision * recall / (precision + recall)).nanmean()


TWICE_IN_UNION = (
    "The intersection is counted twice in the union, t_i + p_i: a pixel that is in both is in the union once, - n_ii."
)


@score.misconception(TWICE_IN_UNION)
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p)
    return iou.nanmean()


@score.misconception(
    f"Two things. {TWICE_IN_UNION} And a class that occurs nowhere gives 0 / 0, which is not a number, and so is the mean."
)
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p)
    return iou.mean()


@score.misconception(f"Two things. {TWICE_IN_UNION} And {OF_LABELS[0].lower()}{OF_LABELS[1:]}")
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p)
    return iou[t > 0].mean()


@score.misconception(
    "This is the Dice score (F1), 2 n_ii / (t_i + p_i), and class 0 is left out: the IoU is n_ii / (t_i + p_i - n_ii), and "
    "every class counts."
)
def _(counts):
    right, t, p = parts_of(counts)
    iou = 2 * right / (t + p)
    return iou[1:].nanmean()


NOWHERE_0 = " And a class that occurs nowhere counts as 0 in the mean: leave it out."


@score.misconception(DICE + NOWHERE_0)
def _(counts):
    right, t, p = parts_of(counts)
    iou = 2 * right / (t + p).clamp(min=1)
    return iou.mean()


@score.misconception(DICE + " And a class that occurs nowhere counts as 1 in the mean: leave it out.")
def _(counts):
    right, t, p = parts_of(counts)
    iou = 2 * right / (t + p)
    return iou.nan_to_num(1).mean()


@score.misconception(TWICE_IN_UNION + NOWHERE_0)
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p).clamp(min=1)
    return iou.mean()


RECALL = "This is the mean accuracy of the classes, n_ii / t_i: pixels that were wrongly called i belong to the union as well."
PRECISION = "The mean precision, n_ii / p_i: pixels of class i that were missed belong to the union as well."


@score.misconception(RECALL)
def _(counts):
    n = counts.double()
    accuracy = n.diagonal() / n.sum(dim=1)
    return accuracy.nanmean()


@score.misconception(PRECISION)
def _(counts):
    n = counts.double()
    precision = n.diagonal() / n.sum(dim=0)
    return precision.nanmean()


@score.misconception(RECALL)
def _(counts):
    right, t, p = parts_of(counts)
    accuracy = right / t.clamp(min=1)
    return accuracy[t + p > 0].mean()


@score.misconception(PRECISION)
def _(counts):
    right, t, p = parts_of(counts)
    precision = right / p.clamp(min=1)
    return precision[t + p > 0].mean()


@score.misconception(RECALL + NOWHERE_0)
def _(counts):
    right, t, _ = parts_of(counts)
    accuracy = right / t.clamp(min=1)
    return accuracy.mean()


@score.misconception(PRECISION + NOWHERE_0)
def _(counts):
    right, _, p = parts_of(counts)
    precision = right / p.clamp(min=1)
    return precision.mean()


@score.misconception("This is the pixel accuracy, Σ n_ii / Σ t_i: take the IoU of every class, and their mean.")
def _(counts):
    right, t, _ = parts_of(counts)
    return right.sum() / t.sum()


@score.misconception(
    "Intersections and unions are added up before dividing: every class has an IoU, which counts alike."
)
def _(counts):
    right, t, p = parts_of(counts)
    return right.sum() / (t + p - right).sum()


@score.misconception("The mean is weighted by the pixels of each class: every class counts alike.")
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p - right)
    return (iou.nan_to_num(0) * t).sum() / t.sum()


BACKGROUND = "Class 0 is left out: it is a class as others are, and its pixels count."


@score.misconception(BACKGROUND)
def _(counts):
    right, t, p = parts_of(counts[1:, 1:])
    iou = right / (t + p - right)
    return iou.nanmean()


@score.misconception(BACKGROUND)
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p - right)
    return iou[1:].nanmean()


@score.misconception(BACKGROUND + NOWHERE_0)
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p - right).clamp(min=1)
    return iou[1:].mean()


@score.misconception("The IoUs are added up: divide by the number of classes that occur.")
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p - right)
    return iou.nansum()


@score.misconception(
    "What is right is taken from the union twice: t_i + p_i holds it twice, and the union once, t_i + p_i - n_ii."
)
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p - 2 * right)
    return iou.nanmean()


@score.misconception("This is the median of the IoUs: mIoU is their mean.")
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p - right)
    return iou.nanmedian()


@score.misconception("The IoU of every class is returned: mIoU is their mean.")
def _(counts):
    right, t, p = parts_of(counts)
    return right / (t + p - right)


@score.misconception("This is in percent: mIoU lies between 0 and 1.")
def _(counts):
    right, t, p = parts_of(counts)
    iou = right / (t + p - right)
    return 100 * iou.nanmean()


@score.misconception(
    "Every IoU comes out as 0 (or 1): // divides integers and drops what is left over, so use /; or the diagonal was changed "
    "before it was used, since counts.diagonal() is a view of it."
)
def _(counts):
    right = counts.diagonal()
    union = counts.sum(dim=1) + counts.sum(dim=0) - right
    return (right[union > 0] // union[union > 0]).double().mean()


# ---- linear_head


head = Exercise(
    linear_head,
    takes={"tokens": "B n d", "W": "d N", "b": "N", "grid": "rows columns", "patch_size": "P"},
    where={"n": "rows*columns"},
    returns="B N rows*P columns*P",
    axes="image class row column",
    parts=(
        Part(
            "one image",
            1,
            Sizes("a square grid", B=1, rows=3, columns=3, P=4),
            Sizes("patches of one pixel", B=1, rows=2, columns=4, P=1),
        ),
        Part(
            "several images, any grid; float64, gradients",
            2,
            Sizes("a wide grid", rows=2, columns=5, P=4),
            Sizes("a high grid", rows=5, columns=3, P=2),
            Sizes("one row", rows=1, columns=6, P=3),
            Sizes("many features", d="large", rows=3, columns=2, P=4),
            Sizes("as many classes as features", N="d", rows=2, columns=3, P=3, gradient=True),
            Sizes("as many images as classes", B="N", rows=3, columns=2, P=2, gradient=True),
        ),
    ),
    pinned={"rows": 3, "columns": 2, "P": 4},
    steps={
        "scores": "z W + b",
        "scores_first": "z W + b with the classes first",
        "laid_out": "the grid of scores",
        "logits": "the small map of scores",
        "maps": "the grid of tokens",
        "large": "the upsampled grid of tokens",
    },
)  # fmt: skip


@head.formulation
def _(tokens, W, b, grid, patch_size):
    rows, columns = grid
    scores = tokens @ W + b  # (B, n, N)
    laid_out = scores.reshape(len(tokens), rows, columns, -1)
    logits = laid_out.permute(0, 3, 1, 2)  # (B, N, rows, columns)
    size = (rows * patch_size, columns * patch_size)
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


@head.formulation
def _(tokens, W, b, grid, patch_size):
    scores = torch.einsum("bnd,dk->bkn", tokens, W) + b[:, None]
    logits = scores.unflatten(2, grid)
    return F.interpolate(logits, scale_factor=patch_size, mode="bilinear", align_corners=False)


@head.formulation
def _(tokens, W, b, grid, patch_size):
    rows, columns = grid
    maps = tokens.transpose(1, 2).unflatten(2, (rows, columns))  # (B, d, rows, columns)
    size = (rows * patch_size, columns * patch_size)
    large = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    logits = large.permute(0, 2, 3, 1) @ W + b
    return logits.permute(0, 3, 1, 2)


def enlarged(logits, grid, patch_size):
    """The right last step, which wrong versions are read with as if it were written out."""
    size = (grid[0] * patch_size, grid[1] * patch_size)
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def laid_out(scores, grid):
    """The right layout, likewise: (B, n, N) -> (B, N, rows, columns)."""
    return scores.transpose(1, 2).unflatten(2, grid)


@head.misconception(
    "The scores (B, n, N) are cut into (B, N, rows, columns) by a reshape, which takes them in their order in memory: move the "
    "classes in front of the patches first, transpose(1, 2)."
)
def _(tokens, W, b, grid, patch_size):
    scores = tokens @ W + b
    logits = scores.reshape(len(tokens), -1, *grid)
    return enlarged(logits, grid, patch_size)


EXCHANGED = (
    "Rows and columns of the grid are exchanged: patches are numbered row by row, so unflatten into (rows, columns)."
)


@head.misconception(EXCHANGED)
def _(tokens, W, b, grid, patch_size):
    scores = tokens @ W + b
    logits = scores.transpose(1, 2).unflatten(2, grid[::-1])
    return enlarged(logits, grid, patch_size)


@head.misconception(EXCHANGED)
def _(tokens, W, b, grid, patch_size):
    scores = tokens @ W + b
    logits = scores.transpose(1, 2).unflatten(2, grid[::-1])
    return F.interpolate(logits, scale_factor=patch_size, mode="bilinear", align_corners=False)


@head.misconception(
    "The patches are laid out column by column: they are numbered row by row, so unflatten into (rows, columns)."
)
def _(tokens, W, b, grid, patch_size):
    scores = tokens @ W + b
    logits = scores.transpose(1, 2).unflatten(2, grid[::-1]).transpose(2, 3)
    return enlarged(logits, grid, patch_size)


@head.misconception("Rows and columns are exchanged in the size: rows·P comes first, then columns·P.")
def _(tokens, W, b, grid, patch_size):
    logits = laid_out(tokens @ W + b, grid)
    return enlarged(logits, grid[::-1], patch_size)


CLASSES_LAST = (
    "F.interpolate stretches the last two axes, which here are columns and classes: move the classes in front of rows and "
    "columns first, (B, N, rows, columns)."
)


@head.misconception(CLASSES_LAST)
def _(tokens, W, b, grid, patch_size):
    scores = tokens @ W + b
    logits = scores.unflatten(1, grid)  # (B, rows, columns, N)
    return F.interpolate(logits, scale_factor=patch_size, mode="bilinear", align_corners=False)


@head.misconception(CLASSES_LAST)
def _(tokens, W, b, grid, patch_size):
    scores = tokens @ W + b
    logits = scores.unflatten(1, grid)  # (B, rows, columns, N)
    large = F.interpolate(logits, scale_factor=patch_size, mode="bilinear", align_corners=False)
    return large.permute(0, 3, 1, 2)


@head.misconception(
    "The scores are stretched as a sequence (mode='linear') and cut into rows afterwards, so that patches have no neighbours "
    "above and below: lay them out on the grid first, (B, N, rows, columns), then upsample."
)
def _(tokens, W, b, grid, patch_size):
    scores = (tokens @ W + b).transpose(1, 2)  # (B, N, n)
    line = F.interpolate(scores, scale_factor=patch_size**2, mode="linear")
    return line.unflatten(2, (grid[0] * patch_size, grid[1] * patch_size))


SQUARE = "The grid is taken as square, √n patches on a side: `grid` says how many rows and columns there are."


@head.misconception(SQUARE)
def _(tokens, W, b, grid, patch_size):
    scores = tokens @ W + b
    side = int(scores.shape[1] ** 0.5)
    logits = scores.transpose(1, 2).unflatten(2, (side, side))
    return F.interpolate(logits, scale_factor=patch_size, mode="bilinear", align_corners=False)


def _with_classes_left_over(rounded, to_grid):
    """Where n is no square, -1 for the classes lets a reshape go through that takes some numbers for further classes."""

    @head.misconception(SQUARE)
    def square(tokens, W, b, grid, patch_size):
        scores = tokens @ W + b
        side = rounded(scores.shape[1] ** 0.5)
        logits = scores.transpose(1, 2).reshape(len(tokens), -1, side, side)
        return enlarged(logits, grid if to_grid else (side, side), patch_size)


for rounded in (int, round):
    for to_grid in (False, True):
        _with_classes_left_over(rounded, to_grid)


NEAREST = "Every pixel of a patch gets the same scores (nearest neighbour): upsample bilinearly, mode='bilinear'."


@head.misconception(NEAREST)
def _(tokens, W, b, grid, patch_size):
    logits = laid_out(tokens @ W + b, grid)
    return F.interpolate(logits, scale_factor=patch_size, mode="nearest")


@head.misconception(
    "The whole map is repeated side by side, P × P times: stretch it instead, upsampled bilinearly with mode='bilinear'."
)
def _(tokens, W, b, grid, patch_size):
    logits = laid_out(tokens @ W + b, grid)
    return logits.repeat(1, 1, patch_size, patch_size)


@head.misconception("The corners are aligned (align_corners=True): pixels are squares here, align_corners=False.")
def _(tokens, W, b, grid, patch_size):
    logits = laid_out(tokens @ W + b, grid)
    size = (grid[0] * patch_size, grid[1] * patch_size)
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=True)


@head.misconception(
    "The scores of the patches are not upsampled: each patch has P × P pixels, (B, N, rows·P, columns·P)."
)
def _(tokens, W, b, grid, patch_size):
    return laid_out(tokens @ W + b, grid)


@head.misconception("The bias b is missing: z W + b.")
def _(tokens, W, b, grid, patch_size):
    return enlarged(laid_out(tokens @ W, grid), grid, patch_size)


@head.misconception(
    "b is added to the last axis, which now is that of the columns: there is a number for each class, so add it to the scores "
    "(B, n, N), before the layout."
)
def _(tokens, W, b, grid, patch_size):
    logits = laid_out(tokens @ W, grid) + b
    return enlarged(logits, grid, patch_size)


SOFTMAX = "These are probabilities (a softmax over the classes{}): return the scores themselves."


@head.misconception(SOFTMAX.format(""))
def _(tokens, W, b, grid, patch_size):
    logits = enlarged(laid_out(tokens @ W + b, grid), grid, patch_size)
    return logits.softmax(dim=1)


@head.misconception(SOFTMAX.format(" of each patch"))
def _(tokens, W, b, grid, patch_size):
    scores = (tokens @ W + b).softmax(dim=-1)
    return enlarged(laid_out(scores, grid), grid, patch_size)


@head.misconception(
    "This is the class of every pixel (argmax): return the scores of all classes, (B, N, rows·P, columns·P)."
)
def _(tokens, W, b, grid, patch_size):
    logits = enlarged(laid_out(tokens @ W + b, grid), grid, patch_size)
    return logits.argmax(dim=1)


NO_CLASS_TOKEN = "The first token is left out as a class token: there is none, and all n tokens are patches."


@head.misconception(NO_CLASS_TOKEN)
def _(tokens, W, b, grid, patch_size):
    scores = tokens[:, 1:] @ W + b
    logits = torch.cat([scores, scores[:, -1:]], dim=1)
    return enlarged(laid_out(logits, grid), grid, patch_size)


# One token too few for the grid: each way to lay them out stops in words of its own.


def _without_the_first(lay_out):
    @head.misconception(NO_CLASS_TOKEN)
    def stopped(tokens, W, b, grid, patch_size):
        scores = tokens[:, 1:] @ W + b
        return enlarged(lay_out(scores, grid), grid, patch_size)


def _reshaped(scores, grid):
    return scores.transpose(1, 2).reshape(len(scores), scores.shape[-1], *grid)


def _reshaped_to_any(scores, grid):
    return scores.transpose(1, 2).reshape(len(scores), -1, *grid)


def _classes_last(scores, grid):
    return scores.unflatten(1, grid).permute(0, 3, 1, 2)


def _reshaped_classes_last(scores, grid):
    return scores.reshape(len(scores), *grid, scores.shape[-1]).permute(0, 3, 1, 2)


def _reshaped_to_any_classes_last(scores, grid):
    return scores.reshape(len(scores), *grid, -1).permute(0, 3, 1, 2)


for lay_out in (
    laid_out,
    _reshaped,
    _reshaped_to_any,
    _classes_last,
    _reshaped_classes_last,
    _reshaped_to_any_classes_last,
):
    _without_the_first(lay_out)


@head.misconception("Every image is upsampled to P × P pixels: each patch has as many, so rows·P × columns·P.")
def _(tokens, W, b, grid, patch_size):
    logits = laid_out(tokens @ W + b, grid)
    return F.interpolate(logits, size=(patch_size, patch_size), mode="bilinear", align_corners=False)


@head.misconception(
    "A pixel i takes its scores at the place i / P, and should at (i + 1/2) / P - 1/2: pixels and patches are squares, and "
    "it is their centres that lie on a grid (align_corners=False)."
)
def _(tokens, W, b, grid, patch_size):
    rows, columns = grid
    maps = (tokens @ W + b).unflatten(1, (rows, columns)).permute(0, 3, 1, 2)
    return _at_corners(_at_corners(maps, patch_size).mT, patch_size).mT


def _at_corners(maps: Tensor, P: int) -> Tensor:
    """Linear interpolation along the last axis, at the places i / P."""
    places = torch.arange(maps.shape[-1] * P, dtype=maps.dtype) / P
    left = places.long()
    right = (left + 1).clamp(max=maps.shape[-1] - 1)
    share = places - left
    return (1 - share) * maps[..., left] + share * maps[..., right]


# ---- mask_scores

masks = Exercise(
    mask_scores,
    takes={"patches": "B n d", "classes": "B N d"},
    returns="B n N",
    axes="image patch class",
    parts=(
        Part("one image", 1, Sizes("one image", B=1), Sizes("one patch", B=1, n=1)),
        Part(
            "several images; float64, gradients",
            1,
            Sizes(),
            Sizes(
                "tokens of very different lengths",
                lambda patches, classes: (
                    patches * torch.arange(1, 1 + patches.shape[1])[:, None],
                    classes * (1 + 4 * torch.arange(classes.shape[1]))[:, None],
                ),
                n="large",
            ),
            Sizes("as many classes as patches", N="n"),
            Sizes(gradient=True),
            Sizes("all sizes alike", n="B", N="B", d="B", B=3, gradient=True),
        ),
    ),
    steps={"p_hat": "p̂", "c_hat": "ĉ", "p_length": "|p|", "c_length": "|c|", "scores": "p cᵀ"},
)


@masks.formulation
def _(patches, classes):
    p_hat = patches / patches.norm(dim=-1, keepdim=True)
    c_hat = classes / classes.norm(dim=-1, keepdim=True)
    return torch.einsum("bnd,bkd->bnk", p_hat, c_hat)


@masks.formulation
def _(patches, classes):
    scores = patches @ classes.transpose(-2, -1)
    p_length = torch.sqrt((patches**2).sum(dim=-1, keepdim=True))
    c_length = torch.sqrt((classes**2).sum(dim=-1, keepdim=True))
    return scores / p_length / c_length.transpose(-2, -1)


def product(p_hat, c_hat):
    """The right last step, which wrong versions are read with as if it were written out."""
    return p_hat @ c_hat.transpose(-2, -1)


@masks.misconception("Nothing is normalized: bring every patch and every class to length 1 first.")
def _(patches, classes):
    return product(patches, classes)


@masks.misconception("Only the patches are brought to length 1: the classes must be, too.")
def _(patches, classes):
    return product(F.normalize(patches, dim=-1), classes)


@masks.misconception("Only the classes are brought to length 1: the patches must be, too.")
def _(patches, classes):
    return product(patches, F.normalize(classes, dim=-1))


@masks.misconception(
    "Features are normalized over the tokens of an image (F.normalize runs over dim=1 unless told otherwise): every token has "
    "its own length, dim=-1."
)
def _(patches, classes):
    return product(F.normalize(patches, dim=1), F.normalize(classes, dim=1))


@masks.misconception("The division is by the squared length: divide by its root, the length.")
def _(patches, classes):
    p_hat = patches / (patches**2).sum(dim=-1, keepdim=True)
    c_hat = classes / (classes**2).sum(dim=-1, keepdim=True)
    return product(p_hat, c_hat)


@masks.misconception(
    "The division is by the sum of absolute values (p=1): the length is the root of the sum of squares."
)
def _(patches, classes):
    return product(F.normalize(patches, p=1, dim=-1), F.normalize(classes, p=1, dim=-1))


@masks.misconception("The length of all tokens together is divided by: every token has its own, dim=-1.")
def _(patches, classes):
    return product(patches / patches.norm(), classes / classes.norm())


@masks.misconception("These are attention's scores, p · c / √d: Segmenter divides by the two lengths instead.")
def _(patches, classes):
    return product(patches, classes) / patches.shape[-1] ** 0.5


@masks.misconception("The cosines are divided by √d, too: both have length 1 already.")
def _(patches, classes):
    return product(F.normalize(patches, dim=-1), F.normalize(classes, dim=-1)) / patches.shape[-1] ** 0.5


LAYER_NORM = "This is layer normalization (mean 0, variance 1): bring every token to length 1."


@masks.misconception(LAYER_NORM)
def _(patches, classes):
    return product(F.layer_norm(patches, patches.shape[-1:]), F.layer_norm(classes, classes.shape[-1:]))


def _normalized_by_hand(correction):
    @masks.misconception(LAYER_NORM)
    def normalized(patches, classes):
        p_hat, c_hat = (
            (x - x.mean(dim=-1, keepdim=True)) / x.std(dim=-1, correction=correction, keepdim=True)
            for x in (patches, classes)
        )
        return product(p_hat, c_hat)


for correction in (0, 1):
    _normalized_by_hand(correction)


@masks.misconception("The mean is subtracted before the length is taken (a correlation): leave it in.")
def _(patches, classes):
    p_hat = F.normalize(patches - patches.mean(dim=-1, keepdim=True), dim=-1)
    c_hat = F.normalize(classes - classes.mean(dim=-1, keepdim=True), dim=-1)
    return product(p_hat, c_hat)


@masks.misconception("A softmax over the classes is applied: return the cosines themselves.")
def _(patches, classes):
    return product(F.normalize(patches, dim=-1), F.normalize(classes, dim=-1)).softmax(dim=-1)


@masks.misconception("A softmax over the patches is applied: return the cosines themselves.")
def _(patches, classes):
    return product(F.normalize(patches, dim=-1), F.normalize(classes, dim=-1)).softmax(dim=-2)


@masks.misconception("A sigmoid is applied: return the cosines themselves, which lie between -1 and 1.")
def _(patches, classes):
    return product(F.normalize(patches, dim=-1), F.normalize(classes, dim=-1)).sigmoid()


@masks.misconception("These are the angles: return their cosines, which are the dot products of the two directions.")
def _(patches, classes):
    return product(F.normalize(patches, dim=-1), F.normalize(classes, dim=-1)).clamp(-1, 1).acos()


@masks.misconception("The cosines are moved to 0 … 1: return them as they are, between -1 and 1.")
def _(patches, classes):
    return (product(F.normalize(patches, dim=-1), F.normalize(classes, dim=-1)) + 1) / 2


@masks.misconception(
    "Patch i is compared with class i alone: every patch is compared with every class, p̂ ĉᵀ, which is (B, n, N)."
)
def _(patches, classes):
    return F.cosine_similarity(patches, classes, dim=-1)


@masks.misconception(
    "F.cosine_similarity runs over dim=1 unless told otherwise: the features, whose products are added up, are the last axis, "
    "dim=-1."
)
def _(patches, classes):
    return F.cosine_similarity(patches.unsqueeze(2), classes.unsqueeze(1))


@masks.misconception("The division is by the sum of the two lengths: divide by their product.")
def _(patches, classes):
    p_length = patches.norm(dim=-1, keepdim=True)
    c_length = classes.norm(dim=-1, keepdim=True)
    return product(patches, classes) / (p_length + c_length.transpose(-2, -1))


@masks.misconception(
    "This is the likeliest class of every patch (argmax): return the cosines of all classes, (B, n, N)."
)
def _(patches, classes):
    return product(F.normalize(patches, dim=-1), F.normalize(classes, dim=-1)).argmax(dim=-1)


@masks.misconception("These are distances: the score is the dot product of the two directions.")
def _(patches, classes):
    return torch.cdist(F.normalize(patches, dim=-1), F.normalize(classes, dim=-1))


@masks.misconception("The scores are normalized, not the tokens: bring patches and classes to length 1, then multiply.")
def _(patches, classes):
    return F.normalize(product(patches, classes), dim=-1)


@masks.misconception(
    "Every image is compared with the classes of the first one: class tokens differ from image to image."
)
def _(patches, classes):
    return product(F.normalize(patches, dim=-1), F.normalize(classes[0], dim=-1))


EXERCISES = (matrix, score, head, masks)
