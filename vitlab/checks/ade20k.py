"""Checks of the exercise `ade20k`: labels that start at 1, the loss of the pixels that count, poly, and a training."""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from vitlab.ade20k import poly_learning_rate, segmentation_loss, shift_labels, train_shapes
from vitlab.checks.cifar import BEGINS_WITH_0, OF_ALL_STEPS, ONE_STEP_TOO_MANY, ROUNDED, of_schedule
from vitlab.checks.engine.exercise import Exercise, Part, Sizes
from vitlab.checks.engine.training import Level, Task, TrainingExercise, mean_iou, moved_and_lit, renumbered
from vitlab.data import shapes
from vitlab.decoder import upsample

# ---- shift_labels


def _drawn_labels(generator: Generator, sizes: dict[str, int], dtype: torch.dtype) -> tuple[Tensor]:
    """Labels as in the files, of which the first four are the ones with something special about them."""
    B, H, W = (sizes[size] for size in "BHW")
    labels = torch.randint(0, 151, (B * H * W,), generator=generator, dtype=torch.uint8)
    special = torch.tensor([0, 255, 150, 1], dtype=torch.uint8)[: len(labels)]
    labels[torch.randperm(len(labels), generator=generator)[: len(special)]] = special
    return (labels.reshape(B, H, W),)


shifted = Exercise(
    shift_labels,
    takes={"labels": "B H W < 151"},
    returns="B H W",
    axes="image row column",
    draw=_drawn_labels,
    parts=(
        Part(
            "classes, and no class",
            1,
            Sizes("one image", B=1),
            Sizes("classes alone", lambda labels: labels.clamp(1, 150), B=4),
            Sizes("no class, and classes", lambda labels: labels.clamp(max=150), B=5, H="large"),
        ),
        Part(
            "what is ignored already",
            1,
            Sizes("one pixel, 255", lambda labels: torch.full_like(labels, 255), B=1, H=1, W=1),
            Sizes("classes, and ignored pixels", lambda labels: labels.clamp(min=1), B=4),
            Sizes("all of it, square", B=4, H=7, W=7),
        ),
    ),
)


@shifted.formulation
def _(labels):
    wide = labels.long()
    classes = wide - 1
    classes = torch.where(classes < 0, 255, classes)
    classes = torch.where(classes == 254, 255, classes)
    return classes.to(torch.uint8)


@shifted.formulation
def _(labels):
    filled = labels.masked_fill(labels == 0, 255)
    is_class = filled < 255
    return filled - is_class.to(torch.uint8)


@shifted.formulation
def _(labels):
    table = torch.arange(256) - 1  # the new number of every old one
    table = torch.where(table < 0, 255, table)
    table = torch.where(torch.arange(256) == 255, 255, table)
    return table[labels.long()].to(torch.uint8)


STAYS = "255 becomes 254, a class that does not exist: what is ignored already stays 255."


@shifted.misconception(STAYS)
def _(labels):
    return labels - 1


@shifted.misconception(STAYS)
def _(labels):
    return torch.where(labels == 0, 255, labels.long() - 1)


@shifted.misconception(
    "0 becomes -1 (and 255 becomes 254): what is no class should become 255, and what is ignored already stays 255."
)
def _(labels):
    return labels.long() - 1


@shifted.misconception("0 becomes -1: what is no class should become 255, which the loss ignores.")
def _(labels):
    return torch.where(labels == 255, 255, labels.long() - 1)


@shifted.misconception(
    "What is ignored becomes 254, 0 as well as 255: 1 is subtracted from the 255 that stands for no class, too. Only "
    "classes are shifted; what is ignored is 255 in the end."
)
def _(labels):
    filled = labels.masked_fill(labels == 0, 255)
    return filled - 1


FIRST_IS_NONE = (
    "0 is made 255 after the shift, when it is the number of the first class: compare the labels as they came, "
    "labels == 0, or do it before the shift."
)


@shifted.misconception(FIRST_IS_NONE)
def _(labels):
    classes = labels - 1
    return torch.where(classes == 0, 255, classes)


@shifted.misconception(FIRST_IS_NONE)
def _(labels):
    classes = labels.long() - 1
    return torch.where(classes == 0, 255, classes)


