"""Self-attention: every token looks at every other one.

Lecture: "Self-Attention: Single Head", "Multi-Head Self-Attention".
Papers: Vaswani et al., "Attention Is All You Need", 2017, section 3.2; Dosovitskiy et al., 2021, appendix A.

Tokens are rows, (B, n, d), and weights are applied from the right, Z W, as in the lecture.
"""

import math

import torch
from torch import Tensor, nn

from vitlab import fast
from vitlab.steps import UNSEEN, Steps


def attention_scores(Q: Tensor, K: Tensor) -> Tensor:
    """How similar each query is to each key.

        A = Q Kᵀ / √d_k,    A_ij = q_i · k_j / √d_k

    Args:
        Q: (..., n, d_k), one query per row.
        K: (..., m, d_k), one key per row.

    Returns:
        (..., n, m), row i holding the scores of query i.

    Source: lecture, "Self-Attention: Single Head", step 2.
    """
    d_k = Q.shape[-1]
    products = Q @ K.transpose(-2, -1)  # (..., n, d_k) @ (..., d_k, m) -> (..., n, m)
    return products / math.sqrt(d_k)


def attention_weights(A: Tensor) -> Tensor:
    """Turn each row of scores into weights that are positive and sum to 1.

        A' = softmax(A),    A'_ij = exp(A_ij) / Σ_j exp(A_ij)

    Args:
        A: (..., n, m), the scores.

    Returns:
        (..., n, m), the attention weights.

    Source: lecture, "Self-Attention: Single Head", step 3.
    """
    # softmax does not change when a row is shifted; without the shift, exp overflows for large scores.
    shifted = A - A.amax(dim=-1, keepdim=True)
    exponentials = torch.exp(shifted)
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


def attention(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    """Each query's weighted sum of the values.

        Attention(Q, K, V) = softmax(Q Kᵀ / √d_k) V

    Args:
        Q: (..., n, d_k).
        K: (..., m, d_k).
        V: (..., m, d_v), one value per key.

    Returns:
        (..., n, d_v).

    Source: lecture, "Self-Attention: Single Head", step 4.
    """
    scores = attention_scores(Q, K)  # (..., n, m)
    weights = attention_weights(scores)  # (..., n, m)
    return weights @ V  # (..., n, m) @ (..., m, d_v) -> (..., n, d_v)


def split_heads(X: Tensor, num_heads: int) -> Tensor:
    """Cut the columns into heads: (B, n, d) -> (B, h, n, d_h), head j taking columns j·d_h ... (j+1)·d_h.

    Raises:
        ValueError: if d is not a multiple of the number of heads.
    """
    B, n, d = X.shape
    if d % num_heads:
        raise ValueError(f"{d} columns cannot be cut into {num_heads} equal heads: d must be a multiple of num_heads.")
    return X.reshape(B, n, num_heads, d // num_heads).transpose(1, 2)  # (B, n, h, d_h) -> (B, h, n, d_h)


def concatenate_heads(heads: Tensor) -> Tensor:
    """Put the heads side by side again: (B, h, n, d_h) -> (B, n, d), the inverse of `split_heads`."""
    return heads.transpose(1, 2).flatten(2)  # (B, n, h, d_h) -> (B, n, d)


def multi_head_self_attention(Z: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor, num_heads: int) -> Tensor:
    """h attentions in parallel, each on its own projections; concatenated and mixed by W^O.

        head_j = Attention(Z W^Q(j), Z W^K(j), Z W^V(j)),    d_h = d / h
        MSA(Z) = Concat(head_1, ..., head_h) W^O

    Args:
        Z: (B, n, d), the tokens.
        W_Q, W_K, W_V: (d, d) each. Columns j·d_h ... (j+1)·d_h belong to head j (from 0).
        W_O: (d, d), the output projection.
        num_heads: h.

    Returns:
        (B, n, d).

    Raises:
        ValueError: if d is not a multiple of the number of heads.

    Source: lecture, "Multi-Head Self-Attention". The weights have 4d² parameters together.
    """
    Q = split_heads(Z @ W_Q, num_heads)  # (B, h, n, d_h)
    K = split_heads(Z @ W_K, num_heads)
    V = split_heads(Z @ W_V, num_heads)
    heads = attention(Q, K, V)  # (B, h, n, d_h)
    concatenated = concatenate_heads(heads)  # (B, n, d)
    return concatenated @ W_O


class MultiHeadSelfAttention(nn.Module):
    """MSA with learnable weights: `forward` as used, `as_taught` as in the lecture, on the same parameters.

    The published models add a bias to each of the four projections: 4d² + 4d parameters instead of the lecture's 4d².

    Args:
        d: embedding dimension.
        num_heads: h, which divides d.
        bias: whether the projections have biases.

    Shapes: (B, n, d) -> (B, n, d).

    Raises:
        ValueError: if d is not a multiple of the number of heads.

    Source: lecture, "Multi-Head Self-Attention".
    """

    def __init__(self, d: int, num_heads: int, *, bias: bool = True):
        super().__init__()
        if d % num_heads:
            raise ValueError(f"d = {d} is not a multiple of num_heads = {num_heads}.")
        self.num_heads = num_heads
        # nn.Linear computes x Wᵀ + b: its weight is the transpose of the lecture's W.
        self.query = fast.Linear(d, d, bias=bias)
        self.key = fast.Linear(d, d, bias=bias)
        self.value = fast.Linear(d, d, bias=bias)
        self.output = fast.Linear(d, d, bias=bias)

    def forward(self, Z: Tensor, context: Tensor | None = None, steps: Steps = UNSEEN) -> Tensor:
        """The tokens Z look at the tokens `context`, (B, m, d), by default at themselves: (B, n, d) -> (B, n, d).

        Steps: Q, K, V, scores, weights, heads.
        """
        Q, K, V = self._queries_keys_values(Z, context, steps)
        if fast.is_on(steps):
            heads = fast.attention(Q, K, V)  # (B, h, n, d_h), n x m never stored
        else:
            scores = steps["scores"] = attention_scores(Q, K)  # (B, h, n, m)
            weights = steps["weights"] = attention_weights(scores)  # (B, h, n, m)
            heads = steps["heads"] = weights @ V  # (B, h, n, d_h)
        return self.output(concatenate_heads(heads))  # (B, n, d)

    def as_taught(self, Z: Tensor, context: Tensor | None = None) -> Tensor:
        """The lecture's form of `forward`: (B, n, d) -> (B, n, d)."""
        Q, K, V = self._queries_keys_values(Z, context)
        heads = attention(Q, K, V)  # (B, h, n, d_h)
        return self.output(concatenate_heads(heads))  # (B, n, d)

    def _queries_keys_values(
        self, Z: Tensor, context: Tensor | None, steps: Steps = UNSEEN
    ) -> tuple[Tensor, Tensor, Tensor]:
        context = Z if context is None else context
        Q = steps["Q"] = split_heads(self.query(Z), self.num_heads)  # (B, h, n, d_h)
        K = steps["K"] = split_heads(self.key(context), self.num_heads)  # (B, h, m, d_h)
        V = steps["V"] = split_heads(self.value(context), self.num_heads)  # (B, h, m, d_h)
        return Q, K, V
