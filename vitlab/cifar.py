"""Training a classifier: the loss, the learning rate of every step, mixed images, and a loop that has all of it.

Lecture: "Training".
Papers: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016 (label smoothing); Loshchilov
and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017 (the cosine); Zhang et al., "mixup", 2018.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vitlab.vit import ViT, ViTConfig


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """How little probability the model gives to the classes that are right, as a mean over the images.

        y_j = 1 - s + s / N for the label, s / N for every other class
        L = -1/B Σ_i Σ_j y_ij log p_ij,    p_i = softmax(logits_i)

    Args:
        logits: (B, N), a score for each class.
        labels: (B,), integers in 0 ... N - 1.
        smoothing: s, the part of the probability that is spread over all classes; 0 for the plain loss.

    Returns:
        L, a number.

    Source: lecture, "Training"; Szegedy et al., section 7.
    """
    N = logits.shape[-1]
    one_hot = F.one_hot(labels.long(), N).to(logits.dtype)  # (B,) -> (B, N)
    y = (1 - smoothing) * one_hot + smoothing / N  # (B, N)
    log_p = logits.log_softmax(dim=-1)  # (B, N)
    losses = -(y * log_p).sum(dim=-1)  # (B, N) -> (B,)
    return losses.mean()


def learning_rate(step: int, steps: int, warmup_steps: int, peak: float) -> float:
    """The learning rate of a step: up to the peak in a straight line, then down to 0 along a cosine.

        peak · (step + 1) / warmup_steps                  while step < warmup_steps
        peak · (1 + cos(π t)) / 2                         afterwards

    where t runs from 0 to 1 over the steps that are left.

    Args:
        step: from 0.
        steps: how many there are, more than `warmup_steps`.
        warmup_steps: how many of them the way up takes; 0 for none.
        peak: the highest learning rate.

    Source: Dosovitskiy et al., 2021, appendix B.1; Loshchilov and Hutter, section 3.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    t = (step - warmup_steps) / (steps - warmup_steps)
    return peak * (1 + math.cos(math.pi * t)) / 2


def mixup(images: Tensor, targets: Tensor, lam: float | Tensor, partner: Tensor) -> Tensor:
    """Lay another image over each image.

        x̃_i = λ x_i + (1 - λ) x_j,    j = partner_i

    Args:
        images: (B, C, H, W).
        targets: (B, N), the probability of each class; `mixup_targets` mixes them in the same way.
        lam: λ, the share of the image itself; one for all, or one for each image or pixel, (B, 1, 1, 1) or
            (B, 1, H, W).
        partner: (B,), integers: the index of the image that is mixed into each image.

    Returns:
        (B, C, H, W).

    Source: Zhang et al., section 2.
    """
    partners = images[partner]  # (B, C, H, W)
    return lam * images + (1 - lam) * partners


def mixup_targets(targets: Tensor, lam: float | Tensor, partner: Tensor) -> Tensor:
    """Mix the targets as `mixup` mixes the images.

        ỹ_i = λ y_i + (1 - λ) y_j,    j = partner_i

    Args:
        targets: (B, N), the probability of each class.
        lam: λ, the share of the image itself; one for all, or one for each image, (B, 1).
        partner: (B,), integers: the index of the image that is mixed into each image.

    Returns:
        (B, N).

    Source: Zhang et al., section 2.
    """
    partners = targets[partner]  # (B, N)
    return lam * targets + (1 - lam) * partners


def train_digits(images: Tensor, labels: Tensor, test_images: Tensor) -> Tensor:
    """Build a small ViT, train it on handwritten digits, and let it say what it sees: a few seconds of a processor.

    Args:
        images: (T, 1, 8, 8), in 0 ... 1.
        labels: (T,), integers in 0 ... 9.
        test_images: (S, 1, 8, 8), in 0 ... 1.

    Returns:
        (S,), the class of each of `test_images` that gets the largest score.

    Source: lecture, "Training".
    """
    steps, warmup_steps, peak, batch_size = 400, 40, 3e-3, 64
    mean, deviation = images.mean(), images.std()
    model = ViT(ViTConfig(depth=3, d=48, num_heads=4, patch_size=2, image_size=8, num_classes=10, channels=1))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    for step in range(steps):
        batch = torch.randint(len(images), (batch_size,))
        logits = model((images[batch] - mean) / deviation)  # (batch_size, 10)
        loss = cross_entropy(logits, labels[batch], smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, warmup_steps, peak)
        optimizer.step()
    with torch.no_grad():
        return model((test_images - mean) / deviation).argmax(dim=-1)
