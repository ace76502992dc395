"""The All-MLP decoder: the lecture's order and the fast one, the loss that never holds all logits, and the exercise."""

import pytest
import torch
from support.parity import assert_forms_agree, perturb
from torch.nn import functional as F

from vitlab import checks, fast
from vitlab.decoder import (
    AllMLPDecoder,
    all_mlp_decoder,
    fused_decoder,
    project_and_upsample,
    upsample,
    upsampled_cross_entropy,
)
from vitlab.fast.upsampling import NUMBERS_AT_A_TIME, rows_below, upsampling_matrix


def pyramid(d, H, W, dtype=torch.float64):
    return [torch.randn(2, d_i, -(-H // 2**i), -(-W // 2**i), dtype=dtype) for i, d_i in enumerate(d)]


@pytest.mark.parametrize("H, W", [(8, 16), (11, 18)])
def test_fusing_before_upsampling_agrees_with_the_lecture_in_value_and_gradient(H, W):
    decoder = AllMLPDecoder((4, 6, 10, 8), 12, 5)
    assert_forms_agree(Wrapped(decoder), *pyramid((4, 6, 10, 8), H, W))


@pytest.mark.parametrize("H, W", [(8, 16), (11, 18), (1, 5)])
@pytest.mark.parametrize("rows, strip", [(1, 1), (1, 2), (3, 1), (3, 32), (100, 32)])
def test_bands_of_rows_give_what_all_rows_give(H, W, rows, strip, monkeypatch):
    monkeypatch.setattr("vitlab.fast.decoder.STRIP", strip)
    monkeypatch.setitem(NUMBERS_AT_A_TIME, "cpu", rows * W * 12)
    decoder = perturb(AllMLPDecoder((4, 6, 10, 8), 12, 5).double())
    features = pyramid((4, 6, 10, 8), H, W)
    with torch.no_grad():
        torch.testing.assert_close(decoder(features), decoder.as_taught(features))


@pytest.mark.parametrize("n, new_n", [(8, 32), (3, 11), (5, 5), (1, 7), (9, 4)])
def test_no_row_outside_those_below_has_a_weight(n, new_n):
    U = upsampling_matrix(n, new_n, torch.empty(0, dtype=torch.float64))
    for top in range(new_n):
        for bottom in range(top + 1, new_n + 1):
            low, high = rows_below(top, bottom, n, new_n)
            torch.testing.assert_close(U[top:bottom, low:high].sum(dim=1), U.new_ones(bottom - top))


def test_without_gradients_no_map_of_full_size_has_all_channels(monkeypatch):
    monkeypatch.setitem(NUMBERS_AT_A_TIME, "cpu", 4 * 16 * 12)  # four rows
    decoder = AllMLPDecoder((4, 6, 10, 8), 12, 5).eval()
    with torch.no_grad(), LargestTensor() as largest:
        decoder(pyramid((4, 6, 10, 8), 16, 16, torch.float32))
    assert largest.numel < 2 * 12 * 16 * 16


@pytest.mark.parametrize("off", [False, True])
def test_classes_of_pixels_need_no_more_than_a_strip_of_the_logits(off, monkeypatch):
    monkeypatch.setattr("vitlab.fast.argmax.STRIP", 8)
    monkeypatch.setitem(NUMBERS_AT_A_TIME, "cpu", 4 * 16 * 12)
    decoder = perturb(AllMLPDecoder((4, 6, 10, 8), 12, 40).eval())
    features = pyramid((4, 6, 10, 8), 32, 16, torch.float32)
    with torch.no_grad(), fast.off() if off else LargestTensor() as largest:
        classes = fast.all_mlp_classes(decoder, features, (100, 50))
        assert off or largest.numel < 2 * 40 * 32 * 16 / 2
        assert torch.equal(classes, upsample(decoder(features), (100, 50)).argmax(dim=1))


class Wrapped(torch.nn.Module):
    """The decoder with its maps as separate arguments."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, *features):
        return self.decoder(features)

    def as_taught(self, *features):
        return self.decoder.as_taught(features)


def test_the_two_forms_agree_in_training_too():
    decoder = perturb(AllMLPDecoder((4, 6, 10, 8), 12, 5, dropout=0.5).double()).train()
    features = pyramid((4, 6, 10, 8), 8, 16)
    results = []
    for form in (decoder.forward, decoder.as_taught):
        torch.manual_seed(0)  # the same channels are dropped
        results.append(form(features))
    torch.testing.assert_close(*results)


def test_the_used_form_stores_no_concatenation_of_all_maps():
    sizes = {}
    decoder = AllMLPDecoder((4, 6, 10, 8), 12, 5)
    for form in (decoder.forward, decoder.as_taught):
        with LargestTensor() as largest:
            form(pyramid((4, 6, 10, 8), 16, 16, torch.float32))
        sizes[form.__name__] = largest.numel
    assert sizes == {"forward": 2 * 12 * 16 * 16, "as_taught": 2 * 4 * 12 * 16 * 16}


class LargestTensor(torch.utils._python_dispatch.TorchDispatchMode):
    numel = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.numel = max(self.numel, result.numel())
        return result


@pytest.mark.parametrize("n, new_n", [(3, 12), (5, 9), (4, 4)])
def test_upsampling_is_a_matrix_on_each_side(n, new_n):
    X = torch.randn(1, 1, n, n, dtype=torch.float64)
    U = upsampling_matrix(n, new_n, X)
    torch.testing.assert_close(U @ X[0, 0] @ U.T, upsample(X, (new_n, new_n))[0, 0])
    assert ((U != 0).sum(1) <= 2).all()
    torch.testing.assert_close(U.sum(1), torch.ones(new_n, dtype=torch.float64))


@pytest.mark.parametrize("small, large", [((7, 5), (29, 17)), ((8, 8), (32, 32)), ((5, 9), (5, 9)), ((4, 4), (3, 2))])
@pytest.mark.parametrize("numbers_at_a_time", [1, 700])
def test_the_loss_in_pieces_equals_the_loss_at_once(small, large, numbers_at_a_time, monkeypatch):
    monkeypatch.setitem(NUMBERS_AT_A_TIME, "cpu", numbers_at_a_time)
    logits = (20 * torch.randn(2, 6, *small, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(0, 6, (2, *large))
    labels[1, 1:] = 9
    ours = upsampled_cross_entropy(logits, labels, ignore_index=9)
    expected = F.cross_entropy(upsample(logits, large), labels, ignore_index=9)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(*(torch.autograd.grad(3 * loss, logits)[0] for loss in (ours, expected)))


def test_the_loss_of_half_precision_logits_is_computed_in_float32():
    logits, labels = torch.randn(2, 6, 4, 4).bfloat16().requires_grad_(), torch.randint(0, 6, (2, 16, 16))
    loss = upsampled_cross_entropy(logits, labels)
    torch.testing.assert_close(loss, F.cross_entropy(upsample(logits.float(), (16, 16)), labels))
    assert torch.autograd.grad(loss, logits)[0].dtype == torch.bfloat16


# ---- The functions that a chapter teaches.


def decoder_parameters(decoder: AllMLPDecoder) -> dict[str, torch.Tensor]:
    """The decoder's weights as the functions take them: maps in the lecture's order, and BN as its scale and shift."""
    norm = decoder.norm
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    W = torch.cat(decoder.fuse.weight.T.chunk(len(decoder.project))[::-1])
    p = {"W": W * scale, "b": norm.bias - scale * norm.running_mean}
    p |= {"W_head": decoder.classify.weight.T, "b_head": decoder.classify.bias}
    for i, L_i in enumerate(decoder.project, start=1):
        p |= {f"L_{i}": L_i.weight.T, f"b_{i}": L_i.bias}
    return p


@pytest.mark.parametrize("H, W", [(8, 16), (11, 18)])
def test_both_functions_compute_what_the_module_computes(H, W):
    decoder = perturb(AllMLPDecoder((4, 6, 10, 8), 12, 5).double())
    p, features = decoder_parameters(decoder), pyramid((4, 6, 10, 8), H, W)
    torch.testing.assert_close(all_mlp_decoder(features, p), decoder(features))
    torch.testing.assert_close(fused_decoder(features, p), decoder(features))


def test_the_fused_function_never_makes_a_tensor_of_more_than_c_channels_of_full_size():
    sizes = {}
    p = decoder_parameters(AllMLPDecoder((4, 6, 10, 8), 12, 5))
    for function in (all_mlp_decoder, fused_decoder):
        with LargestTensor() as largest:
            function(pyramid((4, 6, 10, 8), 16, 16, torch.float32), p)
        sizes[function.__name__] = largest.numel
    assert sizes == {"all_mlp_decoder": 2 * 4 * 12 * 16 * 16, "fused_decoder": 2 * 12 * 16 * 16}


def test_a_projected_map_is_upsampled_channel_by_channel():
    F_i, L, b = torch.randn(2, 6, 3, 4), torch.randn(6, 5), torch.randn(5)
    expected = F.interpolate(F.conv2d(F_i, L.T[:, :, None, None], b), (9, 10), mode="bilinear")
    torch.testing.assert_close(project_and_upsample(F_i, L, b, (9, 10)), expected, rtol=1e-4, atol=1e-5)


# ---- Right answers, written in other ways: every one gets full marks.


def map_with_a_convolution(F_i, L, b, size):
    return F.interpolate(F.conv2d(F_i, L.T[:, :, None, None], b), tuple(size), mode="bilinear")


def map_with_einsum(F_i, L, b, size):
    return F.interpolate(torch.einsum("bihw,ic->bchw", F_i, L), size, mode="bilinear") + b[:, None, None]


def map_upsampled_first(F_i, L, b, size):
    return torch.einsum("bihw,ic->bchw", upsample(F_i, size), L) + b.reshape(-1, 1, 1)


def map_as_a_sequence(F_i, L, b, size):
    B, _, h, w = F_i.shape
    tokens = F_i.flatten(2).transpose(1, 2)  # (B, h*w, C_i)
    projected = F.linear(tokens, L.T, b)  # (B, h*w, C)
    return upsample(projected.transpose(1, 2).reshape(B, -1, h, w), size)


def map_with_matrices(F_i, L, b, size):
    rows, columns = (upsampling_matrix(n, new_n, F_i) for n, new_n in zip(F_i.shape[-2:], size, strict=True))
    projected = torch.tensordot(L.T, F_i, dims=([1], [1])).transpose(0, 1) + b[None, :, None, None]
    return rows @ projected @ columns.T


def map_image_by_image(F_i, L, b, size):
    maps = [(x.permute(1, 2, 0) @ L + b).permute(2, 0, 1) for x in F_i]
    return torch.stack([F.interpolate(x[None], size=size, mode="bilinear", align_corners=False)[0] for x in maps])


WAYS_OF_A_MAP = (map_with_a_convolution, map_with_einsum, map_upsampled_first, map_as_a_sequence, map_with_matrices,
                 map_image_by_image)  # fmt: skip


def taught_with(way):
    """The four steps with one of the ways of a map, fused and classified by convolutions."""

    def function(features, p):
        size = features[0].shape[2:]
        maps = [way(features[i], p[f"L_{i + 1}"], p[f"b_{i + 1}"], size) for i in range(4)]
        fused = F.relu(F.conv2d(torch.cat(maps, 1), p["W"].T[..., None, None], p["b"]))
        return F.conv2d(fused, p["W_head"].T[..., None, None], p["b_head"])

    return function


def fused_with(way):
    """Each map is fused before it is upsampled, with one of the ways of a map."""

    def function(features, p):
        C = len(p["b"])
        total = 0
        for i in reversed(range(4)):
            W_i = p["W"][i * C : (i + 1) * C]
            b = p[f"b_{i + 1}"] @ W_i + p["b"] / 4
            total = total + way(features[i], p[f"L_{i + 1}"] @ W_i, b, features[0].shape[2:])
        return torch.einsum("bchw,cn->bnhw", total.clamp(min=0), p["W_head"]) + p["b_head"][None, :, None, None]

    return function


def summed_after_upsampling(features, p):
    """Nothing concatenated, and C channels at most."""
    size, blocks = features[0].shape[2:], p["W"].chunk(4)
    maps = ((project_and_upsample(features[i], p[f"L_{i + 1}"], p[f"b_{i + 1}"], size), blocks[i]) for i in range(4))
    fused = sum(torch.einsum("bchw,cd->bdhw", F_hat, W_i) for F_hat, W_i in maps) + p["b"][:, None, None]
    return torch.einsum("bchw,cn->bnhw", fused.relu(), p["W_head"]) + p["b_head"][:, None, None]


CORRECT = {
    "project_and_upsample": WAYS_OF_A_MAP,
    "all_mlp_decoder": tuple(map(taught_with, WAYS_OF_A_MAP)),
    "fused_decoder": (
        *(fused_with(way) for way in WAYS_OF_A_MAP if way is not map_upsampled_first),
        summed_after_upsampling,
    ),
}


def stacked(features, p):
    """Fused before upsampling, and yet four maps at once."""
    size, blocks = features[0].shape[2:], p["W"].chunk(4)
    maps = [
        map_with_einsum(features[i], p[f"L_{i + 1}"] @ blocks[i], p[f"b_{i + 1}"] @ blocks[i], size) for i in range(4)
    ]
    fused = torch.stack(maps).sum(dim=0) + p["b"][:, None, None]
    return torch.einsum("bchw,cn->bnhw", fused.relu(), p["W_head"]) + p["b_head"][:, None, None]


def two_at_a_time(features, p):
    """Two maps concatenated and fused, and then the other two."""
    size, C = features[0].shape[2:], len(p["b"])
    maps = [project_and_upsample(features[i], p[f"L_{i + 1}"], p[f"b_{i + 1}"], size) for i in range(4)]
    pairs = torch.cat(maps[:2], dim=1), torch.cat(maps[2:], dim=1)
    fused = sum(torch.einsum("bchw,cd->bdhw", pair, W) for pair, W in zip(pairs, p["W"].split(2 * C), strict=True))
    fused = fused + p["b"][:, None, None]
    return torch.einsum("bchw,cn->bnhw", fused.relu(), p["W_head"]) + p["b_head"][:, None, None]


all_channels_upsampled = fused_with(map_upsampled_first)  # C_4 channels of full size, where there are more than C


@pytest.mark.parametrize("function", [all_mlp_decoder, stacked, two_at_a_time, all_channels_upsampled])
def test_right_numbers_from_a_tensor_that_is_too_large_are_told(function):
    for seed in range(3):
        result = checks.run("decoder", {"fused_decoder": function}, seed).exercises[2]
        assert [part.failed_on is None for part in result.parts] == [True, False, True]
        assert len(result.sentences) == 1 and "numbers is made on the way" in result.sentences[0], result.sentences


def test_the_large_tensors_of_an_earlier_function_are_not_held_against_the_later_one():
    namespace = {"project_and_upsample": map_upsampled_first}  # right there, where only the numbers count
    for seed in range(3):
        results = checks.run("decoder", namespace | {"fused_decoder": all_channels_upsampled}, seed).exercises
        assert results[0].passed and results[2].passed, results[2].sentences
        results = checks.run("decoder", namespace | {"fused_decoder": all_mlp_decoder}, seed).exercises
        assert "numbers is made on the way" in results[2].sentences[0]