@shifted.misconception(
    "All classes become 0: where they are lowered one after the other, from 150 down, a pixel that has just become c - 1 "
    "is lowered again. Subtract 1 from all of them at once."
)
def _(labels):
    ignored = torch.logical_or(labels == 0, labels == 255)
    return torch.where(ignored, 255, torch.zeros_like(labels))


@shifted.misconception(
    "Everything becomes 255: where classes are lowered one after the other, from 150 down, all of them end as 0. Subtract "
    "1 from all of them at once."
)
def _(labels):
    return torch.full_like(labels, 255)


OTHER_NUMBER = "What is ignored becomes -100, PyTorch's own number for it (156 in uint8): here it is 255."


@shifted.misconception(OTHER_NUMBER)
def _(labels):
    ignored = torch.logical_or(labels == 0, labels == 255)
    return torch.where(ignored, -100, labels.long() - 1)


@shifted.misconception(OTHER_NUMBER)
def _(labels):
    ignored = torch.logical_or(labels == 0, labels == 255)
    return torch.where(ignored, 156, labels - 1)


@shifted.misconception("What is ignored becomes -1, and should become 255, which the loss ignores.")
def _(labels):
    ignored = torch.logical_or(labels == 0, labels == 255)
    return torch.where(ignored, -1, labels.long() - 1)


@shifted.misconception(
    "0 becomes 254: 1 is subtracted from the 255 that stands for no class, too. Only classes are shifted, 1 ... 150."
)
def _(labels):
    filled = labels.masked_fill(labels == 0, 255)
    is_class = labels < 255
    return filled - is_class.to(torch.uint8)


@shifted.misconception(
    "0 becomes class 0, the same as 1 (and 255 becomes 254): what is no class should become 255, and what is ignored already "
    "stays 255."
)
def _(labels):
    return (labels.long() - 1).clamp(min=0)


@shifted.misconception("150 keeps its number, which no class has: it is the last class, and should become 149.")
def _(labels):
    filled = labels.masked_fill(labels == 0, 255)
    is_class = filled < 150
    return filled - is_class.to(torch.uint8)


@shifted.misconception("1 keeps its number, and is the same as 2 then: it is the first class, and should become 0.")
def _(labels):
    filled = labels.masked_fill(labels == 0, 255)
    is_class = torch.logical_and(filled > 1, filled < 255)
    return filled - is_class.to(torch.uint8)


NO_SHIFT = "The classes keep their numbers 1 ... 150, and should become 0 ... 149, since the scores of N classes are numbered from 0."


@shifted.misconception(NO_SHIFT)
def _(labels):
    return labels.masked_fill(labels == 0, 255)


@shifted.misconception("The labels are as they were: 0 should become 255, and 1 ... 150 should become 0 ... 149.")
def _(labels):
    return labels.clone()


@shifted.misconception("0 becomes class 0, the same as 1: what is no class should become 255, which the loss ignores.")
def _(labels):
    return torch.where(labels == 255, 255, labels.long().sub(1).clamp(min=0))


@shifted.misconception("0 becomes a class 150 of its own: what is no class should become 255, which the loss ignores.")
def _(labels):
    classes = torch.where(labels == 0, 150, labels.long() - 1)
    return torch.where(labels == 255, 255, classes)


@shifted.misconception("The labels are shifted twice: class 1 becomes 255 as well. Shift them once.")
def _(labels):
    once = shift_labels(labels)
    return shift_labels(once)


@shifted.misconception("The shift goes the wrong way: 1 should become 0, so subtract 1.")
def _(labels):
    ignored = torch.logical_or(labels == 0, labels == 255)
    return torch.where(ignored, 255, labels + 1)


@shifted.misconception("What is ignored becomes class 0: 255 should stay 255, as what is no class should become 255.")
def _(labels):
    classes = labels.long() - 1
    return torch.where(torch.logical_or(labels == 0, labels == 255), 0, classes)


@shifted.misconception("150 is ignored, too: it is the last class, and should become 149.")
def _(labels):
    ignored = torch.logical_or(labels == 0, labels >= 150)
    return torch.where(ignored, 255, labels - 1)


