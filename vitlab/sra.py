"""Spatial-reduction attention: every token asks, but only one in R² answers.

Lecture: "Difference 2: Spatial-Reduction Attention (SRA)", "SRA: Stage-wise Reduction Ratios".
Papers: Wang et al., "Pyramid Vision Transformer", 2021, section 3.3; Xie et al., "SegFormer", 2021, section 3.1, where
R² is called the reduction ratio.

The tokens stay on their grid, (B, H, W, d), because the reduction needs to know who is whose neighbour. The sequence
(B, n, d) of the lecture, n = H W, is `.flatten(1, 2)`.
"""

from torch import Tensor, nn

from vitlab.attention import MultiHeadSelfAttention, attention, concatenate_heads, split_heads
from vitlab.layer_norm import LayerNorm, layer_norm
from vitlab.overlap_embeddings import EPS
from vitlab.steps import UNSEEN, Steps


def spatial_reduction(X: Tensor, W_S: Tensor, b_S: Tensor, sr_ratio: int) -> Tensor:
    """Replace every R x R square of tokens by one token: flatten the square and project it.

    This is the patch embedding of ViT once more, on tokens instead of pixels, and equals a convolution with kernel R
    and stride R. Rows and columns that do not fill a square are left out.

    Args:
        X: (B, H, W, d), the tokens on their grid.
        W_S: (R²·d, d), the projection; a square is flattened row, column, feature.
        b_S: (d,).
        sr_ratio: R.

    Returns:
        (B, n', d), n' = ⌊H/R⌋·⌊W/R⌋.

    Raises:
        ValueError: if the grid is smaller than R x R.

    Source: lecture, "Difference 2: Spatial-Reduction Attention (SRA)".
    """
    R = sr_ratio
    rows, columns = reduced_grid(X, R)
    B, _, _, d = X.shape
    whole = X[:, : rows * R, : columns * R]  # (B, rows·R, columns·R, d)
    cut = whole.reshape(B, rows, R, columns, R, d)  # (B, rows, R, columns, R, d)
    squares = cut.transpose(2, 3)  # (B, rows, columns, R, R, d)
    flattened = squares.reshape(B, rows * columns, R * R * d)  # (B, n', R²·d)
    return flattened @ W_S + b_S


def reduced_grid(X: Tensor, sr_ratio: int) -> tuple[int, int]:
    """How many R x R squares of tokens fit below and beside each other: (⌊H/R⌋, ⌊W/R⌋).

    Raises:
        ValueError: if the grid is smaller than R x R.
    """
    H, W, R = X.shape[1], X.shape[2], sr_ratio
    if H < R or W < R:
        raise ValueError(f"the grid of tokens is {H} x {W}, but a reduction by R = {R} needs at least {R} x {R}.")
    return H // R, W // R


def spatial_reduction_attention(X: Tensor, p: dict[str, Tensor], num_heads: int, sr_ratio: int) -> Tensor:
    """Multi-head attention in which every token has a query, and every R x R square one key and one value.

        Q = X W^Q,    K = SR(X) W^K,    V = SR(X) W^V,    SRA(X) = Concat(head_1, ..., head_h) W^O

    with SR(X) = LN(`spatial_reduction`(X)), and SR(X) = X where R = 1.

    Args:
        X: (B, H, W, d), the tokens on their grid.
        p: the parameters: W_Q, W_K, W_V, W_O, (d, d) each; where R > 1 also W_S, (R²·d, d), and b_S, gamma, beta,
            (d,) each.
        num_heads: h, which divides d.
        sr_ratio: R.

    Returns:
        (B, H, W, d).

    Raises:
        ValueError: if d is not a multiple of the number of heads, or the grid is smaller than R x R.

    Source: lecture, "Difference 2: Spatial-Reduction Attention (SRA)". ε of the LN is 1e-5.
    """
    sequence = X.flatten(1, 2)  # (B, H, W, d) -> (B, n, d)
    reduced = sequence
    if sr_ratio > 1:
        squares = spatial_reduction(X, p["W_S"], p["b_S"], sr_ratio)  # (B, n', d)
        reduced = layer_norm(squares, p["gamma"], p["beta"], EPS)
    Q = split_heads(sequence @ p["W_Q"], num_heads)  # (B, h, n, d_h)
    K = split_heads(reduced @ p["W_K"], num_heads)  # (B, h, n', d_h)
    V = split_heads(reduced @ p["W_V"], num_heads)  # (B, h, n', d_h)
    heads = attention(Q, K, V)  # (B, h, n, d_h)
    concatenated = concatenate_heads(heads)  # (B, n, d)
    output = concatenated @ p["W_O"]  # (B, n, d)
    return output.reshape(X.shape)  # (B, H, W, d)


