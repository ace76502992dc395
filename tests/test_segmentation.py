"""Segmentation on a ViT: each head against its formula, every way to run it, and the measures against torchmetrics."""

import contextlib
import io
import math
import re
from pathlib import Path

import nbformat
import pytest
import torch
import torchmetrics.functional.classification as torchmetrics
from support.parity import numbers_kept, perturb, value_and_gradients
from torch.nn import functional as F

from vitlab import ViT, checks
from vitlab.data import load
from vitlab.pretrained.predictor import read_predictor
from vitlab.segmentation import (
    AllMLPHead,
    ConfusionMatrix,
    LinearHead,
    SegmentationViT,
    SegmenterHead,
    SETRPUPHead,
    UPerNetHead,
    confusion_matrix,
    linear_head,
    mask_scores,
    mean_iou,
)
from vitlab.segmentation.pyramid import pyramid
from vitlab.vit import ViTConfig

D, N, C = 12, 5, 7  # embedding dimension, classes, channels inside the heads that have such


def segmenter_head() -> SegmenterHead:
    head = SegmenterHead(D, N, num_heads=3)
    torch.nn.init.normal_(head.class_embeddings)  # as unlike as after training: LN enlarges the rounding of equal ones
    return head


HEADS = {
    "linear": lambda: LinearHead(D, N),
    "setr_pup": lambda: SETRPUPHead(D, N, C=C),
    "upernet": lambda: UPerNetHead(D, N, C=C),
    "segmenter": segmenter_head,
    "all_mlp": lambda: AllMLPHead(D, N, C=C),
}
SCALES = {"linear": 1, "setr_pup": 8, "upernet": 4, "segmenter": 1, "all_mlp": 4}  # logits for each patch, in one axis
every_head = pytest.mark.parametrize("name", HEADS)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def tiny_model(name: str, depth: int = 4, patch_size: int = 8) -> SegmentationViT:
    config = ViTConfig(depth, D, num_heads=3, patch_size=patch_size, image_size=(32, 48), num_classes=0)
    return perturb(SegmentationViT(ViT(config), HEADS[name]()))


GRID = [(row, column) for row in range(3) for column in range(4)]  # the positions of a map of tiny_head


def tiny_head(name: str):
    """A head in float64, and four maps (2, D, 3, 4) for it."""
    return perturb(HEADS[name]().double()), list(torch.randn(4, 2, D, 3, 4, dtype=torch.float64))


# The whole model


