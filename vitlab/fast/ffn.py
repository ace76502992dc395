"""The FFN and the Mix-FFN without passes over memory that can be spared, and without tensors that need not be kept."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from vitlab.fast.products import depthwise_convolution_gelu, linear_gelu

# From this many numbers an image on, it is a matter of memory what the Mix-FFN keeps. Counted for one image, because a
# batch can be cut smaller.
MUCH_FOR_AN_IMAGE = 2**18


def feed_forward(ffn: nn.Module, Z: Tensor) -> Tensor:
    """`vitlab.ffn.FeedForward`: GELU in the pass that computes what it activates. (..., d) -> (..., d)."""
    if not isinstance(ffn.expand.weight, Tensor):  # quantized
        return ffn.compress(F.gelu(ffn.expand(Z)))
    return ffn.compress(linear_gelu(Z, ffn.expand.weight, ffn.expand.bias))


def mix_feed_forward(ffn: nn.Module, Z: Tensor) -> Tensor:
    """`vitlab.mix_ffn.MixFeedForward`: (B, H, W, d) -> (B, H, W, d).

    Three tensors in between have d_ff = 4d features, which makes them the largest of the encoder. Where images are
    large, none is kept for the backward pass, which computes them again.
    """
    _, H, W, _ = Z.shape
    if torch.is_grad_enabled() and H * W * ffn.expand.out_features >= MUCH_FOR_AN_IMAGE:
        return checkpoint(_mix_feed_forward, ffn, Z, use_reentrant=False, preserve_rng_state=False)
    return _mix_feed_forward(ffn, Z)


def _mix_feed_forward(ffn: nn.Module, Z: Tensor) -> Tensor:
    features = ffn.expand(Z).permute(0, 3, 1, 2)  # (B, H, W, d_ff) -> (B, d_ff, H, W), views of the same memory
    activated = depthwise_convolution_gelu(features, ffn.depthwise.weight, ffn.depthwise.bias)
    return ffn.compress(activated.permute(0, 2, 3, 1))  # (B, d_ff, H, W) -> (B, H, W, d_ff) -> (B, H, W, d)
