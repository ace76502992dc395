"""Attention: the lecture's formulas against PyTorch's, and every right way to write the exercise."""

import math

import pytest
import torch
from torch.nn import functional as F

from vitlab.attention import (
    MultiHeadSelfAttention,
    attention,
    attention_scores,
    attention_weights,
    concatenate_heads,
    multi_head_self_attention,
    split_heads,
)
from vitlab.steps import Steps


def test_scores_are_scaled_dot_products():
    Q, K = torch.randn(2, 3, 5), torch.randn(2, 4, 5)
    expected = sum(Q[1, 2, k] * K[1, 3, k] for k in range(5)) / math.sqrt(5)
    torch.testing.assert_close(attention_scores(Q, K)[1, 2, 3], expected)


def test_weights_are_the_softmax_and_survive_large_scores():
    A = torch.randn(2, 3, 4)
    torch.testing.assert_close(attention_weights(A), A.softmax(-1))
    torch.testing.assert_close(attention_weights(1000 * A), (1000 * A).softmax(-1))


def test_attention_equals_pytorch_s_in_value_and_gradient():
    Q, K, V = (torch.randn(2, n, 6, dtype=torch.float64, requires_grad=True) for n in (3, 5, 5))
    ours, theirs = attention(Q, K, V), F.scaled_dot_product_attention(Q, K, V)
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(
        torch.autograd.grad(ours.square().sum(), (Q, K, V)),
        torch.autograd.grad(theirs.square().sum(), (Q, K, V)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


def test_heads_are_neighbouring_columns_and_come_back():
    X = torch.randn(2, 5, 12)
    assert torch.equal(split_heads(X, 3)[:, 1], X[:, :, 4:8])
    assert torch.equal(concatenate_heads(split_heads(X, 3)), X)


def test_multi_head_equals_head_by_head():
    Z = torch.randn(2, 5, 12, dtype=torch.float64)
    weights = [torch.randn(12, 12, dtype=torch.float64) for _ in range(4)]
    torch.testing.assert_close(multi_head_self_attention(Z, *weights, 3), msa_with_loops(Z, *weights, 3))


def test_the_module_in_its_two_forms_and_pytorch_s_agree():
    module = MultiHeadSelfAttention(12, 3).double()
    Z = torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
    theirs = torch.nn.MultiheadAttention(12, 3, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([module.query.weight, module.key.weight, module.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([module.query.bias, module.key.bias, module.value.bias]))
        theirs.out_proj.load_state_dict(module.output.state_dict())
    expected, maps = theirs(Z, Z, Z, average_attn_weights=False)
    torch.testing.assert_close(module(Z), expected)
    torch.testing.assert_close(module.as_taught(Z), expected)
    steps = Steps()
    torch.testing.assert_close(module(Z, steps=steps), expected)
    torch.testing.assert_close(steps["weights"], maps)
    used, taught = (torch.autograd.grad(form(Z).square().sum(), Z)[0] for form in (module, module.as_taught))
    torch.testing.assert_close(used, taught)


def test_parameters_are_4d_squared_without_biases_and_4d_more_with_them():
    d = 12
    assert sum(p.numel() for p in MultiHeadSelfAttention(d, 3, bias=False).parameters()) == 4 * d**2
    assert sum(p.numel() for p in MultiHeadSelfAttention(d, 3).parameters()) == 4 * d**2 + 4 * d


@pytest.mark.parametrize("make", [lambda: MultiHeadSelfAttention(10, 3), lambda: split_heads(torch.zeros(1, 2, 10), 3)])
def test_heads_must_divide_d(make):
    with pytest.raises(ValueError, match="multiple of num_heads"):
        make()


# ---- Right answers, written in other ways: every one gets full marks.


def scores_with_loops(Q, K):
    rows = [torch.stack([(q * k).sum(-1) for k in K.unbind(1)], dim=1) for q in Q.unbind(1)]
    return torch.stack(rows, dim=1) / Q.shape[-1] ** 0.5


def scores_with_einsum(Q, K):
    return torch.einsum("bid,bjd->bij", Q, K) * Q.shape[-1] ** -0.5


def scores_with_bmm(Q, K):
    return torch.bmm(Q, K.mT) / math.sqrt(K.size(-1))


def scores_scaled_first(Q, K):
    return (Q / math.sqrt(Q.shape[2])) @ K.permute(0, 2, 1)


def scores_in_float64(Q, K):
    return (Q.double() @ K.double().transpose(1, 2) / math.sqrt(Q.shape[-1])).to(Q.dtype)


def scores_with_sums(Q, K):
    return (Q.unsqueeze(2) * K.unsqueeze(1)).sum(-1) / torch.tensor(Q.shape[-1]).sqrt().item()


def weights_with_softmax(A):
    return torch.softmax(A, dim=-1)


def weights_with_logsumexp(A):
    return torch.exp(A - torch.logsumexp(A, dim=2, keepdim=True))


def weights_with_loops(A):
    def row(a):
        e = torch.exp(a - a.max())
        return e / e.sum()

    return torch.stack([torch.stack([row(a) for a in image]) for image in A])


def weights_with_module(A):
    return torch.nn.Softmax(dim=2)(A)


def weights_in_float64(A):
    return A.double().softmax(-1).to(A.dtype)


def weights_from_log_softmax(A):
    return F.log_softmax(A, dim=-1).exp()


def attention_of_pytorch(Q, K, V):
    return F.scaled_dot_product_attention(Q, K, V)


def attention_with_einsum(Q, K, V):
    return torch.einsum("bij,bjd->bid", scores_with_einsum(Q, K).softmax(-1), V)


def attention_with_loops(Q, K, V):
    images = []
    for q, k, v in zip(Q, K, V, strict=True):
        rows = [torch.softmax(k @ query / math.sqrt(len(query)), dim=0) @ v for query in q]
        images.append(torch.stack(rows))
    return torch.stack(images)


def attention_with_bmm(Q, K, V):
    return torch.bmm(torch.softmax(torch.bmm(Q, K.mT) / Q.shape[-1] ** 0.5, -1), V)


def attention_in_float64(Q, K, V):
    return attention(Q.double(), K.double(), V.double()).to(Q.dtype)


def attention_normalized_last(Q, K, V):
    A = attention_scores(Q, K)
    e = torch.exp(A - A.max(dim=-1, keepdim=True).values)
    return (e @ V) / e.sum(dim=-1, keepdim=True)


def msa_with_loops(Z, W_Q, W_K, W_V, W_O, num_heads):
    d_h = Z.shape[-1] // num_heads
    heads = []
    for j in range(num_heads):
        columns = slice(j * d_h, (j + 1) * d_h)
        heads.append(attention(Z @ W_Q[:, columns], Z @ W_K[:, columns], Z @ W_V[:, columns]))
    return torch.cat(heads, dim=-1) @ W_O


def msa_with_einsum(Z, W_Q, W_K, W_V, W_O, num_heads):
    d = Z.shape[-1]
    Q, K, V = (torch.einsum("bnd,dhe->bhne", Z, W.reshape(d, num_heads, d // num_heads)) for W in (W_Q, W_K, W_V))
    A = torch.einsum("bhie,bhje->bhij", Q, K) / (d // num_heads) ** 0.5
    heads = torch.einsum("bhij,bhje->bihe", A.softmax(-1), V)
    return heads.reshape(Z.shape) @ W_O


def msa_of_pytorch(Z, W_Q, W_K, W_V, W_O, num_heads):
    result, _ = F.multi_head_attention_forward(
        *(Z.transpose(0, 1),) * 3, Z.shape[-1], num_heads, torch.cat([W_Q.T, W_K.T, W_V.T]), None, None, None, False,
        0.0, W_O.T, None, need_weights=False,
    )  # fmt: skip
    return result.transpose(0, 1)


def msa_with_fused_projection(Z, W_Q, W_K, W_V, W_O, num_heads):
    B, n, d = Z.shape
    Q, K, V = (Z @ torch.cat([W_Q, W_K, W_V], 1)).view(B, n, 3, num_heads, d // num_heads).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(Q, K, V).transpose(1, 2).reshape(B, n, d) @ W_O


def msa_with_split(Z, W_Q, W_K, W_V, W_O, num_heads):
    d_h = Z.shape[-1] // num_heads
    heads = [attention(*parts) for parts in zip(*((Z @ W).split(d_h, -1) for W in (W_Q, W_K, W_V)), strict=True)]
    return sum(head @ rows for head, rows in zip(heads, W_O.split(d_h), strict=True))


def msa_in_float64(Z, W_Q, W_K, W_V, W_O, num_heads):
    return multi_head_self_attention(*(X.double() for X in (Z, W_Q, W_K, W_V, W_O)), num_heads).to(Z.dtype)


CORRECT = {
    "attention_scores": (scores_with_loops, scores_with_einsum, scores_with_bmm, scores_scaled_first,
                         scores_in_float64, scores_with_sums),
    "attention_weights": (weights_with_softmax, weights_with_logsumexp, weights_with_loops, weights_with_module,
                          weights_in_float64, weights_from_log_softmax),
    "attention": (attention_of_pytorch, attention_with_einsum, attention_with_loops, attention_with_bmm,
                  attention_in_float64, attention_normalized_last),
    "multi_head_self_attention": (msa_with_loops, msa_with_einsum, msa_of_pytorch, msa_with_fused_projection,
                                  msa_with_split, msa_in_float64),
}  # fmt: skip
