"""MiT: sizes, the pyramid, bad input, and every way to run it."""

import pytest
import torch
from support.parity import assert_half_precision_agrees, assert_onnx_agrees, numbers_kept, perturb, value_and_gradients

from vitlab.mit import CONFIGS, MiT, MiTConfig

TINY = MiTConfig((4, 8, 20, 16), (1, 2, 1, 1), (1, 2, 5, 4), num_classes=5)

PARAMETERS = {
    "MiT-B0": 3_576_392,
    "MiT-B1": 13_664_424,
    "MiT-B2": 24_709_288,
    "MiT-B3": 44_585_128,
    "MiT-B4": 61_355_688,
    "MiT-B5": 81_956_008,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_sizes_on_the_meta_device(name):
    with torch.device("meta"):
        model = MiT.from_config(name)
        y = model(torch.empty(2, 3, 224, 224))
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    assert y.shape == (2, 1000)


def test_b0_is_the_lecture_s_table():
    config = CONFIGS["MiT-B0"]
    assert (config.d, config.depths, config.num_heads) == ((32, 64, 160, 256), (2, 2, 2, 2), (1, 2, 5, 8))
    with torch.device("meta"):
        features = MiT.from_config("MiT-B0").features(torch.empty(1, 3, 512, 512))
    assert [tuple(F_i.shape[1:]) for F_i in features] == [(32, 128, 128), (64, 64, 64), (160, 32, 32), (256, 16, 16)]


@pytest.mark.parametrize("H, W", [(64, 96), (45, 70), (29, 33)])
def test_each_map_has_half_the_resolution_of_the_one_before(H, W):
    features = MiT(TINY).features(torch.randn(2, 3, H, W))
    for i, (F_i, d) in enumerate(zip(features, TINY.d, strict=True)):
        assert F_i.shape == (2, d, -(-H // 2 ** (i + 2)), -(-W // 2 ** (i + 2)))


def test_tokens_and_feature_maps_share_their_memory():
    for F_i in MiT(TINY).features(torch.randn(2, 3, 64, 96)):
        assert F_i.is_contiguous(memory_format=torch.channels_last)


def test_the_head_sees_the_mean_of_the_last_map():
    model = perturb(MiT(TINY))
    images = torch.randn(2, 3, 64, 96)
    torch.testing.assert_close(model(images), model.head(model.features(images)[-1].mean(dim=(2, 3))))


def test_drop_path_grows_over_all_blocks_of_all_stages():
    rates = [block.drop_path for stage in MiT(TINY).stages for block in stage.blocks]
    assert rates == pytest.approx([0, 0.025, 0.05, 0.075, 0.1])


def test_bad_input_is_named():
    model = MiT(TINY)
    with pytest.raises(ValueError, match="are 28 x 64 pixels, but height and width must be at least 29"):
        model(torch.randn(1, 3, 28, 64))
    with pytest.raises(ValueError, match="must be a tensor of floats, normalized"):
        model.features(torch.ones(1, 3, 64, 64).byte())
    with pytest.raises(ValueError, match="have 4 channels, but this model was made for 3"):
        model(torch.randn(1, 4, 64, 64))
    with pytest.raises(ValueError, match=r"must be \(B, C, H, W\)"):
        model(torch.randn(3, 64, 64))
    with pytest.raises(ValueError, match="one number of each kind, but there are: d 4, depths 4, num_heads 3, "):
        MiT(MiTConfig((4, 8, 20, 16), (1, 2, 1, 1), (1, 2, 5)))
    with pytest.raises(ValueError, match="are 10 x 64 pixels, but height and width must be at least 13"):
        MiT(MiTConfig((4, 8), (1, 1), (1, 2), (2, 4), (3, 3), (2, 2)))(torch.randn(1, 3, 10, 64))
    with pytest.raises(ValueError, match="no configuration 'MiT-B6'; these exist: MiT-B0, "):
        MiT.from_config("MiT-B6")


def test_gradient_checkpointing_gives_the_same_gradients_and_keeps_less():
    model = perturb(MiT(TINY)).train()
    images = torch.randn(2, 3, 64, 96)
    results, kept = [], []
    for model.gradient_checkpointing in (False, True):
        torch.manual_seed(0)  # the same images are dropped
        results.append(value_and_gradients(model, [images], list(model.parameters())))
        kept.append(numbers_kept(model, images))
    for plain, checkpointed in zip(*results, strict=True):
        torch.testing.assert_close(plain, checkpointed)
    assert kept[1] < 0.6 * kept[0]  # not far less: without it the Mix-FFN keeps none of its wide tensors either


def test_compiles_without_a_graph_break():
    model = perturb(MiT(TINY))
    images = torch.randn(2, 3, 64, 96)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), model(images))


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision(dtype, tolerance):
    assert_half_precision_agrees(perturb(MiT(TINY)), torch.randn(2, 3, 64, 96), dtype, tolerance)


def test_onnx_gives_the_same_scores(tmp_path):
    assert_onnx_agrees(perturb(MiT(TINY)), torch.randn(2, 3, 64, 96), tmp_path / "mit.onnx")
