"""Layer normalization: the lecture's four steps against PyTorch's, and every right way to write the exercise."""

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


def test_nothing_else_in_the_batch_changes_a_token():
    x, gamma, beta = torch.randn(3, 5, 12), torch.randn(12), torch.randn(12)
    together = layer_norm(x, gamma, beta, 1e-6)
    for b in range(3):
        for t in range(5):
            torch.testing.assert_close(layer_norm(x[b : b + 1, t : t + 1], gamma, beta, 1e-6)[0, 0], together[b, t])


# ---- Right answers, written in other ways: every one gets full marks.


def tokens_with_loops(x, eps):
    def token(t):
        mu = sum(t) / len(t)
        variance = sum((feature - mu) ** 2 for feature in t) / len(t)
        return (t - mu) / (variance + eps) ** 0.5

    return torch.stack([torch.stack([token(t) for t in image]) for image in x])


def tokens_with_pytorch(x, eps):
    return F.layer_norm(x, (x.shape[-1],), eps=eps)


def tokens_with_var_mean(x, eps):
    variance, mu = torch.var_mean(x, dim=2, correction=0, keepdim=True)
    return (x - mu) * torch.rsqrt(variance + eps)


def tokens_with_the_mean_square(x, eps):
    mu = x.mean(-1, keepdim=True)
    return (x - mu) / ((x * x).mean(-1, keepdim=True) - mu * mu + eps).sqrt()


def tokens_in_float64(x, eps):
    return normalize_tokens(x.double(), eps).to(x.dtype)


def tokens_as_groups(x, eps):
    return F.group_norm(x.flatten(0, 1), 1, eps=eps).reshape(x.shape)


def ln_with_loops(x, gamma, beta, eps):
    x_hat = tokens_with_loops(x, eps)
    return torch.stack([gamma[i] * x_hat[..., i] + beta[i] for i in range(len(gamma))], dim=-1)


def ln_of_pytorch(x, gamma, beta, eps):
    return F.layer_norm(x, gamma.shape, gamma, beta, eps)


def ln_with_einsum(x, gamma, beta, eps):
    return torch.einsum("bnd,d->bnd", tokens_with_var_mean(x, eps), gamma) + beta


def ln_with_a_centring_matrix(x, gamma, beta, eps):
    d = x.shape[-1]
    centred = x @ (torch.eye(d, dtype=x.dtype) - 1 / d)
    return torch.addcmul(beta, centred / ((centred**2).sum(-1, keepdim=True) / d + eps).sqrt(), gamma)


def ln_in_float64(x, gamma, beta, eps):
    return layer_norm(*(tensor.double() for tensor in (x, gamma, beta)), eps).to(x.dtype)


def ln_with_a_diagonal(x, gamma, beta, eps):
    return tokens_with_the_mean_square(x, eps) @ torch.diag(gamma) + beta


CORRECT = {
    "normalize_tokens": (tokens_with_loops, tokens_with_pytorch, tokens_with_var_mean, tokens_with_the_mean_square,
                         tokens_in_float64, tokens_as_groups),
    "layer_norm": (ln_with_loops, ln_of_pytorch, ln_with_einsum, ln_with_a_centring_matrix, ln_in_float64,
                   ln_with_a_diagonal),
}  # fmt: skip
