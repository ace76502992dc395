"""right: writes every sum with einsum"""

import torch


def attention_scores(Q, K):
    return torch.einsum("bik,bjk->bij", Q, K) * Q.shape[-1] ** -0.5


def attention_weights(A):
    return torch.exp(A - torch.logsumexp(A, dim=-1, keepdim=True))


def attention(Q, K, V):
    return torch.einsum("bij,bjv->biv", attention_weights(attention_scores(Q, K)), V)


def multi_head_self_attention(Z, W_Q, W_K, W_V, W_O, num_heads):
    Q, K, V = ((Z @ W).unflatten(-1, (num_heads, -1)) for W in (W_Q, W_K, W_V))  # (B, n, h, d_h)
    A = torch.einsum("bihk,bjhk->bhij", Q, K) / Q.shape[-1] ** 0.5
    heads = torch.einsum("bhij,bjhk->bihk", torch.softmax(A, dim=-1), V)
    return heads.flatten(2) @ W_O
