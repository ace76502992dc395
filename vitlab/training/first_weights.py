"""The weights that a training begins with, where they are not the layers' usual random ones.

Papers: Zheng et al., "Structured Initialization for Attention in Vision Transformers", 2024; Vaswani et al., "Attention
Is All You Need", 2017, section 3.5 (waves as positions); Radford et al., "Language Models are Unsupervised Multitask
Learners", 2019, section 2.3 (small outputs of the residual branches).
"""

import math

import torch
from torch import Tensor, nn

from vitlab.attention import MultiHeadSelfAttention
from vitlab.vit import ViT


def waves(places: Tensor, d: int) -> Tensor:
    """Where a token stands, said by d/4 waves along each axis, the shortest 2 tokens long and the longest 32.

        [sin ω y, cos ω y, sin ω x, cos ω x],    ω = π 16^{-f / (d/4 - 1)},    f = 0 ... d/4 - 1

    Args:
        places: (n, 2), row y and column x.
        d: how many numbers, a multiple of 4 and at least 8.

    Returns:
        (n, d).
    """
    frequencies = math.pi / 16 ** torch.linspace(0, 1, d // 4)
    y, x = (axis[:, None] * frequencies for axis in places.float().unbind(1))  # (n, d/4) each
    return torch.cat([y.sin(), y.cos(), x.sin(), x.cos()], dim=1)


def step_back(offset: Tensor, d: int) -> Tensor:
    """The rotation R, (d, d), that moves every wave: waves(p) R = waves(p - offset).

    Args:
        offset: (2,), rows and columns.
        d: as in `waves`.
    """
    sin_y, cos_y, sin_x, cos_x = (torch.diag(part) for part in waves(offset[None], d)[0].chunk(4))
    rotations = [
        torch.cat([torch.cat([cos, sin], dim=1), torch.cat([-sin, cos], dim=1)])
        for sin, cos in ((sin_y, cos_y), (sin_x, cos_x))
    ]
    return torch.block_diag(*rotations)


@torch.no_grad()
def look_at_neighbours(model: ViT) -> None:
    """Let every head begin with a look at one of the nine tokens around its own, as the 3 x 3 kernel of a convolution.

    The first d_h features of all tokens hold the waves of their positions, and nothing else at first: neither E nor the
    branches of the blocks write there. A head's queries are the waves of its token, its keys the waves moved by its
    offset δ. So the score of the tokens p and q is highest where q = p + δ:

        q_p · k_q = Σ_ω cos ω(y_q - y_p - δ_y) + cos ω(x_q - x_p - δ_x)

    The class token has no waves, and looks at all tokens alike. All of it is learned further.

    Args:
        model: its weights are changed.

    Raises:
        ValueError: if there are more than 9 heads, or d_h is not a multiple of 4 from 8 up.

    Source: the idea is that of Zheng et al.; here waves make it exact.
    """
    neighbours = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2)).float()  # (9, 2), rows and columns away
    rows, columns = model.embeddings.grid
    blocks = model.encoder.blocks
    d_h = model.config.d // model.config.num_heads
    if model.config.num_heads > len(neighbours) or d_h % 4 or d_h < 8:
        raise ValueError(
            f"heads that look at neighbours are at most {len(neighbours)} and have a multiple of 4 features from 8 up, "
            f"but here are {model.config.num_heads} heads of {d_h}."
        )
    of_branch = (2 * len(blocks)) ** -0.5  # 2L branches are added up

    nn.init.xavier_uniform_(model.embeddings.projection.weight.view(model.config.d, -1))
    model.embeddings.projection.weight[:d_h] = 0
    model.embeddings.class_embedding[:d_h] = 0
    model.embeddings.position_embedding.zero_()
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    model.embeddings.position_embedding[1:, :d_h] = waves(places, d_h)

    for block in blocks:
        attention = block.attention
        offsets = neighbours[torch.randperm(len(neighbours))[: attention.num_heads]]
        attention.query.weight.zero_()
        attention.query.weight[:, :d_h] = torch.eye(d_h).repeat(attention.num_heads, 1)
        attention.key.weight.zero_()
        attention.key.weight[:, :d_h] = torch.cat([step_back(offset, d_h).T for offset in offsets])
        for branch in (attention.output, block.ffn.compress):
            branch.weight.mul_(of_branch)
            branch.weight[:d_h] = 0


def leave_out_attention_biases(model: nn.Module) -> None:
    """Set the biases of queries, keys, values and outputs to 0, and let no training change them.

    Published files have a place for them. So a model without them is filed with zeros, and computes what the lecture's
    attention, which has none, computes from its matrices.
    """
    for module in model.modules():
        if isinstance(module, MultiHeadSelfAttention):
            for layer in (module.query, module.key, module.value, module.output):
                nn.init.zeros_(layer.bias).requires_grad_(False)
