"""What a ViT looks at: from the attention of its blocks to that of the whole model.

Lecture: "What do different blocks learn?", "Finding (Caron et al., 2021)".
Paper: Abnar and Zuidema, "Quantifying Attention Flow in Transformers", 2020.
"""

import torch
from torch import Tensor


def attention_rollout(maps: Tensor) -> Tensor:
    """How much of each token of the images reaches each token of the last block, through all blocks.

        Ā_l = 1/h Σ_j A'_l(j),    Ã_l = Ā_l / 2 + I / 2,    R = Ã_L ⋯ Ã_2 Ã_1

    The half that is the identity stands for the residual connection, by which a token keeps itself.

    Args:
        maps: (B, L, h, n, n), A' of every head of every block, block 1 first. `ViT.attention_maps` gives a list of L
            tensors (B, h, n, n), which `torch.stack(list, dim=1)` makes one of.

    Returns:
        (B, n, n), R: row i says what token i is made of. Every row sums to 1, as those of `maps` do.

    Source: Abnar and Zuidema, section 3.
    """
    L, n = maps.shape[1], maps.shape[-1]
    mean = maps.mean(dim=2)  # (B, L, h, n, n) -> (B, L, n, n)
    identity = torch.eye(n, dtype=maps.dtype, device=maps.device)
    mixed = mean / 2 + identity / 2  # (B, L, n, n)
    rollout = mixed[:, 0]  # (B, n, n)
    for block in range(1, L):
        rollout = mixed[:, block] @ rollout  # (B, n, n) @ (B, n, n) -> (B, n, n)
    return rollout
