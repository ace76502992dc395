"""Small exercises that exist only here, with every kind of argument and result that a contract may ask for."""

import torch
from torch import Tensor
from torch.nn import functional as F

from vitlab.checks import derivable
from vitlab.checks.engine.exercise import Exercise, Many, Part, Sizes


def residual_mlp(Z: Tensor, p: dict, blocks: list[dict], scales: list[Tensor], slope: float) -> Tensor:
    """A tensor from a dict, a list of dicts, a list of tensors and a float: (B, n, d) -> (B, n, d)."""
    for block, scale in zip(blocks, scales, strict=True):
        Z = Z + F.leaky_relu(Z @ block["W"], slope) * scale
    return Z @ p["W_out"] + p["b_out"]


def parameters(d: int, d_ff: int) -> int:
    """A whole number: 2 d d_ff + d + d_ff."""
    return 2 * d * d_ff + d + d_ff


def rate(step: int, steps: int, peak: float) -> float:
    """A number with decimals: peak (1 - step/steps)."""
    return peak * (1 - step / steps)


def loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """A tensor without axes: (B, N), (B,) -> the mean cross-entropy."""
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def counts(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Integers: (B, n), (B, n) -> (N, N), row: the label, column: the prediction."""
    return torch.bincount((labels * num_classes + predictions).flatten(), minlength=num_classes**2).reshape(
        num_classes, -1
    )


def above(x: Tensor, limit: float) -> Tensor:
    """Booleans: (B, n) -> (B, n)."""
    return x > limit


MLP = Exercise(
    residual_mlp,
    takes={
        "Z": "B n d",
        "p": {"W_out": "d d", "b_out": "d"},
        "blocks": Many("L", {"W": "d d"}),
        "scales": Many("L", "d"),
        "slope": 0.1,
    },
    returns="B n d",
    parts=(Part("one image", 1, Sizes(B=1)), Part("float64, gradients", 2, Sizes(gradient=True))),
)


@MLP.misconception("one block")
def _(Z, p, blocks, scales, slope):
    return residual_mlp(Z, p, blocks[1:], scales[1:], slope)


@MLP.misconception("no slope")
def _(Z, p, blocks, scales, slope):
    return residual_mlp(Z, p, blocks, scales, 0.0)


PARAMETERS = Exercise(
    parameters,
    takes={"d": "d", "d_ff": "d_ff"},
    returns="",
    parts=(Part("small", 1, Sizes()), Part("ViT-B", 1, Sizes(d=768, d_ff=3072), Sizes(d=5000, d_ff=20000))),
)


@PARAMETERS.misconception("no biases")
def _(d, d_ff):
    return 2 * d * d_ff


RATE = Exercise(
    rate,
    takes={"step": "step", "steps": "steps", "peak": (0.001, 0.01)},
    where={"steps": "step + more"},
    returns="",
    parts=(Part("all", 2, Sizes("the first", step=0), Sizes("the last", more=1), Sizes()),),
)


@RATE.misconception("counted from 1")
def _(step, steps, peak):
    return peak * (1 - (step + 1) / steps)


LOSS = Exercise(
    loss,
    takes={"logits": "B N", "labels": "B < N", "smoothing": (0.1, 0.3)},
    returns="",
    parts=(Part("float32", 1, Sizes(), Sizes(B=1)), Part("float64", 1, Sizes(gradient=True))),
)


@LOSS.misconception("not smoothed")
def _(logits, labels, smoothing):
    return loss(logits, labels, 0.0)


@LOSS.misconception("a sum")
def _(logits, labels, smoothing):
    return len(labels) * loss(logits, labels, smoothing)


COUNTS = Exercise(
    counts,
    takes={"predictions": "B n < N", "labels": "B n < N", "num_classes": "N"},
    returns="N N",
    axes="label prediction",
    parts=(Part("one image", 1, Sizes(B=1, n="large")), Part("many", 1, Sizes(n="large", gradient=True))),
)


@COUNTS.misconception("transposed")
def _(predictions, labels, num_classes):
    return counts(labels, predictions, num_classes)


ABOVE = Exercise(
    above,
    takes={"x": "B n", "limit": 0.5},
    returns="B n",
    parts=(Part("all", 1, Sizes(n="large", gradient=True)),),
)


@ABOVE.misconception("below")
def _(x, limit):
    return x < limit


def gram(X: Tensor, size: tuple[int, int]) -> Tensor:
    """A result that can be had by way of a large tensor or of small ones: (B, n, d) -> (B, *size), of X Xᵀ."""
    return X[:, : size[0]] @ X[:, : size[1]].transpose(-2, -1)


def _products(X, size):
    return len(X), *size


GRAM = Exercise(
    gram,
    takes={"X": "B n d", "size": "rows columns"},
    where={"n": "rows + columns"},
    returns="B rows columns",
    parts=(
        Part("as large as may be", 1, Sizes(), Sizes(gradient=True)),
        Part("small tensors", 2, Sizes(B=1, rows=8, columns=9, d=3, largest=_products)),
    ),
)


@GRAM.misconception("one row later")
def _(X, size):
    return X[:, 1 : size[0] + 1] @ X[:, : size[1]].transpose(-2, -1)


@GRAM.misconception("transposed")
def _(X, size):
    return (X[:, : size[1]] @ X[:, : size[0]].transpose(-2, -1)).reshape(len(X), *size)


EXERCISES = (MLP, PARAMETERS, RATE, LOSS, COUNTS, ABOVE, GRAM)
EVERY = (*derivable().values(), *EXERCISES)  # those of the course, too
