"""Checks of the exercise `cifar`: the loss, the learning rate, mixed images and targets, and a training on digits."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from vitlab.checks.engine.diagnosis import sum_other_than_1
from vitlab.checks.engine.exercise import Exercise, Part, Sizes
from vitlab.checks.engine.training import Level, Task, TrainingExercise, accuracy, moved_and_lit, renumbered
from vitlab.cifar import cross_entropy, learning_rate, mixup, mixup_targets, train_digits
from vitlab.data import digits

# ---- cross_entropy


def _far_apart(logits: Tensor, labels: Tensor, smoothing: float) -> tuple[Tensor, Tensor, float]:
    """The exponential of each score is a number still, but not that of the difference between the images."""
    return logits + torch.tensor([[-60.0], [60.0]]), labels, smoothing


loss = Exercise(
    cross_entropy,
    takes={"logits": "B N", "labels": "B < N", "smoothing": (0.1, 0.4)},
    returns="",
    parts=(
        Part(
            "without smoothing",
            1,
            Sizes("one image", lambda logits, labels, smoothing: (logits, labels, 0.0), B=1),
            Sizes(change=lambda logits, labels, smoothing: (3 * logits, labels, 0.0)),
        ),
        Part(
            "with smoothing",
            1,
            Sizes("one image", B=1),
            Sizes(change=lambda logits, labels, smoothing: (3 * logits, labels, smoothing)),
            Sizes("many classes", N="large"),
            Sizes("many images", B="large"),
            Sizes("smoothing 1: every class alike", lambda logits, labels, smoothing: (3 * logits, labels, 1.0)),
        ),
        Part(
            "scores of some hundreds; float64, gradients",
            1,
            Sizes("scores of some hundreds", lambda logits, labels, smoothing: (900 * logits, labels, smoothing)),
            Sizes("an image with far higher scores than the other", _far_apart, B=2),
            Sizes(gradient=True),
            Sizes("as many images as classes", N="B", gradient=True),
        ),
    ),
)


@loss.formulation
def _(logits, labels, smoothing):
    log_p = F.log_softmax(logits, dim=1)  # (B, N)
    of_label = log_p.gather(1, labels.unsqueeze(1)).squeeze(1)  # (B, N) -> (B,)
    of_all = log_p.mean(dim=1)  # (B,)
    losses = -((1 - smoothing) * of_label + smoothing * of_all)  # (B,)
    return losses.mean()


@loss.formulation
def _(logits, labels, smoothing):
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


@loss.formulation
def _(logits, labels, smoothing):
    N = logits.shape[1]
    y = torch.full_like(logits, smoothing / N)  # (B, N)
    y = y.scatter(1, labels.unsqueeze(1), 1 - smoothing + smoothing / N)
    log_p = logits - torch.logsumexp(logits, dim=1, keepdim=True)  # (B, N)
    return -(y * log_p).sum(dim=1).mean()


def smooth(logits, labels, smoothing):
    """The right targets, which the wrong versions are read with as if they were written out."""
    one_hot = F.one_hot(labels, logits.shape[-1]).to(logits.dtype)
    y = (1 - smoothing) * one_hot + smoothing / logits.shape[-1]
    return y


@loss.misconception(
    "The other classes get smoothing / (N - 1) each and the label 1 - smoothing: the lecture shares smoothing among all N "
    "classes, the label included, s / N for each."
)
def _(logits, labels, smoothing):
    N = logits.shape[-1]
    one_hot = F.one_hot(labels, N).to(logits.dtype)  # (B, N)
    y = (1 - smoothing) * one_hot + smoothing / (N - 1) * (1 - one_hot)
    log_p = logits.log_softmax(dim=-1)
    return -(y * log_p).sum(dim=-1).mean()


@loss.misconception(
    "The label gets 1 - smoothing alone: it gets its share of what is spread as well, 1 - s + s / N, so that the "
    "targets of an image sum to 1."
)
def _(logits, labels, smoothing):
    N = logits.shape[-1]
    one_hot = F.one_hot(labels, N).to(logits.dtype)
    y = (1 - smoothing) * one_hot + smoothing / N * (1 - one_hot)
    log_p = logits.log_softmax(dim=-1)
    return -(y * log_p).sum(dim=-1).mean()


WHOLE_NUMBERS = (
    "The targets are whole numbers, as one_hot makes them, so that 1 - s + s / N and s / N become 0: make them floating numbers "
    "first, with .to(logits.dtype)."
)


@loss.misconception(WHOLE_NUMBERS)
def _(logits, labels, smoothing):
    y = smooth(logits, labels, smoothing).long()
    log_p = logits.log_softmax(dim=-1)
    return -(y * log_p).sum(dim=-1).mean()


OF_TEN = "The number of classes is taken to be 10: N is as large as the logits say, logits.shape[-1]."


@loss.misconception(OF_TEN)
def _(logits, labels, smoothing):
    log_p = logits.log_softmax(dim=-1)
    of_label = log_p.gather(1, labels.unsqueeze(1)).squeeze(1)
    losses = -((1 - smoothing) * of_label + smoothing / 10 * log_p.sum(dim=-1))
    return losses.mean()


@loss.misconception(OF_TEN)
def _(logits, labels, smoothing):
    y = (1 - smoothing) * F.one_hot(labels, 10) + smoothing / 10
    log_p = logits.log_softmax(dim=-1)
    return -(y * log_p).sum(dim=-1).mean()


@loss.misconception(OF_TEN)
def _(logits, labels, smoothing):
    y = (1 - smoothing) * F.one_hot(labels, 10) + smoothing / 10
    log_p = logits.log_softmax(dim=-1)
    return -(log_p * y).sum(dim=-1).mean()


@loss.misconception(
    "log_p[:, labels] takes all labels from each image, (B, B): take from each image its own, log_p[torch.arange(B), labels]."
)
def _(logits, labels, smoothing):
    log_p = logits.log_softmax(dim=-1)
    losses = -((1 - smoothing) * log_p[:, labels].mean(dim=-1) + smoothing * log_p.mean(dim=-1))
    return losses.mean()


@loss.misconception(
    "y[:, labels] = ... gives every image the labels of the whole batch: give each its own, y[torch.arange(B), labels]."
)
def _(logits, labels, smoothing):
    N = logits.shape[1]
    y = torch.full_like(logits, smoothing / N)
    y[:, labels] = 1 - smoothing + smoothing / N
    return -(y * logits.log_softmax(dim=-1)).sum(dim=-1).mean()


@loss.misconception(
    "The minus sign is missing: the logarithm of a probability is negative, and the loss is -Σ y log p."
)
def _(logits, labels, smoothing):
    y = smooth(logits, labels, smoothing)
    log_p = logits.log_softmax(dim=-1)
    return (y * log_p).sum(dim=-1).mean()


@loss.misconception("The sum is divided by N, the number of classes: the loss is the mean over the B images.")
def _(logits, labels, smoothing):
    y = smooth(logits, labels, smoothing)
    log_p = logits.log_softmax(dim=-1)
    return -(y * log_p).sum() / logits.shape[-1]


TWICE = (
    "The softmax is applied twice: F.cross_entropy and log_softmax take the scores as they are, and not probabilities."
)


@loss.misconception(TWICE)
def _(logits, labels, smoothing):
    p = logits.softmax(dim=-1)
    return F.cross_entropy(p, labels, label_smoothing=smoothing)


@loss.misconception(TWICE)
def _(logits, labels, smoothing):
    y = smooth(logits, labels, smoothing)
    log_p = logits.softmax(dim=-1).log_softmax(dim=-1)
    return -(y * log_p).sum(dim=-1).mean()


@loss.misconception(
    "`smoothing` changes nothing here: the target of the label is 1 - s + s / N, of every other class s / N."
)
def _(logits, labels, smoothing):
    log_p = logits.log_softmax(dim=-1)
    of_label = log_p.gather(1, labels.unsqueeze(1))
    return -of_label.mean()


@loss.misconception(
    "The classes of an image are averaged: add them up, and take the mean over the images only. Yours is N times too small."
)
def _(logits, labels, smoothing):
    y = smooth(logits, labels, smoothing)
    log_p = logits.log_softmax(dim=-1)
    return -(y * log_p).mean()


@loss.misconception("The losses of the images are added up: take their mean, so that the batch's size does not matter.")
def _(logits, labels, smoothing):
    y = smooth(logits, labels, smoothing)
    log_p = logits.log_softmax(dim=-1)
    return -(y * log_p).sum(dim=-1).sum()


OVERFLOW = (
    "The numbers are right for small scores only: the exponential of a score of some hundreds is infinite, and a "
    "probability of e^-200 is 0, whose logarithm is minus infinity. log_softmax needs neither."
)


LARGEST_OF_ALL = (
    "The largest score of the whole batch is subtracted: the exponentials of an image with much lower scores are all 0 then. "
    "Subtract the largest of each image, dim=-1, or use log_softmax."
)


@loss.misconception(LARGEST_OF_ALL)
def _(logits, labels, smoothing):
    scores = logits - logits.max()
    log_p = scores - scores.exp().sum(dim=-1, keepdim=True).log()
    y = smooth(logits, labels, smoothing)
    return -(y * log_p).sum(dim=-1).mean()


@loss.misconception(LARGEST_OF_ALL)
def _(logits, labels, smoothing):
    exponentials = torch.exp(logits - logits.max())
    p = exponentials / exponentials.sum(dim=-1, keepdim=True)
    y = smooth(logits, labels, smoothing)
    return -(y * torch.log(p)).sum(dim=-1).mean()


@loss.misconception(OVERFLOW)
def _(logits, labels, smoothing):
    exponentials = torch.exp(logits)
    p = exponentials / exponentials.sum(dim=-1, keepdim=True)
    y = smooth(logits, labels, smoothing)
    return -(y * torch.log(p)).sum(dim=-1).mean()


@loss.misconception(OVERFLOW)
def _(logits, labels, smoothing):
    log_p = logits - torch.exp(logits).sum(dim=-1, keepdim=True).log()
    y = smooth(logits, labels, smoothing)
    return -(y * log_p).sum(dim=-1).mean()


@loss.misconception(OVERFLOW)
def _(logits, labels, smoothing):
    p = logits.softmax(dim=-1)
    y = smooth(logits, labels, smoothing)
    return -(y * torch.log(p)).sum(dim=-1).mean()


BOUNDED = (
    "A small number is added to the probabilities, or they are clamped, before the logarithm, which bounds the loss: "
    "log_softmax needs neither."
)


def _bounded(least: float) -> None:
    @loss.misconception(BOUNDED)
    def added(logits, labels, smoothing):
        p = logits.softmax(dim=-1)
        y = smooth(logits, labels, smoothing)
        return -(y * torch.log(p + least)).sum(dim=-1).mean()

    @loss.misconception(BOUNDED)
    def clamped(logits, labels, smoothing):
        p = logits.softmax(dim=-1).clamp(min=least)
        y = smooth(logits, labels, smoothing)
        return -(y * torch.log(p)).sum(dim=-1).mean()


for least in (1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6):
    _bounded(least)


@loss.misconception("The logarithm is missing: the loss is -log p, not -p.")
def _(logits, labels, smoothing):
    p = logits.softmax(dim=-1)
    y = smooth(logits, labels, smoothing)
    return -(y * p).sum(dim=-1).mean()


@loss.misconception("The softmax is missing: these are the scores themselves, weighted by the targets.")
def _(logits, labels, smoothing):
    y = smooth(logits, labels, smoothing)
    return -(y * logits).sum(dim=-1).mean()


@loss.misconception(
    "This is the squared difference between probabilities and targets (the Brier score): cross-entropy is -Σ y log p."
)
def _(logits, labels, smoothing):
    p = logits.softmax(dim=-1)
    y = smooth(logits, labels, smoothing)
    return ((p - y) ** 2).sum(dim=-1).mean()


SIGMOIDS = (
    "Each class gets a sigmoid of its own (binary cross-entropy): the classes exclude each other, which softmax says."
)


@loss.misconception(SIGMOIDS)
def _(logits, labels, smoothing):
    y = smooth(logits, labels, smoothing)
    return F.binary_cross_entropy_with_logits(logits, y)


@loss.misconception(SIGMOIDS)
def _(logits, labels, smoothing):
    y = smooth(logits, labels, smoothing)
    losses = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    return losses.sum(dim=-1).mean()


@loss.misconception(
    "There is a term (1 - y) log(1 - p), which belongs to two classes (binary cross-entropy): of N classes the loss is "
    "-Σ y log p."
)
def _(logits, labels, smoothing):
    p = logits.softmax(dim=-1)
    y = smooth(logits, labels, smoothing)
    losses = y * torch.log(p) + (1 - y) * torch.log(1 - p)
    return -losses.sum(dim=-1).mean()


@loss.misconception(
    "The probabilities are smoothed, (1 - s) p + s / N, and not the targets: smooth y, and take the logarithm of p itself."
)
def _(logits, labels, smoothing):
    p = (1 - smoothing) * logits.softmax(dim=-1) + smoothing / logits.shape[-1]
    return F.nll_loss(torch.log(p), labels)


TOO_NARROW = (
    "F.one_hot makes as many classes as the largest label asks for, too few where the last class does not occur: give it N, "
    "F.one_hot(labels, logits.shape[-1])."
)


def _too_narrow(label_first):
    """What it stops with names the narrower factor first or second."""

    @loss.misconception(TOO_NARROW)
    def narrow(logits, labels, smoothing):
        one_hot = F.one_hot(labels).to(logits.dtype)
        y = (1 - smoothing) * one_hot + smoothing / logits.shape[-1]
        log_p = logits.log_softmax(dim=-1)
        return -(y * log_p if label_first else log_p * y).sum(dim=-1).mean()


for label_first in (True, False):
    _too_narrow(label_first)


@loss.misconception(
    "The entropy of the targets is taken away (a Kullback-Leibler divergence): the loss is -Σ y log p, which stays above "
    "0 even for a perfect model."
)
def _(logits, labels, smoothing):
    y = smooth(logits, labels, smoothing)
    log_p = logits.log_softmax(dim=-1)
    return F.kl_div(log_p, y, reduction="batchmean")


@loss.misconception("This is the model's own entropy, -Σ p log p: the targets y stand before the logarithm, not p.")
def _(logits, labels, smoothing):
    log_p = logits.log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1).mean()


@loss.misconception(
    "The loss is smoothed twice: the targets are smooth already when F.cross_entropy smooths them again."
)
def _(logits, labels, smoothing):
    y = smooth(logits, labels, smoothing)
    return F.cross_entropy(logits, y, label_smoothing=smoothing)


@loss.misconception(
    "The part of smoothing is not divided by N, and should be: it is a mean over the classes of -log p, not their sum."
)
def _(logits, labels, smoothing):
    log_p = logits.log_softmax(dim=-1)
    of_label = log_p.gather(1, labels.unsqueeze(1)).squeeze(1)
    losses = -((1 - smoothing) * of_label + smoothing * log_p.sum(dim=-1))
    return losses.mean()


@loss.misconception(
    "Only the label's term is there, times 1 - s + s / N: the other classes have s / N each, and a term."
)
def _(logits, labels, smoothing):
    log_p = logits.log_softmax(dim=-1)
    of_label = log_p.gather(1, labels.unsqueeze(1)).squeeze(1)
    return -((1 - smoothing + smoothing / logits.shape[-1]) * of_label).mean()


@loss.misconception("These are the losses of the images, (B,): return their mean, one number.")
def _(logits, labels, smoothing):
    return F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")


BASE = "The logarithm is to base {}: the loss is in natural logarithms."


@loss.misconception(BASE.format(2))
def _(logits, labels, smoothing):
    return F.cross_entropy(logits, labels, label_smoothing=smoothing) / math.log(2)


@loss.misconception(BASE.format(10))
def _(logits, labels, smoothing):
    return F.cross_entropy(logits, labels, label_smoothing=smoothing) / math.log(10)


@loss.misconception(OVERFLOW + " Besides, the logarithm is to base 10, where the natural one is meant.")
def _(logits, labels, smoothing):
    p = logits.softmax(dim=-1)
    y = smooth(logits, labels, smoothing)
    return -(y * torch.log10(p)).sum(dim=-1).mean()


# ---- learning_rate


def of_schedule(
    reference: Callable, way_down: str, example: str, warmup_steps: int, rest: int, *steps: int
) -> Exercise:
    """The exercise of a learning rate that rises in a line and then falls, whatever the line of its fall.

    Args:
        way_down: in a title, how it falls.
        example: words for a training of so many `warmup_steps` and `rest`, with one step to look at in each.
    """
    rising, falling = (Sizes(example, step=step, warmup_steps=warmup_steps, rest=rest) for step in steps)
    return Exercise(
        reference,
        takes={"step": "step", "steps": "steps", "warmup_steps": "warmup_steps", "peak": (0.1, 0.9)},
        where={"steps": "warmup_steps+rest"},
        returns="",
        parts=(
            Part(
                "the warm-up",
                1,
                Sizes("the first step", step=0),
                Sizes("within", step=3, warmup_steps="large"),
                Sizes("the last step of the warm-up", step=4, warmup_steps=5),
                Sizes("a warm-up of one step", step=0, warmup_steps=1),
                rising,
            ),
            Part(
                f"{way_down}, and no warm-up",
                1,
                Sizes("the first step after the warm-up", step="warmup_steps"),
                Sizes("the middle", step=10, warmup_steps=4, rest=12),
                Sizes("on the way down", step="large", rest=29),
                Sizes("the last step", step=28, warmup_steps=7, rest=22),
                Sizes("no warm-up", step=0, warmup_steps=0),
                Sizes("no warm-up, on the way down", warmup_steps=0, rest="large"),
                falling,
            ),
        ),
    )


# Mistakes with a warm-up, whatever comes after it.
BEGINS_WITH_0 = (
    "The warm-up begins with 0: the first step would change nothing. Step 0 has peak / warmup_steps; count step + 1."
)
ONE_STEP_TOO_MANY = "The warm-up goes on for one step too many: with <= the step after it gets more than the peak. Write step < warmup_steps."
ROUNDED = "The division // rounds the share of the warm-up down to 0 until its last step: divide with /."
OF_ALL_STEPS = (
    "t is divided by all the steps, so that the rate never comes down to 0: divide by those after the warm-up, "
    "steps - warmup_steps."
)

rate = of_schedule(learning_rate, "the cosine", "many steps", 1000, 19_000, 499, 15_000)


@rate.formulation
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return rising if step < warmup_steps else falling


@rate.formulation
def _(step, steps, warmup_steps, peak):
    share = (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    cosine = 0.5 + 0.5 * math.cos(math.pi * t)
    factor = share if step < warmup_steps else cosine
    return peak * factor


@rate.misconception(BEGINS_WITH_0)
def _(step, steps, warmup_steps, peak):
    rising = peak * step / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return rising if step < warmup_steps else falling


BY_ZERO = (
    "Where there is no warm-up your function stops: warmup_steps is 0 then, and nothing can be divided by it. Compute the line "
    "only where step < warmup_steps."
)
FROM_ZERO = "The warm-up begins with 0: step 0 has peak / warmup_steps; count step + 1. "


@rate.misconception(BY_ZERO)
def _(step, steps, warmup_steps, peak):
    rising = peak * ((step + 1) / warmup_steps)  # of integers: it stops with other words
    t = (step - warmup_steps) / (steps - warmup_steps)
    return rising if step < warmup_steps else peak * (1 + math.cos(math.pi * t)) / 2


@rate.misconception(BY_ZERO)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / warmup_steps
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return rising if step < warmup_steps else falling


@rate.misconception(FROM_ZERO + BY_ZERO)
def _(step, steps, warmup_steps, peak):
    rising = peak * step / warmup_steps
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return rising if step < warmup_steps else falling


@rate.misconception(
    FROM_ZERO
    + "And step == warmup_steps belongs to the cosine: with <=, no warm-up divides by 0. Write step < warmup_steps."
)
def _(step, steps, warmup_steps, peak):
    if step <= warmup_steps:
        return peak * step / warmup_steps
    t = (step - warmup_steps) / (steps - warmup_steps)
    return peak * (1 + math.cos(math.pi * t)) / 2


@rate.misconception(
    "The warm-up is divided by warmup_steps + 1: step + 1 goes up to warmup_steps, so that the last step of the warm-up has the "
    "peak."
)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / (warmup_steps + 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return rising if step < warmup_steps else falling


FROM_0_TO_PEAK = (
    "The warm-up rises from 0 to the peak, step / (warmup_steps - 1): it begins with peak / warmup_steps, so divide step + 1 by "
    "warmup_steps."
)


@rate.misconception(FROM_0_TO_PEAK)
def _(step, steps, warmup_steps, peak):
    rising = peak * step / max(warmup_steps - 1, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return rising if step < warmup_steps else falling


@rate.misconception(FROM_0_TO_PEAK)
def _(step, steps, warmup_steps, peak):
    if step < warmup_steps:
        return peak * step / (warmup_steps - 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    return peak * (1 + math.cos(math.pi * t)) / 2


@rate.misconception(
    "Brackets are missing in the warm-up: without them only 1 is divided by warmup_steps. Write peak * (step + 1) / warmup_steps."
)
def _(step, steps, warmup_steps, peak):
    rising = peak * step + 1 / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return rising if step < warmup_steps else falling


IN_T = "Brackets are missing in t, and / comes before -: (step - warmup_steps) / (steps - warmup_steps)."


@rate.misconception(IN_T)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = step - warmup_steps / steps - warmup_steps
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return rising if step < warmup_steps else falling


@rate.misconception(IN_T)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / steps - warmup_steps
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return rising if step < warmup_steps else falling


@rate.misconception("Brackets are missing: 1 + cos(π t) is divided by 2 as a whole, not the cosine alone.")
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(math.pi * t) / 2)
    return rising if step < warmup_steps else falling


AROUND_THE_SUM = "Brackets are missing: peak is multiplied with all of 1 + cos(π t), peak * (1 + cos(π t)) / 2."


@rate.misconception(AROUND_THE_SUM)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * 0.5 * 1 + math.cos(math.pi * t)
    return rising if step < warmup_steps else falling


@rate.misconception(AROUND_THE_SUM)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * 1 + math.cos(math.pi * t) / 2
    return rising if step < warmup_steps else falling


@rate.misconception("The division by 2 is missing: 1 + cos goes from 2 to 0, so that the peak is twice as high.")
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(math.pi * t))
    return rising if step < warmup_steps else falling


@rate.misconception(
    "The cosine begins at step 0, as if there were no warm-up: t runs from 0 to 1 over the steps after it, "
    "(step - warmup_steps) / (steps - warmup_steps)."
)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = step / steps
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return rising if step < warmup_steps else falling


@rate.misconception(ONE_STEP_TOO_MANY)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return rising if step <= warmup_steps else falling


@rate.misconception(
    "The warm-up goes on for one step too many, and without one it divides by 0: write step < warmup_steps, not <=."
)
def _(step, steps, warmup_steps, peak):
    if step <= warmup_steps:
        return peak * (step + 1) / warmup_steps
    t = (step - warmup_steps) / (steps - warmup_steps)
    return peak * (1 + math.cos(math.pi * t)) / 2


@rate.misconception(
    "The smaller of line and cosine is taken, and at the end of the warm-up the cosine can lie below the line: let "
    "step < warmup_steps decide."
)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return min(rising, falling)


@rate.misconception("The larger of line and cosine is taken: let step < warmup_steps decide.")
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return max(rising, falling)


@rate.misconception("After the warm-up the rate falls in a straight line, and should follow a cosine.")
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 - t)
    return rising if step < warmup_steps else falling


@rate.misconception(ROUNDED)
def _(step, steps, warmup_steps, peak):
    rising = peak * ((step + 1) // max(warmup_steps, 1))
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return rising if step < warmup_steps else falling


AT_THE_PEAK = (
    "After the warm-up the rate stays at the peak, and should fall to 0 along a cosine. (Where t is computed with //, it is an "
    "integer, 0 all the way: divide with /.)"
)


@rate.misconception(AT_THE_PEAK)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) // (steps - warmup_steps)
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return rising if step < warmup_steps else falling


@rate.misconception(OF_ALL_STEPS)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / steps
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return rising if step < warmup_steps else falling


@rate.misconception("π is missing in the cosine: from 0 to π it falls from 1 to -1, from 0 to 1 only to 0.54.")
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(t)) / 2
    return rising if step < warmup_steps else falling


@rate.misconception("There is no warm-up: below warmup_steps the rate rises in a straight line to the peak.")
def _(step, steps, warmup_steps, peak):
    t = (step - warmup_steps) / (steps - warmup_steps)
    return peak * (1 + math.cos(math.pi * t)) / 2


@rate.misconception(
    "There is no warm-up, and the cosine runs over all steps: the rate rises first, from peak / warmup_steps."
)
def _(step, steps, warmup_steps, peak):
    t = step / steps
    return peak * (1 + math.cos(math.pi * t)) / 2


@rate.misconception(AT_THE_PEAK)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    return rising if step < warmup_steps else peak


@rate.misconception(
    "This is a quarter of a cosine, cos(π t / 2): the schedule is half of one, lifted to 0: (1 + cos(π t)) / 2."
)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * math.cos(math.pi * t / 2)
    return rising if step < warmup_steps else falling


@rate.misconception(
    "The cosine gets a quarter of a turn, π t / 2, and ends at half of the peak: from π · 0 to π · 1 it falls from 1 to -1."
)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(math.pi * t / 2)) / 2
    return rising if step < warmup_steps else falling


@rate.misconception(
    "The cosine gets a whole turn, 2 π t, and comes up to the peak again: half a turn, π t, takes it down to 0."
)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(2 * math.pi * t)) / 2
    return rising if step < warmup_steps else falling


@rate.misconception("Warm-up and cosine are multiplied: while step < warmup_steps the line alone counts.")
def _(step, steps, warmup_steps, peak):
    share = min(1, (step + 1) / max(warmup_steps, 1))
    t = (step - warmup_steps) / (steps - warmup_steps)
    return peak * share * (1 + math.cos(math.pi * t)) / 2


@rate.misconception(
    "Warm-up and cosine are multiplied, so that the rate falls during the warm-up already: each has steps of its own."
)
def _(step, steps, warmup_steps, peak):
    share = min(1, (step + 1) / max(warmup_steps, 1))
    return peak * share * (1 + math.cos(math.pi * step / steps)) / 2


@rate.misconception("The cosine rises where it should fall: (1 + cos(π t)) / 2 is 1 at t = 0 and 0 at t = 1.")
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 - math.cos(math.pi * t)) / 2
    return rising if step < warmup_steps else falling


@rate.misconception("The cosine takes degrees here: math.cos takes radians, so the half turn is math.pi, not 180.")
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(180 * t)) / 2
    return rising if step < warmup_steps else falling


@rate.misconception(
    "The cosine ends one step early, divided by steps - warmup_steps - 1: t is 1 only at `steps`, after the last step."
)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / max(steps - warmup_steps - 1, 1)
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return rising if step < warmup_steps else falling


@rate.misconception(
    "In the cosine, too, step + 1 is counted: only the warm-up counts so. The first step after it has the peak."
)
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step + 1 - warmup_steps) / (steps - warmup_steps)
    falling = peak * (1 + math.cos(math.pi * t)) / 2
    return rising if step < warmup_steps else falling


@rate.misconception("After the warm-up the rate falls exponentially, and should follow a cosine.")
def _(step, steps, warmup_steps, peak):
    rising = peak * (step + 1) / max(warmup_steps, 1)
    t = (step - warmup_steps) / (steps - warmup_steps)
    falling = peak * math.exp(-t)
    return rising if step < warmup_steps else falling


# ---- mixup


def _drawn(generator: Generator, sizes: dict[str, int], dtype: torch.dtype) -> tuple[Tensor, Tensor, float, Tensor]:
    """Images, targets that sum to 1, λ, and partners: neither a permutation nor everyone's own self."""
    B, N = sizes["B"], sizes["N"]
    images = torch.randn(B, *(sizes[size] for size in "CHW"), generator=generator, dtype=dtype)
    targets = torch.randn(B, N, generator=generator, dtype=dtype).mul(2).softmax(dim=-1)
    lam = 0.1 + 0.35 * float(torch.rand((), generator=generator))
    if torch.rand((), generator=generator) < 0.5:
        lam = 1 - lam
    partner = torch.randint(B, (B,), generator=generator)
    if B > 1:
        partner[0], partner[-1] = B - 1, B // 2
    return images, targets, lam, partner


