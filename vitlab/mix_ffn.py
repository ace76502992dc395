"""Mix-FFN: a depthwise convolution inside the feed-forward network, which tells every token where it is.

Lecture: "Difference 3: Mix-FFN (No Positional Encoding!)".
Papers: Xie et al., "SegFormer", 2021, section 3.1; Islam et al., "How Much Position Information Do Convolutional Neural
Networks Encode?", 2020.

The tokens stay on their grid, (B, H, W, d), because the convolution mixes neighbours.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from vitlab import fast
from vitlab.ffn import gelu
from vitlab.steps import UNSEEN, Steps


def depthwise_convolution(X: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Weigh every feature with its own 3 x 3 kernel over the token and its eight neighbours.

        y_ijc = b_c + Σ_{u,v in {-1, 0, 1}} k_uvc x_{i+u, j+v, c}

    Neighbours beyond the border count as 0: that is how a token at the border learns that it is there, and, through the
    blocks, how the others learn how far they are from it.

    Args:
        X: (B, H, W, d), the tokens on their grid.
        kernel: (3, 3, d).
        bias: (d,).

    Returns:
        (B, H, W, d).

    Source: lecture, "Difference 3: Mix-FFN (No Positional Encoding!)".
    """
    H, W = X.shape[1:3]
    padded = F.pad(X, (0, 0, 1, 1, 1, 1))  # (B, H+2, W+2, d)
    Y = bias
    for u in range(3):
        for v in range(3):
            neighbours = padded[:, u : u + H, v : v + W]  # (B, H, W, d)
            Y = Y + neighbours * kernel[u, v]
    return Y


def mix_ffn(X: Tensor, W_1: Tensor, b_1: Tensor, kernel: Tensor, bias: Tensor, W_2: Tensor, b_2: Tensor) -> Tensor:
    """The FFN with a depthwise convolution between its first layer and GELU.

        Mix-FFN(z) = GELU(DWConv_3x3(z W_1 + b_1)) W_2 + b_2

    The lecture writes W_2 · GELU(DWConv_3x3(W_1 z + b_1)) + b_2, with z a column; here tokens are rows.

    Args:
        X: (B, H, W, d), the tokens on their grid.
        W_1: (d, d_ff).
        b_1: (d_ff,).
        kernel: (3, 3, d_ff).
        bias: (d_ff,).
        W_2: (d_ff, d).
        b_2: (d,).

    Returns:
        (B, H, W, d).

    Source: lecture, "Difference 3: Mix-FFN (No Positional Encoding!)".
    """
    expanded = X @ W_1 + b_1  # (B, H, W, d) -> (B, H, W, d_ff)
    convolved = depthwise_convolution(expanded, kernel, bias)
    activated = gelu(convolved)
    return activated @ W_2 + b_2  # (B, H, W, d_ff) -> (B, H, W, d)


class MixFeedForward(nn.Module):
    """The Mix-FFN with learnable weights: `forward` as used, `as_taught` as in the lecture, on the same parameters.

        Mix-FFN(z) = GELU(DWConv_3x3(z W_1 + b_1)) W_2 + b_2

    Args:
        d: embedding dimension.
        d_ff: the dimension in between.

    Shapes: (B, H, W, d) -> (B, H, W, d).

    Source: lecture, "Difference 3: Mix-FFN (No Positional Encoding!)".
    """

    def __init__(self, d: int, d_ff: int):
        super().__init__()
        self.expand = fast.Linear(d, d_ff)
        self.depthwise = nn.Conv2d(d_ff, d_ff, kernel_size=3, padding=1, groups=d_ff)
        self.compress = fast.Linear(d_ff, d)

    def forward(self, Z: Tensor, steps: Steps = UNSEEN) -> Tensor:
        """(B, H, W, d) -> (B, H, W, d). Steps: expanded, convolved, activated."""
        if fast.is_on(steps):
            return fast.mix_feed_forward(self, Z)
        expanded = steps["expanded"] = self.expand(Z)  # (B, H, W, d_ff)
        convolved = self.depthwise(expanded.permute(0, 3, 1, 2))  # (B, d_ff, H, W)
        convolved = steps["convolved"] = convolved.permute(0, 2, 3, 1)  # (B, H, W, d_ff)
        activated = steps["activated"] = F.gelu(convolved)  # (B, H, W, d_ff)
        return self.compress(activated)

    def as_taught(self, Z: Tensor) -> Tensor:
        """The lecture's form of `forward`: (B, H, W, d) -> (B, H, W, d)."""
        kernel = self.depthwise.weight[:, 0].permute(1, 2, 0)  # (d_ff, 1, 3, 3) -> (3, 3, d_ff)
        W_1, W_2 = self.expand.weight.T, self.compress.weight.T  # (d, d_ff), (d_ff, d)
        return mix_ffn(Z, W_1, self.expand.bias, kernel, self.depthwise.bias, W_2, self.compress.bias)
