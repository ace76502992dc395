"""The transformer encoder: residual connections, the pre-LN block, a stack of L blocks.

Lecture: "Transformer Encoder Block", "Residual Connections".
Papers: Dosovitskiy et al., 2021, section 3.1; Huang et al., "Deep Networks with Stochastic Depth", 2016.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitlab.attention import MultiHeadSelfAttention, multi_head_self_attention
from vitlab.ffn import FeedForward, ffn
from vitlab.layer_norm import LayerNorm, layer_norm
from vitlab.steps import UNSEEN, Steps

EPS = 1e-6  # ε of the LNs of ViT and DINO


def encoder_block(Z: Tensor, p: dict[str, Tensor], num_heads: int) -> Tensor:
    """The pre-LN block: normalize, attend, add; normalize, feed forward, add.

        Z' = Z + MSA(LN(Z))
        Z_out = Z' + FFN(LN(Z'))

    Args:
        Z: (B, n, d), the tokens.
        p: the block's parameters: gamma_1, beta_1, gamma_2, beta_2, (d,) each; W_Q, W_K, W_V, W_O, (d, d) each;
            W_1, (d, d_ff); b_1, (d_ff,); W_2, (d_ff, d); b_2, (d,).
        num_heads: h, which divides d.

    Returns:
        (B, n, d).

    Source: lecture, "Transformer Encoder Block", "Residual Connections". ε is 1e-6, as in ViT.
    """
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], EPS)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = Z + attended
    normalized_2 = layer_norm(Z_1, p["gamma_2"], p["beta_2"], EPS)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z_1 + changed


def encoder(Z: Tensor, blocks: list[dict[str, Tensor]], gamma: Tensor, beta: Tensor, num_heads: int) -> Tensor:
    """L blocks, each of which takes what the one before puts out, and a last LN.

        z_l = Block_l(z_{l-1}),  l = 1 ... L,    z_out = LN(z_L)

    Where the lecture reads its classes from z_L, that is z_out, as in `vit`.

    Args:
        Z: (B, n, d), the sequence z_0.
        blocks: the parameters of each block, as `encoder_block` takes them.
        gamma, beta: (d,) each, of the last LN.
        num_heads: h, which divides d.

    Returns:
        (B, n, d).

    Source: lecture, "Transformer Encoder Block".
    """
    for p in blocks:
        Z = encoder_block(Z, p, num_heads)
    return layer_norm(Z, gamma, beta, EPS)


def drop_path(x: Tensor, rate: float) -> Tensor:
    """Stochastic depth: leave out a sublayer's change for some images, and enlarge it for the others.

        x_b · m_b / (1 - p),    m_b = 0 with probability p, else 1

    The expected value stays x. Only training uses it.

    Args:
        x: (B, ...), the change that a sublayer computed for each image.
        rate: p, in [0, 1).

    Returns:
        The shape of x.

    Source: Huang et al., section 3.
    """
    if rate == 0:
        return x
    keep = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) >= rate  # (B, 1, ..., 1)
    return x * keep.to(x.dtype).div(1 - rate)


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """The rate of each of `depth` blocks: from 0 at the first, in equal steps, to `rate` at the last.

    Source: Huang et al., section 3, the linear decay rule.
    """
    return [rate * block / max(depth - 1, 1) for block in range(depth)]


class EncoderBlock(nn.Module):
    """The pre-LN block: normalize, attend, add; normalize, feed forward, add.

        Z' = Z + attention(LN(Z))
        Z_out = Z' + ffn(LN(Z'))

    The attention and the FFN are given, because ViT and SegFormer share this block and differ in those two.

    Args:
        d: embedding dimension.
        attention, ffn: modules that keep the shape of their input and name their `steps`.
        drop_path: p of `drop_path`, for both sublayers.
        eps: ε of both LNs.

    Shapes: (B, ..., d) -> (B, ..., d).

    Source: lecture, "Transformer Encoder Block" and, for SegFormer, "Modified Transformer Block Structure".
    """

    def __init__(self, d: int, attention: nn.Module, ffn: nn.Module, *, drop_path: float = 0.0, eps: float = EPS):
        super().__init__()
        self.norm_1 = LayerNorm(d, eps=eps)
        self.attention = attention
        self.norm_2 = LayerNorm(d, eps=eps)
        self.ffn = ffn
        self.drop_path = drop_path

    def forward(self, Z: Tensor, steps: Steps = UNSEEN) -> Tensor:
        """(B, ..., d) -> (B, ..., d). Steps: plus_attention, plus_ffn, and those of the attention and the FFN."""
        rate = self.drop_path if self.training else 0.0
        Z = steps["plus_attention"] = Z + drop_path(self.attention(self.norm_1(Z), steps=steps), rate)
        Z = steps["plus_ffn"] = Z + drop_path(self.ffn(self.norm_2(Z), steps=steps), rate)
        return Z

    def parameters_as_taught(self) -> dict[str, Tensor]:
        """Those of a ViT's block as `encoder_block` takes them, which knows no biases in the attention."""
        attention, ffn = self.attention, self.ffn
        return {
            "gamma_1": self.norm_1.gamma,
            "beta_1": self.norm_1.beta,
            "W_Q": attention.query.weight.T,  # (d, d)
            "W_K": attention.key.weight.T,  # (d, d)
            "W_V": attention.value.weight.T,  # (d, d)
            "W_O": attention.output.weight.T,  # (d, d)
            "gamma_2": self.norm_2.gamma,
            "beta_2": self.norm_2.beta,
            "W_1": ffn.expand.weight.T,  # (d, d_ff)
            "b_1": ffn.expand.bias,
            "W_2": ffn.compress.weight.T,  # (d_ff, d)
            "b_2": ffn.compress.bias,
        }