def _small_share(images: Tensor, targets: Tensor, lam: float, partner: Tensor) -> tuple:
    return images, targets, min(lam, 1 - lam), partner


mixed = Exercise(
    mixup,
    takes={"images": "B C H W", "targets": "B N", "lam": (0.1, 0.9), "partner": "B < B"},
    returns="B C H W",
    draw=_drawn,
    parts=(
        Part(
            "several images",
            1,
            Sizes("a small share", _small_share, B=5),
            Sizes("a large share", lambda i, t, lam, p: (i, t, max(lam, 1 - lam), p), B=4),
            Sizes("many images", B="large"),
        ),
        Part(
            "one image; all sizes alike; float64, gradients",
            1,
            Sizes("one image", B=1),
            Sizes("an unmixed batch", lambda i, t, lam, p: (i, t, 1.0, p), B=3),
            Sizes("all sizes alike", _small_share, B=3, C="B", H="B", W="B", N="B", gradient=True),
            Sizes(B=4, gradient=True),
        ),
    ),
)


@mixed.formulation
def _(images, targets, lam, partner):
    partners = images.index_select(0, partner)
    return torch.lerp(partners, images, lam)


@mixed.formulation
def _(images, targets, lam, partner):
    difference = images[partner] - images
    return images + (1 - lam) * difference