@shifted.misconception("1 is ignored, too: it is the first class, and should become 0.")
def _(labels):
    ignored = torch.logical_or(labels <= 1, labels == 255)
    return torch.where(ignored, 255, labels - 1)


# ---- segmentation_loss


def _drawn_scene(generator: Generator, sizes: dict[str, int], dtype: torch.dtype) -> tuple[Tensor, Tensor, int]:
    """Scores, labels of which a third is ignored, in the first image more than in the others, and 255."""
    B, N, h, w, H, W = (sizes[size] for size in "BNhwHW")
    logits = 2 * torch.randn(B, N, h, w, generator=generator, dtype=dtype)
    labels = torch.randint(N, (B, H, W), generator=generator)
    share = torch.full((B, 1, 1), 0.25)
    share[0] = 0.6
    ignored = torch.rand(B, H, W, generator=generator) < share
    ignored[:, 0, 0], ignored[:, -1, -1] = True, False
    return logits, labels.masked_fill(ignored, 255), 255


def _other_index(logits: Tensor, labels: Tensor, ignore_index: int) -> tuple:
    return logits, labels.masked_fill(labels == 255, 11 + logits.shape[1]), 11 + logits.shape[1]


loss = Exercise(
    segmentation_loss,
    takes={"logits": "B N h w", "labels": "B H W < N", "ignore_index": 255},
    where={"h": "(H+s-1)//s", "w": "(W+s-1)//s"},  # s: how many times fewer scores than pixels there are
    returns="",
    given=(upsample,),
    draw=_drawn_scene,
    steps={
        "upsampled": "the upsampled map of scores",
        "log_p": "log p",
        "losses": "the loss of each pixel",
        "counted": "the mask of pixels that count",
        "classes": "the map of labels",
    },
    parts=(
        Part(
            "as many scores as pixels",
            1,
            Sizes("one image", B=1, s=1),
            Sizes("no ignored pixel", lambda logits, labels, i: (logits, labels.where(labels != 255, 0), i), B=4, s=1),
        ),
        Part(
            "fewer scores than pixels, some pixels ignored",
            2,
            Sizes("one image", B=1, s=2),
            Sizes("several images", B=5, s=4, H="large", W="large"),
            Sizes("another ignore_index", _other_index, B=4, s=3, H=10, W=7),
            Sizes(
                "ignored pixels of label 0", lambda x, labels, i: (x, labels.where(labels != 255, 0), 0), B=4, s=2, H=9
            ),
            Sizes(
                "labels in bytes, two classes",
                lambda logits, labels, i: (logits, labels.byte(), i),
                B=4,
                N=2,
                s=2,
                H=8,
                W=8,
            ),
        ),
        Part(
            "scores of some hundreds; float64, gradients",
            1,
            Sizes("scores of some hundreds", lambda logits, labels, i: (200 * logits, labels, i), B=4, s=2),
            Sizes(s=2, B=4, gradient=True),
            Sizes("all sizes alike", B=4, N=4, s=1, H=4, W=4, gradient=True),
        ),
    ),
    pinned={"s": 2},
)


@loss.formulation
def _(logits, labels, ignore_index):
    upsampled = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
    return F.cross_entropy(upsampled, labels.long(), ignore_index=ignore_index)


@loss.formulation
def _(logits, labels, ignore_index):
    upsampled = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
    counted = labels != ignore_index  # (B, H, W)
    scores = upsampled.permute(0, 2, 3, 1)[counted]  # (V, N)
    classes = labels[counted].long()  # (V,)
    return F.cross_entropy(scores, classes)


def _up(logits: Tensor, labels: Tensor) -> Tensor:
    return upsample(logits, tuple(labels.shape[-2:]))


