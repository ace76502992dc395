"""Layer normalization: every token gets mean 0 and variance 1, then a learned scale and shift.

Lecture: "Layer Normalization (LN)".
Paper: Ba et al., "Layer Normalization", 2016.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def normalize_tokens(x: Tensor, eps: float) -> Tensor:
    """Give each token's d features mean 0 and variance 1, on their own.

        μ = 1/d Σ_i x_i,    σ² = 1/d Σ_i (x_i - μ)²,    x̂_i = (x_i - μ) / √(σ² + ε)

    Args:
        x: (..., d), the tokens.
        eps: ε, which keeps the root away from 0 when all features are equal.

    Returns:
        (..., d), x̂.

    Source: lecture, "Layer Normalization (LN)", steps 1 to 3.
    """
    mu = x.mean(dim=-1, keepdim=True)  # (..., 1)
    centred = x - mu
    variance = (centred**2).mean(dim=-1, keepdim=True)  # (..., 1), divided by d and not by d - 1
    return centred / torch.sqrt(variance + eps)


def layer_norm(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    """Normalize each token's d features on their own, then scale and shift them.

        LN(x)_i = γ_i x̂_i + β_i,    x̂ = `normalize_tokens`(x)

    Args:
        x: (..., d), the tokens.
        gamma: (d,), the scale γ.
        beta: (d,), the shift β.
        eps: ε of `normalize_tokens`.

    Returns:
        (..., d).

    Source: lecture, "Layer Normalization (LN)", steps 1 to 4.
    """
    x_hat = normalize_tokens(x, eps)
    return gamma * x_hat + beta


class LayerNorm(nn.Module):
    """LN with learnable γ (from 1) and β (from 0): `forward` as used, `as_taught` as in the lecture.

    Args:
        d: embedding dimension.
        eps: ε. ViT and DINO were trained with 1e-6, SegFormer's published models compute with 1e-5.

    Shapes: (..., d) -> (..., d).

    Source: lecture, "Layer Normalization (LN)".
    """

    def __init__(self, d: int, *, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(d))
        self.beta = nn.Parameter(torch.zeros(d))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.gamma.shape, self.gamma, self.beta, self.eps)  # one pass over memory

    def as_taught(self, x: Tensor) -> Tensor:
        """The lecture's form of `forward`: (..., d) -> (..., d)."""
        return layer_norm(x, self.gamma, self.beta, self.eps)