@mixed.formulation
def _(images, targets, lam, partner):
    shares = lam * torch.eye(len(images), dtype=images.dtype)  # (B, B)
    shares = shares + (1 - lam) * F.one_hot(partner, len(images)).to(images.dtype)
    return torch.einsum("ij,jchw->ichw", shares, images)


EXCHANGED = "The shares are exchanged: lam is the share of the image itself, 1 - lam that of its partner."
REVERSED = "The partners are the batch in reverse order: the partner of image i is image partner[i]."
NEIGHBOURS = "Every image is mixed with its neighbour in the batch: the partner of image i is image partner[i]."
WRONG_WAY = "The partners are used the wrong way round: partner[i] is mixed into i, and not i into partner[i]."
INDICES = "The numbers in `partner` are mixed in: they say where the partners are, {0}[partner]."
PRECEDENCE = "Brackets are missing: without them 1 is added, and lam of the partner is taken away. Write (1 - lam) * {0}[partner]."
ALIKE = "Both get the share lam: the partner gets 1 - lam, so that both shares sum to 1."
INVERSE = "The inverse of `partner` is used (argsort): the partner of image i is image partner[i] itself."
HALVES = "Both get one half, whatever lam is: lam for the image itself, 1 - lam for its partner."
LARGER = "The image itself always gets the larger share, max(lam, 1 - lam): take lam as it is given."
WHOLE = "The partner is added whole, and should have the share 1 - lam."
NOT_SHRUNK = "The image itself stays whole, and should have the share lam, so that both shares sum to 1."
ROOTS = "The shares are √lam and √(1 - lam), or their squares: take lam and 1 - lam, which sum to 1."
ONLY_PARTNERS = "These are the partners alone: lam of the image itself is mixed with 1 - lam of its partner."
MEAN = "Every image is mixed with the mean of the batch: its partner is image partner[i]."