def _losses(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """(B, H, W), 0 where a pixel is ignored."""
    return F.cross_entropy(_up(logits, labels), labels.long(), ignore_index=ignore_index, reduction="none")


def _mean_loss(log_p: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """The loss, from the logarithms of the probabilities: (B, N, H, W) and (B, H, W)."""
    counted = labels != ignore_index
    classes = torch.where(counted, labels, 0).long()
    losses = -log_p.gather(1, classes[:, None])[:, 0]
    return losses[counted].mean()


@loss.misconception(
    "The sum is divided by all pixels: the mean is over those that count, and ignored ones are missing from the number, too."
)
def _(logits, labels, ignore_index):
    return _losses(logits, labels, ignore_index).mean()


@loss.misconception("The losses of the pixels are added up: take their mean over the pixels that count.")
def _(logits, labels, ignore_index):
    return _losses(logits, labels, ignore_index).sum()


@loss.misconception(
    "The sum is divided by the number of images: divide it by the number of pixels that count, in all images together."
)
def _(logits, labels, ignore_index):
    return _losses(logits, labels, ignore_index).sum() / len(labels)


@loss.misconception(
    "These are the losses of the pixels, (B, H, W): return their mean over the pixels that count, one number."
)
def _(logits, labels, ignore_index):
    return _losses(logits, labels, ignore_index)


@loss.misconception(
    "Each image has a mean of its own, and those are averaged: the mean is over the counted pixels of all images together."
)
def _(logits, labels, ignore_index):
    losses = _losses(logits, labels, ignore_index)
    counted = (labels != ignore_index).sum(dim=(1, 2))
    return (losses.sum(dim=(1, 2)) / counted).mean()


@loss.misconception("Ignored pixels count as class 0: they should not count at all.")
def _(logits, labels, ignore_index):
    classes = torch.where(labels == ignore_index, 0, labels).long()
    return F.cross_entropy(_up(logits, labels), classes)


@loss.misconception("Ignored pixels count as the last class: they should not count at all.")
def _(logits, labels, ignore_index):
    last = logits.shape[1] - 1
    classes = torch.where(labels == ignore_index, last, labels).long()
    return F.cross_entropy(_up(logits, labels), classes)


@loss.misconception("255 is ignored, whatever ignore_index says: ignore the label that is given.")
def _(logits, labels, ignore_index):
    return F.cross_entropy(_up(logits, labels), labels.long().clamp(max=255), ignore_index=255)


@loss.misconception(
    "The scores at ignored pixels are set to 0, and they count all the same, log N each: leave these pixels out."
)
def _(logits, labels, ignore_index):
    counted = labels != ignore_index
    scores = _up(logits, labels) * counted.unsqueeze(1)
    classes = torch.where(counted, labels, 0).long()
    return F.cross_entropy(scores, classes)


@loss.misconception(
    "Pixels count where their label is below N: leave out those of ignore_index, which may be the number of a class."
)
def _(logits, labels, ignore_index):
    counted = labels < logits.shape[1]
    scores = _up(logits, labels).permute(0, 2, 3, 1)[counted]
    classes = labels[counted].long()
    return F.cross_entropy(scores, classes)


@loss.misconception("ignore_index is not passed on: pixels with this label should not count.")
def _(logits, labels, ignore_index):
    return F.cross_entropy(_up(logits, labels), labels.long())


@loss.misconception("The scores are not upsampled: every pixel of the labels needs scores, labels.shape[-2:] of them.")
def _(logits, labels, ignore_index):
    return F.cross_entropy(logits, labels.long(), ignore_index=ignore_index)


@loss.misconception(
    "The scores are upsampled four times, whatever the size of the labels: give interpolate size=labels.shape[-2:]."
)
def _(logits, labels, ignore_index):
    upsampled = F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
    return F.cross_entropy(upsampled, labels.long(), ignore_index=ignore_index)


@loss.misconception("Height and width are exchanged: size is (H, W), rows first, as labels.shape[-2:] has them.")
def _(logits, labels, ignore_index):
    H, W = labels.shape[-2:]
    return F.cross_entropy(upsample(logits, (W, H)), labels.long(), ignore_index=ignore_index)


@loss.misconception(
    "The scores are upsampled by a whole factor, H // h: the labels' size need not be a multiple of theirs. Give "
    "interpolate size=labels.shape[-2:]."
)
def _(logits, labels, ignore_index):
    factor = labels.shape[1] // logits.shape[2]
    upsampled = F.interpolate(logits, scale_factor=factor, mode="bilinear", align_corners=False)
    return F.cross_entropy(upsampled, labels.long(), ignore_index=ignore_index)


@loss.misconception("The corners are aligned (align_corners=True): upsample with align_corners=False.")
def _(logits, labels, ignore_index):
    upsampled = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=True)
    log_p = upsampled.log_softmax(dim=1)
    return _mean_loss(log_p, labels, ignore_index)


@loss.misconception(
    "Two things: the corners are aligned (align_corners=True), and the sum is divided by all pixels: upsample with "
    "align_corners=False, and take the mean over the pixels that count."
)
def _(logits, labels, ignore_index):
    upsampled = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=True)
    return F.cross_entropy(upsampled, labels.long(), ignore_index=ignore_index, reduction="none").mean()


