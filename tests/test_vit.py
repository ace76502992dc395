"""ViT: sizes, pooling, other image sizes, bad input, and every way to run it."""

import math
import re
from dataclasses import replace

import pytest
import torch
from support.parity import (
    assert_half_precision_agrees,
    assert_onnx_agrees,
    numbers_kept,
    perturb,
    value_and_gradients,
    without_biases,
)
from torch import nn
from torch.nn import functional as F

from vitlab import ViT, checks
from vitlab.attention import attention_scores, attention_weights, split_heads
from vitlab.embeddings import assemble_sequence, embed_patches, patchify
from vitlab.encoder import encoder, encoder_block
from vitlab.layer_norm import layer_norm
from vitlab.vit import CONFIGS, ViTConfig, leave_out_patches, vit, vit_parameters

TINY = ViTConfig(depth=2, d=12, num_heads=3, patch_size=8, image_size=(32, 48), num_classes=5)

PARAMETERS = {
    "ViT-Ti/16": 5_717_416,
    "ViT-S/16": 22_050_664,
    "ViT-B/14": 86_475_496,
    "ViT-B/16": 86_567_656,
    "ViT-B/32": 88_224_232,
    "ViT-L/14": 304_203_752,
    "ViT-L/16": 304_326_632,
    "ViT-L/32": 306_535_400,
    "ViT-H/14": 632_045_800,
    "ViT-H/16": 632_199_400,
    "ViT-H/32": 634_960_360,
    "DINO-S/8": 21_670_272,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_sizes_on_the_meta_device(name):
    with torch.device("meta"):
        model = ViT.from_config(name)
        y = model(torch.empty(2, 3, 224, 224))
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    assert y.shape == (2, model.config.num_classes or model.config.d)


def test_all_names_of_the_course_exist():
    vit = {f"ViT-{size}/{P}" for size in ("Ti", "S", "B", "L", "H") for P in (14, 16, 32)}
    assert CONFIGS.keys() == vit | {f"DINO-{size}/{P}" for size in ("S", "B") for P in (8, 16)}


def test_the_function_counts_the_parameters_of_the_published_models():
    for name, parameters in PARAMETERS.items():
        config = CONFIGS[name]
        if config.num_classes:
            assert vit_parameters(config.depth, config.d, config.patch_size, 224, 1000) == parameters
    assert vit_parameters(2, 12, 8, 32, 5) == sum(p.numel() for p in ViT(replace(TINY, image_size=32)).parameters())


def test_the_function_computes_what_the_module_computes():
    model = perturb(ViT(TINY))
    for block in model.encoder.blocks:
        without_biases(block.attention)
    p = model.parameters_as_taught()
    images = torch.randn(2, 3, 32, 48)
    torch.testing.assert_close(vit(images, p, 8, 3), model(images), rtol=1e-4, atol=1e-5)


def test_class_scores_come_from_the_class_token():
    model = perturb(ViT(TINY))
    images = torch.randn(2, 3, 32, 48)
    tokens = model.encoder(model.embeddings(images))
    torch.testing.assert_close(model(images), model.head(tokens[:, 0]))


def test_attention_maps_are_those_of_the_blocks():
    model = perturb(ViT(TINY))
    images = torch.randn(2, 3, 32, 48)
    first, second = model.encoder.blocks
    z_1 = first(model.embeddings(images))
    Q, K = (split_heads(layer(second.norm_1(z_1)), 3) for layer in (second.attention.query, second.attention.key))
    maps = model.attention_maps(images)
    torch.testing.assert_close(maps[1], attention_weights(attention_scores(Q, K)))
    torch.testing.assert_close(maps[0].sum(-1), torch.ones(2, 3, 25))


def test_mean_pooling_leaves_the_class_token_out():
    model = perturb(ViT(ViTConfig(2, 12, 3, 8, (32, 48), num_classes=5, pool="mean")))
    images = torch.randn(2, 3, 32, 48)
    torch.testing.assert_close(model(images), model.head(model.tokens(images)[:, 1:].mean(dim=1)))


def test_a_model_without_a_head_says_that_the_lecture_s_has_one():
    with pytest.raises(ValueError, match="no head, but the lecture's ViT has one"):
        ViT(ViTConfig(2, 12, 3, 8, (32, 48), num_classes=0)).parameters_as_taught()


def test_patches_are_left_out_in_training_only():
    Z = torch.randn(4, 25, 6)
    kept = leave_out_patches(Z, 0.5)
    assert kept.shape == (4, 13, 6) and torch.equal(kept[:, 0], Z[:, 0])
    places = [[(Z[b] == token).all(dim=1).nonzero().item() for token in kept[b]] for b in range(4)]
    assert leave_out_patches(Z[:, :5], 0.9).shape == (4, 2, 6)  # one of four: the mean of none is not a number
    assert all(len(set(each)) == 13 for each in places) and len({tuple(sorted(each)) for each in places}) > 1

    model, images = perturb(ViT(TINY)), torch.randn(2, 3, 32, 48)
    whole = model(images)
    model.patch_dropout = 0.5
    assert torch.equal(model.eval()(images), whole)
    assert not torch.allclose(model.train()(images), whole)


def test_the_head_may_have_a_hidden_layer():
    model = perturb(ViT(ViTConfig(2, 12, 3, 8, (32, 48), num_classes=5, pooler=True)))
    images = torch.randn(2, 3, 32, 48)
    torch.testing.assert_close(model(images), model.head(model.pooler(model.tokens(images)[:, 0]).tanh()))


def test_another_image_size():
    model = perturb(ViT(TINY))
    assert model(torch.randn(2, 3, 40, 24)).shape == (2, 5)
    assert [A.shape for A in model.attention_maps(torch.randn(2, 3, 40, 24))] == [(2, 3, 16, 16)] * 2


def test_from_config_takes_changes():
    model = ViT.from_config("ViT-Ti/16", num_classes=10, image_size=(64, 96), depth=1)
    assert model.embeddings.grid == (4, 6)
    assert model(torch.randn(1, 3, 64, 96)).shape == (1, 10)


@pytest.mark.parametrize(
    "act, sentence",
    [
        (lambda: ViT.from_config("ViT-X/16"), "no configuration 'ViT-X/16'; these exist: ViT-Ti/14, "),
        (lambda: ViT.from_config("ViT-B/16", classes=3), "ViT-B/16 has an entry 'classes' that nobody reads: did you"),
        (lambda: ViT.from_config("ViT-B/16", image_size=100), "image_size is 100 x 100, but .* multiples of 16"),
        (lambda: ViT.from_config("ViT-B/16", pool="max"), "pool is 'max', but it must be 'class' or 'mean'"),
        (lambda: ViT.from_config("ViT-B/16", num_heads=7), "d = 768 is not a multiple of num_heads = 7"),
        (lambda: ViT(TINY)(torch.randn(1, 3, 33, 48)), "33 x 48 pixels, .* multiples of 8"),
        (lambda: ViT(TINY)(torch.randn(1, 4, 32, 48)), "have 4 channels, but this model was made for 3"),
        (lambda: ViT(TINY)(torch.randn(3, 32, 48)), r"must be \(B, C, H, W\)"),
        (lambda: ViT(TINY).tokens(torch.ones(1, 3, 32, 48).byte()), "must be a tensor of floats, .* are torch.uint8"),
    ],
)
def test_bad_input_is_named(act, sentence):
    with pytest.raises(ValueError, match=sentence):
        act()


def test_compiles_without_a_graph_break():
    model = perturb(ViT(TINY))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for size in ((32, 48), (40, 24)):
        images = torch.randn(2, 3, *size)
        torch.testing.assert_close(compiled(images), model(images))


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision(dtype, tolerance):
    assert_half_precision_agrees(perturb(ViT(TINY)), torch.randn(2, 3, 32, 48), dtype, tolerance)


def test_gradient_checkpointing_gives_the_same_gradients_and_keeps_less():
    model = perturb(ViT(TINY)).train()
    images = torch.randn(2, 3, 32, 48)
    results, kept = [], []
    for model.encoder.gradient_checkpointing in (False, True):
        results.append(value_and_gradients(model, [images], list(model.parameters())))
        kept.append(numbers_kept(model, images))
    for plain, checkpointed in zip(*results, strict=True):
        torch.testing.assert_close(plain, checkpointed)
    assert kept[1] < kept[0]


def test_onnx_gives_the_same_scores(tmp_path):
    assert_onnx_agrees(perturb(ViT(TINY)), torch.randn(2, 3, 32, 48), tmp_path / "vit.onnx")


# ---- Right answers, written in other ways: every one gets full marks.


def vit_with_convolution(images, p, patch_size, num_heads):
    kernel = p["E"].reshape(patch_size, patch_size, images.shape[1], -1).permute(3, 2, 0, 1)
    x = F.conv2d(images, kernel, p["b"], stride=patch_size).flatten(2).transpose(1, 2)
    z = torch.cat([p["x_class"].expand(len(x), 1, -1), x], dim=1) + p["E_pos"]
    for block in p["blocks"]:
        z = encoder_block(z, block, num_heads)
    z_class = layer_norm(z[:, :1], p["gamma"], p["beta"], 1e-6).squeeze(1)
    return torch.addmm(p["b_head"], z_class, p["W_head"])


def vit_with_the_bias_in_the_positions(images, p, patch_size, num_heads):
    E_pos = torch.cat([p["E_pos"][:1], p["E_pos"][1:] + p["b"]])
    z = assemble_sequence(embed_patches(images, p["E"], patch_size), p["x_class"], E_pos)
    z = encoder(z, p["blocks"], p["gamma"], p["beta"], num_heads)
    return torch.einsum("bd,dn->bn", z.select(1, 0), p["W_head"]) + p["b_head"]


def vit_image_by_image(images, p, patch_size, num_heads):
    return torch.cat([vit(image[None], p, patch_size, num_heads) for image in images])


def vit_with_every_token_classified(images, p, patch_size, num_heads):
    x = torch.einsum("bnp,pd->bnd", patchify(images, patch_size), p["E"]) + p["b"]
    z = assemble_sequence(x, p["x_class"], p["E_pos"])
    y = encoder(z, p["blocks"], p["gamma"], p["beta"], num_heads) @ p["W_head"] + p["b_head"]
    return y[:, 0, :]


def vit_in_float64(images, p, patch_size, num_heads):
    def double(value):
        if isinstance(value, list):
            return [double(item) for item in value]
        return {k: double(v) for k, v in value.items()} if isinstance(value, dict) else value.double()

    return vit(images.double(), double(p), patch_size, num_heads).to(images.dtype)


def vit_with_the_class_token_last(images, p, patch_size, num_heads):
    """Attention does not mind where a token stands, as long as it has its position."""
    x = embed_patches(images, p["E"], patch_size) + p["b"] + p["E_pos"][1:]
    x_class = (p["x_class"] + p["E_pos"][0]).expand(len(x), 1, -1)
    z = encoder(torch.cat([x, x_class], dim=1), p["blocks"], p["gamma"], p["beta"], num_heads)
    return F.linear(z[:, -1], p["W_head"].T, p["b_head"])


def count_from_modules(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    with torch.device("meta"):
        parts = [nn.Conv2d(3, d, patch_size), nn.Embedding(n + 2, d), nn.LayerNorm(d), nn.Linear(d, num_classes)]
        parts += [nn.TransformerEncoderLayer(d, 1, 4 * d) for _ in range(depth)]
    return sum(q.numel() for part in parts for q in part.parameters())


def count_from_the_model(depth, d, patch_size, image_size, num_classes):
    with torch.device("meta"):
        model = ViT(ViTConfig(depth, d, 1, patch_size, image_size, num_classes))
    return sum(q.numel() for q in model.parameters())


def count_in_one_formula(depth, d, patch_size, image_size, num_classes):
    n = image_size**2 // patch_size**2
    return d * (3 * patch_size**2 + n + 5 + depth * (12 * d + 13) + num_classes) + num_classes


def count_with_a_loop(depth, d, patch_size, image_size, num_classes):
    def linear(inputs, outputs):
        return (inputs + 1) * outputs

    side = image_size // patch_size
    total = linear(3 * patch_size * patch_size, d) + d + (side * side + 1) * d
    for _ in range(depth):
        total += 2 * d + linear(d, 3 * d) + linear(d, d) + 2 * d + linear(d, 4 * d) + linear(4 * d, d)
    return total + 2 * d + linear(d, num_classes)


def count_of_shapes(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    block = [(d,)] * 4 + [(d, d), (d,)] * 4 + [(d, 4 * d), (4 * d,), (4 * d, d), (d,)]
    shapes = [(3 * patch_size**2, d), (d,), (d,), (n + 1, d), *block * depth, (d,), (d,)]
    return sum(math.prod(shape) for shape in [*shapes, (d, num_classes), (num_classes,)])


def count_as_a_tensor(depth, d, patch_size, image_size, num_classes):
    return torch.tensor(vit_parameters(depth, d, patch_size, image_size, num_classes))


CORRECT = {
    "vit": (vit_with_convolution, vit_with_the_bias_in_the_positions, vit_image_by_image,
            vit_with_every_token_classified, vit_in_float64, vit_with_the_class_token_last),
    "vit_parameters": (count_from_modules, count_from_the_model, count_in_one_formula, count_with_a_loop,
                       count_of_shapes, count_as_a_tensor),
}  # fmt: skip


def vit_in_a_loop_with_stack(images, p, patch_size, num_heads):
    return torch.stack([vit(image[None], p, patch_size, num_heads) for image in images])


def vit_with_the_class_token_after_the_encoder(images, p, patch_size, num_heads):
    x = embed_patches(images, p["E"], patch_size) + p["b"]
    z = assemble_sequence(encoder(x, p["blocks"], p["gamma"], p["beta"], num_heads), p["x_class"], p["E_pos"])
    return z[:, 0] @ p["W_head"] + p["b_head"]


def count_with_the_last_norm_in_each_block(depth, d, patch_size, image_size, num_classes):
    return vit_parameters(depth, d, patch_size, image_size, num_classes) + (depth - 1) * 2 * d


def count_without_class_token_and_last_norm(depth, d, patch_size, image_size, num_classes):
    return vit_parameters(depth, d, patch_size, image_size, num_classes) - 3 * d


@pytest.mark.parametrize(
    "name, function, words",
    [
        ("vit", vit_in_a_loop_with_stack, r"an axis too many, \(B, 1, N\)"),
        ("vit", vit_with_the_class_token_after_the_encoder, "does the class token come in behind it"),
        ("vit_parameters", count_with_the_last_norm_in_each_block, "The last LN is counted once for each block"),
        ("vit_parameters", count_without_class_token_and_last_norm, "3d numbers are missing outside the blocks"),
    ],
)
def test_mistakes_of_beginners_are_named(name, function, words):
    for seed in range(3):
        results = {result.name: result for result in checks.run("vit", {name: function}, seed).exercises}
        assert re.search(words, results[name].sentences[0])