@mixed.misconception(EXCHANGED)
def _(images, targets, lam, partner):
    partners = images[partner]
    return (1 - lam) * images + lam * partners


@mixed.misconception(INDICES.format("images"))
def _(images, targets, lam, partner):
    return lam * images + (1 - lam) * partner


@mixed.misconception(INDICES.format("images"))
def _(images, targets, lam, partner):
    return lam * images + (1 - lam) * partner[:, None, None, None]


@mixed.misconception("The partners' targets are mixed in: mix the images with their partners, images[partner].")
def _(images, targets, lam, partner):
    return lam * images + (1 - lam) * targets[partner]


@mixed.misconception("The channels are taken in the partners' places (images[:, partner]): `partner` numbers images.")
def _(images, targets, lam, partner):
    return lam * images + (1 - lam) * images[:, partner]


@mixed.misconception(PRECEDENCE.format("images"))
def _(images, targets, lam, partner):
    partners = images[partner]
    return lam * images + 1 - lam * partners


@mixed.misconception(ALIKE)
def _(images, targets, lam, partner):
    partners = images[partner]
    return lam * (images + partners)


@mixed.misconception(REVERSED)
def _(images, targets, lam, partner):
    partners = images.flip(0)
    return lam * images + (1 - lam) * partners


@mixed.misconception(NEIGHBOURS)
def _(images, targets, lam, partner):
    partners = images.roll(1, 0)
    return lam * images + (1 - lam) * partners


