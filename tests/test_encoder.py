"""The encoder: residual connections, the order within a block, stochastic depth, checkpointing."""

import functools
from collections.abc import Callable

import pytest
import torch
from support.parity import numbers_kept, perturb, value_and_gradients, without_biases
from torch import Tensor, nn
from torch.nn import functional as F

from vitlab import checks
from vitlab.attention import MultiHeadSelfAttention, multi_head_self_attention
from vitlab.encoder import Encoder, EncoderBlock, drop_path, drop_path_rates, encoder, encoder_block
from vitlab.fast.class_token import class_token
from vitlab.ffn import FeedForward, ffn
from vitlab.layer_norm import layer_norm
from vitlab.steps import Steps


def test_the_block_normalizes_before_each_sublayer():
    block = perturb(EncoderBlock(6, MultiHeadSelfAttention(6, 2), FeedForward(6, 12)))
    Z = torch.randn(2, 5, 6)
    Z_1 = Z + block.attention(block.norm_1(Z))
    torch.testing.assert_close(block(Z), Z_1 + block.ffn(block.norm_2(Z_1)))


def test_the_block_equals_pytorch_s():
    theirs = nn.TransformerEncoderLayer(
        12, 3, 20, dropout=0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    perturb(theirs)
    ours = Encoder(1, 12, 3, 20).blocks[0].eval()
    attention = theirs.self_attn
    W = [*attention.in_proj_weight.chunk(3), attention.out_proj.weight]
    b = [*attention.in_proj_bias.chunk(3), attention.out_proj.bias]
    with torch.no_grad():
        parts = (ours.attention.query, ours.attention.key, ours.attention.value, ours.attention.output)
        for mine, weight, bias in zip(
            (*parts, ours.ffn.expand, ours.ffn.compress),
            (*W, theirs.linear1.weight, theirs.linear2.weight),
            (*b, theirs.linear1.bias, theirs.linear2.bias),
            strict=True,
        ):
            mine.weight.copy_(weight)
            mine.bias.copy_(bias)
        for mine, other in ((ours.norm_1, theirs.norm1), (ours.norm_2, theirs.norm2)):
            mine.gamma.copy_(other.weight)
            mine.beta.copy_(other.bias)
    Z = torch.randn(2, 5, 12)
    torch.testing.assert_close(ours(Z), theirs(Z), rtol=1e-4, atol=1e-5)


def test_drop_path_drops_whole_images_and_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.rand(4000, 3, 2) + 1
    y = drop_path(x, 0.25)
    kept = (y != 0).flatten(1)
    assert torch.equal(kept.all(1), kept.any(1))
    torch.testing.assert_close(y[kept.all(1)], x[kept.all(1)] / 0.75)
    assert abs(kept.all(1).float().mean() - 0.75) < 0.03
    assert drop_path(x, 0.0) is x


def test_drop_path_grows_linearly_and_rests_in_evaluation():
    assert drop_path_rates(0.4, 5) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert drop_path_rates(0.4, 1) == [0]
    encoder = Encoder(3, 6, 2, 12, drop_path=0.9)
    assert [block.drop_path for block in encoder.blocks] == pytest.approx([0, 0.45, 0.9])
    Z = torch.randn(8, 5, 6)
    torch.manual_seed(0)
    assert not torch.equal(encoder(Z), encoder(Z))
    encoder.eval()
    assert torch.equal(encoder(Z), encoder(Z))


def test_gradient_checkpointing_changes_nothing_but_what_is_kept():
    encoder = perturb(Encoder(3, 6, 2, 12, drop_path=0.5).double()).train()
    Z = torch.randn(4, 5, 6, dtype=torch.float64, requires_grad=True)
    variables = [Z, *encoder.parameters()]
    results, kept = [], []  # kept: how many numbers the forward pass stores for the backward pass
    for encoder.gradient_checkpointing in (False, True):
        torch.manual_seed(0)  # the same images are dropped
        results.append(value_and_gradients(encoder, [Z], variables))
        kept.append(numbers_kept(encoder, Z))
    for plain, checkpointed in zip(*results, strict=True):
        torch.testing.assert_close(plain, checkpointed)
    assert kept[1] < kept[0] / 2


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_the_class_token_alone_is_the_first_of_all_in_value_and_gradient(depth, gradient_checkpointing):
    encoder = perturb(Encoder(depth, 6, 2, 12, drop_path=0.5).double()).train()
    encoder.gradient_checkpointing = gradient_checkpointing
    Z = torch.randn(4, 5, 6, dtype=torch.float64, requires_grad=True)
    results = []
    for form in (lambda Z: class_token(encoder, Z), lambda Z: encoder(Z)[:, 0]):
        torch.manual_seed(0)  # the same images are dropped
        results.append(value_and_gradients(form, [Z], [Z, *encoder.parameters()]))
    for alone, of_all in zip(*results, strict=True):
        torch.testing.assert_close(alone, of_all)


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_every_step_of_every_block_has_its_name(gradient_checkpointing):
    encoder = perturb(Encoder(2, 6, 2, 12)).train()
    encoder.gradient_checkpointing = gradient_checkpointing
    Z = torch.randn(2, 5, 6)
    steps = Steps()
    torch.testing.assert_close(encoder(Z, steps), encoder(Z))
    assert list(steps) == ["block_1", "block_2"]
    shapes = {name: tuple(step.shape) for name, step in steps["block_2"].items()}
    of_heads = dict.fromkeys(("Q", "K", "V"), (2, 2, 5, 3)) | dict.fromkeys(("scores", "weights"), (2, 2, 5, 5))
    of_tokens = {"plus_attention": (2, 5, 6), "activated": (2, 5, 12), "plus_ffn": (2, 5, 6)}
    assert shapes == of_heads | {"heads": (2, 2, 5, 3)} | of_tokens
    torch.testing.assert_close(steps["block_1"]["plus_ffn"], encoder.blocks[0](Z))
    torch.testing.assert_close(encoder.norm(steps["block_2"]["plus_ffn"]), encoder(Z))


def test_the_functions_compute_what_the_modules_compute_in_value_and_gradient():
    module = perturb(Encoder(3, 12, 3, 20).double())
    for block in module.blocks:
        without_biases(block.attention)
    blocks = [block.parameters_as_taught() for block in module.blocks]
    Z = torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(encoder_block(Z, blocks[0], 3), module.blocks[0](Z))
    variables = [
        v
        for name, v in [("Z", Z), *module.named_parameters()]
        if not name.endswith(("query.bias", "key.bias", "value.bias", "output.bias"))
    ]
    ours = value_and_gradients(lambda Z: encoder(Z, blocks, module.norm.gamma, module.norm.beta, 3), [Z], variables)
    expected = value_and_gradients(module, [Z], variables)
    for mine, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, other)


