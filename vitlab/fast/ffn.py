"""The FFN and the Mix-FFN without passes over memory that can be spared, and without tensors that need not be kept."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from vitlab.fast.products import depthwise_convolution_gelu, linear_gelu
from vitlab.fast.upsampling import bands

# From this many numbers an image on, it is a matter of memory what the Mix-FFN keeps. Counted for one image, because a
# batch can be cut smaller.
MUCH_FOR_AN_IMAGE = 2**18
# In use, from so many numbers of one such tensor on, only a strip of it exists at once, of so many bands.
MUCH_IN_USE, STRIP = 2**24, 8


def feed_forward(ffn: nn.Module, Z: Tensor) -> Tensor:
    """`vitlab.ffn.FeedForward`: GELU in the pass that computes what it activates. (..., d) -> (..., d)."""
    if not isinstance(ffn.expand.weight, Tensor):  # quantized
        return ffn.compress(F.gelu(ffn.expand(Z)))  # (..., d) -> (..., d_ff) -> (..., d)
    return ffn.compress(linear_gelu(Z, ffn.expand.weight, ffn.expand.bias))


def mix_feed_forward(ffn: nn.Module, Z: Tensor) -> Tensor:
    """`vitlab.mix_ffn.MixFeedForward`: (B, H, W, d) -> (B, H, W, d).

    Three tensors in between have d_ff = 4d features, which makes them the largest of the encoder. Where images are
    large, none is kept for the backward pass, which computes them again.
    """
    B, H, W, _ = Z.shape
    row = W * ffn.expand.out_features
    if torch.is_grad_enabled() and H * row >= MUCH_FOR_AN_IMAGE:
        return checkpoint(_mix_feed_forward, ffn, Z, use_reentrant=False, preserve_rng_state=False)
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or H * row < MUCH_IN_USE:
        return _mix_feed_forward(ffn, Z)
    Y = torch.empty_like(Z)
    for image in range(B):
        for top, bottom in bands(H, row, like=Z, together=STRIP):
            above, below = max(top - 1, 0), min(bottom + 1, H)  # the convolution looks at a row on each side
            strip = _mix_feed_forward(ffn, Z[image : image + 1, above:below])
            Y[image, top:bottom] = strip[0, top - above : bottom - above]
    return Y


def _mix_feed_forward(ffn: nn.Module, Z: Tensor) -> Tensor:
    features = ffn.expand(Z).permute(0, 3, 1, 2)  # (B, H, W, d_ff) -> (B, d_ff, H, W), views of the same memory
    activated = depthwise_convolution_gelu(features, ffn.depthwise.weight, ffn.depthwise.bias)
    return ffn.compress(activated.permute(0, 2, 3, 1))  # (B, d_ff, H, W) -> (B, H, W, d_ff) -> (B, H, W, d)