@mixed.misconception(NEIGHBOURS)
def _(images, targets, lam, partner):
    partners = images.roll(-1, 0)
    return lam * images + (1 - lam) * partners


@mixed.misconception(WRONG_WAY)
def _(images, targets, lam, partner):
    return (lam * images).index_add(0, partner, (1 - lam) * images)


@mixed.misconception(WRONG_WAY)
def _(images, targets, lam, partner):
    partners = torch.zeros_like(images).index_copy(0, partner, images)  # partners[partner] = images
    return lam * images + (1 - lam) * partners


@mixed.misconception(INVERSE)
def _(images, targets, lam, partner):
    partners = images[partner.argsort()]
    return lam * images + (1 - lam) * partners


@mixed.misconception(HALVES)
def _(images, targets, lam, partner):
    partners = images[partner]
    return (images + partners) / 2


@mixed.misconception(LARGER)
def _(images, targets, lam, partner):
    lam = max(lam, 1 - lam)
    partners = images[partner]
    return lam * images + (1 - lam) * partners


@mixed.misconception(WHOLE)
def _(images, targets, lam, partner):
    partners = images[partner]
    return lam * images + partners


@mixed.misconception(NOT_SHRUNK)
def _(images, targets, lam, partner):
    partners = images[partner]
    return images + (1 - lam) * partners