# ---- Right answers, written in other ways: every one gets full marks.


def block_of_pytorch(Z, p, num_heads):
    """nn.TransformerEncoderLayer with the weights of p."""
    d, d_ff = p["W_1"].shape
    layer = nn.TransformerEncoderLayer(
        d, num_heads, d_ff, 0.0, F.gelu, layer_norm_eps=1e-6, batch_first=True, norm_first=True, dtype=Z.dtype
    )
    weights = {
        "self_attn.in_proj_weight": torch.cat([p["W_Q"].T, p["W_K"].T, p["W_V"].T]),
        "self_attn.in_proj_bias": Z.new_zeros(3 * d),
        "self_attn.out_proj.weight": p["W_O"].T,
        "self_attn.out_proj.bias": Z.new_zeros(d),
        "norm1.weight": p["gamma_1"],
        "norm1.bias": p["beta_1"],
        "norm2.weight": p["gamma_2"],
        "norm2.bias": p["beta_2"],
        "linear1.weight": p["W_1"].T,
        "linear1.bias": p["b_1"],
        "linear2.weight": p["W_2"].T,
        "linear2.bias": p["b_2"],
    }
    return torch.func.functional_call(layer, weights, (Z,))


def block_with_functional(Z, p, num_heads):
    d = Z.shape[-1]
    x = F.layer_norm(Z, (d,), p["gamma_1"], p["beta_1"], 1e-6)
    Q, K, V = ((x @ p[name]).unflatten(-1, (num_heads, -1)).transpose(1, 2) for name in ("W_Q", "W_K", "W_V"))
    Z = Z + F.scaled_dot_product_attention(Q, K, V).transpose(1, 2).flatten(2) @ p["W_O"]
    x = F.layer_norm(Z, (d,), p["gamma_2"], p["beta_2"], 1e-6)
    return Z + F.linear(F.gelu(F.linear(x, p["W_1"].T, p["b_1"])), p["W_2"].T, p["b_2"])


def block_with_a_list_of_sublayers(Z, p, num_heads):
    attend = functools.partial(
        multi_head_self_attention, W_Q=p["W_Q"], W_K=p["W_K"], W_V=p["W_V"], W_O=p["W_O"], num_heads=num_heads
    )
    feed = functools.partial(ffn, W_1=p["W_1"], b_1=p["b_1"], W_2=p["W_2"], b_2=p["b_2"])
    for k, sublayer in enumerate((attend, feed), start=1):
        Z = Z + sublayer(layer_norm(Z, p[f"gamma_{k}"], p[f"beta_{k}"], 1e-6))
    return Z


