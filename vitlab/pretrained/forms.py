"""What the published files call things, and how this package does: plain names, numbers and tensors, no models.

A checkpoint is config.json and model.safetensors. A `Form` says for one kind of model how the entries of the one and
the tensors of the other are called.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


class CheckpointError(Exception):
    """A checkpoint cannot be read, written or used by this model; the sentence says why and what would be right."""


# What a parameter is called here and in the file. All rules that match are applied, from the top.
_NORM_NAMES = [(r"\.gamma$", ".weight"), (r"\.beta$", ".bias")]
_VIT_NAMES = [
    (r"encoder\.norm", "vit.layernorm"),
    (r"encoder\.blocks", "vit.encoder.layer"),
    (r"norm_1", "layernorm_before"),
    (r"norm_2", "layernorm_after"),
    (r"attention\.(query|key|value)", r"attention.attention.\1"),
    (r"attention\.output", "attention.output.dense"),
    (r"ffn\.expand", "intermediate.dense"),
    (r"ffn\.compress", "output.dense"),
    (r"embeddings\.projection", "vit.embeddings.patch_embeddings.projection"),
    (r"embeddings\.class_embedding", "vit.embeddings.cls_token"),
    (r"embeddings\.position_embedding", "vit.embeddings.position_embeddings"),
    (r"^pooler", "vit.pooler.dense"),
    (r"^head", "classifier"),
    *_NORM_NAMES,
]
_STAGE_NAMES = [
    (r"norm_([12])", r"layer_norm_\1"),
    (r"attention\.(query|key|value)", r"attention.self.\1"),
    (r"attention\.output", "attention.output.dense"),
    (r"attention\.reduction_norm", "attention.self.layer_norm"),
    (r"attention\.reduction", "attention.self.sr"),
    (r"ffn\.expand", "mlp.dense1"),
    (r"ffn\.depthwise", "mlp.dwconv.dwconv"),
    (r"ffn\.compress", "mlp.dense2"),
    (r"stages\.(\d)\.embeddings\.projection", r"segformer.encoder.patch_embeddings.\1.proj"),
    (r"stages\.(\d)\.embeddings\.norm", r"segformer.encoder.patch_embeddings.\1.layer_norm"),
    (r"stages\.(\d)\.blocks", r"segformer.encoder.block.\1"),
    (r"stages\.(\d)\.norm", r"segformer.encoder.layer_norm.\1"),
    *_NORM_NAMES,
]
_MIT_NAMES = [*_STAGE_NAMES, (r"^head", "classifier")]
_SEGFORMER_NAMES = [
    (r"^encoder\.", ""),
    *_STAGE_NAMES,
    (r"decoder\.project\.(\d)", r"decode_head.linear_c.\1.proj"),
    (r"decoder\.fuse", "decode_head.linear_fuse"),
    (r"decoder\.norm", "decode_head.batch_norm"),
    (r"decoder\.classify", "decode_head.classifier"),
]
# Axes of length 1 that the file has and the model does not need.
_AXES: dict[str, Callable[[Tensor], Tensor]] = {
    "embeddings.class_embedding": lambda x: x[None, None],  # (d,) -> (1, 1, d)
    "embeddings.position_embedding": lambda x: x[None],  # (n+1, d) -> (1, n+1, d)
    "decoder.fuse.weight": lambda x: x[:, :, None, None],  # (C, 4C) -> (C, 4C, 1, 1)
    "decoder.classify.weight": lambda x: x[:, :, None, None],
}


def as_filed(own_name: str, tensor: Tensor) -> Tensor:
    """A tensor of the model in the shape that files give it."""
    return _AXES.get(own_name, lambda x: x)(tensor)


def is_head(file_name: str) -> bool:
    """Whether a tensor in a file belongs to a classifier."""
    return file_name.startswith(("classifier.", "decode_head.classifier."))


# What config.json says, and the same as the numbers of a configuration of this package.


def labels(names: Sequence[str]) -> dict[str, dict]:
    """The names of a model's outputs, as config.json holds them."""
    return {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }


def _num_labels(settings: dict) -> int:
    return len(settings["id2label"]) if "id2label" in settings else settings.get("num_labels", 2)


def _require(settings: dict, **published) -> None:
    for name, value in published.items():
        if settings.get(name, value) != value:
            raise CheckpointError(f"this checkpoint has {name} = {settings[name]!r}, but only {value!r} is known here.")


def _read_vit(settings: dict, tensors: Iterable[str]) -> dict[str, Any]:
    _require(settings, hidden_act="gelu", qkv_bias=True, pooler_act="tanh")
    has_head = settings["architectures"][0] == "ViTForImageClassification"
    size = settings["image_size"]
    return {
        "depth": settings["num_hidden_layers"],
        "d": settings["hidden_size"],
        "num_heads": settings["num_attention_heads"],
        "patch_size": settings["patch_size"],
        "image_size": size if isinstance(size, int) else tuple(size),
        "num_classes": _num_labels(settings) if has_head else 0,
        "channels": settings["num_channels"],
        "d_ff": settings["intermediate_size"],
        # Published classifiers do not use a pooler, even where their file still holds one.
        "pooler": not has_head and any("pooler.dense.weight" in name for name in tensors),
        "eps": settings["layer_norm_eps"],
    }


