"""The models whose weights come with the package are what the exercises' functions compute."""

import pytest
import torch

from vitlab.decoder import all_mlp_decoder, upsample
from vitlab.layer_norm import layer_norm
from vitlab.mit import MiTConfig
from vitlab.mix_ffn import mix_ffn
from vitlab.overlap_embeddings import embed_overlapping_patches
from vitlab.pretrained.letters import letters_of_segformer, letters_of_vit
from vitlab.pretrained.predictor import read_predictor
from vitlab.segformer import SegFormer, SegFormerConfig
from vitlab.sra import spatial_reduction_attention
from vitlab.training.first_weights import leave_out_attention_biases
from vitlab.vit import ViT, ViTConfig, vit


def segformer(images: torch.Tensor, p: dict) -> torch.Tensor:
    """The whole model from the exercises' functions, as the second milestone puts it together."""
    features, x = [], images
    for stage in p["stages"]:
        X = embed_overlapping_patches(x, **stage["embeddings"])
        X = layer_norm(X, stage["gamma_0"], stage["beta_0"], 1e-5)
        for block in stage["blocks"]:
            normalized = layer_norm(X, block["gamma_1"], block["beta_1"], 1e-5)
            X = X + spatial_reduction_attention(normalized, block["attention"], block["num_heads"], block["sr_ratio"])
            X = X + mix_ffn(layer_norm(X, block["gamma_2"], block["beta_2"], 1e-5), **block["ffn"])
        x = layer_norm(X, stage["gamma"], stage["beta"], 1e-5).permute(0, 3, 1, 2)
        features.append(x)
    return upsample(all_mlp_decoder(features, p["decoder"]), images.shape[-2:])


def model_of(name: str) -> torch.nn.Module:
    return read_predictor(name).model.double()


@torch.no_grad()
def test_the_contracted_functions_compute_the_vit_of_the_package():
    model = model_of("vit-cifar10")
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    logits = vit(images, letters_of_vit(model), model.config.patch_size, model.config.num_heads)
    torch.testing.assert_close(logits, model(images), rtol=1e-9, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (96, 80)])
def test_the_contracted_functions_compute_the_segformer_of_the_package(size):
    model = model_of("segformer-shapes")
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(segformer(images, letters_of_segformer(model)), model(images), rtol=1e-9, atol=1e-9)


def without_biases(model: torch.nn.Module) -> torch.nn.Module:
    """The model with large weights everywhere but where attention's biases are, in evaluation mode."""
    leave_out_attention_biases(model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(std=0.5)
    return model.double().eval()


@torch.no_grad()
def test_the_contracted_functions_compute_any_vit_without_biases():
    model = without_biases(ViT(ViTConfig(3, 12, 3, 4, image_size=(8, 12), num_classes=5)))
    images = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    torch.testing.assert_close(vit(images, letters_of_vit(model), 4, 3), model(images), rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_bn_is_folded_whatever_it_has_seen():
    config = SegFormerConfig(MiTConfig((8, 16), (1, 1), (1, 2), (2, 1), (3, 3), (2, 2), 0), C=12, num_classes=5)
    model = without_biases(SegFormer(config))
    model.decoder.norm.running_mean.normal_()
    model.decoder.norm.running_var.uniform_(0.5, 2)
    images = torch.randn(2, 3, 32, 48, dtype=torch.float64)
    logits = segformer(images, letters_of_segformer(model))
    torch.testing.assert_close(logits, model(images), rtol=1e-9, atol=1e-9)


def test_what_the_lecture_has_not_is_refused():
    config = ViTConfig(1, 8, 2, 4, image_size=8, num_classes=3)
    model = ViT(config)
    assert len(letters_of_vit(model)["blocks"]) == 1
    model.encoder.blocks[0].attention.query.bias.data[0] = 0.1
    with pytest.raises(ValueError, match="has biases"):
        letters_of_vit(model)
    with pytest.raises(ValueError, match="ε = 1e-6"):
        letters_of_vit(ViT(ViTConfig(1, 8, 2, 4, image_size=8, num_classes=3, eps=1e-12)))
