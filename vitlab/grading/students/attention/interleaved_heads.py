"""mistaken: gives head j every h-th column instead of neighbouring ones"""

import torch

EXPECTED = {"multi_head_self_attention": 1}


def multi_head_self_attention(Z, W_Q, W_K, W_V, W_O, num_heads):
    Q, K, V = ((Z @ W).unflatten(-1, (-1, num_heads)).movedim(-1, 1) for W in (W_Q, W_K, W_V))  # (B, h, n, d_h)
    weights = torch.softmax(Q @ K.transpose(-2, -1) / Q.shape[-1] ** 0.5, dim=-1)
    return (weights @ V).movedim(1, -1).flatten(2) @ W_O  # (B, n, d_h, h) -> (B, n, d)
