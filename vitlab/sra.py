"""Spatial-reduction attention: every token asks, but only one in R² answers.

Lecture: "Difference 2: Spatial-Reduction Attention (SRA)", "SRA: Stage-wise Reduction Ratios".
Papers: Wang et al., "Pyramid Vision Transformer", 2021, section 3.3; Xie et al., "SegFormer", 2021, section 3.1, where
R² is called the reduction ratio.

The tokens stay on their grid, (B, H, W, d), because the reduction needs to know who is whose neighbour. The sequence
(B, n, d) of the lecture, n = H W, is `.flatten(1, 2)`.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from vitlab.attention import attention, concatenate_heads, split_heads
from vitlab.fast import Linear
from vitlab.layer_norm import LayerNorm


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
    squares = X[:, : rows * R, : columns * R].reshape(B, rows, R, columns, R, d)
    squares = squares.transpose(2, 3).reshape(B, rows * columns, R * R * d)  # (B, n', R²·d)
    return squares @ W_S + b_S


def reduced_grid(X: Tensor, sr_ratio: int) -> tuple[int, int]:
    """How many R x R squares of tokens fit below and beside each other: (⌊H/R⌋, ⌊W/R⌋).

    Raises:
        ValueError: if the grid is smaller than R x R.
    """
    H, W, R = X.shape[1], X.shape[2], sr_ratio
    if H < R or W < R:
        raise ValueError(f"the grid of tokens is {H} x {W}, but a reduction by R = {R} needs at least {R} x {R}.")
    return H // R, W // R


class SpatialReductionAttention(nn.Module):
    """SRA with learnable weights: `forward` as used, `as_taught` as in the lecture, on the same parameters.

        Q = X W^Q,    K = SR(X) W^K,    V = SR(X) W^V,    SRA(X) = Concat(head_1, ..., head_h) W^O

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
        super().__init__()
        if d % num_heads:
            raise ValueError(f"d = {d} is not a multiple of num_heads = {num_heads}.")
        self.num_heads = num_heads
        self.sr_ratio = sr_ratio
        self.query = Linear(d, d)
        self.key = Linear(d, d)
        self.value = Linear(d, d)
        self.output = Linear(d, d)
        if sr_ratio > 1:
            self.reduction = nn.Conv2d(d, d, kernel_size=sr_ratio, stride=sr_ratio)  # holds W_S and b_S
            self.reduction_norm = LayerNorm(d, eps=1e-5)

    def forward(self, X: Tensor) -> Tensor:
        heads = F.scaled_dot_product_attention(*self._queries_keys_values(X, self.reduce(X)))  # (B, h, n, d_h)
        return self.output(concatenate_heads(heads)).view(X.shape)

    def as_taught(self, X: Tensor) -> Tensor:
        """The lecture's form of `forward`: (B, H, W, d) -> (B, H, W, d)."""
        heads = attention(*self._queries_keys_values(X, self.reduce_as_taught(X)))  # (B, h, n, d_h)
        return self.output(concatenate_heads(heads)).view(X.shape)

    def reduce(self, X: Tensor) -> Tensor:
        """SR(X), by convolution: (B, H, W, d) -> (B, n', d)."""
        if self.sr_ratio == 1:
            return X.flatten(1, 2)
        reduced_grid(X, self.sr_ratio)  # names a grid that is too small
        reduced = self.reduction(X.permute(0, 3, 1, 2))  # (B, d, H/R, W/R)
        return self.reduction_norm(reduced.flatten(2).transpose(1, 2))

    def reduce_as_taught(self, X: Tensor) -> Tensor:
        """SR(X), square by square: (B, H, W, d) -> (B, n', d)."""
        if self.sr_ratio == 1:
            return X.flatten(1, 2)
        W_S = self.reduction.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (d, d, R, R) -> (R²·d, d)
        return self.reduction_norm(spatial_reduction(X, W_S, self.reduction.bias, self.sr_ratio))

    def _queries_keys_values(self, X: Tensor, reduced: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        Q = split_heads(self.query(X.flatten(1, 2)), self.num_heads)  # (B, h, n, d_h)
        K = split_heads(self.key(reduced), self.num_heads)  # (B, h, n', d_h)
        V = split_heads(self.value(reduced), self.num_heads)
        return Q, K, V
