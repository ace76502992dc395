"""A model's weights under the lecture's letters, as the exercises' functions take them.

These functions apply weights from the right, Z W, and their attention has no biases. So they compute exactly what a
model computes that was trained without them (`attention_biases = false` in its recipe), such as those in
`vitlab/weights`.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vitlab.decoder import AllMLPDecoder
from vitlab.encoder import EPS
from vitlab.fast.decoder import with_batch_norm
from vitlab.mit import Stage
from vitlab.segformer import SegFormer
from vitlab.vit import ViT

Letters = dict[str, Any]


def letters_of_vit(model: ViT) -> Letters:
    """What `vit` takes as p: E, b, x_class, E_pos, blocks, gamma, beta, W_head, b_head.

    Raises:
        ValueError: if the model computes what the lecture's does not.
    """
    config = model.config
    if config.pooler or config.pool != "class" or not config.num_classes or config.eps != EPS:
        raise ValueError("the lecture's ViT has ε = 1e-6 and one linear layer on the class token; this one differs.")
    for block in model.encoder.blocks:
        _refuse_biases(block.attention)
    return model.parameters_as_taught()


def letters_of_segformer(model: SegFormer) -> Letters:
    """The stages of the encoder and the decoder:

    - stages, a list: embeddings (what `embed_overlapping_patches` takes), gamma_0 and beta_0 of the LN after it,
      blocks, gamma and beta of the last LN;
    - blocks, a list: gamma_1, beta_1, attention (what `spatial_reduction_attention` takes as p), gamma_2, beta_2, ffn
      (what `mix_ffn` takes), num_heads and sr_ratio (what the attention takes beside p);
    - decoder: what `all_mlp_decoder` takes as p, with BN folded into W and b.

    Raises:
        ValueError: if the attention has biases.
    """
    return {"stages": [_stage(stage) for stage in model.encoder.stages], "decoder": _decoder(model.decoder)}


def _stage(stage: Stage) -> Letters:
    convolution = stage.embeddings.projection
    return {
        "embeddings": {
            "E": _kernel(convolution),
            "b": convolution.bias,
            "kernel_size": convolution.kernel_size[0],
            "stride": convolution.stride[0],
        },
        **_norm(stage.embeddings.norm, "_0"),
        "blocks": [_mit_block(block) for block in stage.blocks],
        **_norm(stage.norm),
    }


def _mit_block(block: nn.Module) -> Letters:
    attention, ffn = _attention(block.attention), block.ffn
    if block.attention.sr_ratio > 1:
        attention |= {"W_S": _kernel(block.attention.reduction), "b_S": block.attention.reduction.bias}
        attention |= _norm(block.attention.reduction_norm)
    depthwise = {"kernel": ffn.depthwise.weight[:, 0].permute(1, 2, 0), "bias": ffn.depthwise.bias}  # (3, 3, d_ff)
    return {
        **_norm(block.norm_1, "_1"),
        "attention": attention,
        **_norm(block.norm_2, "_2"),
        "ffn": _layer(ffn.expand, "_1") | depthwise | _layer(ffn.compress, "_2"),
        "num_heads": block.attention.num_heads,
        "sr_ratio": block.attention.sr_ratio,
    }


def _decoder(decoder: AllMLPDecoder) -> Letters:
    W, b = with_batch_norm(decoder.fuse.weight, torch.zeros_like(decoder.norm.bias), decoder.norm)
    blocks = W.T.chunk(len(decoder.project))  # (C, C) each, that of F̂_4 first
    letters = {"W": torch.cat(blocks[::-1]), "b": b}
    for i, project in enumerate(decoder.project, start=1):
        letters |= {f"L_{i}": project.weight.T, f"b_{i}": project.bias}
    return letters | _layer(decoder.classify, "_head")


def _attention(attention: nn.Module) -> Letters:
    _refuse_biases(attention)
    return {f"W_{letter}": layer.weight.T for letter, layer in zip("QKVO", _projections(attention), strict=True)}


def _refuse_biases(attention: nn.Module) -> None:
    if any(layer.bias is not None and layer.bias.any() for layer in _projections(attention)):
        raise ValueError("the attention of this model has biases, which the lecture's has not.")


def _projections(attention: nn.Module) -> tuple[nn.Linear, ...]:
    return attention.query, attention.key, attention.value, attention.output


def _layer(layer: nn.Linear, name: str) -> Letters:
    return {f"W{name}": layer.weight.T, f"b{name}": layer.bias}


def _norm(norm: nn.Module, name: str = "") -> Letters:
    return {f"gamma{name}": norm.gamma, f"beta{name}": norm.beta}


def _kernel(convolution: nn.Conv2d) -> Tensor:
    """The kernel as a matrix for patches that are flattened row, column, channel: (d, C, k, k) -> (k²·C, d)."""
    return convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)
