"""Checks of the exercise `layer_norm`: normalized tokens, and their scale and shift."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vitlab.checks.engine.exercise import Exercise, FollowThrough, Part, Sizes
from vitlab.layer_norm import layer_norm, normalize_tokens

EPS = (0.05, 0.5)  # drawn as large as this, it shows in every number where ε stands


def _each_its_own(x: Tensor, *others: Tensor | float) -> tuple:
    """Tokens whose means and deviations differ as much as those within a trained model do."""
    B, n, _ = x.shape
    token = torch.arange(B * n, dtype=x.dtype).reshape(B, n, 1)
    return ((1 + token % 5) * x + 2 * (token % 7) - 6, *others)


def _equal_features(x: Tensor, *others: Tensor | float) -> tuple:
    x[0, 0] = 0.5
    x[-1, -1] = 0.0
    return (x, *others)


def _published_eps(*arguments: Tensor | float) -> tuple:
    return (*arguments[:-1], 1e-6)  # ViT's


# ---- normalize_tokens

normalize = Exercise(
    normalize_tokens,
    takes={"x": "B n d", "eps": EPS},
    returns="B n d",
    parts=(
        Part("one image", 1, Sizes("one image", B=1), Sizes("one token", B=1, n=1)),
        Part(
            "several images",
            2,
            Sizes(),
            Sizes("many features", d="large"),
            Sizes("tokens of different mean and deviation", _each_its_own, B=4, n="large"),
        ),
        Part("tokens of equal features", 1, Sizes("two tokens of equal features", _equal_features)),
        Part(
            "float64, gradients",
            2,
            Sizes(gradient=True),
            Sizes("ε = 1e-6", _published_eps, gradient=True),
            Sizes("all sizes equal", n="B", d="B", gradient=True),
        ),
    ),
)


@normalize.formulation
def _(x, eps):
    mu = x.mean(dim=-1, keepdim=True)
    variance = x.var(dim=-1, keepdim=True, unbiased=False)
    return (x - mu) / torch.sqrt(variance + eps)


@normalize.formulation
def _(x, eps):
    d = x.shape[-1]
    mu = x.sum(dim=-1, keepdim=True) / d
    mean_square = (x**2).sum(dim=-1, keepdim=True) / d
    variance = mean_square - mu**2
    return (x - mu) / (variance + eps) ** 0.5


UNBIASED = (
    "The variance is divided by d - 1, as torch.var and torch.std do unless told otherwise: the lecture divides by d "
    "(correction=0)."
)


@normalize.misconception(UNBIASED)
def _(x, eps):
    mu = x.mean(dim=-1, keepdim=True)
    variance = x.var(dim=-1, keepdim=True, unbiased=True)
    return (x - mu) / torch.sqrt(variance + eps)


EPS_OUTSIDE = "ε is added to the standard deviation, and should stand inside the root, √(σ² + ε)."


@normalize.misconception(EPS_OUTSIDE)
def _(x, eps):
    mu = x.mean(dim=-1, keepdim=True)
    sigma = x.std(dim=-1, keepdim=True, unbiased=False)
    return (x - mu) / (sigma + eps)


@normalize.misconception(
    "ε is added to the deviation, which is divided by d - 1 as well: divide the variance by d, and add ε inside the root."
)
def _(x, eps):
    mu = x.mean(dim=-1, keepdim=True)
    sigma = x.std(dim=-1, keepdim=True, unbiased=True)
    return (x - mu) / (sigma + eps)


@normalize.misconception("ε is squared, √(σ² + ε²), and should be added to the variance as it is.")
def _(x, eps):
    mu = x.mean(dim=-1, keepdim=True)
    variance = x.var(dim=-1, keepdim=True, unbiased=False)
    return (x - mu) / torch.sqrt(variance + eps**2)


@normalize.misconception("ε is added to the numerator: it belongs to the variance, inside the root.")
def _(x, eps):
    mu = x.mean(dim=-1, keepdim=True)
    variance = x.var(dim=-1, keepdim=True, unbiased=False)
    return (x - mu + eps) / torch.sqrt(variance)


@normalize.misconception("ε is the smallest variance allowed (clamp), and should be added to every variance.")
def _(x, eps):
    mu = x.mean(dim=-1, keepdim=True)
    variance = x.var(dim=-1, keepdim=True, unbiased=False)
    return (x - mu) / torch.sqrt(variance.clamp(min=eps))


NOT_GIVEN = "ε is not the one that is given: PyTorch's 1e-5 is used; pass eps on."


@normalize.misconception(NOT_GIVEN)
def _(x, eps):
    mu = x.mean(dim=-1, keepdim=True)
    variance = x.var(dim=-1, keepdim=True, unbiased=False)
    return (x - mu) / torch.sqrt(variance + 1e-5)


@normalize.misconception("ε is missing: the division is by √(σ² + ε), and without ε equal features give 0/0 = NaN.")
def _(x, eps):
    mu = x.mean(dim=-1, keepdim=True)
    variance = x.var(dim=-1, keepdim=True, unbiased=False)
    return (x - mu) / torch.sqrt(variance)


@normalize.misconception("The root is missing: the division is by √(σ² + ε), not by the variance.")
def _(x, eps):
    mu = x.mean(dim=-1, keepdim=True)
    variance = x.var(dim=-1, keepdim=True, unbiased=False)
    return (x - mu) / (variance + eps)


@normalize.misconception(
    "Mean and variance are those of a whole image, tokens and features together: every token has its own."
)
def _(x, eps):
    mu = x.mean(dim=(1, 2), keepdim=True)
    variance = x.var(dim=(1, 2), keepdim=True, unbiased=False)
    return (x - mu) / torch.sqrt(variance + eps)


BATCH_NORM = (
    "This is batch normalization: each feature is normalized over all tokens of all images. Here each token is, over its "
    "features: dim=-1."
)


@normalize.misconception(BATCH_NORM)
def _(x, eps):
    mu = x.mean(dim=(0, 1), keepdim=True)
    variance = x.var(dim=(0, 1), keepdim=True, unbiased=False)
    return (x - mu) / torch.sqrt(variance + eps)


@normalize.misconception(BATCH_NORM)
def _(x, eps):  # PyTorch's refuses a single token
    return F.batch_norm(x.transpose(1, 2), None, None, training=True, eps=eps).transpose(1, 2)


@normalize.misconception(
    "Each feature is normalized over the tokens of its image (dim=1): each token is, over its features, dim=-1."
)
def _(x, eps):
    mu = x.mean(dim=1, keepdim=True)
    variance = x.var(dim=1, keepdim=True, unbiased=False)
    return (x - mu) / torch.sqrt(variance + eps)


@normalize.misconception(
    "This is instance normalization: each feature is normalized over the tokens of its image. Here each token is, over its "
    "features: dim=-1."
)
def _(x, eps):  # PyTorch's refuses a single token
    return F.instance_norm(x.transpose(1, 2), eps=eps).transpose(1, 2)


@normalize.misconception(
    "Each number is normalized over the images of the batch (dim=0): each token is, over its features, dim=-1."
)
def _(x, eps):
    mu = x.mean(dim=0, keepdim=True)
    variance = x.var(dim=0, keepdim=True, unbiased=False)
    return (x - mu) / torch.sqrt(variance + eps)


@normalize.misconception(
    "Mean and variance are those of all numbers, images, tokens and features together: every token has its own, dim=-1."
)
def _(x, eps):
    mu = x.mean()
    variance = x.var(unbiased=False)
    return (x - mu) / torch.sqrt(variance + eps)


@normalize.misconception(
    "The mean is not subtracted: x is divided by the root of its mean square (RMS normalization). Subtract μ first."
)
def _(x, eps):
    mean_square = (x**2).mean(dim=-1, keepdim=True)
    return x / torch.sqrt(mean_square + eps)


@normalize.misconception(
    "The mean is subtracted, but the division is by the root mean square of x itself: σ² is the mean of (x - μ)²."
)
def _(x, eps):
    mu = x.mean(dim=-1, keepdim=True)
    mean_square = (x**2).mean(dim=-1, keepdim=True)
    return (x - mu) / torch.sqrt(mean_square + eps)


@normalize.misconception("The division by √(σ² + ε) is missing: the mean is 0 now, and the variance should be 1.")
def _(x, eps):
    mu = x.mean(dim=-1, keepdim=True)
    return x - mu


LENGTH_1 = (
    "The tokens are brought to length 1, not to variance 1: that is √d too small. Divide the sum of squares by d."
)


@normalize.misconception(LENGTH_1)
def _(x, eps):
    return F.normalize(x - x.mean(dim=-1, keepdim=True), dim=-1)


@normalize.misconception(LENGTH_1)
def _(x, eps):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / torch.sqrt((centred**2).sum(dim=-1, keepdim=True) + eps)


@normalize.misconception("Each token is divided by its length, its mean is not subtracted: subtract μ, divide by σ.")
def _(x, eps):
    length = x.norm(dim=-1, keepdim=True)
    return x / (length + eps)


@normalize.misconception(
    "ε is the smallest length allowed (F.normalize), and should be added to every variance, √(σ² + ε)."
)
def _(x, eps):
    centred = x - x.mean(dim=-1, keepdim=True)
    return F.normalize(centred, dim=-1, eps=eps) * math.sqrt(x.shape[-1])


@normalize.misconception("Features are moved to 0 … 1 between the smallest and the largest: subtract μ, divide by σ.")
def _(x, eps):
    lowest = x.amin(dim=-1, keepdim=True)
    highest = x.amax(dim=-1, keepdim=True)
    return (x - lowest) / (highest - lowest + eps)


@normalize.misconception("The division is by the mean absolute deviation: σ is the root of the mean square of x - μ.")
def _(x, eps):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.abs().mean(dim=-1, keepdim=True) + eps)


@normalize.misconception("This is a softmax over the features: subtract their mean and divide by their deviation.")
def _(x, eps):
    return x.softmax(dim=-1)


@normalize.misconception(LENGTH_1)
def _(x, eps):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.norm(dim=-1, keepdim=True) + eps)


# ---- layer_norm

norm = Exercise(
    layer_norm,
    takes={"x": "B n d", "gamma": "d", "beta": "d", "eps": EPS},
    returns="B n d",
    parts=(
        Part("one image", 1, Sizes("one image", B=1), Sizes("one token", B=1, n=1)),
        Part(
            "several images",
            2,
            Sizes(),
            Sizes("many features", d="large"),
            Sizes("tokens of different mean and deviation", _each_its_own, B=4, n="large"),
            Sizes("two tokens of equal features", _equal_features),
        ),
        Part(
            "float64, gradients",
            2,
            Sizes(gradient=True),
            Sizes("ε = 1e-6", _published_eps, gradient=True),
            Sizes("all sizes equal", n="B", d="B", gradient=True),
        ),
    ),
    builds_on=FollowThrough(
        (normalize_tokens,), lambda normalize, x, gamma, beta, eps: gamma * normalize(x, eps) + beta
    ),
)


@norm.formulation
def _(x, gamma, beta, eps):
    mu = x.mean(dim=-1, keepdim=True)
    variance = x.var(dim=-1, keepdim=True, unbiased=False)
    x_hat = (x - mu) / torch.sqrt(variance + eps)
    return gamma * x_hat + beta


@norm.misconception("The shift is scaled as well, γ (x̂ + β): first scale, then shift, γ x̂ + β.")
def _(x, gamma, beta, eps):
    x_hat = normalize_tokens(x, eps)
    return gamma * (x_hat + beta)


@norm.misconception("The scale is 1 + γ: the lecture's γ is the scale itself, γ x̂ + β.")
def _(x, gamma, beta, eps):
    x_hat = normalize_tokens(x, eps)
    return (1 + gamma) * x_hat + beta


@norm.misconception("γ and β are exchanged: γ scales, β shifts, γ x̂ + β.")
def _(x, gamma, beta, eps):
    x_hat = normalize_tokens(x, eps)
    return beta * x_hat + gamma


@norm.misconception(
    "γ and β have no effect: the tokens are normalized, and that is all. A new nn.LayerNorm has a γ of 1 and a β of 0 of "
    "its own."
)
def _(x, gamma, beta, eps):
    return normalize_tokens(x, eps)


@norm.misconception("Scale and shift come before the normalization, which undoes most of them: γ x̂ + β comes last.")
def _(x, gamma, beta, eps):
    moved = gamma * x + beta
    return normalize_tokens(moved, eps)


@norm.misconception(
    "Scale and shift lie along the tokens: γ_i and β_i belong to feature i, so leave them (d,), and they meet the last axis."
)
def _(x, gamma, beta, eps):
    x_hat = normalize_tokens(x, eps)
    return gamma[:, None] * x_hat + beta[:, None]


@norm.misconception("One number scales all features (the mean of γ): each feature i has a γ_i of its own.")
def _(x, gamma, beta, eps):
    x_hat = normalize_tokens(x, eps)
    return gamma.mean() * x_hat + beta


@norm.misconception("The first γ and the first β serve all features: each feature i has its own γ_i and β_i.")
def _(x, gamma, beta, eps):
    x_hat = normalize_tokens(x, eps)
    return gamma[0] * x_hat + beta[0]


@norm.misconception("x̂ @ γ adds the features up: multiply each feature by its own number (*), with nothing summed.")
def _(x, gamma, beta, eps):
    x_hat = normalize_tokens(x, eps)
    return (x_hat @ gamma)[..., None] + beta


@norm.misconception("The mean and the deviation are put back in: γ and β take their place.")
def _(x, gamma, beta, eps):
    mu = x.mean(dim=-1, keepdim=True)
    sigma = x.std(dim=-1, keepdim=True, unbiased=False)
    return sigma * (gamma * normalize_tokens(x, eps) + beta) + mu


@norm.misconception("x is added again (a residual connection): that is the encoder block's work, not LN's.")
def _(x, gamma, beta, eps):
    x_hat = normalize_tokens(x, eps)
    return x + gamma * x_hat + beta


@norm.misconception(NOT_GIVEN)
def _(x, gamma, beta, eps):
    x_hat = F.layer_norm(x, x.shape[-1:])
    return gamma * x_hat + beta


@norm.misconception(UNBIASED)
def _(x, gamma, beta, eps):
    mu = x.mean(dim=-1, keepdim=True)
    variance = x.var(dim=-1, keepdim=True, unbiased=True)
    x_hat = (x - mu) / torch.sqrt(variance + eps)
    return gamma * x_hat + beta


@norm.misconception(EPS_OUTSIDE)
def _(x, gamma, beta, eps):
    mu = x.mean(dim=-1, keepdim=True)
    sigma = x.std(dim=-1, keepdim=True, unbiased=False)
    x_hat = (x - mu) / (sigma + eps)
    return gamma * x_hat + beta


@norm.misconception("The mean is not subtracted (RMS normalization, as in language models): x̂ = (x - μ) / √(σ² + ε).")
def _(x, gamma, beta, eps):
    mean_square = (x**2).mean(dim=-1, keepdim=True)
    x_hat = x / torch.sqrt(mean_square + eps)
    return gamma * x_hat + beta


@norm.misconception(
    "This is batch normalization: mean and variance of each feature over all tokens of all images. Take them for each token "
    "over its features, dim=-1."
)
def _(x, gamma, beta, eps):
    mu = x.mean(dim=(0, 1), keepdim=True)
    variance = x.var(dim=(0, 1), keepdim=True, unbiased=False)
    x_hat = (x - mu) / torch.sqrt(variance + eps)
    return gamma * x_hat + beta


@norm.misconception(
    "Mean and variance are those of a whole image, tokens and features together: every token has its own, dim=-1."
)
def _(x, gamma, beta, eps):
    mu = x.mean(dim=(1, 2), keepdim=True)
    variance = x.var(dim=(1, 2), keepdim=True, unbiased=False)
    x_hat = (x - mu) / torch.sqrt(variance + eps)
    return gamma * x_hat + beta


TWICE = "The tokens are normalized once more behind the scaling: x̂ is normalized, and γ x̂ + β is the end of it."


@norm.misconception(TWICE)
def _(x, gamma, beta, eps):
    scaled = gamma * normalize_tokens(x, eps)
    return normalize_tokens(scaled, eps) + beta


@norm.misconception(TWICE)
def _(x, gamma, beta, eps):
    scaled = gamma * normalize_tokens(x, eps) + beta
    return normalize_tokens(scaled, eps)


EXERCISES = (normalize, norm)
