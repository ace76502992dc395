"""SegFormer: sizes, any image size, the loss, and every way to run it."""

from contextlib import nullcontext

import pytest
import torch
from support.parity import assert_onnx_agrees, perturb, value_and_gradients
from torch.nn import functional as F

from vitlab import SegFormer, fast
from vitlab.decoder import upsample, upsampled_cross_entropy
from vitlab.mit import MiTConfig
from vitlab.segformer import SegFormerConfig
from vitlab.steps import Steps

TINY = SegFormerConfig(MiTConfig((4, 8, 20, 16), (1, 2, 1, 1), (1, 2, 5, 4), num_classes=0), C=12, num_classes=5)

PARAMETERS = {
    "B0": 3_752_694,
    "B1": 13_715_798,
    "B2": 27_461_974,
    "B3": 47_337_814,
    "B4": 64_108_374,
    "B5": 84_708_694,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_sizes_on_the_meta_device(name):
    with torch.device("meta"):
        model = SegFormer.from_config(name)
        y = model(torch.empty(1, 3, 128, 128))
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    assert y.shape == (1, 150, 128, 128)


@pytest.mark.parametrize("H, W", [(64, 96), (45, 70), (29, 29)])
def test_any_image_size_from_29_up(H, W):
    model = perturb(SegFormer(TINY))
    images = torch.randn(2, 3, H, W)
    small = model(images, upsample=False)
    assert small.shape == (2, 5, -(-H // 4), -(-W // 4))
    expected = F.interpolate(small, size=(H, W), mode="bilinear", align_corners=False)
    torch.testing.assert_close(model(images), expected)


def test_the_loss_is_the_cross_entropy_of_the_logits():
    model = perturb(SegFormer(TINY))
    images, labels = torch.randn(2, 3, 45, 70), torch.randint(0, 5, (2, 45, 70))
    labels[:, :9] = 255
    variables = list(model.parameters())
    ours = torch.autograd.grad(model.loss(images, labels), variables)
    expected = torch.autograd.grad(F.cross_entropy(model(images), labels, ignore_index=255), variables)
    for mine, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-6)


def test_the_steps_of_encoder_and_decoder_have_their_names():
    model, steps = perturb(SegFormer(TINY)), Steps()
    images = torch.randn(2, 3, 64, 96)
    model(images, steps=steps)
    assert list(steps) == [f"stage_{i}" for i in (1, 2, 3, 4)] + [f"upsampled_{i}" for i in (1, 2, 3, 4)] + [
        "fused",
        "activated",
    ]
    assert steps["stage_2"]["block_2"]["weights"].shape == (2, 2, 8 * 12, 2 * 3)  # n x n/R², R = 4
    assert steps["stage_1"]["block_1"]["reduced"].shape == (2, 2 * 3, 4)
    assert steps["upsampled_4"].shape == steps["fused"].shape == (2, 12, 16, 24)


@pytest.mark.parametrize("size", [None, (100, 90)])
def test_segment_is_the_likeliest_class_of_every_pixel(size):
    model, images = perturb(SegFormer(TINY)), torch.randn(2, 3, 45, 70)
    logits = model(images) if size is None else upsample(model(images, upsample=False), size)
    classes = model.segment(images, size)
    assert not classes.requires_grad and torch.equal(classes, logits.argmax(dim=1))
    assert model.segment(images[:0], size).shape == (0, *classes.shape[1:])
    with pytest.raises(ValueError, match="images must be a tensor of floats"):
        model.segment(images.byte())
    torch.testing.assert_close(model(images=images), model(images))


def test_from_config_takes_changes_and_names_faults():
    assert SegFormer.from_config("B0", num_classes=19).decoder.classify.weight.shape == (19, 256)
    with pytest.raises(ValueError, match="no configuration 'B6'; these exist: B0, B1, B2, B3, B4, B5"):
        SegFormer.from_config("B6")
    with pytest.raises(ValueError, match="28 x 64 pixels, but height and width must be at least 29"):
        SegFormer(TINY)(torch.randn(1, 3, 28, 64))


def test_compiles_without_a_graph_break():
    model = perturb(SegFormer(TINY))
    images, labels = torch.randn(2, 3, 64, 96), torch.randint(0, 5, (2, 64, 96))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), model(images), rtol=1e-4, atol=1e-5)
    compiled_loss = torch.compile(model.loss, fullgraph=True, backend="aot_eager")
    variables = list(model.parameters())
    ours, expected = (torch.autograd.grad(f(images, labels), variables) for f in (compiled_loss, model.loss))
    for mine, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision(dtype, tolerance):
    model = perturb(SegFormer(TINY))
    images, labels = torch.randn(2, 3, 64, 96), torch.randint(0, 5, (2, 64, 96))
    expected = model(images)
    model.to(dtype)
    y = model(images.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=tolerance, atol=tolerance)
    model.train().loss(images.to(dtype), labels).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision(dtype):
    model = perturb(SegFormer(TINY)).train()
    images, labels = torch.randn(2, 3, 64, 96), torch.randint(0, 5, (2, 64, 96))
    with torch.autocast("cpu", dtype=dtype):
        loss = model.loss(images, labels)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_gradient_checkpointing_gives_the_same_gradients():
    model = perturb(SegFormer(TINY)).train()
    images = torch.randn(2, 3, 64, 96)
    results = []
    for model.encoder.gradient_checkpointing in (False, True):
        torch.manual_seed(0)  # the same images and channels are dropped
        results.append(value_and_gradients(model, [images], list(model.parameters())))
    for plain, checkpointed in zip(*results, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_onnx_gives_the_same_logits(tmp_path):
    assert_onnx_agrees(perturb(SegFormer(TINY)), torch.randn(2, 3, 64, 96), tmp_path / "segformer.onnx")


@pytest.mark.parametrize(
    "labels, sentence",
    [
        (torch.zeros(3, 32, 32).long(), r"logits are \(2, 4, 8, 8\) and the labels \(3, 32, 32\)"),
        (torch.zeros(32, 32).long(), r"labels \(32, 32\), but they must be"),
        (torch.zeros(2, 1, 32, 32).long(), "with the same B"),
        (torch.zeros(2, 32, 32), "the labels are torch.float32, but classes are whole numbers"),
        (torch.full((2, 32, 32), 4), "the labels hold 4, but classes are 0 ... 3, and only the label 255 is ignored"),
        (torch.full((2, 32, 32), -1), "the labels hold -1"),
        ([[0]], "the labels are a list, but they must be a tensor"),
    ],
)
@pytest.mark.parametrize("switch", [nullcontext, fast.off])
def test_labels_that_are_no_classes_are_named(labels, sentence, switch):
    with switch(), pytest.raises(ValueError, match=sentence):
        upsampled_cross_entropy(torch.randn(2, 4, 8, 8), labels)


def test_masks_of_bytes_are_labels():
    logits, labels = torch.randn(2, 4, 8, 8), torch.randint(4, (2, 32, 32))
    labels[0, :8] = 255
    assert torch.equal(upsampled_cross_entropy(logits, labels.byte()), upsampled_cross_entropy(logits, labels))
