"""The feed-forward network: GELU and the two layers against PyTorch's, and every right way to write the exercise."""

import math

import torch
from support.parity import assert_forms_agree
from torch import nn
from torch.nn import functional as F

from vitlab import checks
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


# ---- Right answers, written in other ways: every one gets full marks.


def gelu_of_pytorch(x):
    return F.gelu(x)


def gelu_with_ndtr(x):
    return x * torch.special.ndtr(x)


def gelu_with_erfc(x):
    return x * torch.erfc(-x / math.sqrt(2)) / 2


def gelu_with_a_distribution(x):
    zero = torch.zeros((), dtype=x.dtype)
    return x * torch.distributions.Normal(zero, zero + 1).cdf(x)


def gelu_in_halves(x):
    half = 0.5 * x
    return half + half * torch.erf(x * 0.5**0.5)


def gelu_of_a_module(x):
    return nn.GELU()(x)


def ffn_of_linear_layers(Z, W_1, b_1, W_2, b_2):
    return F.linear(F.gelu(F.linear(Z, W_1.T, b_1)), W_2.T, b_2)


def ffn_with_einsum(Z, W_1, b_1, W_2, b_2):
    hidden = gelu(torch.einsum("bnd,df->bnf", Z, W_1) + b_1)
    return torch.einsum("bnf,fd->bnd", hidden, W_2) + b_2


def ffn_with_loops(Z, W_1, b_1, W_2, b_2):
    images = [[gelu(z @ W_1 + b_1) @ W_2 + b_2 for z in image] for image in Z]
    return torch.stack([torch.stack(tokens) for tokens in images])


def ffn_unit_by_unit(Z, W_1, b_1, W_2, b_2):
    return b_2 + sum(gelu(Z @ W_1[:, k] + b_1[k])[..., None] * W_2[k] for k in range(len(b_1)))


def ffn_with_columns(Z, W_1, b_1, W_2, b_2):
    return (W_2.T @ gelu(W_1.T @ Z.mT + b_1[:, None]) + b_2[:, None]).mT


def ffn_as_convolutions(Z, W_1, b_1, W_2, b_2):
    return F.conv1d(F.gelu(F.conv1d(Z.mT, W_1.T[..., None], b_1)), W_2.T[..., None], b_2).mT


def parameters_of_modules(d, d_ff):
    layers = nn.Linear(d, d_ff, device="meta"), nn.Linear(d_ff, d, device="meta")
    return sum(p.numel() for layer in layers for p in layer.parameters())


def parameters_of_shapes(d, d_ff):
    return sum(math.prod(shape) for shape in ((d, d_ff), (d_ff,), (d_ff, d), (d,)))


def parameters_with_one_input_more(d, d_ff):
    return (d + 1) * d_ff + (d_ff + 1) * d


def parameters_in_one_sum(d, d_ff):
    return 2 * d * d_ff + d_ff + d


def parameters_of_tensors(d, d_ff):
    return sum(torch.empty(shape, device="meta").numel() for shape in ((d, d_ff), (1, d_ff), (d_ff, d), (1, d)))


def parameters_as_a_tensor(d, d_ff):
    return torch.tensor(2 * d * d_ff + d_ff + d)


CORRECT = {
    "gelu": (gelu_of_pytorch, gelu_with_ndtr, gelu_with_erfc, gelu_with_a_distribution, gelu_in_halves,
             gelu_of_a_module),
    "ffn": (ffn_of_linear_layers, ffn_with_einsum, ffn_with_loops, ffn_unit_by_unit, ffn_with_columns,
            ffn_as_convolutions),
    "ffn_parameters": (parameters_of_modules, parameters_of_shapes, parameters_with_one_input_more,
                       parameters_in_one_sum, parameters_of_tensors, parameters_as_a_tensor),
}  # fmt: skip


def test_a_result_of_another_dtype_is_told_so_and_no_slip_is_looked_for():
    def rounded(x):
        return F.gelu(x).float()

    sentence = checks.run("ffn", {"gelu": rounded}).exercises[0].sentences[0]
    assert "keep the dtype of the input" in sentence