def _write_vit(numbers: dict[str, Any]) -> dict:
    if numbers["pool"] != "class" or (numbers["pooler"] and numbers["num_classes"]):
        raise CheckpointError(
            "the published file format has neither mean pooling nor a head behind a pooler: save model.state_dict()."
        )
    size = numbers["image_size"]
    return {
        "architectures": ["ViTForImageClassification" if numbers["num_classes"] else "ViTModel"],
        "model_type": "vit",
        "num_hidden_layers": numbers["depth"],
        "hidden_size": numbers["d"],
        "num_attention_heads": numbers["num_heads"],
        "patch_size": numbers["patch_size"],
        "image_size": size if isinstance(size, int) else list(size),
        "num_channels": numbers["channels"],
        "intermediate_size": numbers["d_ff"] or 4 * numbers["d"],
        "layer_norm_eps": numbers["eps"],
        "hidden_act": "gelu",
        "qkv_bias": True,
        **labels([f"LABEL_{i}" for i in range(numbers["num_classes"])]),
    }


def _read_mit(settings: dict, tensors: Iterable[str]) -> dict[str, Any]:
    _require(settings, hidden_act="gelu", mlp_ratios=[4] * len(settings["hidden_sizes"]))
    has_head = settings["architectures"][0] == "SegformerForImageClassification"
    return {
        "d": tuple(settings["hidden_sizes"]),
        "depths": tuple(settings["depths"]),
        "num_heads": tuple(settings["num_attention_heads"]),
        "sr_ratios": tuple(settings["sr_ratios"]),
        "kernel_sizes": tuple(settings["patch_sizes"]),
        "strides": tuple(settings["strides"]),
        "num_classes": _num_labels(settings) if has_head else 0,
        "channels": settings["num_channels"],
        "drop_path": settings["drop_path_rate"],
    }


def _write_mit(numbers: dict[str, Any]) -> dict:
    return {
        "architectures": ["SegformerForImageClassification" if numbers["num_classes"] else "SegformerModel"],
        "model_type": "segformer",
        "num_encoder_blocks": len(numbers["d"]),
        "hidden_sizes": list(numbers["d"]),
        "depths": list(numbers["depths"]),
        "num_attention_heads": list(numbers["num_heads"]),
        "sr_ratios": list(numbers["sr_ratios"]),
        "num_channels": numbers["channels"],
        "drop_path_rate": numbers["drop_path"],
        "hidden_act": "gelu",
        "mlp_ratios": [4] * len(numbers["d"]),
        "patch_sizes": list(numbers["kernel_sizes"]),
        "strides": list(numbers["strides"]),
        **labels([f"LABEL_{i}" for i in range(numbers["num_classes"])]),
    }


def _read_segformer(settings: dict, tensors: Iterable[str]) -> dict[str, Any]:
    return {
        "encoder": _read_mit(settings, tensors),
        "C": settings["decoder_hidden_size"],
        "num_classes": _num_labels(settings),
        "dropout": settings["classifier_dropout_prob"],
    }


def _write_segformer(numbers: dict[str, Any]) -> dict:
    return _write_mit(numbers["encoder"]) | {
        "architectures": ["SegformerForSemanticSegmentation"],
        "decoder_hidden_size": numbers["C"],
        "classifier_dropout_prob": numbers["dropout"],
        **labels([f"LABEL_{i}" for i in range(numbers["num_classes"])]),
    }


@dataclass(frozen=True)
class Form:
    """How one kind of model is filed.

    Attributes:
        prefix: of the names in a file, which has it only if the model had a head.
        architectures: what config.json may call this kind.
        names: rules from the names of the model's tensors to those in the file.
        read_config: the numbers of the model's configuration, from the settings in config.json and the names of the
            tensors. Raises KeyError or TypeError where settings lack or misstate something.
        write_config: the settings, from the numbers. Raises CheckpointError where they cannot say the same.
    """

    prefix: str
    architectures: tuple[str, ...]
    names: list[tuple[str, str]]
    read_config: Callable[[dict, Iterable[str]], dict[str, Any]]
    write_config: Callable[[dict[str, Any]], dict]

    def file_names(self, own_names: Iterable[str]) -> dict[str, str]:
        """What each tensor of a model is called in a file: {own name: name in the file}."""
        names = {}
        for own in own_names:
            names[own] = own
            for pattern, replacement in self.names:
                names[own] = re.sub(pattern, replacement, names[own])
        if any(map(is_head, names.values())):
            return names
        return {own: name.removeprefix(self.prefix) for own, name in names.items()}


FORMS = {
    "ViT": Form("vit.", ("ViTForImageClassification", "ViTModel"), _VIT_NAMES, _read_vit, _write_vit),
    "MiT": Form("segformer.", ("SegformerForImageClassification", "SegformerModel"), _MIT_NAMES, _read_mit, _write_mit),
    "SegFormer": Form(
        "segformer.", ("SegformerForSemanticSegmentation",), _SEGFORMER_NAMES, _read_segformer, _write_segformer
    ),
}
