"""The last encoder block for the class token alone, where nobody reads the other tokens."""

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vitlab.encoder import Encoder, EncoderBlock, drop_path, run_blocks


def class_token(encoder: Encoder, Z: Tensor) -> Tensor:
    """`encoder(Z)[:, 0]`: (B, n, d) -> (B, d).

    The last block leaves out what it would compute for the other tokens: that spares most of the block, forward and
    backward.
    """
    *others, last = encoder.blocks
    keeping = encoder.gradient_checkpointing and encoder.training
    Z = run_blocks(others, Z, keeping)[-1] if others else Z
    z = checkpoint(_first_token, last, Z, use_reentrant=False) if keeping else _first_token(last, Z)  # (B, 1, d)
    return encoder.norm(z[:, 0])


def _first_token(block: EncoderBlock, Z: Tensor) -> Tensor:
    """`block(Z)[:, :1]`: (B, n, d) -> (B, 1, d). The other tokens give their keys and values, but have no queries."""
    rate = block.drop_path if block.training else 0.0
    context = block.norm_1(Z)  # (B, n, d)
    z = Z[:, :1] + drop_path(block.attention(context[:, :1], context), rate)  # (B, 1, d)
    return z + drop_path(block.ffn(block.norm_2(z)), rate)
