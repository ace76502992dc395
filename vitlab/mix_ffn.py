"""Mix-FFN: a depthwise convolution inside the feed-forward network, which tells every token where it is.

Lecture: "Difference 3: Mix-FFN (No Positional Encoding!)".
Papers: Xie et al., "SegFormer", 2021, section 3.1; Islam et al., "How Much Position Information Do Convolutional Neural
Networks Encode?", 2020.

The tokens stay on their grid, (B, H, W, d), because the convolution mixes neighbours.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from vitlab.ffn import gelu
from vitlab.linear import EXACT_GELU, Linear, onednn_takes


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
    return bias + sum(padded[:, u : u + H, v : v + W] * kernel[u, v] for u in range(3) for v in range(3))


class MixFeedForward(nn.Module):
    """The Mix-FFN with learnable weights: `forward` as used, `as_taught` as in the lecture, on the same parameters.

        Mix-FFN(z) = W_2 · GELU(DWConv_3x3(W_1 z + b_1)) + b_2

    Args:
        d: embedding dimension.
        d_ff: the dimension in between.

    Shapes: (B, H, W, d) -> (B, H, W, d).

    Source: lecture, "Difference 3: Mix-FFN (No Positional Encoding!)".
    """

    def __init__(self, d: int, d_ff: int):
        super().__init__()
        self.expand = Linear(d, d_ff)
        self.depthwise = nn.Conv2d(d_ff, d_ff, kernel_size=3, padding=1, groups=d_ff)
        self.compress = Linear(d_ff, d)

    def forward(self, Z: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            # d_ff = 4d: three tensors in between are the largest of the encoder. None is kept for the backward pass,
            # which computes them again.
            return checkpoint(self._expand_bend_compress, Z, use_reentrant=False, preserve_rng_state=False)
        return self._expand_bend_compress(Z)

    def _expand_bend_compress(self, Z: Tensor) -> Tensor:
        hidden = self.expand(Z)  # (B, H, W, d_ff)
        # (B, H, W, d_ff) and (B, d_ff, H, W) are views of the same memory: nothing is copied.
        return self.compress(self._convolve_and_bend(hidden.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))

    def _convolve_and_bend(self, features: Tensor) -> Tensor:
        """GELU(DWConv(x)): (B, d_ff, H, W) -> (B, d_ff, H, W)."""
        kernel, bias = self.depthwise.weight, self.depthwise.bias
        if torch.is_grad_enabled() or not onednn_takes(features, kernel):
            return F.gelu(self.depthwise(features))
        # oneDNN bends each number as soon as it has it, which saves a pass over these large tensors.
        padding = stride = dilation = (1, 1)
        return torch.ops.mkldnn._convolution_pointwise(
            features, kernel, bias, padding, stride, dilation, len(kernel), *EXACT_GELU
        )

    def as_taught(self, Z: Tensor) -> Tensor:
        """The lecture's form of `forward`: (B, H, W, d) -> (B, H, W, d)."""
        kernel = self.depthwise.weight[:, 0].permute(1, 2, 0)  # (d_ff, 1, 3, 3) -> (3, 3, d_ff)
        return self.compress(gelu(depthwise_convolution(self.expand(Z), kernel, self.depthwise.bias)))
