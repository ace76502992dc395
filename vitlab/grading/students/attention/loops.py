"""right: goes through queries, keys and heads one by one"""

import math

import torch


def attention_scores(Q, K):
    rows = []
    for i in range(Q.shape[1]):
        rows.append(torch.stack([(Q[:, i] * K[:, j]).sum(-1) for j in range(K.shape[1])], dim=-1))
    return torch.stack(rows, dim=1) / math.sqrt(Q.shape[-1])


def attention_weights(A):
    return torch.stack([torch.softmax(row, dim=-1) for row in A.unbind(dim=1)], dim=1)


def attention(Q, K, V):
    weights = attention_weights(attention_scores(Q, K))
    return sum(weights[:, :, j, None] * V[:, None, j] for j in range(V.shape[1]))


def multi_head_self_attention(Z, W_Q, W_K, W_V, W_O, num_heads):
    d_h = Z.shape[-1] // num_heads
    heads = []
    for j in range(num_heads):
        of_head = slice(j * d_h, (j + 1) * d_h)
        heads.append(attention(Z @ W_Q[:, of_head], Z @ W_K[:, of_head], Z @ W_V[:, of_head]))
    return torch.cat(heads, dim=-1) @ W_O
