"""Mix-FFN: the convolution against PyTorch's, that it tells tokens where they are, and every right way to write it."""

import pytest
import torch
from support.parity import assert_forms_agree, numbers_kept, perturb
from torch.nn import functional as F

from vitlab.bench import resolution
from vitlab.encoder import EncoderBlock
from vitlab.fast.upsampling import NUMBERS_AT_A_TIME
from vitlab.ffn import gelu
from vitlab.mix_ffn import MixFeedForward, depthwise_convolution, mix_ffn
from vitlab.sra import SpatialReductionAttention


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


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_one_ring_of_equal_tokens_learns_where_it_is_in_each_block(depth):
    """Also with attention between the convolutions: equal tokens ask the same, and are answered the same."""
    H, W, d = 7, 8, 4
    torch.manual_seed(0)
    blocks = [perturb(EncoderBlock(d, SpatialReductionAttention(d, 2, 1), MixFeedForward(d, 8))) for _ in range(depth)]
    Z = torch.ones(1, H, W, d, dtype=torch.float64)
    for block in blocks:
        Z = block.double()(Z)
    tokens = Z.flatten(0, 2)  # (n, d)
    alike = (tokens[:, None] - tokens).abs().amax(dim=-1) < 1e-9
    assert len(alike.unique(dim=0)) == min(2 * depth + 1, H) * min(2 * depth + 1, W)


def test_with_copies_beyond_the_border_equal_tokens_stay_equal():
    ffn = perturb(resolution.WithCopies(4, 8)).double()
    Z = ffn(ffn(torch.ones(1, 5, 6, 4, dtype=torch.float64)))
    torch.testing.assert_close(Z, Z[:, :1, :1].expand_as(Z))


def test_cells_are_laid_below_and_beside_each_other():
    cells = torch.arange(16).reshape(4, 1, 2, 2)
    side_by_side = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert resolution.laid_out(cells, 2, 2).tolist() == [[side_by_side]]
    assert resolution.of_tokens(torch.tensor([7, 3]), 2, 1)[0, :, 0].tolist() == [7] * 4 + [3] * 4


@torch.no_grad()
def test_only_learned_positions_ask_which_grid_a_model_was_trained_on():
    torch.manual_seed(0)
    images = torch.rand(1, 1, 16, 32)
    for kind, differs in ((resolution.LEARNED, True), (resolution.NONE, False), (resolution.ZEROS, False)):
        torch.manual_seed(0)
        model = resolution.Reader(kind, (4, 8))
        before = model(images)
        if differs:
            model.positions.data = model.positions[:17].clone()
        model.grid = (4, 4)
        assert torch.equal(model(images), before) != differs


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


# ---- Right answers, written in other ways: every one gets full marks.


def convolution_of_pytorch(X, kernel, bias):
    weight = kernel.permute(2, 0, 1)[:, None]
    return F.conv2d(X.permute(0, 3, 1, 2), weight, bias, padding=1, groups=X.shape[-1]).permute(0, 2, 3, 1)


def convolution_token_by_token(X, kernel, bias):
    Y = bias.expand(X.shape).clone()
    H, W = X.shape[1:3]
    for i in range(H):
        for j in range(W):
            for u in (-1, 0, 1):
                for v in (-1, 0, 1):
                    if 0 <= i + u < H and 0 <= j + v < W:
                        Y[:, i, j] += kernel[u + 1, v + 1] * X[:, i + u, j + v]
    return Y


def convolution_of_columns(X, kernel, bias):
    B, H, W, d = X.shape
    columns = F.unfold(X.permute(0, 3, 1, 2), 3, padding=1).reshape(B, d, 9, H, W)
    return torch.einsum("bcpij,pc->bijc", columns, kernel.flatten(0, 1)) + bias


def convolution_into_a_larger_grid(X, kernel, bias):
    B, H, W, d = X.shape
    spread = torch.zeros(B, H + 2, W + 2, d, dtype=X.dtype)
    for u in range(3):
        for v in range(3):
            spread[:, 2 - u : 2 - u + H, 2 - v : 2 - v + W] += X * kernel[u, v]
    return spread[:, 1:-1, 1:-1] + bias


def convolution_feature_by_feature(X, kernel, bias):
    features = [
        F.conv2d(X[:, None, :, :, c], kernel[None, None, :, :, c], bias[c : c + 1], padding=1)[:, 0]
        for c in range(X.shape[-1])
    ]
    return torch.stack(features, dim=-1)


def convolution_with_matrices(X, kernel, bias):
    H, W = X.shape[1:3]
    up = [torch.eye(H + 2, dtype=X.dtype)[u : u + H, 1:-1] for u in range(3)]  # (H, H), the rows one up or down
    across = [torch.eye(W + 2, dtype=X.dtype)[v : v + W, 1:-1] for v in range(3)]
    terms = [torch.einsum("ij,kl,bjlc->bikc", up[u], across[v], X) * kernel[u, v] for u in range(3) for v in range(3)]
    return sum(terms) + bias


def mix_of_modules(X, W_1, b_1, kernel, bias, W_2, b_2):
    hidden = F.linear(X, W_1.T, b_1)
    return F.linear(F.gelu(convolution_of_pytorch(hidden, kernel, bias)), W_2.T, b_2)


def mix_of_convolutions(X, W_1, b_1, kernel, bias, W_2, b_2):
    hidden = F.conv2d(X.permute(0, 3, 1, 2), W_1.T[:, :, None, None], b_1)
    hidden = F.gelu(F.conv2d(hidden, kernel.permute(2, 0, 1)[:, None], bias, padding=1, groups=len(bias)))
    return F.conv2d(hidden, W_2.T[:, :, None, None], b_2).permute(0, 2, 3, 1)


def mix_of_sequences(X, W_1, b_1, kernel, bias, W_2, b_2):
    hidden = (X.flatten(1, 2) @ W_1 + b_1).unflatten(1, X.shape[1:3])
    activated = gelu(convolution_into_a_larger_grid(hidden, kernel, bias))
    return (activated.flatten(1, 2) @ W_2 + b_2).reshape(X.shape)


def mix_with_einsum(X, W_1, b_1, kernel, bias, W_2, b_2):
    hidden = torch.einsum("bijc,cf->bijf", X, W_1) + b_1
    return torch.einsum("bijf,fc->bijc", gelu(convolution_of_columns(hidden, kernel, bias)), W_2) + b_2


def mix_hidden_feature_by_feature(X, W_1, b_1, kernel, bias, W_2, b_2):
    total = b_2.expand(X.shape)
    for k in range(len(b_1)):
        hidden = (X @ W_1[:, k] + b_1[k])[..., None]
        activated = gelu(convolution_of_pytorch(hidden, kernel[..., k : k + 1], bias[k : k + 1]))
        total = total + activated * W_2[k]
    return total


def mix_image_by_image(X, W_1, b_1, kernel, bias, W_2, b_2):
    images = [gelu(convolution_with_matrices(x[None] @ W_1 + b_1, kernel, bias)) @ W_2 + b_2 for x in X]
    return torch.cat(images)


CORRECT = {
    "depthwise_convolution": (convolution_of_pytorch, convolution_token_by_token, convolution_of_columns,
                              convolution_into_a_larger_grid, convolution_feature_by_feature,
                              convolution_with_matrices),
    "mix_ffn": (mix_of_modules, mix_of_convolutions, mix_of_sequences, mix_with_einsum,
                mix_hidden_feature_by_feature, mix_image_by_image),
}  # fmt: skip
