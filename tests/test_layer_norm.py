"""Layer normalization: the lecture's four steps against PyTorch's."""

import torch
from support.parity import assert_forms_agree
from torch.nn import functional as F

from vitlab.layer_norm import LayerNorm, layer_norm, normalize_tokens


def test_every_token_gets_mean_0_and_variance_1():
    x = 5 + 3 * torch.randn(2, 5, 12, dtype=torch.float64)
    y = layer_norm(x, torch.ones(12), torch.zeros(12), eps=0.0)
    torch.testing.assert_close(y.mean(-1), torch.zeros(2, 5, dtype=torch.float64))
    torch.testing.assert_close(y.var(-1, correction=0), torch.ones(2, 5, dtype=torch.float64))


def test_equals_pytorch_s():
    x, gamma, beta = (torch.randn(*shape, dtype=torch.float64) for shape in ((2, 5, 12), (12,), (12,)))
    torch.testing.assert_close(layer_norm(x, gamma, beta, 0.1), F.layer_norm(x, (12,), gamma, beta, 0.1))


def test_equal_features_divide_by_epsilon_and_not_by_0():
    assert torch.equal(layer_norm(torch.ones(1, 12), torch.ones(12), torch.zeros(12), 1e-6), torch.zeros(1, 12))


def test_the_module_s_two_forms_agree_in_value_and_gradient():
    assert_forms_agree(LayerNorm(12, eps=1e-3), torch.randn(2, 5, 12))


def test_normalized_tokens_are_those_before_scale_and_shift():
    x = 5 + 3 * torch.randn(2, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(normalize_tokens(x, 0.1), F.layer_norm(x, (12,), eps=0.1))