@loss.misconception("Every pixel takes the scores of the nearest one: the upsampling is bilinear, mode='bilinear'.")
def _(logits, labels, ignore_index):
    upsampled = F.interpolate(logits, size=labels.shape[-2:])
    log_p = upsampled.log_softmax(dim=1)
    return _mean_loss(log_p, labels, ignore_index)


@loss.misconception("The upsampling is bicubic: it should be bilinear, mode='bilinear'.")
def _(logits, labels, ignore_index):
    upsampled = F.interpolate(logits, size=labels.shape[-2:], mode="bicubic")
    log_p = upsampled.log_softmax(dim=1)
    return _mean_loss(log_p, labels, ignore_index)


@loss.misconception(
    "The labels are made small instead of the scores large: every pixel of the picture counts, so upsample the scores."
)
def _(logits, labels, ignore_index):
    small = F.interpolate(labels[:, None].double(), size=logits.shape[-2:])[:, 0].long()
    return F.cross_entropy(logits, small, ignore_index=ignore_index)


PROBABILITIES_UP = (
    "Probabilities are upsampled, and their logarithm is taken after it: upsample the scores, then log_softmax."
)


@loss.misconception(PROBABILITIES_UP)
def _(logits, labels, ignore_index):
    p = _up(logits.softmax(dim=1), labels)
    return _mean_loss(p.log(), labels, ignore_index)


SMALL_SCORES = (
    "The numbers are right for small scores only: the exponential of a score of some hundreds is infinite, and a "
    "probability of e^-200 is 0, whose logarithm is minus infinity, or that of whatever is added to it. log_softmax needs "
    "neither."
)


@loss.misconception(SMALL_SCORES)
def _(logits, labels, ignore_index):
    p = _up(logits, labels).softmax(dim=1)
    return _mean_loss(p.log(), labels, ignore_index)


@loss.misconception(SMALL_SCORES)
def _(logits, labels, ignore_index):
    e = _up(logits, labels).exp()
    p = e / e.sum(dim=1, keepdim=True)
    return _mean_loss(p.log(), labels, ignore_index)


def _never_zero(least):
    """A probability of 0 is kept from having a logarithm of -inf, by adding `least` or by making it as large."""

    @loss.misconception(PROBABILITIES_UP)
    def added(logits, labels, ignore_index):
        p = _up(logits.softmax(dim=1), labels) + least
        return _mean_loss(p.log(), labels, ignore_index)

    @loss.misconception(PROBABILITIES_UP)
    def clamped(logits, labels, ignore_index):
        p = _up(logits.softmax(dim=1), labels).clamp(min=least)
        return _mean_loss(p.log(), labels, ignore_index)

    @loss.misconception(SMALL_SCORES)
    def added_last(logits, labels, ignore_index):
        p = _up(logits, labels).softmax(dim=1) + least
        return _mean_loss(p.log(), labels, ignore_index)

    @loss.misconception(SMALL_SCORES)
    def clamped_last(logits, labels, ignore_index):
        p = _up(logits, labels).softmax(dim=1).clamp(min=least)
        return _mean_loss(p.log(), labels, ignore_index)


for least in (1e-30, 1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6):
    _never_zero(least)


@loss.misconception("The logarithms of the probabilities are upsampled: upsample the scores, then log_softmax.")
def _(logits, labels, ignore_index):
    log_p = _up(logits.log_softmax(dim=1), labels)
    return _mean_loss(log_p, labels, ignore_index)


@loss.misconception(
    "The softmax is applied twice: F.cross_entropy and log_softmax take the scores as they are, and not probabilities."
)
def _(logits, labels, ignore_index):
    p = _up(logits, labels).softmax(dim=1)
    log_p = p.log_softmax(dim=1)
    return _mean_loss(log_p, labels, ignore_index)


