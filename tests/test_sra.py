"""Spatial-reduction attention: the reduction against a convolution, the attention against plain attention."""

import pytest
import torch
from support.parity import assert_forms_agree, perturb, without_biases
from torch.nn import functional as F

from vitlab.attention import multi_head_self_attention
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
