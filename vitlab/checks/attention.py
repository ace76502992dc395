"""Checks of the exercise `attention`: scores, weights, attention, multi-head self-attention."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from vitlab.attention import (
    attention,
    attention_scores,
    attention_weights,
    concatenate_heads,
    multi_head_self_attention,
    split_heads,
)
from vitlab.checks.engine.exercise import Case, Exercise, FollowThrough, Misconception, Part

# ---- Cases. n queries, m keys, d_k and d_v are all different, so that no transpose passes by luck.


def _normal(generator: Generator, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=dtype)


def _one_image(g: Generator) -> list[Case]:
    return [
        Case("one image, 4 queries and 6 keys of 5 numbers", (_normal(g, 1, 4, 5), _normal(g, 1, 6, 5))),
        Case("one image, as many keys as queries", (_normal(g, 1, 4, 7), _normal(g, 1, 4, 7))),
    ]


def _many_images(g: Generator) -> list[Case]:
    return [
        Case("three images, 7 queries and 2 keys of 10 numbers", (_normal(g, 3, 7, 10), _normal(g, 3, 2, 10))),
        Case("large queries and keys", (100 * _normal(g, 2, 3, 12), _normal(g, 2, 5, 12))),
    ]


def _scores_in_double(g: Generator) -> list[Case]:
    Q, K = _normal(g, 2, 5, 3, dtype=torch.float64), _normal(g, 2, 4, 3, dtype=torch.float64)
    return [Case("numbers in float64, with gradients", (Q, K), gradient=True)]


def _moderate_scores(g: Generator) -> list[Case]:
    return [
        Case("the scores of one image, 4 queries and 6 keys", (_normal(g, 1, 4, 6),)),
        Case("the scores of three images, 5 queries and 2 keys", (2 * _normal(g, 3, 5, 2),)),
    ]


def _large_scores(g: Generator) -> list[Case]:
    A = 100 + 5 * _normal(g, 2, 3, 7)  # exp(89) is infinity in float32
    A[0, 1] -= 200  # a row far below the others
    A[1, :, 1:] -= 200  # keys far above the mean of their row
    return [Case("scores around ±100", (A,))]


def _weights_in_double(g: Generator) -> list[Case]:
    return [Case("numbers in float64, with gradients", (_normal(g, 2, 5, 3, dtype=torch.float64),), gradient=True)]


def _queries_keys_values(g: Generator, B: int, n: int, m: int, d_k: int, d_v: int, **kind) -> tuple[Tensor, ...]:
    return _normal(g, B, n, d_k, **kind), _normal(g, B, m, d_k, **kind), _normal(g, B, m, d_v, **kind)


def _attention_in_single(g: Generator) -> list[Case]:
    Q, K, V = _queries_keys_values(g, 2, 3, 7, 12, 5)
    Q, K = Q + 5.5, K + 5.5  # 5.5² √d_k: scores around 100, and exp(89) is infinity in float32
    return [
        Case("one image, 4 queries, 6 keys, d_k = 5, d_v = 3", _queries_keys_values(g, 1, 4, 6, 5, 3)),
        Case("one image, as many keys as queries", _queries_keys_values(g, 1, 4, 4, 6, 3)),
        Case("three images, 5 queries, 2 keys, d_k = 8, d_v = 10", _queries_keys_values(g, 3, 5, 2, 8, 10)),
        Case("scores around 100", (Q, K, V)),
    ]


def _attention_in_double(g: Generator) -> list[Case]:
    return [
        Case(
            "numbers in float64, with gradients",
            _queries_keys_values(g, 2, 4, 5, 6, 3, dtype=torch.float64),
            gradient=True,
        )
    ]


def _tokens_and_weights(g: Generator, B: int, n: int, d: int, num_heads: int, **kind) -> tuple[Tensor | int, ...]:
    weights = tuple(_normal(g, d, d, **kind) / d**0.5 for _ in range(4))
    return 2 * _normal(g, B, n, d, **kind), *weights, num_heads


def _one_head(g: Generator) -> list[Case]:
    return [Case("one head, one image of 5 tokens", _tokens_and_weights(g, 1, 5, 6, 1))]


def _many_heads(g: Generator) -> list[Case]:
    return [
        Case("3 heads of 4 columns, two images of 5 tokens", _tokens_and_weights(g, 2, 5, 12, 3)),
        Case("4 heads of 2 columns, three images of 7 tokens", _tokens_and_weights(g, 3, 7, 8, 4)),
    ]


def _heads_in_double(g: Generator) -> list[Case]:
    arguments = _tokens_and_weights(g, 2, 4, 6, 2, dtype=torch.float64)
    return [Case("2 heads, numbers in float64, with gradients", arguments, gradient=True)]


# ---- attention_scores, done wrong.


def _products(Q: Tensor, K: Tensor) -> Tensor:
    return Q @ K.transpose(-2, -1)


def _unscaled(Q: Tensor, K: Tensor) -> Tensor:
    return _products(Q, K)


def _scaled_by(divisor: Callable[[Tensor, Tensor], float]) -> Callable[[Tensor, Tensor], Tensor]:
    def scores(Q: Tensor, K: Tensor) -> Tensor:
        return _products(Q, K) / divisor(Q, K)

    return scores


def _keys_first(Q: Tensor, K: Tensor) -> Tensor:
    return attention_scores(K, Q)


def _over_features(Q: Tensor, K: Tensor) -> Tensor:
    return Q.transpose(-2, -1) @ K / Q.shape[-1] ** 0.5


def _softmax_too_early(Q: Tensor, K: Tensor) -> Tensor:
    return attention_scores(Q, K).softmax(-1)


def _cosine(Q: Tensor, K: Tensor) -> Tensor:
    return _products(F.normalize(Q, dim=-1), F.normalize(K, dim=-1))


def _distances(Q: Tensor, K: Tensor) -> Tensor:
    return torch.cdist(Q, K)


def _keys_reshaped(Q: Tensor, K: Tensor) -> Tensor:
    return Q @ K.reshape(K.shape[0], K.shape[2], K.shape[1]) / Q.shape[-1] ** 0.5


def _images_summed(Q: Tensor, K: Tensor) -> Tensor:
    return torch.einsum("bid,bjd->ij", Q, K) / Q.shape[-1] ** 0.5


def _images_mixed(Q: Tensor, K: Tensor) -> Tensor:
    return torch.einsum("bid,cjd->bij", Q, K) / Q.shape[-1] ** 0.5


NO_SCALE = (
    "The scores are not divided by √d_k: A = Q Kᵀ / √d_k. Without it they grow with d_k, and the softmax saturates."
)
BY_D_K = "You divide by d_k; the lecture divides by its square root, √d_k."
BY_FIRST_AXES = "You divide by the square root of the number of {}; d_k is the length of one query, Q.shape[-1]."

ATTENTION_SCORES = (
    Misconception(_unscaled, NO_SCALE),
    Misconception(_scaled_by(lambda Q, K: Q.shape[-1]), BY_D_K),
    Misconception(_scaled_by(lambda Q, K: Q.shape[-1] ** -0.5), "You multiply by √d_k; the scores are divided by it."),
    Misconception(_scaled_by(lambda Q, K: Q.shape[-2] ** 0.5), BY_FIRST_AXES.format("queries")),
    Misconception(_scaled_by(lambda Q, K: K.shape[-2] ** 0.5), BY_FIRST_AXES.format("keys")),
    Misconception(_scaled_by(lambda Q, K: Q.shape[0] ** 0.5), BY_FIRST_AXES.format("images")),
    Misconception(
        _scaled_by(lambda Q, K: int(Q.shape[-1] ** 0.5)), "The square root of d_k is rounded to a whole number: keep its decimals."
    ),
    Misconception(
        _scaled_by(lambda Q, K: 64**0.5), "You divide by 8 = √64: that is √d_k of ViT-Base. Take d_k from Q.shape[-1]."
    ),
    Misconception(
        _scaled_by(lambda Q, K: Q.shape[-1] ** 0.5 + 1e-6), "Something small (an ε) is added to √d_k: d_k is never 0, so divide by √d_k itself."
    ),
    Misconception(
        _keys_first, "Queries and keys are exchanged, K Qᵀ: row i should hold the scores of query i, and column j those of key j."
    ),
    Misconception(
        _over_features, "You multiply Qᵀ K, which compares features: Q Kᵀ compares every query with every key, (B, n, m)."
    ),
    Misconception(_softmax_too_early, "The softmax is already applied: attention_scores returns A; the softmax is the next step."),
    Misconception(lambda Q, K: _products(Q, K).softmax(-1), "The softmax is already applied, and √d_k is missing: attention_scores returns A = Q Kᵀ / √d_k, and the softmax is the next step."),
    Misconception(lambda Q, K: _products(Q, K).softmax(-1) / Q.shape[-1] ** 0.5, "A softmax stands before the division by √d_k: attention_scores returns A = Q Kᵀ / √d_k, and the softmax is the next step."),
    Misconception(lambda Q, K: attention_scores(Q, K).tril(), "The scores of keys after the query's own position are cut off (a causal mask): in a ViT every token sees every other."),
    Misconception(_cosine, "Queries and keys are normalized to length 1 (cosine similarity): the lecture takes the plain dot product over √d_k."),
    Misconception(_keys_reshaped, "K is reshaped to (B, d_k, m), which mixes the keys' numbers: transpose it, K.transpose(-2, -1)."),
    Misconception(lambda Q, K: -torch.cdist(Q, K).square(), "These are negative squared distances between queries and keys: the score is their dot product, over √d_k."),
    Misconception(_distances, "These are distances between queries and keys: the score is their dot product, over √d_k."),
    Misconception(_images_summed, "The scores of all images are summed up: keep the batch axis, (B, n, m)."),
    Misconception(_images_mixed, "Queries of one image meet keys of the others: every image keeps to itself."),
)  # fmt: skip

# ---- attention_weights, done wrong.


def _softmax_over(dim: int) -> Callable[[Tensor], Tensor]:
    def weights(A: Tensor) -> Tensor:
        return A.softmax(dim)

    return weights


def _softmax_over_everything(A: Tensor) -> Tensor:
    return A.flatten(1).softmax(-1).view_as(A)


def _overflowing(A: Tensor) -> Tensor:
    return A.exp() / A.exp().sum(-1, keepdim=True)


def _largest_of_all_subtracted(A: Tensor) -> Tensor:
    exponentials = (A - A.max()).exp()
    return exponentials / exponentials.sum(-1, keepdim=True)


def _divided_by_sum(A: Tensor) -> Tensor:
    return A / A.sum(-1, keepdim=True)


def _exponential_only(A: Tensor) -> Tensor:
    return A.exp()


def _one_hot(A: Tensor) -> Tensor:
    return F.one_hot(A.argmax(-1), A.shape[-1]).to(A.dtype)


def _with_epsilon(A: Tensor) -> Tensor:
    exponentials = (A - A.amax(-1, keepdim=True)).exp()
    return exponentials / (exponentials.sum(-1, keepdim=True) + 1e-6)


def _shifted_only(A: Tensor) -> Tensor:
    return (A - A.amax(-1, keepdim=True)).exp()


def _mean_subtracted(A: Tensor) -> Tensor:
    exponentials = (A - A.mean(-1, keepdim=True)).exp()
    return exponentials / exponentials.sum(-1, keepdim=True)


def _base_two(A: Tensor) -> Tensor:
    exponentials = torch.exp2(A - A.amax(-1, keepdim=True))
    return exponentials / exponentials.sum(-1, keepdim=True)


def _unit_length(A: Tensor) -> Tensor:
    return F.normalize((A - A.amax(-1, keepdim=True)).exp(), dim=-1)


ATTENTION_WEIGHTS = (
    Misconception(_softmax_over(-2), "The softmax runs down the columns: each row, one query's weights over all keys, should sum to 1 (dim=-1)."),
    Misconception(_softmax_over(0), "The softmax runs over the images of the batch: it should run along each row (dim=-1)."),
    Misconception(_softmax_over_everything, "The softmax runs over a whole matrix: each of its rows should sum to 1 (dim=-1)."),
    Misconception(_overflowing, "The exponential of a large score overflows to infinity, and ∞/∞ is NaN: subtract the row's largest score first, which changes no softmax."),
    Misconception(_mean_subtracted, "The row's mean is subtracted before the exponential: that does not keep it from overflowing; subtract the row's largest score."),
    Misconception(_largest_of_all_subtracted, "The largest of all scores is subtracted: in a row far below it every exponential becomes 0, and 0/0 is NaN; subtract each row's own largest score (amax(dim=-1, keepdim=True))."),
    Misconception(_divided_by_sum, "The scores are divided by their sum without an exponential: softmax(A)_ij = exp(A_ij) / Σ_j exp(A_ij)."),
    Misconception(_exponential_only, "These are the exponentials: divide each row by its sum."),
    Misconception(_shifted_only, "These are the exponentials of the shifted scores: divide each row by its sum."),
    Misconception(torch.sigmoid, "This is the sigmoid of each score on its own: the softmax shares a total of 1 among the keys of a row."),
    Misconception(lambda A: A.log_softmax(-1), "This is the logarithm of the softmax (log_softmax): the weights themselves are wanted."),
    Misconception(_one_hot, "All the weight goes to the largest score (argmax): the softmax gives every key a share."),
    Misconception(lambda A: A.softmax(-1).softmax(-1), "The softmax is applied twice."),
    Misconception(lambda A: (-A).softmax(-1), "The sign is reversed: a larger score should get a larger weight."),
    Misconception(_with_epsilon, "Something small (an ε) is added to the sum: the sum is never 0, and with ε the rows do not sum to 1."),
    Misconception(lambda A: (A / A.shape[-1] ** 0.5).softmax(-1), "The scores are scaled again, by the square root of the number of keys: they come scaled already."),
    Misconception(_base_two, "The exponential has base 2; the softmax has base e (torch.exp)."),
    Misconception(_unit_length, "Each row is divided by its length (the root of the sum of squares): divide by its sum."),
    Misconception(lambda A: A.relu() / A.relu().sum(-1, keepdim=True), "Negative scores are cut to 0 and the rest divided by its sum: the softmax takes the exponential, which is positive by itself."),
)  # fmt: skip


def _broken_weights(weights: Tensor) -> str:
    if bool((weights < 0).any()):
        return f"Attention weights are positive, and these are not: the smallest is {weights.min():.4g}."
    sums = weights.sum(-1).flatten()
    if bool(((sums - 1).abs() > 1e-3).any()):
        return f"Each row of weights should sum to 1; one of these sums to {sums[(sums - 1).abs().argmax()]:.4g}."
    return ""


# ---- attention, done wrong.


def _attend(scores: Callable, weights: Callable = attention_weights) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def attend(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
        return weights(scores(Q, K)) @ V

    return attend


def _scaled_by_values(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    return (_products(Q, K) / V.shape[-1] ** 0.5).softmax(-1) @ V


def _scaled_after_softmax(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    return _products(Q, K).softmax(-1) / Q.shape[-1] ** 0.5 @ V


def _weights_transposed_in(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    return attention_weights(attention_scores(Q, K)).mT @ V


def _weights_returned(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    return attention_weights(attention_scores(Q, K))


def _keys_as_values(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    return attention_weights(attention_scores(Q, K)) @ K


def _causal(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(Q, K, V, is_causal=True)


def _uniform(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    return V.mean(dim=-2, keepdim=True).expand(-1, Q.shape[-2], -1)


def _transposed_result(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    return attention(Q, K, V).transpose(-2, -1)


def _softmax_of_result(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    return attention(Q, K, V).softmax(-1)


def _softmax_last(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    return (attention_scores(Q, K) @ V).softmax(-1)


ATTENTION = (
    Misconception(_attend(_unscaled), NO_SCALE),
    Misconception(_attend(_scaled_by(lambda Q, K: Q.shape[-1])), BY_D_K),
    Misconception(_scaled_by_values, "You divide by √d_v, the length of a value; the scores are divided by √d_k, the length of a query."),
    Misconception(_attend(_scaled_by(lambda Q, K: Q.shape[-2] ** 0.5)), BY_FIRST_AXES.format("queries")),
    Misconception(_attend(_scaled_by(lambda Q, K: K.shape[-2] ** 0.5)), BY_FIRST_AXES.format("keys")),
    Misconception(_attend(_scaled_by(lambda Q, K: 8)), "You divide by 8 = √64, which is √d_k of ViT-Base: take d_k from Q.shape[-1]."),
    Misconception(_attend(attention_scores, torch.sigmoid), "There is a sigmoid where the softmax should be: the weights of each query should sum to 1."),
    Misconception(_scaled_after_softmax, "You divide by √d_k after the softmax: the scores are divided before it, so that the weights still sum to 1."),
    Misconception(_attend(attention_scores, _softmax_over(-2)), "The softmax runs over the queries: each query's weights over all keys should sum to 1 (dim=-1)."),
    Misconception(_attend(attention_scores, _softmax_over(0)), "The softmax runs over the images of the batch: it should run over the keys (dim=-1)."),
    Misconception(_attend(attention_scores, lambda A: A), "There is no softmax: the scores themselves are multiplied with V."),
    Misconception(_attend(attention_scores, _overflowing), "With large scores the exponential overflows: subtract the row's largest score before it, or use torch.softmax."),
    Misconception(_attend(attention_scores, _one_hot), "Each query takes only the value with the largest score: it should take the weighted sum of all values."),
    Misconception(_attend(attention_scores, lambda A: A.softmax(-1).softmax(-1)), "The softmax is applied twice."),
    Misconception(_attend(_keys_first), "Queries and keys are exchanged, K Qᵀ: row i of the scores belongs to query i."),
    Misconception(_weights_transposed_in, "The weights are transposed before they meet V: A' V, with one row of A' for each query."),
    Misconception(_weights_returned, "These are the attention weights A': multiply them with V."),
    Misconception(_keys_as_values, "The weights are multiplied with K: they weigh the values, V."),
    Misconception(_causal, "Each query sees only the keys up to its own position (a causal mask): in a ViT every token sees every other."),
    Misconception(_uniform, "All values get the same weight: the weights come from the scores of queries and keys."),
    Misconception(_transposed_result, "The result is right but transposed: return (B, n, d_v), one row a query."),
    Misconception(_softmax_of_result, "There is one more softmax, after the weighted sum: the result is A' V itself."),
    Misconception(_softmax_last, "The softmax comes last, after the product with V: it belongs before, softmax(Q Kᵀ / √d_k) V."),
)  # fmt: skip

WRONG_SCALES = (
    (_unscaled, "the scores are not divided by √d_k."),
    (_scaled_by(lambda Q, K: Q.shape[-1]), "you divide by d_k instead of √d_k."),
    (_scaled_by(lambda Q, K: 8), "you divide by 8 = √64 instead of √d_k: take d_k from Q.shape[-1]."),
    (_scaled_by(lambda Q, K: Q.shape[-1] ** -0.5), "you multiply by √d_k instead of dividing."),
    (
        _scaled_by(lambda Q, K: K.shape[-2] ** 0.5),
        "you divide by the square root of the number of keys instead of √d_k.",
    ),
)
WRONG_WEIGHTS = (
    (_softmax_over(-2), "the softmax runs over the queries instead of the keys (dim=-1)."),
    (_softmax_over(0), "the softmax runs over the batch instead of the keys (dim=-1)."),
    (lambda A: A, "there is no softmax."),
    (lambda A: A.softmax(-1).softmax(-1), "the softmax is applied twice."),
    (torch.sigmoid, "there is a sigmoid where the softmax should be."),
)
ATTENTION_PAIRS = tuple(
    Misconception(_attend(scores, weights), f"Two things. First, {scale_sentence} Second, {weight_sentence}")
    for scores, scale_sentence in WRONG_SCALES
    for weights, weight_sentence in WRONG_WEIGHTS
)

# ---- multi_head_self_attention, done wrong: the lecture's computation with one of its pieces exchanged.


def _msa(
    split: Callable = split_heads,
    attend: Callable = attention,
    join: Callable = concatenate_heads,
    output: Callable = lambda concatenated, W_O: concatenated @ W_O,
) -> Callable[..., Tensor]:
    def msa(Z: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor, num_heads: int) -> Tensor:
        heads = attend(*(split(Z @ W, num_heads) for W in (W_Q, W_K, W_V)))  # (B, h, n, d_h)
        return output(join(heads), W_O)

    return msa


def _split_without_transpose(X: Tensor, num_heads: int) -> Tensor:
    B, n, d = X.shape
    return X.reshape(B, num_heads, n, d // num_heads)


def _split_interleaved(X: Tensor, num_heads: int) -> Tensor:
    B, n, d = X.shape
    return X.reshape(B, n, d // num_heads, num_heads).permute(0, 3, 1, 2)


def _join_without_transpose(heads: Tensor) -> Tensor:
    B, h, n, d_h = heads.shape
    return heads.reshape(B, n, h * d_h)


def _join_stacked(heads: Tensor) -> Tensor:
    B, h, n, d_h = heads.shape
    return heads.transpose(0, 1).reshape(B, n, h * d_h)  # as torch.stack(list of heads).reshape(B, n, d)


def _join_reversed(heads: Tensor) -> Tensor:
    return concatenate_heads(heads.flip(1))


def _join_interleaved(heads: Tensor) -> Tensor:
    return heads.permute(0, 2, 3, 1).flatten(2)


def _heads_attend_to_heads(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    Q, K, V = (X.transpose(1, 2) for X in (Q, K, V))  # (B, n, h, d_h): now the heads are the tokens
    return attention(Q, K, V).transpose(1, 2)


def _scaled_by_d(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    d = Q.shape[1] * Q.shape[-1]
    return attention_weights(_products(Q, K) / d**0.5) @ V


def _images_attend_to_images(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    Q, K, V = (X.permute(2, 1, 0, 3) for X in (Q, K, V))  # (n, h, B, d_h): now the images are the tokens
    return attention(Q, K, V).permute(2, 1, 0, 3)


def _one_wide_head(Z: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor, num_heads: int) -> Tensor:
    return multi_head_self_attention(Z, W_Q, W_K, W_V, W_O, 1)


def _first_head_repeated(Z: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor, num_heads: int) -> Tensor:
    first = attention(*(split_heads(Z @ W, num_heads)[:, 0] for W in (W_Q, W_K, W_V)))  # (B, n, d_h)
    return torch.cat([first] * num_heads, dim=-1) @ W_O


def _weights_transposed(Z: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor, num_heads: int) -> Tensor:
    return multi_head_self_attention(Z, W_Q.T, W_K.T, W_V.T, W_O.T, num_heads)


def _keys_from_queries(Z: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor, num_heads: int) -> Tensor:
    return multi_head_self_attention(Z, W_Q, W_Q, W_V, W_O, num_heads)


def _values_from_keys(Z: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor, num_heads: int) -> Tensor:
    return multi_head_self_attention(Z, W_Q, W_K, W_K, W_O, num_heads)


def _queries_and_keys_exchanged(
    Z: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor, num_heads: int
) -> Tensor:
    return multi_head_self_attention(Z, W_K, W_Q, W_V, W_O, num_heads)


def _values_not_projected(Z: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor, num_heads: int) -> Tensor:
    return multi_head_self_attention(Z, W_Q, W_K, torch.eye(len(W_V), dtype=Z.dtype), W_O, num_heads)


def _residual_added(Z: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor, num_heads: int) -> Tensor:
    return Z + multi_head_self_attention(Z, W_Q, W_K, W_V, W_O, num_heads)


def _normalized_first(Z: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor, num_heads: int) -> Tensor:
    return multi_head_self_attention(F.layer_norm(Z, Z.shape[-1:]), W_Q, W_K, W_V, W_O, num_heads)


MULTI_HEAD_SELF_ATTENTION = (
    Misconception(
        _msa(split=_split_without_transpose, join=_join_without_transpose),
        "The heads are cut by a reshape alone, (B, n, d) to (B, h, n, d_h), and put back by one: that mixes tokens with heads. "
        "Reshape to (B, n, h, d_h) first, then transpose the axes n and h; on the way back transpose before you reshape.",
    ),
    Misconception(
        _msa(split=_split_without_transpose),
        "The heads are cut by a reshape alone, (B, n, d) to (B, h, n, d_h), which mixes tokens with heads: "
        "reshape to (B, n, h, d_h), then transpose the axes n and h.",
    ),
    Misconception(
        _msa(join=_join_without_transpose),
        "The heads are put together by a reshape alone, (B, h, n, d_h) to (B, n, d), which mixes tokens with heads: "
        "transpose back to (B, n, h, d_h) before you reshape.",
    ),
    Misconception(
        _msa(split=_split_interleaved, join=_join_interleaved),
        "Head j takes every h-th column: it should take d_h neighbouring columns, j·d_h ... (j+1)·d_h. Reshape to (B, n, h, d_h).",
    ),
    Misconception(
        _msa(split=_split_interleaved),
        "The columns are dealt out to the heads one by one: head j should take d_h neighbouring columns, j·d_h ... (j+1)·d_h.",
    ),
    Misconception(
        _msa(join=_join_interleaved),
        "The heads' columns are interleaved when they are put together: put the heads side by side, [head_1 ‖ head_2 ‖ ...].",
    ),
    Misconception(_msa(join=_join_stacked), "The heads are stacked and then reshaped, which mixes images, tokens and heads: put them side by side with torch.cat(heads, dim=-1)."),
    Misconception(_msa(join=_join_reversed), "The heads are concatenated in reverse order."),
    Misconception(_msa(attend=_heads_attend_to_heads), "Within each token, the heads attend to each other: the tokens should, within each head. Transpose to (B, h, n, d_h) first."),
    Misconception(_msa(attend=_images_attend_to_images), "The images of the batch attend to each other: the tokens of one image should."),
    Misconception(_msa(attend=_scaled_by_d), "You divide by √d; each head has queries of d_h = d / h numbers, so divide by √d_h."),
    Misconception(_msa(attend=_attend(_unscaled)), "The scores of the heads are not divided by √d_h."),
    Misconception(_msa(attend=_attend(_scaled_by(lambda Q, K: Q.shape[-1]))), "You divide by d_h; the scores are divided by its square root, √d_h."),
    Misconception(_msa(attend=_attend(_scaled_by(lambda Q, K: 8))), "You divide by 8 = √64, which is √d_h of ViT-Base: take d_h = d / h from the tensors."),
    Misconception(_msa(attend=_attend(attention_scores, _softmax_over(-2))), "The softmax runs over the queries: each query's weights over all keys should sum to 1 (dim=-1)."),
    Misconception(_msa(attend=_attend(attention_scores, _softmax_over(1))), "The softmax runs over the heads: it should run over the keys (dim=-1)."),
    Misconception(_msa(attend=_attend(attention_scores, lambda A: A)), "There is no softmax in the heads."),
    Misconception(_msa(attend=_causal), "Each token sees only the tokens before it (a causal mask): in a ViT every token sees every other."),
    Misconception(_msa(output=lambda concatenated, W_O: concatenated), "The output projection is missing: MSA(Z) = Concat(head_1, ..., head_h) W^O."),
    Misconception(_msa(output=lambda concatenated, W_O: concatenated @ W_O.T), "The output is multiplied with the transpose of W^O: weights are applied from the right, Concat W^O."),
    Misconception(_one_wide_head, "num_heads has no effect: this is one head of width d. Cut the columns of Q, K and V into h heads of d_h = d / h."),
    Misconception(_first_head_repeated, "Every head uses the columns of the first one: head j takes the columns j·d_h ... (j+1)·d_h."),
    Misconception(_weights_transposed, "The weights are transposed, Z Wᵀ (as F.linear and nn.Linear do): the lecture's convention is Z W."),
    Misconception(_keys_from_queries, "The keys are made with W^Q: K = Z W^K."),
    Misconception(_values_from_keys, "The values are made with W^K: V = Z W^V."),
    Misconception(_queries_and_keys_exchanged, "W^Q and W^K are exchanged: Q = Z W^Q and K = Z W^K."),
    Misconception(_values_not_projected, "The values are Z itself: V = Z W^V."),
    Misconception(_residual_added, "Z is added to the result: the residual connection belongs to the encoder block, not to MSA."),
    Misconception(_normalized_first, "Z is layer-normalized first: that belongs to the encoder block, not to MSA."),
)  # fmt: skip


WRONG_CUTS = (
    (_split_without_transpose, concatenate_heads, "the heads are cut by a reshape alone: reshape to (B, n, h, d_h), then transpose n and h."),
    (split_heads, _join_without_transpose, "the heads are put together by a reshape alone: transpose n and h back before it."),
    (_split_without_transpose, _join_without_transpose, "the heads are cut and put together by reshapes alone: reshape to (B, n, h, d_h), then transpose n and h, and transpose back at the end."),
    (split_heads, _join_stacked, "the heads are stacked and reshaped: put them side by side with torch.cat(heads, dim=-1)."),
)  # fmt: skip
MULTI_HEAD_SELF_ATTENTION_PAIRS = (
    *(
        Misconception(
            _msa(split, _attend(scores, weights), join), f"Two things. First, {cut_sentence} Second, {sentence}"
        )
        for split, join, cut_sentence in WRONG_CUTS
        for scores, weights, sentence in (
            *((scores, attention_weights, sentence) for scores, sentence in WRONG_SCALES),
            *((attention_scores, weights, sentence) for weights, sentence in WRONG_WEIGHTS[2:]),
        )
    ),
    *(
        Misconception(_msa(split, attention, join, slip), f"Two things. First, {cut_sentence} Second, {sentence}")
        for split, join, cut_sentence in WRONG_CUTS
        for slip, sentence in (
            (lambda concatenated, W_O: concatenated, "the output projection W^O is missing."),
            (lambda concatenated, W_O: concatenated @ W_O.T, "the output is multiplied with the transpose of W^O."),
        )
    ),
    *(
        Misconception(
            _msa(attend=_attend(scores), output=slip), f"Two things. First, {scale_sentence} Second, {sentence}"
        )
        for scores, scale_sentence in WRONG_SCALES
        for slip, sentence in (
            (lambda concatenated, W_O: concatenated, "the output projection W^O is missing."),
            (lambda concatenated, W_O: concatenated @ W_O.T, "the output is multiplied with the transpose of W^O."),
        )
    ),
)


def _msa_with(attention: Callable, Z: Tensor, W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor, h: int) -> Tensor:
    Q, K, V = (split_heads(Z @ W, h) for W in (W_Q, W_K, W_V))
    heads = [attention(Q[:, j], K[:, j], V[:, j]) for j in range(h)]  # a student's attention takes three axes
    return torch.cat(heads, dim=-1) @ W_O


EXERCISES = (
    Exercise(
        name="attention_scores",
        arguments=("Q", "K"),
        returns="(B, n, m)",
        axes=("image", "query", "key"),
        reference=attention_scores,
        parts=(
            Part("one image", 1, _one_image),
            Part("several images, large numbers", 1, _many_images),
            Part("float64, gradients", 1, _scores_in_double),
        ),
        misconceptions=ATTENTION_SCORES,
    ),
    Exercise(
        name="attention_weights",
        arguments=("A",),
        returns="(B, n, m)",
        axes=("image", "query", "key"),
        reference=attention_weights,
        parts=(
            Part("moderate scores", 1, _moderate_scores),
            Part("large scores", 1, _large_scores),
            Part("float64, gradients", 1, _weights_in_double),
        ),
        misconceptions=ATTENTION_WEIGHTS,
        broken_property=_broken_weights,
    ),
    Exercise(
        name="attention",
        arguments=("Q", "K", "V"),
        returns="(B, n, d_v)",
        axes=("image", "query", "number"),
        reference=attention,
        parts=(
            Part("one and several images, large scores", 1, _attention_in_single),
            Part("float64, gradients", 1, _attention_in_double),
        ),
        misconceptions=ATTENTION,
        pairs=ATTENTION_PAIRS,
        builds_on=FollowThrough(
            (attention_scores, attention_weights), lambda scores, weights, Q, K, V: weights(scores(Q, K)) @ V
        ),
    ),
    Exercise(
        name="multi_head_self_attention",
        arguments=("Z", "W_Q", "W_K", "W_V", "W_O", "num_heads"),
        returns="(B, n, d)",
        axes=("image", "token", "number"),
        reference=multi_head_self_attention,
        parts=(
            Part("one head", 1, _one_head),
            Part("several heads", 2, _many_heads),
            Part("float64, gradients", 1, _heads_in_double),
        ),
        misconceptions=MULTI_HEAD_SELF_ATTENTION,
        pairs=MULTI_HEAD_SELF_ATTENTION_PAIRS,
        builds_on=FollowThrough((attention,), _msa_with),
    ),
)