@mixed.misconception(ROOTS)
def _(images, targets, lam, partner):
    partners = images[partner]
    return lam**0.5 * images + (1 - lam) ** 0.5 * partners


@mixed.misconception(ROOTS)
def _(images, targets, lam, partner):
    partners = images[partner]
    return lam**2 * images + (1 - lam) ** 2 * partners


@mixed.misconception(ONLY_PARTNERS)
def _(images, targets, lam, partner):
    return images[partner]


@mixed.misconception(MEAN)
def _(images, targets, lam, partner):
    partners = images.mean(dim=0)
    return lam * images + (1 - lam) * partners


PATCHED = "A part of the image is replaced by its partner's (CutMix): in mixup every pixel is lam of the one and 1 - lam of the other."


@mixed.misconception(PATCHED)
def _(images, targets, lam, partner):
    rows = round(lam * images.shape[2])
    partners = images[partner]
    return torch.cat([images[:, :, :rows], partners[:, :, rows:]], dim=2)


@mixed.misconception(PATCHED)
def _(images, targets, lam, partner):
    columns = round(lam * images.shape[3])
    partners = images[partner]
    return torch.cat([images[..., :columns], partners[..., columns:]], dim=3)


@mixed.misconception(
    "An image that was mixed already is mixed into a later one: write the results into a new tensor, and read from `images`."
)
def _(images, targets, lam, partner):
    result = images.clone()
    for i, j in enumerate(partner.tolist()):
        result[i] = lam * result[i].clone() + (1 - lam) * result[j].clone()
    return result


