"""The feed-forward network: GELU and the two layers against PyTorch's."""

import torch
from support.parity import assert_forms_agree
from torch.nn import functional as F

from vitlab.ffn import FeedForward, ffn, ffn_parameters, gelu


def test_gelu_is_the_exact_one():
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    torch.testing.assert_close(gelu(x), F.gelu(x))
    assert (gelu(x) - F.gelu(x, approximate="tanh")).abs().max() > 1e-4


def test_every_token_is_transformed_on_its_own():
    Z = torch.randn(2, 5, 6)
    W_1, b_1, W_2, b_2 = torch.randn(6, 24), torch.randn(24), torch.randn(24, 6), torch.randn(6)
    together = ffn(Z, W_1, b_1, W_2, b_2)
    alone = F.linear(F.gelu(F.linear(Z[1, 3], W_1.T, b_1)), W_2.T, b_2)
    torch.testing.assert_close(together[1, 3], alone)


def test_the_number_of_parameters_is_the_lecture_s():
    d, d_ff = 6, 24
    counted = sum(p.numel() for p in FeedForward(d, d_ff).parameters())
    assert counted == ffn_parameters(d, d_ff) == 2 * d * d_ff + d_ff + d


def test_the_module_s_two_forms_agree_in_value_and_gradient():
    assert_forms_agree(FeedForward(6, 20), torch.randn(2, 5, 6))
