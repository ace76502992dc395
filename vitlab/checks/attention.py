"""Checks of the exercise `attention`: scores, weights, attention, multi-head self-attention."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from vitlab.attention import (
    attention,
    attention_scores,
    attention_weights,
    concatenate_heads,
    multi_head_self_attention,
    split_heads,
)
from vitlab.checks.engine.diagnosis import sum_other_than_1
from vitlab.checks.engine.exercise import Exercise, FollowThrough, Part, Sizes

# ---- attention_scores

scores = Exercise(
    attention_scores,
    takes={"Q": "B n d_k", "K": "B m d_k"},
    returns="B n m",
    axes="image query key",
    parts=(
        Part("one image", 1, Sizes("one image", B=1), Sizes("as many keys as queries", B=1, m="n")),
        Part(
            "several images, large numbers",
            1,
            Sizes(),
            Sizes("many queries", n="large"),
            Sizes("large queries and keys", lambda Q, K: (100 * Q, K)),
        ),
        Part(
            "float64, gradients",
            1,
            Sizes(gradient=True),
            Sizes("all sizes equal", n="B", m="B", d_k="B", gradient=True),
        ),
    ),
)


@scores.formulation
def _(Q, K):
    return torch.einsum("bid,bjd->bij", Q, K) / Q.shape[-1] ** 0.5


POWER = "{0} is {1}, since a power comes before a division: the square root is d_k ** 0.5."


@scores.misconception(POWER.format("d_k ** 1 / 2", "half of d_k"))
def _(Q, K):
    return Q @ K.transpose(-2, -1) / (Q.shape[-1] / 2)


@scores.misconception(POWER.format("d_k ** -1 / 2", "1 / (2 d_k)"))
def _(Q, K):
    return Q @ K.transpose(-2, -1) / (2 * Q.shape[-1])


DISTANCES = "These are distances between queries and keys: the score is their dot product, over √d_k."


@scores.misconception(DISTANCES)
def _(Q, K):
    return (Q[:, :, None] - K[:, None]).norm(dim=-1)


@scores.misconception(DISTANCES)
def _(Q, K):
    return -(Q[:, :, None] - K[:, None]).norm(dim=-1)


@scores.misconception(
    "These are negative squared distances between queries and keys: the score is their dot product, over √d_k."
)
def _(Q, K):
    return -((Q[:, :, None] - K[:, None]) ** 2).sum(dim=-1)


COSINE = "Queries and keys are normalized to length 1 (cosine similarity): the lecture takes the plain dot product over √d_k."


@scores.misconception(COSINE)
def _(Q, K):
    return F.normalize(Q, dim=-1) @ F.normalize(K, dim=-1).transpose(-2, -1)


@scores.misconception(COSINE)
def _(Q, K):
    return F.normalize(Q, dim=-1) @ F.normalize(K, dim=-1).transpose(-2, -1) / math.sqrt(Q.shape[-1])


@scores.misconception("Queries of one image meet keys of the others: every image keeps to itself.")
def _(Q, K):
    return torch.einsum("bid,cjd->bij", Q, K) / Q.shape[-1] ** 0.5


@scores.misconception(
    "You multiply Qᵀ K, which compares features: Q Kᵀ compares every query with every key, (B, n, m)."
)
def _(Q, K):
    return Q.transpose(-2, -1) @ K / Q.shape[-1] ** 0.5


@scores.misconception(
    "Queries and keys are exchanged, K Qᵀ: row i should hold the scores of query i, and column j those of key j."
)
def _(Q, K):
    return K @ Q.transpose(-2, -1) / Q.shape[-1] ** 0.5


@scores.misconception(
    "The numbers of query and key are added up: multiply them, one by one, and add up the products, q · k."
)
def _(Q, K):
    return (Q[:, :, None] + K[:, None]).sum(dim=-1) / Q.shape[-1] ** 0.5


@scores.misconception(
    "These are absolute differences between queries and keys: the score is their dot product, over √d_k."
)
def _(Q, K):
    return (Q[:, :, None] - K[:, None]).abs().sum(dim=-1)


CUT_OFF = "Large numbers are cut off (clamp), so that they become equal: "


def _cut_off_scores(limit: int) -> None:
    @scores.misconception(CUT_OFF + "scores may be as large as they come out.")
    def _(Q, K):
        return attention_scores(Q, K).clamp(-limit, limit)


for limit in (20, 50, 100):
    _cut_off_scores(limit)


# ---- attention_weights


def _broken_weights(weights: Tensor) -> str:
    if bool((weights < 0).any()):
        return f"Attention weights are positive, and these are not: the smallest is {weights.min():.4g}."
    if other := sum_other_than_1(weights):
        return f"Each row of weights should sum to 1; one of these sums to {other}."
    return ""


def _far_apart(A: Tensor) -> Tensor:
    A = 1000 + 5 * A  # exp(89) is infinity in float32
    A[:, 0] -= 2000  # a row far below the others
    A[-1, :, 1:] -= 2000  # keys far below the largest of their row
    return A


weights = Exercise(
    attention_weights,
    takes={"A": "B n m"},
    returns="B n m",
    axes="image query key",
    parts=(
        Part("moderate scores", 1, Sizes("one image", B=1), Sizes(), Sizes("many keys", m="large")),
        Part("large scores", 1, Sizes("scores around ±1000", _far_apart)),
        Part(
            "float64, gradients",
            1,
            Sizes("scores of some tens", lambda A: 10 * A, gradient=True),
            Sizes("all sizes equal", n="B", m="B", gradient=True),
        ),
    ),
    broken_property=_broken_weights,
)


@weights.formulation
def _(A):
    return A.softmax(dim=-1)


@weights.misconception(
    "The exponential of a large score overflows to infinity, and ∞/∞ is NaN: subtract the row's largest score first, which "
    "changes no softmax."
)
def _(A):
    exponentials = torch.exp(A)
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


@weights.misconception(
    "The row's mean is subtracted before the exponential: that does not keep it from overflowing; subtract the row's "
    "largest score."
)
def _(A):
    exponentials = torch.exp(A - A.mean(dim=-1, keepdim=True))
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


@weights.misconception(
    "The row's largest score is subtracted in the numerator alone: the exponentials that are summed in the denominator are "
    "the same as above, exp(A - max)."
)
def _(A):
    shifted = A - A.amax(dim=-1, keepdim=True)
    return torch.exp(shifted) / torch.exp(A).sum(dim=-1, keepdim=True)


@weights.misconception(
    "The largest of all scores is subtracted: in a row far below it every exponential becomes 0, and 0/0 is NaN; subtract "
    "each row's own largest score (amax(dim=-1, keepdim=True))."
)
def _(A):
    exponentials = torch.exp(A - A.max())
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


@weights.misconception(
    "This is the sigmoid of each score on its own: the softmax shares a total of 1 among the keys of a row."
)
def _(A):
    return torch.sigmoid(A)


@weights.misconception("All the weight goes to the largest score (argmax): the softmax gives every key a share.")
def _(A):
    return F.one_hot(A.argmax(-1), A.shape[-1]).to(A.dtype)


@weights.misconception(
    "Scores are moved to 0 … 1 between the smallest and the largest of a row: the softmax takes exponentials and divides by "
    "their sum."
)
def _(A):
    lowest = A.amin(dim=-1, keepdim=True)
    return (A - lowest) / (A.amax(dim=-1, keepdim=True) - lowest)


@weights.misconception(
    "Each row is standardized (mean 0, deviation 1): the softmax takes exponentials and divides by their sum."
)
def _(A):
    return (A - A.mean(dim=-1, keepdim=True)) / A.std(dim=-1, keepdim=True)


@weights.misconception(
    "The absolute values of the scores are divided by their sum: the softmax takes exponentials, and divides those by "
    "their sum."
)
def _(A):
    return A.abs() / A.abs().sum(dim=-1, keepdim=True)


def _cut_off_weights(limit: int) -> None:
    @weights.misconception(CUT_OFF + "subtract the row's largest score instead.")
    def _(A):
        return A.clamp(-limit, limit).softmax(dim=-1)

    @weights.misconception(CUT_OFF + "subtract the row's largest score instead.")
    def _(A):
        return A.clamp(max=limit).softmax(dim=-1)

    @weights.misconception(CUT_OFF + "subtract the row's largest score instead.")
    def _(A):
        exponentials = A.clamp(max=limit).exp()
        return exponentials / exponentials.sum(dim=-1, keepdim=True)


for limit in (20, 50, 80):
    _cut_off_weights(limit)


@weights.misconception(
    "The softmax is applied to the absolute values: a very negative score should get a small weight."
)
def _(A):
    return A.abs().softmax(dim=-1)


# ---- attention

attend = Exercise(
    attention,
    takes={"Q": "B n d_k", "K": "B m d_k", "V": "B m d_v"},
    returns="B n d_v",
    axes="image query number",
    parts=(
        Part(
            "one and several images, large scores",
            1,
            Sizes("one image", B=1),
            Sizes("as many keys as queries", B=1, m="n"),
            Sizes(),
            Sizes("many keys", m="large", d_v="d_k"),
            Sizes("scores around 100", lambda Q, K, V: (Q + 9, K + 9, V)),
        ),
        Part("float64, gradients", 1, Sizes(gradient=True)),
    ),
    builds_on=FollowThrough(
        (attention_scores, attention_weights), lambda scores, weights, Q, K, V: weights(scores(Q, K)) @ V
    ),
)


@attend.formulation
def _(Q, K, V):
    d_k = Q.shape[-1]
    scores = Q @ K.transpose(-2, -1) / d_k**0.5
    weights = scores.softmax(dim=-1)
    return weights @ V


@attend.formulation
def _(Q, K, V):
    scores = torch.einsum("bid,bjd->bij", Q, K) / Q.shape[-1] ** 0.5
    weights = scores.softmax(dim=-1)
    return torch.einsum("bij,bjd->bid", weights, V)


@attend.misconception(
    "With large scores the exponential overflows: subtract the row's largest score before it, or use torch.softmax."
)
def _(Q, K, V):
    exponentials = torch.exp(Q @ K.transpose(-2, -1) / Q.shape[-1] ** 0.5)
    return exponentials / exponentials.sum(dim=-1, keepdim=True) @ V


@attend.misconception("The weights are transposed before they meet V: A' V, with one row of A' for each query.")
def _(Q, K, V):
    return attention_weights(attention_scores(Q, K)).transpose(-2, -1) @ V


@attend.misconception(
    "The weights are summed over the queries before they meet the values: every query takes its own weighted sum, A' V."
)
def _(Q, K, V):
    weights = attention_weights(attention_scores(Q, K))
    return weights.sum(dim=-2)[..., None] * V


@attend.misconception("All values get the same weight: the weights come from the scores of queries and keys.")
def _(Q, K, V):
    return V.mean(dim=-2, keepdim=True).expand(-1, Q.shape[-2], -1)


@attend.misconception("The weights come from queries and values, Q Vᵀ: queries are compared with keys, Q Kᵀ.")
def _(Q, K, V):
    return attention_weights(attention_scores(Q, V)) @ V


@attend.misconception(
    "Each query sees only the keys up to its own position (a causal mask): in a ViT every token sees every other."
)
def _(Q, K, V):
    return F.scaled_dot_product_attention(Q, K, V, is_causal=True)


@attend.misconception("The values are added up with equal weights and without a mean: each should be weighed, A' V.")
def _(Q, K, V):
    return V.sum(dim=-2, keepdim=True).expand(-1, Q.shape[-2], -1)


@attend.misconception(
    "The scores are multiplied with the values and divided by their sum: the weights are the softmax of the scores."
)
def _(Q, K, V):
    scores = attention_scores(Q, K)
    return scores / scores.sum(dim=-1, keepdim=True) @ V


@attend.misconception(
    "Each query takes the value of the key with the largest score alone, and should take the weighted sum of all values."
)
def _(Q, K, V):
    scores = attention_scores(Q, K)
    return F.one_hot(scores.argmax(-1), scores.shape[-1]).to(V.dtype) @ V


# ---- multi_head_self_attention


def _msa_with(attention: Callable, Z: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor, h: int) -> Tensor:
    Q, K, V = (split_heads(Z @ W, h) for W in (W_Q, W_K, W_V))
    heads = [attention(Q[:, j], K[:, j], V[:, j]) for j in range(h)]  # a student's attention takes three axes
    return torch.cat(heads, dim=-1) @ W_O


msa = Exercise(
    multi_head_self_attention,
    takes={"Z": "B n d", "W_Q": "d d", "W_K": "d d", "W_V": "d d", "W_O": "d d", "num_heads": "h"},
    where={"d": "h*d_h"},
    returns="B n d",
    parts=(
        Part("one head", 1, Sizes("one head, one image", B=1, h=1)),
        Part(
            "several heads",
            2,
            Sizes(),
            Sizes("many tokens", n="large"),
            Sizes("as many heads as columns of a head", h="d_h"),
        ),
        Part(
            "float64, gradients",
            1,
            Sizes("large weights", lambda Z, *p: (Z, *(3 * W for W in p[:4]), p[4]), gradient=True),
        ),
    ),
    pinned={"h": 3, "d_h": 5},
    builds_on=FollowThrough((attention,), _msa_with),
)


@msa.formulation
def _(Z, W_Q, W_K, W_V, W_O, num_heads):
    B, n, d = Z.shape
    d_h = d // num_heads
    Q = (Z @ W_Q).reshape(B, n, num_heads, d_h).transpose(1, 2)
    K = (Z @ W_K).reshape(B, n, num_heads, d_h).transpose(1, 2)
    V = (Z @ W_V).reshape(B, n, num_heads, d_h).transpose(1, 2)
    scores = Q @ K.transpose(-2, -1) / d_h**0.5
    weights = scores.softmax(dim=-1)
    heads = weights @ V
    return heads.transpose(1, 2).reshape(B, n, d) @ W_O


@msa.formulation
def _(Z, W_Q, W_K, W_V, W_O, num_heads):
    d = Z.shape[-1]
    d_h = d // num_heads
    Q = torch.einsum("bnd,dhe->bhne", Z, W_Q.reshape(d, num_heads, d_h))
    K = torch.einsum("bnd,dhe->bhne", Z, W_K.reshape(d, num_heads, d_h))
    V = torch.einsum("bnd,dhe->bhne", Z, W_V.reshape(d, num_heads, d_h))
    weights = (torch.einsum("bhid,bhjd->bhij", Q, K) / d_h**0.5).softmax(dim=-1)
    heads = torch.einsum("bhij,bhjd->bihd", weights, V)
    return heads.flatten(2) @ W_O


@msa.formulation
def _(Z, W_Q, W_K, W_V, W_O, num_heads):
    d_h = Z.shape[-1] // num_heads
    columns = [slice(j * d_h, (j + 1) * d_h) for j in range(num_heads)]
    scores = [(Z @ W_Q[:, head]) @ (Z @ W_K[:, head]).mT / d_h**0.5 for head in columns]
    heads = [one.softmax(dim=-1) @ (Z @ W_V[:, head]) for one, head in zip(scores, columns, strict=True)]
    return torch.cat(heads, dim=-1) @ W_O


@msa.misconception(
    "The heads are cut by a reshape alone, (B, n, d) to (B, h, n, d_h), and put back by one: that mixes tokens with heads. "
    "Reshape to (B, n, h, d_h) first, then transpose the axes n and h; on the way back transpose before you reshape."
)
def _(Z, W_Q, W_K, W_V, W_O, num_heads):
    B, n, d = Z.shape
    Q = (Z @ W_Q).reshape(B, num_heads, n, d // num_heads)
    K = (Z @ W_K).reshape(B, num_heads, n, d // num_heads)
    V = (Z @ W_V).reshape(B, num_heads, n, d // num_heads)
    heads = (Q @ K.transpose(-2, -1) / math.sqrt(d // num_heads)).softmax(dim=-1) @ V
    return heads.reshape(B, n, d) @ W_O


@msa.misconception(
    "The heads are cut by a reshape alone, (B, n, d) to (B, h, n, d_h), which mixes tokens with heads: "
    "reshape to (B, n, h, d_h), then transpose the axes n and h."
)
def _(Z, W_Q, W_K, W_V, W_O, num_heads):
    B, n, d = Z.shape
    Q = (Z @ W_Q).reshape(B, num_heads, n, d // num_heads)
    K = (Z @ W_K).reshape(B, num_heads, n, d // num_heads)
    V = (Z @ W_V).reshape(B, num_heads, n, d // num_heads)
    heads = (Q @ K.transpose(-2, -1) / math.sqrt(d // num_heads)).softmax(dim=-1) @ V
    return heads.transpose(1, 2).reshape(B, n, d) @ W_O


@msa.misconception(
    "The heads are put together by a reshape alone, (B, h, n, d_h) to (B, n, d), which mixes tokens with heads: "
    "transpose back to (B, n, h, d_h) before you reshape."
)
def _(Z, W_Q, W_K, W_V, W_O, num_heads):
    B, n, d = Z.shape
    Q = split_heads(Z @ W_Q, num_heads)
    K = split_heads(Z @ W_K, num_heads)
    V = split_heads(Z @ W_V, num_heads)
    heads = (Q @ K.transpose(-2, -1) / math.sqrt(d // num_heads)).softmax(dim=-1) @ V
    return heads.reshape(B, n, d) @ W_O


@msa.misconception(
    "Head j takes every h-th column: it should take d_h neighbouring columns, j·d_h ... (j+1)·d_h. Reshape to (B, n, h, d_h)."
)
def _(Z, W_Q, W_K, W_V, W_O, num_heads):
    B, n, d = Z.shape
    Q = (Z @ W_Q).reshape(B, n, d // num_heads, num_heads).permute(0, 3, 1, 2)
    K = (Z @ W_K).reshape(B, n, d // num_heads, num_heads).permute(0, 3, 1, 2)
    V = (Z @ W_V).reshape(B, n, d // num_heads, num_heads).permute(0, 3, 1, 2)
    heads = (Q @ K.transpose(-2, -1) / math.sqrt(d // num_heads)).softmax(dim=-1) @ V
    return heads.permute(0, 2, 3, 1).reshape(B, n, d) @ W_O


@msa.misconception(
    "Within each token, the heads attend to each other: the tokens should, within each head. Transpose to (B, h, n, d_h) "
    "first."
)
def _(Z, W_Q, W_K, W_V, W_O, num_heads):
    B, n, d = Z.shape
    Q = (Z @ W_Q).reshape(B, n, num_heads, d // num_heads)
    K = (Z @ W_K).reshape(B, n, num_heads, d // num_heads)
    V = (Z @ W_V).reshape(B, n, num_heads, d // num_heads)
    heads = (Q @ K.transpose(-2, -1) / math.sqrt(d // num_heads)).softmax(dim=-1) @ V
    return heads.reshape(B, n, d) @ W_O


@msa.misconception("The images of the batch attend to each other: the tokens of one image should.")
def _(Z, W_Q, W_K, W_V, W_O, num_heads):
    return multi_head_self_attention(Z.transpose(0, 1), W_Q, W_K, W_V, W_O, num_heads).transpose(0, 1)


@msa.misconception(
    "Each head projects its own share of the columns of Z alone: every head sees the whole token. Project first, Z W, and "
    "cut the result into heads."
)
def _(Z, W_Q, W_K, W_V, W_O, num_heads):
    parts, d_h = split_heads(Z, num_heads), Z.shape[-1] // num_heads

    def own(W):
        blocks = W.unflatten(0, (num_heads, d_h)).unflatten(2, (num_heads, d_h))  # (h, d_h, h, d_h)
        return blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # (h, d_h, d_h): the block of each head

    return concatenate_heads(attention(parts @ own(W_Q), parts @ own(W_K), parts @ own(W_V))) @ W_O


@msa.misconception(
    "The heads are averaged, and the mean repeated: put the heads side by side, [head_1 ‖ head_2 ‖ ...]."
)
def _(Z, W_Q, W_K, W_V, W_O, num_heads):
    heads = attention(split_heads(Z @ W_Q, num_heads), split_heads(Z @ W_K, num_heads), split_heads(Z @ W_V, num_heads))
    return concatenate_heads(heads.mean(dim=1, keepdim=True).expand(heads.shape)) @ W_O


@msa.misconception("The columns of head j start at j, so that heads overlap: they start at j·d_h.")
def _(Z, W_Q, W_K, W_V, W_O, num_heads):
    d_h = Z.shape[-1] // num_heads
    Q = (Z @ W_Q).unfold(-1, d_h, 1)[:, :, :num_heads].transpose(1, 2)
    K = (Z @ W_K).unfold(-1, d_h, 1)[:, :, :num_heads].transpose(1, 2)
    V = (Z @ W_V).unfold(-1, d_h, 1)[:, :, :num_heads].transpose(1, 2)
    heads = attention(Q, K, V)
    return heads.transpose(1, 2).flatten(2) @ W_O


@msa.misconception("The heads share their weights A', averaged over the heads: every head has weights of its own.")
def _(Z, W_Q, W_K, W_V, W_O, num_heads):
    weights = attention_weights(attention_scores(split_heads(Z @ W_Q, num_heads), split_heads(Z @ W_K, num_heads)))
    heads = weights.mean(dim=1, keepdim=True) @ split_heads(Z @ W_V, num_heads)
    return concatenate_heads(heads) @ W_O


@msa.misconception(
    "The columns of the heads are interleaved (stacked on a last axis, and flattened): put the heads side by side, "
    "[head_1 ‖ head_2 ‖ ...], with torch.cat along the last axis."
)
def _(Z, W_Q, W_K, W_V, W_O, num_heads):
    heads = attention(split_heads(Z @ W_Q, num_heads), split_heads(Z @ W_K, num_heads), split_heads(Z @ W_V, num_heads))
    return heads.permute(0, 2, 3, 1).flatten(2) @ W_O


@msa.misconception(
    "Q, K and V stand side by side in one product, 3d columns, and are cut as if they did so within each head: cut them into "
    "(3, h, d_h), in this order, and then move the 3 to the front."
)
def _(Z, W_Q, W_K, W_V, W_O, num_heads):
    together = Z @ torch.cat([W_Q, W_K, W_V], dim=1)
    Q, K, V = together.unflatten(-1, (num_heads, 3, -1)).permute(3, 0, 2, 1, 4)
    return concatenate_heads(attention(Q, K, V)) @ W_O


EXERCISES = (scores, weights, attend, msa)