@mixed.misconception(
    "An image that was mixed already is mixed into a later one, and the shares are exchanged: read from `images`, and give "
    "lam to the image itself."
)
def _(images, targets, lam, partner):
    result = images.clone()
    for i, j in enumerate(partner.tolist()):
        result[i] = (1 - lam) * result[i].clone() + lam * result[j].clone()
    return result


@mixed.misconception("Each pixel is taken whole, from the image or from its partner: in mixup it is a mixture of both.")
def _(images, targets, lam, partner):
    return images if lam >= 0.5 else images[partner]


@mixed.misconception(
    "The result is clamped to 0 ... 1: images may be normalized, and mixtures of 0 ... 1 stay there anyway."
)
def _(images, targets, lam, partner):
    partners = images[partner]
    return (lam * images + (1 - lam) * partners).clamp(0, 1)


# ---- mixup_targets


def _drawn_targets(generator: Generator, sizes: dict[str, int], dtype: torch.dtype) -> tuple[Tensor, float, Tensor]:
    _, *others = _drawn(generator, sizes | {"C": 1, "H": 1, "W": 1}, dtype)
    return tuple(others)


def _broken_targets(targets: Tensor) -> str:
    other = sum_other_than_1(targets)
    return f"The targets of an image sum to 1; here one has the sum {other}." if other else ""


mixed_targets = Exercise(
    mixup_targets,
    takes={"targets": "B N", "lam": (0.1, 0.9), "partner": "B < B"},
    returns="B N",
    draw=_drawn_targets,
    broken_property=_broken_targets,
    parts=(
        Part(
            "all sizes, float64, gradients",
            1,
            Sizes("a small share", lambda t, lam, p: (t, min(lam, 1 - lam), p), B=5),
            Sizes("a large share", lambda t, lam, p: (t, max(lam, 1 - lam), p), B=4),
            Sizes("many images", B="large"),
            Sizes("many classes", B=6, N="large"),
            Sizes("one image", B=1),
            Sizes("as many images as classes", B=4, N="B", gradient=True),
            Sizes(B=5, gradient=True),
        ),
    ),
)


@mixed_targets.formulation
def _(targets, lam, partner):
    partners = targets.index_select(0, partner)
    return torch.lerp(partners, targets, lam)


@mixed_targets.formulation
def _(targets, lam, partner):
    difference = targets[partner] - targets
    return targets + (1 - lam) * difference


@mixed_targets.misconception(EXCHANGED)
def _(targets, lam, partner):
    partners = targets[partner]
    return (1 - lam) * targets + lam * partners


@mixed_targets.misconception(INDICES.format("targets"))
def _(targets, lam, partner):
    return lam * targets + (1 - lam) * partner


@mixed_targets.misconception(INDICES.format("targets"))
def _(targets, lam, partner):
    return lam * targets + (1 - lam) * partner.unsqueeze(1)


@mixed_targets.misconception(
    "The numbers in `partner` are read as classes (one_hot): they number images, targets[partner]."
)
def _(targets, lam, partner):
    return lam * targets + (1 - lam) * F.one_hot(partner, targets.shape[1])


@mixed_targets.misconception(PRECEDENCE.format("targets"))
def _(targets, lam, partner):
    partners = targets[partner]
    return lam * targets + 1 - lam * partners


@mixed_targets.misconception(ALIKE)
def _(targets, lam, partner):
    partners = targets[partner]
    return lam * (targets + partners)


@mixed_targets.misconception(REVERSED)
def _(targets, lam, partner):
    partners = targets.flip(0)
    return lam * targets + (1 - lam) * partners


@mixed_targets.misconception(NEIGHBOURS)
def _(targets, lam, partner):
    partners = targets.roll(1, 0)
    return lam * targets + (1 - lam) * partners