ALONG_PIXELS = (
    "The softmax runs along pixels: the N scores of one pixel make its probabilities, and they lie along axis 1."
)


@loss.misconception(ALONG_PIXELS)
def _(logits, labels, ignore_index):
    log_p = _up(logits, labels).log_softmax(dim=-1)
    return F.nll_loss(log_p, labels.long(), ignore_index=ignore_index)


@loss.misconception(ALONG_PIXELS)
def _(logits, labels, ignore_index):
    log_p = _up(logits, labels).log_softmax(dim=2)
    return F.nll_loss(log_p, labels.long(), ignore_index=ignore_index)


@loss.misconception(
    "A reshape mixes classes and pixels: the scores of one pixel lie along axis 1. Move them to the end with "
    "permute(0, 2, 3, 1) before you flatten."
)
def _(logits, labels, ignore_index):
    rows = _up(logits, labels).reshape(-1, logits.shape[1])
    return F.cross_entropy(rows, labels.long().flatten(), ignore_index=ignore_index)


@loss.misconception("The logarithm is missing: the loss of a pixel is -log p, not -p.")
def _(logits, labels, ignore_index):
    p = _up(logits, labels).softmax(dim=1)
    return F.nll_loss(p, labels.long(), ignore_index=ignore_index)


@loss.misconception("The sign is wrong: the loss is minus the logarithm, so that it is never negative.")
def _(logits, labels, ignore_index):
    return -F.cross_entropy(_up(logits, labels), labels.long(), ignore_index=ignore_index)


@loss.misconception(
    "The classes are averaged, each with the same weight: the lecture's mean is over pixels, whatever their class."
)
def _(logits, labels, ignore_index):
    losses = _losses(logits, labels, ignore_index)
    classes = labels[labels != ignore_index].unique()
    return torch.stack([losses[labels == label].mean() for label in classes]).mean()


# ---- poly_learning_rate

rate = of_schedule(poly_learning_rate, "the way down", "as in SegFormer's paper", 1500, 158_500, 749, 120_000)


@rate.formulation
def _(step, steps, warmup_steps, peak):
    share = (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    factor = share if step < warmup_steps else 1 - t
    return peak * factor


@rate.formulation
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 - t)
    return rising if step < warmup_steps else falling


@rate.misconception("After the warm-up the rate follows a cosine, and should fall in a straight line.")
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return rising if step < warmup_steps else falling


@rate.misconception("The power is 0.9, as others have it: SegFormer's is 1, a straight line.")
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 - t) ** 0.9
    return rising if step < warmup_steps else falling


@rate.misconception("The power is 2: SegFormer's is 1, a straight line.")
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 - t) ** 2
    return rising if step < warmup_steps else falling


@rate.misconception("The line rises where it should fall: 1 - t is 1 after the warm-up and 0 at the end.")
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * t
    return rising if step < warmup_steps else falling


AT_THE_PEAK = (
    "After the warm-up the rate stays at the peak, and should fall to 0 in a straight line. (Where t is computed with //, it is an "
    "integer, 0 all the way: divide with /.)"
)


@rate.misconception(AT_THE_PEAK)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) // (steps - warmup_steps)
    falling = peak * (1 - t)
    return rising if step < warmup_steps else falling


@rate.misconception("Brackets are missing: 1 - t as a whole should be multiplied by the peak, peak * (1 - t).")
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak - t
    return rising if step < warmup_steps else falling


@rate.misconception("After the warm-up the rate falls exponentially, and should fall in a straight line.")
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * math.exp(-t)
    return rising if step < warmup_steps else falling


@rate.misconception(BEGINS_WITH_0)
def _(step, steps, warmup_steps, peak):
    rising = peak * step / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 - t)
    return rising if step < warmup_steps else falling


@rate.misconception(ROUNDED)
def _(step, steps, warmup_steps, peak):
    rising = peak * ((step + 1) // max(warmup_steps, 1))
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 - t)
    return rising if step < warmup_steps else falling


DIVIDED_BY_0 = (
    "It is divided by warmup_steps where that is 0, too: without a warm-up nothing rises. Ask first whether step < "
    "warmup_steps, or divide by max(warmup_steps, 1)."
)


