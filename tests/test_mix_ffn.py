"""Mix-FFN: the depthwise convolution against PyTorch's, and that it tells tokens where they are."""

import pytest
import torch
from support.parity import assert_forms_agree, numbers_kept, perturb
from torch.nn import functional as F

from vitlab.fast.upsampling import NUMBERS_AT_A_TIME
from vitlab.mix_ffn import MixFeedForward, depthwise_convolution, mix_ffn


def test_the_depthwise_convolution_equals_pytorch_s():
    X, kernel, bias = torch.randn(2, 4, 5, 6), torch.randn(3, 3, 6), torch.randn(6)
    expected = F.conv2d(X.permute(0, 3, 1, 2), kernel.permute(2, 0, 1)[:, None], bias, padding=1, groups=6)
    torch.testing.assert_close(
        depthwise_convolution(X, kernel, bias), expected.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-5
    )


def test_the_function_is_pytorch_s_layers_one_after_another():
    X, kernel = torch.randn(2, 4, 5, 6), torch.randn(20, 1, 3, 3)
    W_1, b_1, bias, W_2, b_2 = (torch.randn(*shape) for shape in ((6, 20), (20,), (20,), (20, 6), (6,)))
    hidden = F.linear(X, W_1.T, b_1).permute(0, 3, 1, 2)
    activated = F.gelu(F.conv2d(hidden, kernel, bias, padding=1, groups=20)).permute(0, 2, 3, 1)
    ours = mix_ffn(X, W_1, b_1, kernel[:, 0].permute(1, 2, 0), bias, W_2, b_2)
    torch.testing.assert_close(ours, F.linear(activated, W_2.T, b_2), rtol=1e-4, atol=1e-3)


def test_equal_tokens_come_out_different_at_the_border_only():
    module = perturb(MixFeedForward(6, 24))
    Z = module(torch.ones(1, 5, 6, 6))
    inside = Z[:, 1:-1, 1:-1]
    torch.testing.assert_close(inside, inside[:, :1, :1].expand_as(inside))
    assert (Z[0, 0, 0] - Z[0, 2, 2]).abs().max() > 1e-3


def test_the_two_forms_agree_in_value_and_gradient():
    assert_forms_agree(MixFeedForward(6, 20), torch.randn(2, 4, 5, 6))


def test_without_gradients_the_values_are_the_same():
    module, Z = perturb(MixFeedForward(6, 20)), torch.randn(2, 4, 5, 6)
    expected = module.as_taught(Z)
    with torch.no_grad():
        torch.testing.assert_close(module(Z), expected, rtol=1e-4, atol=1e-5)


def test_of_a_large_image_none_of_the_three_wide_tensors_is_kept_for_the_backward_pass(monkeypatch):
    Z = torch.randn(2, 16, 16, 6)
    module = MixFeedForward(6, 60)
    wide = 2 * 16 * 16 * 60
    assert numbers_kept(module, Z) > 3 * wide
    monkeypatch.setattr("vitlab.fast.ffn.MUCH_FOR_AN_IMAGE", 16 * 16 * 60)
    assert numbers_kept(module, Z) < wide


def test_what_is_computed_again_gives_the_same_gradients(monkeypatch):
    monkeypatch.setattr("vitlab.fast.ffn.MUCH_FOR_AN_IMAGE", 1)
    assert_forms_agree(MixFeedForward(6, 20), torch.randn(2, 4, 5, 6))


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_a_large_image_passes_in_bands_of_rows_with_the_same_result(rows, monkeypatch):
    monkeypatch.setattr("vitlab.fast.ffn.MUCH_IN_USE", 1)
    monkeypatch.setattr("vitlab.fast.ffn.STRIP", 1)
    monkeypatch.setitem(NUMBERS_AT_A_TIME, "cpu", rows * 5 * 16)
    ffn, Z = perturb(MixFeedForward(4, 16).double()), torch.randn(2, 7, 5, 4, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ffn(Z), ffn.as_taught(Z))