def block_image_by_image(Z, p, num_heads):
    results = []
    for z in Z.split(1):
        x = z.clone()
        x += encoder_block(z, p, num_heads) - z
        results.append(x)
    return torch.cat(results)


def block_in_float64(Z, p, num_heads):
    return encoder_block(Z.double(), {name: value.double() for name, value in p.items()}, num_heads).to(Z.dtype)


def block_token_by_token(Z, p, num_heads):
    normalized = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    Z_1 = Z + multi_head_self_attention(normalized, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    tokens = []
    for z in Z_1.unbind(1):
        mu, variance = z.mean(-1, keepdim=True), z.var(-1, keepdim=True, unbiased=False)
        x = p["gamma_2"] * (z - mu) * (variance + 1e-6).rsqrt() + p["beta_2"]
        tokens.append(z + F.gelu(x @ p["W_1"] + p["b_1"]) @ p["W_2"] + p["b_2"])
    return torch.stack(tokens, dim=1)


def encoder_with(block: Callable) -> Callable[..., Tensor]:
    """A loop over one's own blocks."""

    def encoder(Z, blocks, gamma, beta, num_heads):
        for p in blocks:
            Z = block(Z, p, num_heads)
        return F.layer_norm(Z, gamma.shape, gamma, beta, 1e-6)

    return encoder


def encoder_with_reduce(Z, blocks, gamma, beta, num_heads):
    z_L = functools.reduce(lambda z, p: encoder_block(z, p, num_heads), blocks, Z)
    return layer_norm(z_L, gamma, beta, 1e-6)


def encoder_with_recursion(Z, blocks, gamma, beta, num_heads):
    if not blocks:
        return layer_norm(Z, gamma, beta, 1e-6)
    return encoder_with_recursion(encoder_block(Z, blocks[0], num_heads), blocks[1:], gamma, beta, num_heads)


def encoder_with_a_list(Z, blocks, gamma, beta, num_heads):
    states = [Z]
    for k in range(len(blocks)):
        states.append(block_with_functional(states[-1], blocks[k], num_heads))
    return layer_norm(states[-1], gamma, beta, 1e-6)


def encoder_image_by_image(Z, blocks, gamma, beta, num_heads):
    return torch.stack([encoder(z[None], blocks, gamma, beta, num_heads)[0] for z in Z])


def encoder_in_float64(Z, blocks, gamma, beta, num_heads):
    blocks = [{name: value.double() for name, value in p.items()} for p in blocks]
    return encoder(Z.double(), blocks, gamma.double(), beta.double(), num_heads).to(Z.dtype)


CORRECT = {
    "encoder_block": (block_of_pytorch, block_with_functional, block_with_a_list_of_sublayers, block_image_by_image,
                      block_in_float64, block_token_by_token),
    "encoder": (encoder_with(block_of_pytorch), encoder_with_reduce, encoder_with_recursion, encoder_with_a_list,
                encoder_image_by_image, encoder_in_float64),
}  # fmt: skip


def block_of_lonely_tokens(Z, p, num_heads):
    images = []
    for z in Z:
        tokens = [encoder_block(token[None, None], p, num_heads)[0, 0] for token in z]
        images.append(torch.stack(tokens))
    return torch.stack(images)


def block_with_the_ffn_first(Z, p, num_heads):
    normalized = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    Z = Z + ffn(normalized, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    normalized = layer_norm(Z, p["gamma_2"], p["beta_2"], 1e-6)
    return Z + multi_head_self_attention(normalized, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)


def encoder_with_pytorch_s_epsilon(Z, blocks, gamma, beta, num_heads):
    for p in blocks:
        Z = encoder_block(Z, p, num_heads)
    return F.layer_norm(Z, gamma.shape, gamma, beta)


@pytest.mark.parametrize(
    "name, function, words",
    [
        ("encoder_block", block_of_lonely_tokens, "Each token attends to itself alone"),
        ("encoder_block", block_with_the_ffn_first, "The FFN comes first and the attention second"),
        ("encoder", encoder_with_pytorch_s_epsilon, "The last LN's ε is 1e-5"),
    ],
)
def test_mistakes_of_beginners_are_named(name, function, words):
    for seed in range(3):
        results = {result.name: result for result in checks.run("encoder", {name: function}, seed).exercises}
        assert words in results[name].sentences[0]
