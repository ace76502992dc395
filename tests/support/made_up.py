"""Small exercises that exist only here, with every kind of argument and result that a contract may ask for."""

import torch
from torch import Tensor
from torch.nn import functional as F

from vitlab.checks.engine.exercise import Case, Exercise, Misconception, Part


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


def _mlp_cases(g, B, n, d, dtype=torch.float32, gradient=False):
    def normal(*shape):
        return torch.randn(shape, generator=g, dtype=dtype)

    p = {"W_out": normal(d, d), "b_out": normal(d)}
    blocks, scales = [{"W": normal(d, d)}, {"W": normal(d, d)}], [normal(d), normal(d)]
    return [Case(f"{B} times {n} tokens of {d}", (normal(B, n, d), p, blocks, scales, 0.1), gradient)]


def _label_cases(g, B, n):
    predictions, labels = torch.randint(4, (2, B, n), generator=g)
    return [Case(f"{B} images of {n}", (predictions, labels, 4), gradient=True)]


def _loss_cases(g, dtype=torch.float32):
    logits, labels = torch.randn(5, 4, generator=g, dtype=dtype), torch.randint(4, (5,), generator=g)
    return [Case(f"five images, {dtype}", (logits, labels, 0.1), gradient=True)]


EXERCISES = (
    Exercise(
        name="residual_mlp",
        arguments=("Z", "p", "blocks", "scales", "slope"),
        returns="(B, n, d)",
        axes=("image", "token", "number"),
        reference=residual_mlp,
        parts=(
            Part("one image", 1, lambda g: _mlp_cases(g, 1, 4, 3)),
            Part("float64, gradients", 2, lambda g: _mlp_cases(g, 2, 5, 4, torch.float64, True)),
        ),
        misconceptions=(
            Misconception(lambda Z, p, blocks, scales, a: residual_mlp(Z, p, blocks[1:], scales[1:], a), "one block"),
            Misconception(lambda Z, p, blocks, scales, slope: residual_mlp(Z, p, blocks, scales, 0.0), "no slope"),
        ),
    ),
    Exercise(
        name="parameters",
        arguments=("d", "d_ff"),
        returns="a whole number",
        axes=(),
        reference=parameters,
        parts=(
            Part("small", 1, lambda g: [Case("d = 3, d_ff = 5", (3, 5))]),
            Part("ViT-B", 1, lambda g: [Case("d = 768, d_ff = 3072", (768, 3072)), Case("d = 5000", (5000, 20000))]),
        ),
        misconceptions=(Misconception(lambda d, d_ff: 2 * d * d_ff, "no biases"),),
    ),
    Exercise(
        name="rate",
        arguments=("step", "steps", "peak"),
        returns="a number",
        axes=(),
        reference=rate,
        parts=(Part("all", 2, lambda g: [Case("the first", (0, 9, 0.003)), Case("the last", (8, 9, 0.003))]),),
        misconceptions=(Misconception(lambda step, steps, peak: peak * (1 - (step + 1) / steps), "counted from 1"),),
    ),
    Exercise(
        name="loss",
        arguments=("logits", "labels", "smoothing"),
        returns="a number",
        axes=(),
        reference=loss,
        parts=(
            Part("float32", 1, _loss_cases),
            Part("float64", 1, lambda g: _loss_cases(g, torch.float64)),
        ),
        misconceptions=(
            Misconception(lambda logits, labels, smoothing: loss(logits, labels, 0.0), "not smoothed"),
            Misconception(lambda logits, labels, smoothing: 5 * loss(logits, labels, smoothing), "a sum"),
        ),
    ),
    Exercise(
        name="counts",
        arguments=("predictions", "labels", "num_classes"),
        returns="(N, N)",
        axes=("label", "prediction"),
        reference=counts,
        parts=(
            Part("one image", 1, lambda g: _label_cases(g, 1, 20)),
            Part("many", 1, lambda g: _label_cases(g, 3, 30)),
        ),
        misconceptions=(
            Misconception(lambda predictions, labels, n: counts(labels, predictions, n), "transposed"),
        ),
    ),
    Exercise(
        name="above",
        arguments=("x", "limit"),
        returns="(B, n)",
        axes=("image", "number"),
        reference=above,
        parts=(Part("all", 1, lambda g: [Case("two images", (torch.randn(2, 6, generator=g), 0.5), True)]),),
        misconceptions=(Misconception(lambda x, limit: x < limit, "below"),),
    ),
)  # fmt: skip
