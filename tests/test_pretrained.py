"""Weights travel: what transformers writes computes the same here, and the other way round."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from support.parity import perturb, value_and_gradients
from transformers import (
    SegformerConfig,
    SegformerForImageClassification,
    SegformerForSemanticSegmentation,
    SegformerModel,
    ViTForImageClassification,
    ViTModel,
)

from vitlab import SegFormer, ViT
from vitlab.mit import CONFIGS as MIT_CONFIGS
from vitlab.mit import MiT, MiTConfig
from vitlab.pretrained import CheckpointError, from_pretrained, load_pretrained, save_pretrained
from vitlab.pretrained.hub import CONVERTER, WEIGHTS
from vitlab.segformer import CONFIGS as SEGFORMER_CONFIGS
from vitlab.segformer import SegFormerConfig
from vitlab.segmentation.unet import UNet
from vitlab.vit import ViTConfig

transformers.logging.disable_progress_bar()

TINY_VIT = ViTConfig(depth=2, d=12, num_heads=3, patch_size=4, image_size=16, num_classes=5)
TINY_MIT = MiTConfig((4, 8, 20, 16), (1, 2, 1, 1), (1, 2, 5, 4), num_classes=5)
SMALL_IMAGES = MiTConfig((8, 12), (2, 1), (1, 3), (2, 1), (3, 3), (2, 2))
TINY_SEGFORMER = SegFormerConfig(MiTConfig((4, 8, 20, 16), (1, 2, 1, 1), (1, 2, 5, 4), num_classes=0), 12, 5)
IMAGE = torch.zeros(1, 3, 32, 32)


def assert_same(ours, theirs, images: torch.Tensor, *, gradients: bool = True) -> None:
    """Equal outputs, with and without gradients, and equal gradients with respect to the images: within 1e-4."""
    images.requires_grad_()
    results = [value_and_gradients(model, [images], [images] if gradients else []) for model in (ours, theirs)]
    with torch.no_grad():
        results[0].append(ours(images))  # computed by other means where no gradient is wanted
        results[1].append(results[1][0])
    for mine, other in zip(*results, strict=True):
        assert mine.shape == other.shape
        assert (mine - other).abs().max() <= 1e-4 * other.abs().max()


def assert_filed_alike(ours, folder: Path) -> None:
    """What we save has the tensors, names and settings of the checkpoint in `folder`, which transformers saved."""
    ours.save_pretrained(folder / "again")
    mine, other = (load_file(f / "model.safetensors") for f in (folder / "again", folder))
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[name], other[name]) for name in other)
    mine, other = (transformers.AutoConfig.from_pretrained(f).to_dict() for f in (folder / "again", folder))
    differing = {name for name in other if mine[name] != other[name]}
    assert differing <= {"_name_or_path", "dtype", "id2label", "label2id"}, differing


def images_of(*sizes: tuple[int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(2, 3, *size, generator=generator) for size in sizes]


def their_segformer_config(config: MiTConfig, C: int = 256, num_classes: int = 1000) -> SegformerConfig:
    return SegformerConfig(
        hidden_sizes=config.d,
        depths=config.depths,
        num_attention_heads=config.num_heads,
        num_encoder_blocks=len(config.d),
        sr_ratios=config.sr_ratios,
        patch_sizes=config.kernel_sizes,
        strides=config.strides,
        mlp_ratios=[4] * len(config.d),
        decoder_hidden_size=C,
        num_labels=num_classes,
    )


def test_vit_b16_classifier(tmp_path):
    theirs = perturb(ViTForImageClassification(transformers.ViTConfig(num_labels=7)))
    theirs.save_pretrained(tmp_path)
    ours = ViT.from_pretrained(tmp_path)
    assert_filed_alike(ours, tmp_path)
    for images in images_of((224, 224), (32, 96)):
        assert_same(ours, lambda x: theirs(x, interpolate_pos_encoding=True).logits, images[:1])


def test_vit_b16_with_pooler(tmp_path):
    theirs = perturb(ViTModel(transformers.ViTConfig()))
    theirs.save_pretrained(tmp_path)
    ours = ViT.from_pretrained(tmp_path)
    (images,) = images_of((64, 64))
    assert_same(ours, lambda x: theirs(x, interpolate_pos_encoding=True).pooler_output, images)


def test_dino_vit_s8(tmp_path):
    config = transformers.ViTConfig(
        hidden_size=384, num_attention_heads=6, intermediate_size=1536, patch_size=8, layer_norm_eps=1e-6
    )
    theirs = perturb(ViTModel(config, add_pooling_layer=False))
    theirs.save_pretrained(tmp_path)
    ours = ViT.from_pretrained(tmp_path)
    assert_filed_alike(ours, tmp_path)
    for images in images_of((64, 64), (32, 80)):
        assert_same(ours.tokens, lambda x: theirs(x, interpolate_pos_encoding=True).last_hidden_state, images)
    theirs.set_attn_implementation("eager")  # the form of theirs that keeps its attention maps
    maps = theirs(images, interpolate_pos_encoding=True, output_attentions=True).attentions
    for mine, other in zip(ours.attention_maps(images), maps, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", SEGFORMER_CONFIGS)
def test_segformer(name, tmp_path):
    config = SEGFORMER_CONFIGS[name]
    theirs = perturb(SegformerForSemanticSegmentation(their_segformer_config(config.encoder, config.C, 150)))
    theirs.save_pretrained(tmp_path)
    ours = SegFormer.from_pretrained(tmp_path)
    assert ours.config == config
    assert_filed_alike(ours, tmp_path)
    for images in images_of((64, 64), (45, 70)):
        assert_same(lambda x: ours(x, upsample=False), lambda x: theirs(x).logits, images, gradients=False)
    # Where one of the decoder's ReLUs is within rounding of 0, its gradient is 0 or 1 by chance: float64 settles that.
    ours.double(), theirs.double()
    assert_same(lambda x: ours(x, upsample=False), lambda x: theirs(x).logits, images.detach().double())


@pytest.mark.parametrize("config", [*MIT_CONFIGS.values(), SMALL_IMAGES], ids=[*MIT_CONFIGS, "for small images"])
def test_mit_classifier(config, tmp_path):
    theirs = perturb(SegformerForImageClassification(their_segformer_config(config)))
    theirs.save_pretrained(tmp_path)
    ours = MiT.from_pretrained(tmp_path)
    assert ours.config == config
    assert_filed_alike(ours, tmp_path)
    for images in images_of((64, 64), (45, 70)):
        assert_same(ours, lambda x: theirs(x).logits, images)


@pytest.mark.parametrize(
    "ours, kind, read",
    [
        (ViT(TINY_VIT), ViTForImageClassification, lambda output: output.logits),
        (ViT(ViTConfig(2, 12, 3, 4, 16, num_classes=0, pooler=True)), ViTModel, lambda output: output.pooler_output),
        (MiT(TINY_MIT), SegformerForImageClassification, lambda output: output.logits),
        (
            MiT(TINY_SEGFORMER.encoder),
            SegformerModel,
            lambda output: output.last_hidden_state.mean(dim=(2, 3)),
        ),
        (SegFormer(TINY_SEGFORMER), SegformerForSemanticSegmentation, lambda output: output.logits),
        (
            SegFormer(SegFormerConfig(replace(SMALL_IMAGES, num_classes=0), 12, 5)),
            SegformerForSemanticSegmentation,
            lambda output: output.logits,
        ),
    ],
)
def test_what_is_saved_loads_in_transformers(ours, kind, read, tmp_path):
    perturb(ours).save_pretrained(tmp_path)
    theirs, report = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[fault] for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    (images,) = images_of((16, 16) if isinstance(ours, ViT) else (64, 96))
    forward = (lambda x: ours(x, upsample=False)) if isinstance(ours, SegFormer) else ours
    assert_same(forward, lambda x: read(theirs.eval()(x)), images)

    again = type(ours).from_pretrained(tmp_path)
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_a_new_head_keeps_the_rest(tmp_path):
    ours = perturb(ViT(TINY_VIT))
    ours.save_pretrained(tmp_path)
    tuned = ViT.from_pretrained(tmp_path, num_classes=9)
    assert tuned.head.weight.shape == (9, 12)
    assert torch.equal(tuned.encoder.norm.gamma, ours.encoder.norm.gamma)
    assert ViT.from_pretrained(tmp_path, num_classes=0).head is None


def test_a_classifier_s_encoder_goes_into_a_segformer(tmp_path):
    classifier = perturb(MiT(TINY_MIT))
    classifier.save_pretrained(tmp_path)
    segformer = SegFormer(TINY_SEGFORMER)
    load_pretrained(segformer.encoder, tmp_path, with_head=False)
    (images,) = images_of((32, 64))
    for mine, other in zip(segformer.encoder.eval().features(images), classifier.features(images), strict=True):
        assert torch.equal(mine, other)


def test_a_pooler_that_the_published_classifier_does_not_use_is_left_out(tmp_path):
    ours = perturb(ViT(TINY_VIT))
    ours.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors |= {"vit.pooler.dense.weight": torch.ones(12, 12), "vit.pooler.dense.bias": torch.ones(12)}
    save_file(tensors, tmp_path / "model.safetensors")
    (images,) = images_of((16, 16))
    assert torch.equal(ViT.from_pretrained(tmp_path)(images), ours(images))


def test_a_new_head_stands_behind_no_pooler_because_that_could_not_be_saved(tmp_path):
    ours = perturb(ViT(replace(TINY_VIT, num_classes=0, pooler=True)))
    ours.save_pretrained(tmp_path)
    assert ViT.from_pretrained(tmp_path, num_classes=0).pooler is not None
    tuned = ViT.from_pretrained(tmp_path, num_classes=3)
    assert tuned.pooler is None and not tuned.config.pooler
    tuned.save_pretrained(tmp_path / "tuned")
    (images,) = images_of((16, 16))
    assert torch.equal(tuned.tokens(images), ours.tokens(images))
    assert torch.equal(ViT.from_pretrained(tmp_path / "tuned")(images), tuned(images))


@pytest.mark.parametrize("kind", [UNet, type("Variant", (ViT,), {})])
def test_kinds_without_a_published_form_are_named(kind, tmp_path):
    ViT(TINY_VIT).save_pretrained(tmp_path)
    sentence = f"a {kind.__name__} has no published form, only ViT, MiT, SegFormer have one"
    with pytest.raises(CheckpointError, match=sentence):
        from_pretrained(kind, tmp_path)


def lack(tensors):
    del tensors["vit.encoder.layer.1.output.dense.bias"]


def surplus(tensors):
    tensors["vit.encoder.layer.2.output.dense.bias"] = torch.zeros(12)


def put(value):
    def damage(tensors):
        tensors["vit.encoder.layer.1.output.dense.bias"] = value

    return damage


def double(tensors):
    tensors |= {name.removeprefix("vit."): tensor.clone() for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (lack, "lacks encoder.layer.1.output.dense.bias"),
        (surplus, "has no encoder.layer.2.output.dense.bias"),
        (double, "holds tensors twice, with and without 'vit.'"),
        (put(torch.zeros(12).long()), "encoder.layer.1.output.dense.bias holds torch.int64, not torch.float32"),
        (put(torch.zeros(12).bool()), "holds torch.bool, not torch.float32"),
        (put(torch.zeros(12).cfloat()), "holds torch.complex64, not torch.float32"),
        (put(torch.full((12,), float("nan"))), "encoder.layer.1.output.dense.bias holds numbers that are not finite"),
        (put(torch.full((12,), 1e300, dtype=torch.float64)), "not finite"),
        (put(torch.zeros(13)), r"encoder.layer.1.output.dense.bias has the shape \(13,\) instead of \(12,\)"),
    ],
)
def test_a_failed_load_names_the_tensor_and_leaves_the_model_as_it_was(damage, sentence, tmp_path):
    ViT(TINY_VIT).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    damage(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    model = perturb(ViT(TINY_VIT))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=sentence):
        load_pretrained(model, tmp_path)
    with pytest.raises(CheckpointError, match=sentence):
        ViT.from_pretrained(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_faults_of_a_folder_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        ViT.from_pretrained(tmp_path)
    ViT(TINY_VIT).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="holds a ViTForImageClassification, but SegFormer reads"):
        SegFormer.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    with pytest.raises(CheckpointError, match="hidden_act = 'relu'"):
        ViT.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "hidden_size"}))
    with pytest.raises(CheckpointError, match="has no 'hidden_size'"):
        ViT.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        ViT.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"nothing of use")
    with pytest.raises(CheckpointError, match="damaged"):
        ViT.from_pretrained(tmp_path)


FIVE_NAMES = {str(i): "x" for i in range(5)}


@pytest.mark.parametrize(
    "name, wrong, sentence",
    [
        ("num_hidden_layers", "1", "num_hidden_layers is '1', but it must be a whole number"),
        ("num_hidden_layers", 1.0, "a whole number"),
        ("num_hidden_layers", 10**9, "1000 or less"),
        ("num_hidden_layers", 999, "lacks encoder.layer.10.attention"),
        ("hidden_size", 10**9, "32768 or less"),
        ("hidden_size", 1200, r"has the shape \(1, 1, 12\) instead of \(1, 1, 1200\)"),
        ("hidden_size", -16, "1 or more"),
        ("num_attention_heads", 0, "1 or more"),
        ("num_attention_heads", 5, "config.json: d = 12 is not a multiple of num_heads = 5"),
        ("patch_size", [4, 4], "a whole number"),
        ("image_size", None, "image_size is None, but it must be a whole number or must be a list"),
        ("image_size", 10**9, "32768 or less"),
        ("image_size", [8], "must have more entries"),
        ("image_size", 18, "image_size is 18 x 18, but height and width must be multiples of 4"),
        ("num_channels", "1", "a whole number"),
        ("intermediate_size", 10**12, "32768 or less"),
        ("layer_norm_eps", "1e-6", "layer_norm_eps is '1e-6', but it must be a number"),
        ("layer_norm_eps", float("nan"), "a finite number"),
        ("architectures", {"a": 1}, "architectures is .*, but it must be a list"),
        ("architectures", "ViTModel", "a list"),
        ("architectures", None, "a list"),
        ("architectures", [], "but one is to be named"),
        ("problem_type", "multi_label_classification", "problem_type is 'multi_.*, but it must be 'single_label"),
        ("id2label", ["a"] * 5, "id2label is .*, but it must be a table"),
        ("id2label", FIVE_NAMES | {"zero": "x"}, "id2label must name each of the outputs 0, 1, ... once"),
        ("id2label", FIVE_NAMES | {"4": "\x1b]0;title\x07"}, r"id2label.4 is '\\x1b.*', but it must be a line"),
        (
            "id2label",
            None,
            "config.json has 2 labels, but model.safetensors has a head of 5",
        ),  # two outputs, as transformers reads it
    ],
)
def test_entries_of_config_json(name, wrong, sentence, tmp_path):
    ViT(TINY_VIT).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {name: wrong}))
    with pytest.raises(CheckpointError, match=sentence):
        ViT.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "name, wrong, sentence",
    [
        ("depths", [1], "every stage needs one number of each kind"),
        ("depths", [1, 1, 1, 1000], "lacks encoder.block.3.1"),
        ("hidden_sizes", [8], "config.json: every stage needs one number of each kind"),
        ("sr_ratios", [2**20, 1, 1, 1], r"sr_ratios\[0\] is 1048576, but it must be 32768 or less"),
        ("strides", [0, 2, 2, 2], r"strides\[0\] is 0"),
        ("drop_path_rate", "x", "drop_path_rate is 'x', but it must be a number"),
        ("classifier_dropout_prob", 7, "below 1"),
        ("decoder_hidden_size", 0, "1 or more"),
        ("mlp_ratios", [4, 4, 4, 8], "only 4 in every stage is known here"),
    ],
)
def test_entries_of_a_segformer_s_config_json(name, wrong, sentence, tmp_path):
    SegFormer(TINY_SEGFORMER).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {name: wrong}))
    with pytest.raises(CheckpointError, match=sentence):
        SegFormer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("[1, 2]", r"config.json holds \[1, 2\], but it must hold a table"),
        ("null", "config.json holds None"),
        ("[" * 100_000, "is no JSON file, or a damaged one"),
    ],
)
def test_a_config_json_that_holds_no_table(text, sentence, tmp_path):
    ViT(TINY_VIT).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=sentence):
        ViT.from_pretrained(tmp_path)


def test_outputs_without_names_are_counted_and_a_byte_order_mark_is_read_over(tmp_path):
    ViT(TINY_VIT).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["id2label"]
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_labels": 5}), encoding="utf-8-sig")
    assert ViT.from_pretrained(tmp_path).config.num_classes == 5


def with_another_head(model):
    model.head = torch.nn.Linear(12, 3)
    return model


@pytest.mark.parametrize(
    "make, error, sentence",
    [
        (lambda folder: ViT.from_pretrained(None), CheckpointError, "None is neither a folder nor the name of a model"),
        (lambda folder: ViT.from_pretrained(folder, num_classes=-1), ValueError, "num_classes is -1, but it must be 0"),
        (lambda folder: ViT.from_pretrained(folder, num_classes="5"), ValueError, "a whole number"),
        (lambda folder: ViT.from_config("ViT-Ti/16", num_classes=2.0), ValueError, "a whole number"),
        (lambda folder: ViT.from_config(["ViT-B/16"]), ValueError, "no configuration"),
        (lambda folder: ViT("ViT-B/16"), ValueError, "made from a ViTConfig, not from 'ViT-B/16'"),
        (lambda folder: SegFormer.from_config("B0", num_classes=0), ValueError, "num_classes is 0"),
        (
            lambda folder: ViT(TINY_VIT)(torch.zeros(1, 3, 16, 16, dtype=torch.uint8)),
            ValueError,
            "these are torch.uint8",
        ),
        (lambda folder: ViT(TINY_VIT)([[1.0]]), ValueError, "these are list"),
        (lambda folder: ViT(TINY_VIT)(images=None), ValueError, "these are NoneType"),
        (
            lambda folder: SegFormer(TINY_SEGFORMER).segment(IMAGE, size=-1),
            ValueError,
            "size is -1, but it must be",
        ),
        (lambda folder: SegFormer(TINY_SEGFORMER).segment(IMAGE, (4, 2.5)), ValueError, r"the size is \(4, 2.5\), but"),
        (lambda folder: SegFormer(TINY_SEGFORMER).segment(IMAGE.long()), ValueError, "these are torch.int64"),
        (lambda folder: SegFormer(TINY_SEGFORMER).segment(IMAGE.sum()), ValueError, r"these have the shape \(\)"),
        (lambda folder: ViT(TINY_VIT).save_pretrained(None), CheckpointError, "None is no path"),
        (lambda folder: load_pretrained(torch.nn.Linear(2, 2), folder), CheckpointError, "a Linear has no published"),
        (lambda folder: save_pretrained(ViT(TINY_VIT), folder, classes="abcde"), CheckpointError, "1 names for 5"),
        (lambda folder: ViT(TINY_VIT).half()(torch.zeros(1, 3, 16, 16)), ValueError, "convert either"),
        (lambda folder: save_pretrained(ViT(TINY_VIT), folder, classes=["a", "b"]), CheckpointError, "2 names for 5"),
        (
            lambda folder: with_another_head(ViT(TINY_VIT)).save_pretrained(folder),
            CheckpointError,
            r"\(3, 12\) instead",
        ),
        (lambda folder: save_pretrained(ViT(TINY_VIT), folder, classes=["a"] * 4 + ["\n"]), CheckpointError, "a line"),
        (
            lambda folder: save_pretrained(torch.nn.DataParallel(ViT(TINY_VIT)), folder),
            CheckpointError,
            "a DataParallel",
        ),
    ],
)
def test_what_a_caller_gets_wrong_is_named(make, error, sentence, tmp_path):
    ViT(TINY_VIT).save_pretrained(tmp_path)
    with pytest.raises(error, match=sentence):
        make(tmp_path)


def change_weights(model, change):
    with torch.no_grad():
        model.head.bias.copy_(change(model.head.bias))
    return model


@pytest.mark.parametrize(
    "model, sentence",
    [
        (change_weights(ViT(TINY_VIT), lambda bias: bias * float("nan")), "classifier.bias holds numbers that are not"),
        (change_weights(ViT(TINY_VIT), lambda bias: bias + 70_000).half(), "not finite in torch.float16"),
    ],
)
def test_weights_that_are_no_numbers_are_not_saved(model, sentence, tmp_path):
    with pytest.raises(CheckpointError, match=sentence):
        model.save_pretrained(tmp_path)
    assert not any(tmp_path.iterdir())


def test_weights_that_two_layers_share_are_saved_twice(tmp_path):
    model = ViT(TINY_VIT)
    model.encoder.blocks[0].attention.key = model.encoder.blocks[0].attention.query
    model.save_pretrained(tmp_path)
    again = ViT.from_pretrained(tmp_path).encoder.blocks[0].attention
    assert torch.equal(again.key.weight, model.encoder.blocks[0].attention.query.weight)


def test_pickled_weights_are_not_read(tmp_path):
    ViT(TINY_VIT).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        ViT.from_pretrained(tmp_path)


def test_an_unreachable_hub_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"is no folder, .* the hub cannot be reached"):
        ViT.from_pretrained("google/vit-base-patch16-224")
    with pytest.raises(CheckpointError, match=r"neither a folder nor one of mit-cifar10, .* and a name"):
        ViT.from_pretrained("no such/folder/here")


def test_the_package_s_own_models_have_names(monkeypatch, tmp_path):
    folder = WEIGHTS / "vit-cifar10"
    own, same = ViT.from_pretrained("vit-cifar10"), ViT.from_pretrained(folder)
    assert all(torch.equal(x, y) for x, y in zip(own.parameters(), same.parameters(), strict=True))
    monkeypatch.chdir(tmp_path)
    ViT.from_config("ViT-Ti/16", num_classes=2).save_pretrained("vit-cifar10")
    assert ViT.from_pretrained("vit-cifar10").config.num_classes == 2  # a folder of the user's comes first


class Hub(SimpleHTTPRequestHandler):
    """As much of a hub as a download asks for: files of folders NAME/ under /NAME/resolve/main/, with a commit.

    What lies in NAME/proposed/ is a pull request of the hub's converter, number 3; number 2 is somebody else's.
    """

    def do_GET(self):
        if "/discussions" not in self.path:
            return super().do_GET()
        proposals = [
            {
                "title": "safetensors",
                "num": number,
                "author": {"name": author},
                "createdAt": "2026-01-01T00:00:00.000Z",
                "status": "open",
                "repo": {"name": "somebody/tiny-vit", "type": "model"},
                "isPullRequest": True,
            }
            for number, author in ((2, "stranger"), (3, CONVERTER))
        ]
        content = json.dumps({"count": 2, "start": 0, "discussions": proposals}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def translate_path(self, path):
        return super().translate_path(
            path.replace("/resolve/main/", "/").replace("/resolve/refs%2Fpr%2F3/", "/proposed/")
        )

    def send_error(self, code, message=None, explain=None):
        self.send_response(code)
        self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def end_headers(self):
        self.send_header("X-Repo-Commit", ("3" if "pr%2F3" in self.path else "0") * 40)
        self.send_header("ETag", f'"{hashlib.sha256(self.path.encode()).hexdigest()}"')
        super().end_headers()

    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize("weights", ["in the repository", "proposed by the converter"])
def test_a_checkpoint_is_downloaded_once_and_then_found_without_a_network(weights, tmp_path):
    ours, folder = perturb(ViT(TINY_VIT)), tmp_path / "hub" / "somebody" / "tiny-vit"
    ours.save_pretrained(folder)
    if weights == "proposed by the converter":
        (folder / "proposed").mkdir()
        (folder / "model.safetensors").rename(folder / "proposed" / "model.safetensors")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory=tmp_path / "hub"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    program = "from vitlab import ViT; print(ViT.from_pretrained('somebody/tiny-vit').head.weight.sum().item())"
    environment = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path)}

    def load(**more: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", program], env=environment | more, capture_output=True, text=True, check=False
        )

    online = load()
    server.shutdown()
    server.server_close()
    offline = load(HF_HUB_OFFLINE="1")
    for done in (online, offline):
        assert done.returncode == 0, done.stderr
        assert float(done.stdout) == pytest.approx(ours.head.weight.sum().item())


def test_what_the_format_cannot_say_is_not_saved(tmp_path):
    for config in (
        ViTConfig(2, 12, 3, 4, 16, pool="mean"),
        ViTConfig(2, 12, 3, 4, 16, pooler=True, num_classes=5),
    ):
        with pytest.raises(CheckpointError, match="neither mean pooling nor a head behind a pooler"):
            ViT(config).save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()