def number_of_scores(H: int, W: int, sr_ratio: int) -> int:
    """How many scores one head computes: one for every query and key.

        n · n',    n = H W,    n' = ⌊H/R⌋·⌊W/R⌋

    Args:
        H, W: rows and columns of the grid of tokens.
        sr_ratio: R.

    Source: lecture, "Difference 2: Spatial-Reduction Attention (SRA)", "Complexity".
    """
    queries = H * W
    keys = (H // sr_ratio) * (W // sr_ratio)
    return queries * keys


class SpatialReductionAttention(MultiHeadSelfAttention):
    """SRA with learnable weights: `forward` as used, `as_taught` as in the lecture, on the same parameters.

        SRA(X) = MSA with the queries of X, and the keys and values of SR(X)

    with SR(X) = LN(`spatial_reduction`(X)), and SR(X) = X where R = 1. There are n · n/R² scores instead of n².

    Args:
        d: embedding dimension.
        num_heads: h, which divides d.
        sr_ratio: R.

    Shapes: (B, H, W, d) -> (B, H, W, d).

    Raises:
        ValueError: if d is not a multiple of the number of heads, or a grid is smaller than R x R.

    Source: lecture, "Difference 2: Spatial-Reduction Attention (SRA)".
    """

    def __init__(self, d: int, num_heads: int, sr_ratio: int):
        super().__init__(d, num_heads)
        self.sr_ratio = sr_ratio
        if sr_ratio > 1:
            self.reduction = nn.Conv2d(d, d, kernel_size=sr_ratio, stride=sr_ratio)  # holds W_S and b_S
            self.reduction_norm = LayerNorm(d, eps=EPS)

    def forward(self, X: Tensor, steps: Steps = UNSEEN) -> Tensor:
        """(B, H, W, d) -> (B, H, W, d). Steps: reduced, and those of `MultiHeadSelfAttention`."""
        reduced = steps["reduced"] = self.reduce(X)  # (B, n', d)
        Z = super().forward(X.flatten(1, 2), reduced, steps)  # (B, H, W, d) -> (B, n, d)
        return Z.view(X.shape)  # (B, H, W, d)

    def as_taught(self, X: Tensor) -> Tensor:
        """The lecture's form of `forward`: (B, H, W, d) -> (B, H, W, d)."""
        Z = super().as_taught(X.flatten(1, 2), context=self.reduce_as_taught(X))  # (B, H, W, d) -> (B, n, d)
        return Z.view(X.shape)  # (B, H, W, d)

    def reduce(self, X: Tensor) -> Tensor:
        """SR(X), by convolution: (B, H, W, d) -> (B, n', d)."""
        if self.sr_ratio == 1:
            return X.flatten(1, 2)  # (B, H, W, d) -> (B, n, d)
        reduced_grid(X, self.sr_ratio)  # names a grid that is too small
        reduced = self.reduction(X.permute(0, 3, 1, 2))  # (B, H, W, d) -> (B, d, H, W) -> (B, d, H/R, W/R)
        return self.reduction_norm(reduced.flatten(2).transpose(1, 2))  # (B, d, n') -> (B, n', d)

    def reduce_as_taught(self, X: Tensor) -> Tensor:
        """SR(X), square by square: (B, H, W, d) -> (B, n', d)."""
        if self.sr_ratio == 1:
            return X.flatten(1, 2)  # (B, H, W, d) -> (B, n, d)
        W_S = self.reduction.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (d, d, R, R) -> (R²·d, d)
        return self.reduction_norm(spatial_reduction(X, W_S, self.reduction.bias, self.sr_ratio))