def run_blocks(
    blocks: Iterable[nn.Module], Z: Tensor, gradient_checkpointing: bool, steps: Steps = UNSEEN
) -> list[Tensor]:
    """The outputs z_1, ..., z_L of the blocks, each of which takes the output of the one before.

    With gradient checkpointing the insides of a block are not kept for the backward pass but computed again in it:
    less memory, about a third more time.

    Args:
        blocks: the L blocks.
        Z: (B, ..., d), the input z_0 of the first.
        gradient_checkpointing: whether to save memory in training.
        steps: receives those of each block as block_1, block_2, ...

    Returns:
        L tensors of the shape of Z.
    """
    outputs = []
    for number, block in enumerate(blocks, start=1):
        of_block = steps.of(f"block_{number}")
        Z = checkpoint(block, Z, of_block, use_reentrant=False) if gradient_checkpointing else block(Z, of_block)
        outputs.append(Z)
    return outputs


def initialize(module: nn.Module) -> None:
    """Random weights of such a size that numbers keep theirs on the way through a layer; biases 0.

        linear layer: variance 2 / (in + out)        convolution: variance 2 / (k² · channels that each output sees)

    For a linear layer of 768 features this is close to the published models' fixed deviation of 0.02. In a small model
    0.02 is too small: its layers begin by passing on next to nothing, and training stands still at first.

    Source: Glorot and Bengio, "Understanding the Difficulty of Training Deep Feedforward Neural Networks", 2010;
    He et al., "Delving Deep into Rectifiers", 2015.
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


class Encoder(nn.Module):
    """L pre-LN blocks with multi-head self-attention, and a last LN behind them.

    Args:
        depth: L, the number of blocks.
        d: embedding dimension.
        num_heads: h, which divides d.
        d_ff: the dimension inside the FFN.
        drop_path: the rate of the last block; see `drop_path_rates`.
        eps: ε of every LN.

    Shapes: (B, n, d) -> (B, n, d).

    Raises:
        ValueError: if d is not a multiple of the number of heads.

    Source: lecture, "Transformer Encoder Block".
    """

    def __init__(self, depth: int, d: int, num_heads: int, d_ff: int, *, drop_path: float = 0.0, eps: float = EPS):
        super().__init__()
        self.blocks = nn.ModuleList(
            EncoderBlock(d, MultiHeadSelfAttention(d, num_heads), FeedForward(d, d_ff), drop_path=rate, eps=eps)
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = LayerNorm(d, eps=eps)
        self.gradient_checkpointing = False

    def forward(self, Z: Tensor, steps: Steps = UNSEEN) -> Tensor:
        """(B, n, d) -> (B, n, d). Steps: block_1 ... block_L, those of each block."""
        outputs = run_blocks(self.blocks, Z, self.gradient_checkpointing and self.training, steps)
        return self.norm(outputs[-1])
