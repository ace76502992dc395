"""The feed-forward network: a two-layer MLP applied to each token on its own.

Lecture: "Feed-Forward Network (FFN)".
Papers: Vaswani et al., "Attention Is All You Need", 2017, section 3.3; Hendrycks and Gimpel, "Gaussian Error Linear
Units (GELUs)", 2016.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitlab import fast
from vitlab.steps import UNSEEN, Steps


def gelu(x: Tensor) -> Tensor:
    """The Gaussian error linear unit: x times the probability that a standard normal number is below x.

        GELU(x) = x Φ(x) = x/2 (1 + erf(x / √2))

    Args:
        x: any shape.

    Returns:
        The shape of x.

    Source: Hendrycks and Gimpel, section 2.
    """
    probability = (1 + torch.erf(x / math.sqrt(2))) / 2  # Φ(x)
    return x * probability


def ffn(Z: Tensor, W_1: Tensor, b_1: Tensor, W_2: Tensor, b_2: Tensor) -> Tensor:
    """Expand every token to d_ff numbers, activate them with GELU, compress them to d again.

        FFN(z) = GELU(z W_1 + b_1) W_2 + b_2

    The lecture writes W_2 GELU(W_1 z + b_1) + b_2, with z a column; here tokens are rows, as in its attention, and the
    shapes of W_1 and W_2 are the lecture's.

    Args:
        Z: (..., d), the tokens.
        W_1: (d, d_ff), usually with d_ff = 4d.
        b_1: (d_ff,).
        W_2: (d_ff, d).
        b_2: (d,).

    Returns:
        (..., d).

    Source: lecture, "Feed-Forward Network (FFN)".
    """
    expanded = Z @ W_1 + b_1  # (..., d) -> (..., d_ff)
    activated = gelu(expanded)
    return activated @ W_2 + b_2  # (..., d_ff) -> (..., d)


def ffn_parameters(d: int, d_ff: int) -> int:
    """How many numbers an FFN learns: two matrices and two biases.

        2 · d · d_ff + d_ff + d,    about 8d² where d_ff = 4d

    Source: lecture, "Feed-Forward Network (FFN)".
    """
    expand = d * d_ff + d_ff
    compress = d_ff * d + d
    return expand + compress


class FeedForward(nn.Module):
    """The FFN with learnable weights: `forward` as used, `as_taught` as in the lecture, on the same parameters.

    Args:
        d: embedding dimension.
        d_ff: the dimension in between.

    Shapes: (..., d) -> (..., d).

    Source: lecture, "Feed-Forward Network (FFN)".
    """

    def __init__(self, d: int, d_ff: int):
        super().__init__()
        # nn.Linear computes x Wᵀ + b: its weight is the transpose of the lecture's W.
        self.expand = fast.Linear(d, d_ff)
        self.compress = fast.Linear(d_ff, d)

    def forward(self, Z: Tensor, steps: Steps = UNSEEN) -> Tensor:
        """(..., d) -> (..., d). Steps: activated."""
        if fast.is_on(steps):
            return fast.feed_forward(self, Z)
        activated = steps["activated"] = F.gelu(self.expand(Z))  # (..., d_ff)
        return self.compress(activated)

    def as_taught(self, Z: Tensor) -> Tensor:
        """The lecture's form of `forward`: (..., d) -> (..., d)."""
        W_1, W_2 = self.expand.weight.T, self.compress.weight.T  # (d, d_ff), (d_ff, d)
        return ffn(Z, W_1, self.expand.bias, W_2, self.compress.bias)
