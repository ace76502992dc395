"""Spatial-reduction attention: the reduction against a convolution, the attention against plain attention."""

import pytest
import torch
from support.parity import assert_forms_agree, perturb, without_biases
from torch import nn
from torch.nn import functional as F

from vitlab.attention import attention, multi_head_self_attention, split_heads
from vitlab.embeddings import patchify
from vitlab.layer_norm import layer_norm
from vitlab.sra import (
    SpatialReductionAttention,
    number_of_scores,
    spatial_reduction,
    spatial_reduction_attention,
)


@pytest.mark.parametrize("H, W", [(4, 6), (5, 7)])
def test_the_reduction_is_a_convolution_with_kernel_and_stride_r(H, W):
    X, W_S, b_S = torch.randn(2, H, W, 6), torch.randn(2 * 2 * 6, 6), torch.randn(6)
    kernel = W_S.reshape(2, 2, 6, 6).permute(3, 2, 0, 1)  # (R, R, d, d) -> (d, d, R, R)
    expected = F.conv2d(X.permute(0, 3, 1, 2), kernel, b_S, stride=2).flatten(2).transpose(1, 2)
    torch.testing.assert_close(spatial_reduction(X, W_S, b_S, 2), expected, rtol=1e-4, atol=1e-5)


def test_without_reduction_it_is_multi_head_self_attention():
    module = perturb(SpatialReductionAttention(6, 2, 1))
    weights = without_biases(module)
    X = torch.randn(2, 4, 5, 6)
    expected = multi_head_self_attention(X.flatten(1, 2), *weights.values(), 2).view(X.shape)
    torch.testing.assert_close(module(X), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(spatial_reduction_attention(X, weights, 2, 1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("H, W", [(4, 6), (5, 7)])
def test_the_function_computes_what_the_module_computes(H, W):
    module = perturb(SpatialReductionAttention(6, 2, 2))
    p = without_biases(module) | {
        "W_S": module.reduction.weight.permute(2, 3, 1, 0).flatten(0, 2),
        "b_S": module.reduction.bias,
        "gamma": module.reduction_norm.gamma,
        "beta": module.reduction_norm.beta,
    }
    X = torch.randn(2, H, W, 6)
    torch.testing.assert_close(spatial_reduction_attention(X, p, 2, 2), module(X), rtol=1e-4, atol=1e-5)


def test_there_are_n_squared_over_r_squared_scores():
    module = SpatialReductionAttention(6, 2, 4)
    assert module.reduce(torch.randn(2, 8, 12, 6)).shape == (2, 8 * 12 // 16, 6)
    assert number_of_scores(8, 12, 4) == (8 * 12) ** 2 // 16
    assert number_of_scores(9, 15, 4) == 9 * 15 * 2 * 3


@pytest.mark.parametrize("R", [1, 2])
def test_the_two_forms_agree_in_value_and_gradient(R):
    assert_forms_agree(SpatialReductionAttention(6, 2, R), torch.randn(2, 5, 4, 6))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="grid of tokens is 3 x 8, but a reduction by R = 4 needs at least 4 x 4"):
        SpatialReductionAttention(6, 2, 4)(torch.randn(2, 3, 8, 6))
    with pytest.raises(ValueError, match="d = 6 is not a multiple of num_heads = 4"):
        SpatialReductionAttention(6, 4, 2)


# ---- Right answers, written in other ways: every one gets full marks.


def reduce_with_a_convolution(X, W_S, b_S, sr_ratio):
    d = X.shape[-1]
    kernel = W_S.unflatten(0, (sr_ratio, sr_ratio, d)).permute(3, 2, 0, 1)
    return F.conv2d(X.movedim(-1, 1), kernel, b_S, stride=sr_ratio).flatten(2).mT


def reduce_with_patchify(X, W_S, b_S, sr_ratio):
    H, W = (side // sr_ratio * sr_ratio for side in X.shape[1:3])
    return patchify(X[:, :H, :W].permute(0, 3, 1, 2), sr_ratio) @ W_S + b_S


def reduce_with_unfold(X, W_S, b_S, sr_ratio):
    d = X.shape[-1]
    columns = F.unfold(X.permute(0, 3, 1, 2), sr_ratio, stride=sr_ratio)  # (B, d·R², n'): feature, row, column
    W = W_S.reshape(sr_ratio**2, d, d).transpose(0, 1).reshape(-1, d)
    return columns.mT @ W + b_S


def reduce_square_by_square(X, W_S, b_S, sr_ratio):
    R, (_, H, W, _) = sr_ratio, X.shape
    corners = [(y, x) for y in range(0, H - R + 1, R) for x in range(0, W - R + 1, R)]
    return torch.stack([X[:, y : y + R, x : x + R].flatten(1) @ W_S + b_S for y, x in corners], dim=1)


def reduce_token_by_token(X, W_S, b_S, sr_ratio):
    R, (_, H, W, d) = sr_ratio, X.shape
    whole = X[:, : H - H % R, : W - W % R]
    total = 0
    for k in range(R * R):  # the k-th token of all squares, with its own d rows of W_S
        total = total + whole[:, k // R :: R, k % R :: R] @ W_S[k * d : (k + 1) * d]
    return total.flatten(1, 2) + b_S


def reduce_with_a_layer(X, W_S, b_S, sr_ratio):
    R, d = sr_ratio, X.shape[-1]
    layer = nn.Conv2d(d, d, R, R, dtype=X.dtype)
    weights = {"weight": W_S.reshape(R, R, d, d).permute(3, 2, 0, 1), "bias": b_S}
    return torch.func.functional_call(layer, weights, (X.permute(0, 3, 1, 2),)).permute(0, 2, 3, 1).flatten(1, 2)


def tokens_of_pytorch(X, p, sr_ratio):
    if sr_ratio == 1:
        return X.flatten(1, 2)
    squares = reduce_with_a_convolution(X, p["W_S"], p["b_S"], sr_ratio)
    return F.layer_norm(squares, X.shape[-1:], p["gamma"], p["beta"])  # its ε is 1e-5


def attend_with_functional(X, p, num_heads, sr_ratio):
    Z, context = X.flatten(1, 2), tokens_of_pytorch(X, p, sr_ratio)
    Q, K, V = (split_heads(x @ p[W], num_heads) for x, W in ((Z, "W_Q"), (context, "W_K"), (context, "W_V")))
    return (F.scaled_dot_product_attention(Q, K, V).transpose(1, 2).flatten(2) @ p["W_O"]).view(X.shape)


def attend_with_a_module_of_pytorch(X, p, num_heads, sr_ratio):
    d = X.shape[-1]
    Z, context = X.flatten(1, 2), tokens_of_pytorch(X, p, sr_ratio)
    layer = nn.MultiheadAttention(d, num_heads, bias=False, batch_first=True, dtype=X.dtype)
    weights = {
        "in_proj_weight": torch.cat([p["W_Q"].T, p["W_K"].T, p["W_V"].T]),
        "out_proj.weight": p["W_O"].T,
    }
    return torch.func.functional_call(layer, weights, (Z, context, context))[0].reshape(X.shape)


def attend_head_by_head(X, p, num_heads, sr_ratio):
    Z, context, d_h = X.flatten(1, 2), tokens_of_pytorch(X, p, sr_ratio), X.shape[-1] // num_heads
    heads = []
    for j in range(num_heads):
        own = slice(j * d_h, (j + 1) * d_h)
        heads.append(attention(Z @ p["W_Q"][:, own], context @ p["W_K"][:, own], context @ p["W_V"][:, own]))
    return (torch.cat(heads, dim=-1) @ p["W_O"]).unflatten(1, X.shape[1:3])


def attend_row_by_row(X, p, num_heads, sr_ratio):
    context = tokens_of_pytorch(X, p, sr_ratio)
    K, V = split_heads(context @ p["W_K"], num_heads), split_heads(context @ p["W_V"], num_heads)
    rows = [attention(split_heads(row @ p["W_Q"], num_heads), K, V).transpose(1, 2).flatten(2) for row in X.unbind(1)]
    return torch.stack(rows, dim=1) @ p["W_O"]


def attend_image_by_image(X, p, num_heads, sr_ratio):
    return torch.cat([spatial_reduction_attention(x, p, num_heads, sr_ratio) for x in X.split(1)])


def attend_where_there_are_weights(X, p, num_heads, sr_ratio):
    Z = reduced = X.flatten(1, 2)
    if "W_S" in p:
        reduced = layer_norm(reduce_with_patchify(X, p["W_S"], p["b_S"], sr_ratio), p["gamma"], p["beta"], 1e-5)
    B, n, d = Z.shape
    Q, K, V = ((x @ p[W]).reshape(B, -1, num_heads, d // num_heads) for x, W in
               ((Z, "W_Q"), (reduced, "W_K"), (reduced, "W_V")))  # fmt: skip
    weights = (torch.einsum("bihe,bjhe->bhij", Q, K) / (d // num_heads) ** 0.5).softmax(dim=-1)
    return (torch.einsum("bhij,bjhe->bihe", weights, V).reshape(B, n, d) @ p["W_O"]).reshape(X.shape)


CORRECT = {
    "spatial_reduction": (reduce_with_a_convolution, reduce_with_patchify, reduce_with_unfold, reduce_square_by_square,
                          reduce_token_by_token, reduce_with_a_layer),
    "spatial_reduction_attention": (attend_with_functional, attend_with_a_module_of_pytorch, attend_head_by_head,
                                    attend_row_by_row, attend_image_by_image, attend_where_there_are_weights),
    "number_of_scores": (
        lambda H, W, sr_ratio: H * W * (H // sr_ratio) * (W // sr_ratio),
        lambda H, W, sr_ratio: H * W * int(H / sr_ratio) * int(W / sr_ratio),
        lambda H, W, sr_ratio: H * W * len(range(sr_ratio, H + 1, sr_ratio)) * len(range(sr_ratio, W + 1, sr_ratio)),
        lambda H, W, sr_ratio: torch.tensor(H * W * (H // sr_ratio) * (W // sr_ratio)),
        lambda H, W, sr_ratio: (H - H % sr_ratio) * (W - W % sr_ratio) // sr_ratio**2 * H * W,
        lambda H, W, sr_ratio: H * W * torch.empty(H, W)[sr_ratio - 1 :: sr_ratio, sr_ratio - 1 :: sr_ratio].numel(),
    ),
}  # fmt: skip