@rate.misconception(DIVIDED_BY_0)
def _(step, steps, warmup_steps, peak):
    rising = (step + 1) / warmup_steps  # of two whole numbers: Python says it in other words than below
    falling = 1 - (step - warmup_steps) / (steps - warmup_steps)
    return peak * (rising if step < warmup_steps else falling)


@rate.misconception(DIVIDED_BY_0)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / warmup_steps
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 - t)
    return rising if step < warmup_steps else falling


@rate.misconception("There is no warm-up: below warmup_steps the rate rises to the peak.")
def _(step, steps, warmup_steps, peak):
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 - t)
    return peak if step < warmup_steps else falling


@rate.misconception(
    "The way down begins at step 0, as if there were no warm-up: t runs from 0 to 1 over the steps after it, "
    "(step - warmup_steps) / (steps - warmup_steps)."
)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = step / steps
    falling = peak * (1 - t)
    return rising if step < warmup_steps else falling


@rate.misconception("There is no warm-up, and the line falls over all steps: the rate rises first.")
def _(step, steps, warmup_steps, peak):
    return peak * (1 - step / steps)


@rate.misconception(
    "Warm-up and way down are multiplied, so that the rate falls during the warm-up already: each has steps of its own."
)
def _(step, steps, warmup_steps, peak):
    share = min(1, (step + 1) / max(warmup_steps, 1))
    return peak * share * (1 - step / steps)


@rate.misconception(
    "The warm-up is lowered by 1 - step / steps already: until the peak the rate is peak (step + 1) / warmup_steps alone."
)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1) * (1 - step / steps)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 - t)
    return rising if step < warmup_steps else falling


@rate.misconception(
    "After the warm-up this is (1 - step / steps) ** 0.9, another model's: t begins behind the warm-up, and SegFormer's "
    "power is 1."
)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = step / steps
    falling = peak * (1 - t) ** 0.9
    return rising if step < warmup_steps else falling


@rate.misconception(
    "The warm-up is divided by warmup_steps + 1, so that its last step is below the peak: divide by warmup_steps."
)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / (warmup_steps + 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 - t)
    return rising if step < warmup_steps else falling


@rate.misconception(OF_ALL_STEPS)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / steps
    falling = peak * (1 - t)
    return rising if step < warmup_steps else falling


@rate.misconception(ONE_STEP_TOO_MANY)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 - t)
    return rising if step <= warmup_steps else falling


@rate.misconception(
    "On the way down, too, step + 1 is counted: only the warm-up counts so. The first step after it has the peak."
)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step + 1 - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 - t)
    return rising if step < warmup_steps else falling


@rate.misconception(
    "The line ends one step early, divided by steps - warmup_steps - 1: t is 1 only at `steps`, after the last step."
)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / max(steps - warmup_steps - 1, 1)
    falling = peak * (1 - t)
    return rising if step < warmup_steps else falling


# ---- train_shapes


def draw_shapes(generator: Generator) -> Task:
    """Scenes that nobody has seen, with new numbers for the five forms and the background."""
    seed = int(torch.randint(2**31, (), generator=generator))
    data = shapes.load(images=1500, test_images=100, size=32, seed=seed)
    images, masks = moved_and_lit(data.train.images / 255, generator, masks=data.train.labels)
    test_images, test_masks = moved_and_lit(data.test.images / 255, generator, masks=data.test.labels)
    masks, test_masks = renumbered(generator, len(data.classes), masks, test_masks)
    return Task(images, masks, test_images, test_masks)


def miou(predictions: Tensor, labels: Tensor) -> float:
    return mean_iou(predictions, labels, len(shapes.SHAPES) + 1)


training = TrainingExercise(
    train_shapes,
    returns="(S, H, W)",
    task=draw_shapes,
    measure="mIoU",
    score=miou,
    levels=(Level(0.18, 1), Level(0.25, 1), Level(0.33, 2)),
    seconds=180,
    low_score=(
        "A low score usually means too few steps, a learning rate far from 0.003, or an optimizer that never steps. Print "
        "the loss every 50 steps: it begins near log 6 = 1.8 and must fall."
    ),
)

EXERCISES = (shifted, loss, rate, training)