@mixed_targets.misconception(NEIGHBOURS)
def _(targets, lam, partner):
    partners = targets.roll(-1, 0)
    return lam * targets + (1 - lam) * partners


@mixed_targets.misconception(WRONG_WAY)
def _(targets, lam, partner):
    return (lam * targets).index_add(0, partner, (1 - lam) * targets)


@mixed_targets.misconception(WRONG_WAY)
def _(targets, lam, partner):
    partners = torch.zeros_like(targets).index_copy(0, partner, targets)
    return lam * targets + (1 - lam) * partners


@mixed_targets.misconception(INVERSE)
def _(targets, lam, partner):
    partners = targets[partner.argsort()]
    return lam * targets + (1 - lam) * partners


@mixed_targets.misconception(HALVES)
def _(targets, lam, partner):
    partners = targets[partner]
    return (targets + partners) / 2


@mixed_targets.misconception(LARGER)
def _(targets, lam, partner):
    lam = max(lam, 1 - lam)
    partners = targets[partner]
    return lam * targets + (1 - lam) * partners


@mixed_targets.misconception(WHOLE)
def _(targets, lam, partner):
    partners = targets[partner]
    return lam * targets + partners


@mixed_targets.misconception(NOT_SHRUNK)
def _(targets, lam, partner):
    partners = targets[partner]
    return targets + (1 - lam) * partners


@mixed_targets.misconception(ROOTS)
def _(targets, lam, partner):
    partners = targets[partner]
    return lam**0.5 * targets + (1 - lam) ** 0.5 * partners


@mixed_targets.misconception(ROOTS)
def _(targets, lam, partner):
    partners = targets[partner]
    return lam**2 * targets + (1 - lam) ** 2 * partners


@mixed_targets.misconception(ONLY_PARTNERS)
def _(targets, lam, partner):
    return targets[partner]


@mixed_targets.misconception("The target with the larger share is taken alone: mix both, as the images are mixed.")
def _(targets, lam, partner):
    return targets if lam >= 0.5 else targets[partner]


@mixed_targets.misconception("Of the two shares of a class the larger is taken: add them up.")
def _(targets, lam, partner):
    return torch.maximum(lam * targets, (1 - lam) * targets[partner])


@mixed_targets.misconception("Every target is mixed with the mean of the batch: its partner is targets[partner[i]].")
def _(targets, lam, partner):
    partners = targets.mean(dim=0)
    return lam * targets + (1 - lam) * partners


@mixed_targets.misconception(
    "A target that was mixed already is mixed into a later one: write the results into a new tensor, and read from `targets`."
)
def _(targets, lam, partner):
    result = targets.clone()
    for i, j in enumerate(partner.tolist()):
        result[i] = lam * result[i].clone() + (1 - lam) * result[j].clone()
    return result


@mixed_targets.misconception(
    "The likeliest class of the mixture is taken alone: return the mixed probabilities themselves."
)
def _(targets, lam, partner):
    partners = targets[partner]
    classes = (lam * targets + (1 - lam) * partners).argmax(dim=-1)
    return F.one_hot(classes, targets.shape[-1]).to(targets.dtype)


@mixed_targets.misconception(
    "`partner` is read as classes (one_hot): it numbers images, and the target of image i's partner is targets[partner[i]]."
)
def _(targets, lam, partner):
    N = targets.shape[1]
    return lam * targets + (1 - lam) * F.one_hot(partner % N, N)


@mixed_targets.misconception("The targets are left as they are: mix them as the images are mixed.")
def _(targets, lam, partner):
    return targets.clone()


@mixed_targets.misconception("A softmax is applied to the mixture: the targets are probabilities already.")
def _(targets, lam, partner):
    partners = targets[partner]
    return (lam * targets + (1 - lam) * partners).softmax(dim=-1)


HARD = "Each target is replaced by its likeliest class: mix the probabilities themselves, which may be smoothed or mixed already."


@mixed_targets.misconception(HARD)
def _(targets, lam, partner):
    hard = F.one_hot(targets.argmax(dim=-1), targets.shape[-1]).to(targets.dtype)
    partners = hard[partner]
    return lam * hard + (1 - lam) * partners


@mixed_targets.misconception(HARD)
def _(targets, lam, partner):
    hard = F.one_hot(targets.argmax(dim=-1), targets.shape[-1]).float()
    partners = hard[partner]
    return lam * hard + (1 - lam) * partners


@mixed_targets.misconception(
    "The classes are taken in the partners' places (targets[:, partner]): `partner` numbers images."
)
def _(targets, lam, partner):
    partners = targets[:, partner]
    return lam * targets + (1 - lam) * partners


# ---- train_digits


def draw_digits(generator: Generator) -> Task:
    """All digits, cut anew into those to train on and 300 to test on."""
    data = digits.load()
    images = torch.cat([data.train.images, data.test.images]) / 255
    labels = torch.cat([data.train.labels, data.test.labels])
    order = torch.randperm(len(images), generator=generator)
    images, _ = moved_and_lit(images[order], generator)
    (labels,) = renumbered(generator, 10, labels[order])
    return Task(images[300:], labels[300:], images[:300], labels[:300])


training = TrainingExercise(
    train_digits,
    returns="(S,)",
    task=draw_digits,
    measure="accuracy",
    score=accuracy,
    levels=(Level(0.5, 1), Level(0.75, 1), Level(0.88, 2)),
    seconds=60,
    low_score=(
        "A low score usually means too few steps, a learning rate far from 0.001, or an optimizer that never steps. Print "
        "the loss every 50 steps: it begins near log 10 = 2.3 and must fall."
    ),
)

EXERCISES = (loss, rate, mixed, mixed_targets, training)