@every_head
@pytest.mark.parametrize("size", [(32, 32), (32, 48), (40, 24), (8, 8)])
def test_every_pixel_gets_a_score_for_every_class(name, size):
    model = tiny_model(name)
    images = torch.randn(2, 3, *size)
    small = model(images, upsample=False)
    assert small.shape == (2, N, SCALES[name] * size[0] // 8, SCALES[name] * size[1] // 8)
    expected = F.interpolate(small, size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(model(images), expected)


@every_head
def test_segment_is_the_likeliest_class_of_every_pixel(name):
    model, images = tiny_model(name), torch.randn(2, 3, 32, 48)
    assert torch.equal(model.segment(images), model(images).argmax(dim=1))
    assert model.segment(images, (50, 60)).shape == (2, 50, 60)


def test_the_heads_read_the_blocks_of_their_papers():
    assert LinearHead.blocks(12) == SegmenterHead.blocks(12) == [11]
    assert UPerNetHead.blocks(12) == AllMLPHead.blocks(12) == [2, 5, 8, 11]
    assert SETRPUPHead.blocks(24) == [9, 14, 19, 23]
    for head in (LinearHead, SegmenterHead, UPerNetHead, AllMLPHead, SETRPUPHead):
        for depth in range(1, 40):
            blocks = head.blocks(depth)
            assert blocks == sorted(blocks) and blocks[0] >= 0 and blocks[-1] == depth - 1


@every_head
def test_the_maps_are_the_patch_tokens_in_their_places(name):
    model = tiny_model(name)
    images = torch.randn(2, 3, 32, 48)
    Z = model.embeddings(images)
    outputs = []
    for block in model.blocks:
        Z = block(Z)
        outputs.append(Z)
    if name != "setr_pup":
        outputs[-1] = F.layer_norm(outputs[-1], (D,), model.norm.gamma, model.norm.beta, 1e-6)
    features = model.features(images)
    assert len(features) == len(model.head.blocks(4))
    for block, feature in zip(model.head.blocks(4), features, strict=True):
        for row in range(4):
            for column in range(6):
                token = 1 + row * 6 + column  # behind the class token
                torch.testing.assert_close(feature[:, :, row, column], outputs[block][:, token])


def test_the_last_map_is_what_the_classifier_of_the_vit_would_see():
    vit = perturb(ViT(ViTConfig(2, D, 3, 8, (32, 48), num_classes=3)))
    model = SegmentationViT(vit, LinearHead(D, N)).eval()
    images = torch.randn(2, 3, 32, 48)
    torch.testing.assert_close(model.features(images)[0].flatten(2).transpose(1, 2), vit.tokens(images)[:, 1:])


@every_head
def test_the_loss_is_the_cross_entropy_of_the_pixels_and_of_the_auxiliary_heads(name):
    model = tiny_model(name).double()
    images = torch.randn(2, 3, 32, 48, dtype=torch.float64)
    labels = torch.randint(0, N, (2, 32, 48))
    labels[:, :9] = 255
    expected = F.cross_entropy(model(images), labels, ignore_index=255)
    auxiliary = model.head.auxiliary(model.features(images))
    assert len(auxiliary) == (4 if name == "setr_pup" else 0)
    for logits in auxiliary:
        assert logits.shape == (2, N, 4, 6)
        pixels = F.interpolate(logits, (32, 48), mode="bilinear", align_corners=False)
        expected = expected + 0.4 * F.cross_entropy(pixels, labels, ignore_index=255)
    torch.testing.assert_close(model.loss(images, labels), expected)


@every_head
def test_the_loss_reaches_every_parameter(name):
    model = tiny_model(name).double().train()
    model.loss(torch.randn(3, 3, 32, 48, dtype=torch.float64), torch.randint(0, N, (3, 32, 48))).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        if not parameter_name.endswith("key.bias"):  # adds the same to all scores of a query: softmax does not see it
            assert parameter.grad.any(), parameter_name


# Each head against its formula


def normalized(x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    """LN over axis 1."""
    x_hat = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    return x_hat * gamma[:, None, None] + beta[:, None, None]


def convolved(x: torch.Tensor, parameters: dict, prefix: str) -> torch.Tensor:
    """Convolution, BN with running statistics, ReLU, from the tensors named `prefix`."""
    kernel = parameters[f"{prefix}.0.weight"]
    x = F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
    mean, variance, scale, shift = (
        parameters[f"{prefix}.1.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp(min=0)


def rescaled(x: torch.Tensor, factor: float) -> torch.Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def test_linear_head_token_by_token():
    head, features = tiny_head("linear")
    logits = head(features)
    for row, column in GRID:
        token = features[-1][1, :, row, column]
        for k in range(N):
            score = sum(token[i] * head.classify.weight[k, i] for i in range(D)) + head.classify.bias[k]
            torch.testing.assert_close(logits[1, k, row, column], score)


def test_setr_pup_upsamples_four_times_and_then_classifies():
    model = tiny_model("setr_pup", patch_size=16).double()
    images = torch.randn(2, 3, 32, 48, dtype=torch.float64)
    features = model.features(images)
    parameters = model.head.state_dict()
    X = normalized(features[-1], parameters["main_head.norm.gamma"], parameters["main_head.norm.beta"])
    for k in range(4):
        X = rescaled(convolved(X, parameters, f"main_head.convolutions.{k}"), 2)
    assert X.shape == (2, C, 32, 48)  # 2⁴ = P: the size of the image
    expected = F.conv2d(X, parameters["main_head.classify.weight"], parameters["main_head.classify.bias"])
    torch.testing.assert_close(model(images), expected)


def test_setr_pup_s_auxiliary_heads_have_two_layers():
    head, features = tiny_head("setr_pup")
    parameters = head.state_dict()
    for k, logits in enumerate(head.auxiliary(features)):
        prefix = f"auxiliary_heads.{k}"
        X = normalized(features[k], parameters[f"{prefix}.norm.gamma"], parameters[f"{prefix}.norm.beta"])
        X = convolved(X, parameters, f"{prefix}.convolutions.0")
        expected = F.conv2d(X, parameters[f"{prefix}.classify.weight"], parameters[f"{prefix}.classify.bias"])
        torch.testing.assert_close(logits, expected)


def test_the_pyramid_has_four_scales():
    maps = list(torch.randn(4, 2, D, 4, 6, dtype=torch.float64))
    F_1, F_2, F_3, F_4 = pyramid(maps)
    torch.testing.assert_close(F_1, rescaled(maps[0], 4))
    torch.testing.assert_close(F_2, rescaled(maps[1], 2))
    torch.testing.assert_close(F_3, maps[2])
    torch.testing.assert_close(F_4, F.avg_pool2d(maps[3], 2))  # halving takes the mean of 2 x 2
    odd = pyramid(list(torch.ones(4, 2, D, 3, 1)))
    assert [tuple(F_i.shape[-2:]) for F_i in odd] == [(12, 4), (6, 2), (3, 1), (2, 1)]
    assert all((F_i == 1).all() for F_i in odd)


def mean_of_parts(x: torch.Tensor, s: int) -> torch.Tensor:
    """The mean of each of s x s parts; part k of an axis of length m goes from ⌊k m / s⌋ to ⌈(k+1) m / s⌉."""
    h, w = x.shape[-2:]
    parts = torch.empty(*x.shape[:2], s, s, dtype=x.dtype)
    for i in range(s):
        for j in range(s):
            rows = slice(i * h // s, math.ceil((i + 1) * h / s))
            columns = slice(j * w // s, math.ceil((j + 1) * w / s))
            parts[:, :, i, j] = x[:, :, rows, columns].mean((2, 3))
    return parts


def test_upernet_scale_by_scale():
    head, _ = tiny_head("upernet")
    features = list(torch.randn(4, 2, D, 6, 10, dtype=torch.float64))
    parameters = head.state_dict()
    F_1, F_2, F_3, F_4 = rescaled(features[0], 4), rescaled(features[1], 2), features[2], F.avg_pool2d(features[3], 2)
    assert F_4.shape == (2, D, 3, 5)
    pooled = [
        F.interpolate(
            convolved(mean_of_parts(F_4, s), parameters, f"pooling.convolutions.{k}"), (3, 5), mode="bilinear"
        )
        for k, s in enumerate((1, 2, 3, 6))
    ]
    P_4 = convolved(torch.cat([F_4, *pooled], dim=1), parameters, "pooling.fuse")
    P_3 = convolved(F_3, parameters, "laterals.2") + rescaled(P_4, 2)
    P_2 = convolved(F_2, parameters, "laterals.1") + rescaled(P_3, 2)
    P_1 = convolved(F_1, parameters, "laterals.0") + rescaled(P_2, 2)
    together = [
        convolved(P_1, parameters, "smooth.0"),
        rescaled(convolved(P_2, parameters, "smooth.1"), 2),
        rescaled(convolved(P_3, parameters, "smooth.2"), 4),
        rescaled(P_4, 8),
    ]
    X = convolved(torch.cat(together, dim=1), parameters, "fuse")
    assert X.shape == (2, C, 24, 40)
    expected = F.conv2d(X, parameters["classify.weight"], parameters["classify.bias"])
    torch.testing.assert_close(head(features), expected)


def test_segmenter_s_masks_patch_by_patch_and_class_by_class():
    head, features = tiny_head("segmenter")
    logits = head(features)
    patches = [features[-1][:, :, row, column] @ head.project.weight.T + head.project.bias for row, column in GRID]
    classes = [head.class_embeddings[k].expand(2, D) for k in range(N)]
    tokens = head.encoder(torch.stack([*patches, *classes], dim=1))
    assert len(head.encoder.blocks) == 2
    for image in range(2):
        seen = [tokens[image, i] @ head.project_patches.weight.T for i in range(len(GRID))]
        sought = [tokens[image, len(GRID) + k] @ head.project_classes.weight.T for k in range(N)]
        for (row, column), p in zip(GRID, seen, strict=True):
            cosines = torch.stack([(p * c).sum() / (p.square().sum() * c.square().sum()).sqrt() for c in sought])
            x_hat = (cosines - cosines.mean()) / (cosines.var(unbiased=False) + 1e-6).sqrt()
            torch.testing.assert_close(logits[image, :, row, column], head.norm.gamma * x_hat + head.norm.beta)


def test_segmenter_s_heads_have_64_numbers_as_in_the_vits():
    with torch.device("meta"):
        head = SegmenterHead(192, N)
    assert {block.attention.num_heads for block in head.encoder.blocks} == {3}


def test_all_mlp_is_segformer_s_decoder_on_the_rescaled_maps():
    head, _ = tiny_head("all_mlp")
    maps = list(torch.randn(4, 2, D, 4, 6, dtype=torch.float64))
    scales = [rescaled(maps[0], 4), rescaled(maps[1], 2), maps[2], F.avg_pool2d(maps[3], 2)]
    torch.testing.assert_close(head(maps), head.decoder.as_taught(scales))


def test_the_number_of_parameters_of_each_head():
    d, N, C = 768, 150, 512

    def conv(channels, out, k=3):
        return channels * out * k * k + 2 * out  # BN's scale and shift instead of a bias

    def linear(channels, out):
        return channels * out + out

    block = 2 * 2 * d + 4 * linear(d, d) + linear(d, 4 * d) + linear(4 * d, d)
    expected = {
        LinearHead: linear(d, N),
        SETRPUPHead: 5 * (2 * d + conv(d, 256) + linear(256, N)) + 3 * conv(256, 256),
        UPerNetHead: 4 * conv(d, C, 1)
        + conv(d + 4 * C, C)
        + 3 * (conv(d, C, 1) + conv(C, C))
        + conv(4 * C, C)
        + linear(C, N),
        SegmenterHead: linear(d, d) + N * d + 2 * block + 2 * d + 2 * d * d + 2 * N,
        AllMLPHead: 4 * linear(d, 256) + 4 * 256 * 256 + 2 * 256 + linear(256, N),
    }
    with torch.device("meta"):
        counts = {head: sum(p.numel() for p in head(d, N).parameters()) for head in expected}
    assert counts == expected


def test_one_image_is_enough_where_bn_is_frozen():
    head, maps = UPerNetHead(D, N, C=C).train(), list(torch.randn(4, 1, D, 3, 4))
    for module in head.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    assert head(maps).shape == (1, N, 12, 16)


# Every way to run it


@pytest.mark.parametrize("head", [LinearHead, SETRPUPHead, UPerNetHead, SegmenterHead, AllMLPHead])
def test_is_built_and_runs_on_the_meta_device(head):
    with torch.device("meta"):
        model = SegmentationViT(ViT.from_config("ViT-Ti/16", num_classes=0, image_size=512), head(192, 150))
        assert model(torch.empty(2, 3, 512, 384)).shape == (2, 150, 512, 384)


class EveryModel(torch.nn.Module):
    """All heads, each on a ViT: compiling and exporting once is much faster than five times."""

    def __init__(self):
        super().__init__()
        self.models = torch.nn.ModuleDict({name: tiny_model(name, depth=1) for name in HEADS})

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: model(images) for name, model in self.models.items()}


def test_compiles_without_a_graph_break():
    model = EveryModel().eval()
    images = torch.randn(2, 3, 32, 48)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), model(images), rtol=1e-4, atol=1e-5)


@every_head
@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision(name, dtype, tolerance):
    model = tiny_model(name)
    images = torch.randn(2, 3, 32, 48)
    expected = model(images)
    y = model.to(dtype)(images.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=tolerance, atol=tolerance)
    model.loss(images.to(dtype), torch.randint(0, N, (2, 32, 48))).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_gradient_checkpointing_gives_the_same_gradients_and_keeps_less():
    model = tiny_model("setr_pup").train()
    images = torch.randn(2, 3, 32, 48)
    variables = list(model.parameters())
    labels = torch.randint(0, N, (2, 32, 48))
    results, kept = [], []
    for model.gradient_checkpointing in (False, True):
        results.append(value_and_gradients(model.loss, [images, labels], variables))
        kept.append(numbers_kept(model, images))
    for plain, checkpointed in zip(*results, strict=True):
        torch.testing.assert_close(plain, checkpointed)
    assert kept[1] < kept[0]


def test_onnx_gives_the_same_scores(tmp_path):
    import onnxruntime

    model = EveryModel().eval()
    images = torch.randn(2, 3, 32, 48)
    torch.onnx.export(model, (images,), tmp_path / "model.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    exported = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    for logits, expected in zip(exported, model(images).values(), strict=True):
        torch.testing.assert_close(torch.from_numpy(logits), expected.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "act, sentence",
    [
        (
            lambda: SegmentationViT(ViT(ViTConfig(1, D, 3, 8, 32)), LinearHead(16, N)),
            "made for d = 16, but the tokens of this ViT have d = 12",
        ),
        (lambda: tiny_model("linear")(torch.randn(1, 3, 33, 48)), "33 x 48 pixels, .* multiples of 8"),
        (lambda: tiny_model("linear")(torch.randn(1, 4, 32, 48)), "have 4 channels, but this model was made for 3"),
        (lambda: tiny_model("linear")(torch.randn(3, 32, 48)), r"must be \(B, C, H, W\)"),
        (lambda: tiny_model("linear")(torch.zeros(1, 3, 32, 48).byte()), "must be a tensor of floats, normalized"),
        (lambda: SegmenterHead(D, 2), "num_classes is 2, but this head must have at least 3"),
        (lambda: SegmenterHead(D, N, num_heads=5), "d = 12 is not a multiple of num_heads = 5"),
        (lambda: tiny_model("upernet").train()(torch.randn(1, 3, 32, 48)), "train with at least 2 images in a batch"),
        (lambda: ConfusionMatrix(3, ignore_index=2), "ignore_index is 2, .* must be none"),
        (lambda: measured([[0, 1]], [[0], [1]]), r"predictions are \(1, 2\) and labels \(2, 1\), .* argmax"),
        (lambda: measured([0, 1], [0, 4]), r"labels hold 4, but classes are 0 \.\.\. 3, and only the label 255"),
        (lambda: measured([0, 0.7], [0, 1]), "predictions are torch.float32, but classes are integers"),
        (lambda: measured([0, 1], [0, 0.7]), "labels are torch.float32, but classes are integers"),
        (lambda: measured([0, -1], [0, 1]), r"predictions hold -1, but classes are 0 \.\.\. 3"),
    ],
)
def test_bad_input_is_named(act, sentence):
    with pytest.raises(ValueError, match=sentence):
        act()


# The measures


def measured(predictions: list, labels: list, num_classes: int = 4) -> ConfusionMatrix:
    matrix = ConfusionMatrix(num_classes)
    matrix.update(torch.tensor(predictions), torch.tensor(labels))
    return matrix


def test_measures_of_a_case_small_enough_to_count():
    matrix = measured([0, 0, 1, 1, 1, 3], [0, 0, 0, 1, 255, 1])
    assert matrix.counts.tolist() == [[2, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    nan = math.nan  # class 2 is neither in the labels nor in the predictions
    torch.testing.assert_close(matrix.iou().tolist(), [2 / 3, 1 / 3, nan, 0.0], equal_nan=True)
    torch.testing.assert_close(matrix.accuracy().tolist(), [2 / 3, 1 / 2, nan, 0.0], equal_nan=True)
    assert matrix.mean_iou() == pytest.approx((2 / 3 + 1 / 3 + 0) / 3)
    assert matrix.class_accuracy() == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert matrix.pixel_accuracy() == pytest.approx(3 / 5)


@pytest.mark.parametrize("draw", range(5))
@pytest.mark.parametrize("absent", [(), (2,), (0, 5)], ids=str)
def test_measures_equal_torchmetrics_s(draw, absent):
    generator = torch.Generator().manual_seed(draw)
    classes = torch.tensor([k for k in range(7) if k not in absent])
    predictions, labels = classes[torch.randint(len(classes), (2, 3, 8, 9), generator=generator)]
    predictions = torch.where(torch.rand(labels.shape, generator=generator) < 0.5, labels, predictions)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = 255
    labels[labels == 1] = 255  # class 1 is predicted, but never right
    ours = ConfusionMatrix(7)
    for image in range(3):
        ours.update(predictions[image : image + 1], labels[image : image + 1])
    theirs = {"num_classes": 7, "ignore_index": 255}
    counts = torchmetrics.multiclass_confusion_matrix(predictions, labels, **theirs)
    assert torch.equal(ours.counts, counts)
    iou = torchmetrics.multiclass_jaccard_index(predictions, labels, average="none", **theirs)
    accuracy = torchmetrics.multiclass_accuracy(predictions, labels, average="none", **theirs)
    torch.testing.assert_close(ours.iou().nan_to_num(0).float(), iou)  # torchmetrics writes 0 for an absent class
    torch.testing.assert_close(ours.accuracy().nan_to_num(0).float(), accuracy)
    assert ours.iou().isnan().nonzero().flatten().tolist() == list(absent)
    for value, other in (
        (ours.mean_iou(), torchmetrics.multiclass_jaccard_index(predictions, labels, **theirs)),
        (ours.class_accuracy(), torchmetrics.multiclass_accuracy(predictions, labels, average="macro", **theirs)),
        (ours.pixel_accuracy(), torchmetrics.multiclass_accuracy(predictions, labels, average="micro", **theirs)),
    ):
        assert value == pytest.approx(other.item(), abs=1e-6)


def test_batches_added_up_are_all_pixels_together_and_not_the_mean_of_the_batches():
    torch.manual_seed(0)
    predictions, labels = torch.randint(0, 4, (2, 6, 5, 7))
    together = ConfusionMatrix(4)
    together.update(predictions, labels)
    batches = ConfusionMatrix(4)
    alone = []
    for part in (slice(0, 1), slice(1, 6)):
        batches.update(predictions[part], labels[part])
        alone.append(ConfusionMatrix(4))
        alone[-1].update(predictions[part], labels[part])
    assert torch.equal(batches.counts, together.counts)
    assert torch.equal(alone[0].counts + alone[1].counts, together.counts)
    assert batches.mean_iou() == together.mean_iou()
    assert abs(sum(one.mean_iou() for one in alone) / 2 - together.mean_iou()) > 1e-4


def test_what_is_predicted_at_ignored_pixels_does_not_matter():
    matrix = measured([0, 1, 99], [0, 1, 255])
    assert matrix.mean_iou() == matrix.class_accuracy() == matrix.pixel_accuracy() == 1


@pytest.mark.parametrize("num_classes, ignore_index", [(200, -100), (300, -100), (300, 412)])
def test_bytes_are_no_other_numbers(num_classes, ignore_index):
    labels = torch.tensor([[[0, 44, 156, 199]]], dtype=torch.uint8)  # as bytes, -100 and 412 would be 156, 300 be 44
    matrix = ConfusionMatrix(num_classes, ignore_index=ignore_index)
    matrix.update(labels, labels)
    assert matrix.counts.diagonal().nonzero().flatten().tolist() == [0, 44, 156, 199]


def test_without_pixels_there_is_no_measure():
    matrix = ConfusionMatrix(3)
    assert all(math.isnan(x) for x in (matrix.mean_iou(), matrix.class_accuracy(), matrix.pixel_accuracy()))


# The functions that the chapter teaches


def test_the_linear_head_s_function_computes_what_the_head_computes():
    model = tiny_model("linear")
    images = torch.randn(2, 3, 32, 48)
    tokens = model.features(images)[0].flatten(2).transpose(1, 2)  # (B, n, d)
    classify = model.head.classify
    torch.testing.assert_close(linear_head(tokens, classify.weight.T, classify.bias, (4, 6), 8), model(images))


def test_mask_scores_are_cosines():
    patches, classes = torch.randn(2, 6, D), torch.randn(2, N, D)
    expected = F.cosine_similarity(patches[:, :, None], classes[:, None], dim=-1)
    torch.testing.assert_close(mask_scores(patches, classes), expected)


def test_the_confusion_matrix_counts_label_in_the_row_and_prediction_in_the_column():
    labels, predictions = torch.tensor([[[0, 0, 2, 255]]]), torch.tensor([[[0, 1, 2, 1]]])
    assert confusion_matrix(predictions, labels, 3, 255).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    labels[labels == 255] = 1
    assert confusion_matrix(predictions, labels, 3, ignore_index=0).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_mean_iou_leaves_out_classes_that_occur_nowhere():
    counts = torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]])  # IoU 3/4, 4/5, none
    assert mean_iou(counts).item() == pytest.approx((3 / 4 + 4 / 5) / 2)
    counts[0, 2] = 2  # called the third class, which never occurs: IoU 3/6, 4/5, 0
    assert mean_iou(counts).item() == pytest.approx((3 / 6 + 4 / 5 + 0) / 3)


@pytest.mark.parametrize("num_classes", [-1, 0, "3", 2.0])
def test_a_number_of_classes_that_cannot_be_is_named(num_classes):
    with pytest.raises(ValueError, match=r"num_classes is .*, but it must be a whole number from 1 on"):
        ConfusionMatrix(num_classes)


# ---- Right answers, written in other ways: every one gets full marks.


def counts_pixel_by_pixel(predictions, labels, num_classes, ignore_index):
    counts = torch.zeros(num_classes, num_classes, dtype=torch.long)
    for label, prediction in zip(labels.flatten().tolist(), predictions.flatten().tolist(), strict=True):
        if label != ignore_index:
            counts[label, prediction] += 1
    return counts


def counts_cell_by_cell(predictions, labels, num_classes, ignore_index):
    valid = labels != ignore_index
    rows = [
        torch.stack([((labels == i) & (predictions == j) & valid).sum() for j in range(num_classes)])
        for i in range(num_classes)
    ]
    return torch.stack(rows)


def counts_of_one_hot(predictions, labels, num_classes, ignore_index):
    valid = labels.flatten() != ignore_index
    of_labels = F.one_hot(labels.flatten()[valid], num_classes)
    of_predictions = F.one_hot(predictions.flatten()[valid], num_classes)
    return torch.einsum("pi,pj->ij", of_labels, of_predictions)


def counts_with_a_class_more(predictions, labels, num_classes, ignore_index):
    N = num_classes
    rows = torch.where(labels == ignore_index, N, labels)
    return torch.bincount((rows * N + predictions).flatten(), minlength=(N + 1) * N).view(N + 1, N)[:N]


def counts_image_by_image(predictions, labels, num_classes, ignore_index):
    matrices = [
        confusion_matrix(p[None], y[None], num_classes, ignore_index) for p, y in zip(predictions, labels, strict=True)
    ]
    return sum(matrices)


def counts_accumulated(predictions, labels, num_classes, ignore_index):
    keep = labels.ne(ignore_index)
    counts = torch.zeros(num_classes, num_classes, dtype=torch.int32)
    ones = torch.ones(int(keep.sum()), dtype=torch.int32)
    counts.index_put_((labels[keep], predictions[keep]), ones, accumulate=True)
    return counts


def miou_class_by_class(counts):
    values = []
    for k in range(len(counts)):
        union = counts[k].sum() + counts[:, k].sum() - counts[k, k]
        if union > 0:
            values.append((counts[k, k] / union).item())
    return sum(values) / len(values)


def miou_of_errors(counts):
    right = counts.diag()
    missed, false = counts.sum(1) - right, counts.sum(0) - right
    iou = right / (right + missed + false)
    return iou[~torch.isnan(iou)].mean()


def miou_with_weights(counts):
    right = counts.diagonal().float()
    union = counts.sum(0) + counts.sum(1) - right
    return (right / union.clamp(min=1)).sum() / (union > 0).sum()


def miou_of_numpy(counts):
    n = counts.numpy().astype(float)
    union = n.sum(0) + n.sum(1) - n.diagonal()
    return float((n.diagonal()[union > 0] / union[union > 0]).mean())


def miou_with_einsum(counts):
    n = counts.double()
    right = torch.einsum("ii->i", n)
    return torch.nanmean(right / (torch.einsum("ij->i", n) + torch.einsum("ij->j", n) - right))


def miou_of_the_rest(counts):
    """What is neither in row i nor in column i does not belong to the union."""
    N = len(counts)
    others = ~torch.eye(N, dtype=torch.bool)
    rest = torch.stack([counts[others[i]][:, others[i]].sum() for i in range(N)])
    union = counts.sum() - rest
    kept = union != 0
    return torch.mean(counts.diagonal()[kept].double() / union[kept])


def head_of_a_convolution(tokens, W, b, grid, patch_size):
    maps = tokens.transpose(1, 2).reshape(tokens.shape[0], -1, *grid)
    logits = F.conv2d(maps, W.T[:, :, None, None], b)
    return F.interpolate(logits, scale_factor=patch_size, mode="bilinear")


def head_with_einsum(tokens, W, b, grid, patch_size):
    scores = torch.einsum("brcd,dk->bkrc", tokens.unflatten(1, grid), W) + b[:, None, None]
    return torch.nn.Upsample(scale_factor=patch_size, mode="bilinear", align_corners=False)(scores)


def head_after_upsampling(tokens, W, b, grid, patch_size):
    maps = tokens.mT.unflatten(-1, grid)
    large = F.interpolate(maps, scale_factor=float(patch_size), mode="bilinear", align_corners=False)
    return torch.einsum("bdhw,dk->bkhw", large, W) + b.view(1, -1, 1, 1)


def head_image_by_image(tokens, W, b, grid, patch_size):
    return torch.cat([linear_head(z[None], W, b, grid, patch_size) for z in tokens])


def head_with_the_bias_last(tokens, W, b, grid, patch_size):
    """Bilinear weights sum to 1, so that the bias may be added before or after."""
    return linear_head(tokens, W, torch.zeros_like(b), grid, patch_size) + b[:, None, None]


def head_by_matrices(tokens, W, b, grid, patch_size):
    rows, columns = grid

    def weights(n):
        identity = torch.eye(n, dtype=tokens.dtype)[None]
        return F.interpolate(identity, size=n * patch_size, mode="linear", align_corners=False)[0].T

    scores = F.linear(tokens, W.T, b).movedim(-1, 1).reshape(len(tokens), -1, rows, columns)
    return weights(rows) @ scores @ weights(columns).T


def scores_of_pytorch(patches, classes):
    return F.cosine_similarity(patches.unsqueeze(2), classes.unsqueeze(1), dim=-1)


def scores_divided_by_lengths(patches, classes):
    lengths = patches.norm(dim=-1)[:, :, None] * classes.norm(dim=-1)[:, None, :]
    return torch.bmm(patches, classes.transpose(1, 2)) / lengths


def scores_with_loops(patches, classes):
    images = []
    for P, K in zip(patches, classes, strict=True):
        rows = [torch.stack([p @ c / torch.sqrt((p @ p) * (c @ c)) for c in K]) for p in P]
        images.append(torch.stack(rows))
    return torch.stack(images)


def scores_with_roots(patches, classes):
    p_hat = patches * patches.square().sum(-1, keepdim=True).rsqrt()
    c_hat = classes * classes.square().sum(-1, keepdim=True).rsqrt()
    return torch.einsum("bnd,bkd->bnk", p_hat, c_hat)


def scores_from_distances(patches, classes):
    """Of two vectors of length 1, |a - b|² = 2 - 2 a · b."""
    p_hat, c_hat = (x / torch.linalg.vector_norm(x, dim=-1, keepdim=True) for x in (patches, classes))
    return 1 - (p_hat[:, :, None] - c_hat[:, None]).square().sum(-1) / 2


def scores_transposed(patches, classes):
    return (F.normalize(classes, dim=2) @ F.normalize(patches, dim=2).mT).mT


CORRECT = {
    "confusion_matrix": (counts_pixel_by_pixel, counts_cell_by_cell, counts_of_one_hot, counts_with_a_class_more,
                         counts_image_by_image, counts_accumulated),
    "mean_iou": (miou_class_by_class, miou_of_errors, miou_with_weights, miou_of_numpy, miou_with_einsum,
                 miou_of_the_rest),
    "linear_head": (head_of_a_convolution, head_with_einsum, head_after_upsampling, head_image_by_image,
                    head_with_the_bias_last, head_by_matrices),
    "mask_scores": (scores_of_pytorch, scores_divided_by_lengths, scores_with_loops, scores_with_roots,
                    scores_from_distances, scores_transposed),
}  # fmt: skip


def test_the_stretch_task_s_answer_trains_a_head():
    """Its program, run as the sheet prints it, on the functions of the reference and with fewer steps."""
    cells = nbformat.read(Path(__file__).parents[1] / "solutions/segmentation/segmentation.ipynb", as_version=4).cells
    (sheet,) = (cell.source for cell in cells if cell.id == "stretch")
    program = sheet.partition("```python\n")[2].partition("```")[0]
    assert program.count(", 200, ") == program.count(", 40, ") == 1
    names = {"torch": torch, "F": F, "load": load, "read_predictor": read_predictor}
    names |= {"linear_head": linear_head, "mean_iou": mean_iou, "confusion_matrix": confusion_matrix}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(program.replace(", 200, ", ", 60, ").replace(", 40, ", ", 2, "), names)
    frozen, tuned = map(float, re.findall(r"mIoU (\S+)", said.getvalue()))
    labels = names["small"].test.labels.long()
    nothing = mean_iou(confusion_matrix(0 * labels, labels, 6, 255))
    assert min(frozen, tuned) > nothing, "more is found than background"


def test_what_is_called_a_class_that_is_ignored_counts_on_every_seed():
    def both_decide(predictions, labels, num_classes, ignore_index):
        counted = (labels != ignore_index) & (predictions != ignore_index)
        return confusion_matrix(predictions[counted], labels[counted], num_classes, ignore_index)

    for seed in range(100):
        assert not checks.run("segmentation", {"confusion_matrix": both_decide}, seed).exercises[0].passed
