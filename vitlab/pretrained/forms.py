"""What the published files call things, and how this package does: plain names, numbers and tensors, no models.

A checkpoint is config.json and model.safetensors. A `Form` says for one kind of model how the entries of the one and
the tensors of the other are called.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from torch import Tensor

from vitlab.validation import Classes, Line, validated

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


# What config.json says, and the same as the numbers of a configuration of this package: {own name: the file's}.
_VIT_ENTRIES = {
    "depth": "num_hidden_layers",
    "d": "hidden_size",
    "num_heads": "num_attention_heads",
    "patch_size": "patch_size",
    "image_size": "image_size",
    "channels": "num_channels",
    "d_ff": "intermediate_size",
    "eps": "layer_norm_eps",
}
_MIT_ENTRIES = {
    "d": "hidden_sizes",
    "depths": "depths",
    "num_heads": "num_attention_heads",
    "sr_ratios": "sr_ratios",
    "kernel_sizes": "patch_sizes",
    "strides": "strides",
    "channels": "num_channels",
    "drop_path": "drop_path_rate",
}
_SEGFORMER_ENTRIES = {"C": "decoder_hidden_size", "dropout": "classifier_dropout_prob"}


def labels(names: Sequence[str]) -> dict[str, dict]:
    """The names of a model's outputs, as config.json holds them."""
    return {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }


@dataclass(frozen=True)
class Labels:
    """What config.json says about a model's outputs; the rest is told elsewhere."""

    architectures: tuple[str, ...]
    id2label: dict[str, Line] | None = None
    num_labels: Classes | None = None
    problem_type: Literal["single_label_classification"] | None = None  # each of several labels would want a sigmoid


def read_labels(settings: dict, where: str) -> tuple[str, tuple[str, ...]]:
    """The architecture, and the names of its outputs. Where there are none, `transformers` has two, without names.

    Raises:
        CheckpointError: if one of them is told wrongly.
    """
    told = {each.name: settings[each.name] for each in fields(Labels) if each.name in settings}
    read = validated(Labels, told, where, CheckpointError)
    if len(read.architectures) != 1:
        raise CheckpointError(f"{where}: architectures is {list(read.architectures)}, but one is to be named.")
    if read.id2label is None:
        return read.architectures[0], tuple(f"LABEL_{i}" for i in range(read.num_labels or 2))
    if set(read.id2label) != {str(i) for i in range(len(read.id2label))}:
        raise CheckpointError(f"{where}: id2label must name each of the outputs 0, 1, ... once.")
    return read.architectures[0], tuple(read.id2label[str(i)] for i in range(len(read.id2label)))


def _named(entries: dict[str, str], settings: dict, where: str, **required) -> dict[str, Any]:
    """The numbers, by their own names, of entries that are all there; `required` is all that is known here."""
    for name, value in required.items():
        if settings.get(name, value) != value:
            raise CheckpointError(f"{where} has {name} = {settings[name]!r}, but only {value!r} is known here.")
    missing = [name for name in entries.values() if name not in settings]
    if missing:
        raise CheckpointError(f"{where} has no {missing[0]!r}.")
    return {own: settings[name] for own, name in entries.items()}


def _read_vit(settings: dict, tensors: Iterable[str], where: str, num_classes: int) -> dict[str, Any]:
    has_head = "ViTForImageClassification" in settings["architectures"]
    return _named(_VIT_ENTRIES, settings, where, hidden_act="gelu", qkv_bias=True, pooler_act="tanh") | {
        "num_classes": num_classes if has_head else 0,
        # Published classifiers do not use a pooler, even where their file still holds one.
        "pooler": not has_head and any("pooler.dense.weight" in name for name in tensors),
    }


def _write_vit(numbers: dict[str, Any]) -> dict:
    if numbers["pool"] != "class" or (numbers["pooler"] and numbers["num_classes"]):
        raise CheckpointError(
            "the published file format has neither mean pooling nor a head behind a pooler: save model.state_dict()."
        )
    return {
        "architectures": ["ViTForImageClassification" if numbers["num_classes"] else "ViTModel"],
        "model_type": "vit",
        **{name: numbers[own] for own, name in _VIT_ENTRIES.items()},
        "intermediate_size": numbers["d_ff"] or 4 * numbers["d"],
        "hidden_act": "gelu",
        "qkv_bias": True,
        **labels([f"LABEL_{i}" for i in range(numbers["num_classes"])]),
    }


def _read_mit(settings: dict, tensors: Iterable[str], where: str, num_classes: int) -> dict[str, Any]:
    numbers = _named(_MIT_ENTRIES, settings, where, hidden_act="gelu")
    ratios = settings.get("mlp_ratios", [4])
    if not isinstance(ratios, list) or set(map(str, ratios)) != {"4"}:
        raise CheckpointError(f"{where} has mlp_ratios = {ratios!r}, but only 4 in every stage is known here.")
    return numbers | {
        "num_classes": num_classes if "SegformerForImageClassification" in settings["architectures"] else 0
    }


def _write_mit(numbers: dict[str, Any]) -> dict:
    return {
        "architectures": ["SegformerForImageClassification" if numbers["num_classes"] else "SegformerModel"],
        "model_type": "segformer",
        "num_encoder_blocks": len(numbers["d"]),
        **{name: numbers[own] for own, name in _MIT_ENTRIES.items()},
        "hidden_act": "gelu",
        "mlp_ratios": [4] * len(numbers["d"]),
        **labels([f"LABEL_{i}" for i in range(numbers["num_classes"])]),
    }


def _read_segformer(settings: dict, tensors: Iterable[str], where: str, num_classes: int) -> dict[str, Any]:
    return _named(_SEGFORMER_ENTRIES, settings, where) | {
        "encoder": _read_mit(settings, tensors, where, num_classes),
        "num_classes": num_classes,
    }


def _write_segformer(numbers: dict[str, Any]) -> dict:
    return _write_mit(numbers["encoder"]) | {
        "architectures": ["SegformerForSemanticSegmentation"],
        **{name: numbers[own] for own, name in _SEGFORMER_ENTRIES.items()},
        **labels([f"LABEL_{i}" for i in range(numbers["num_classes"])]),
    }


@dataclass(frozen=True)
class Form:
    """How one kind of model is filed.

    Attributes:
        prefix: of the names in a file, which has it only if the model had a head.
        architectures: what config.json may call this kind.
        names: rules from the names of the model's tensors to those in the file.
        entries: what config.json calls the numbers.
        read_config: the numbers of the model's configuration, not checked, from the settings in config.json, the names
            of the tensors, the file's name and the number of classes. Raises CheckpointError where an entry is missing.
        write_config: the settings, from the numbers. Raises CheckpointError where they cannot say the same.
    """

    prefix: str
    architectures: tuple[str, ...]
    names: list[tuple[str, str]]
    entries: dict[str, str]
    read_config: Callable[[dict, Iterable[str], str, int], dict[str, Any]]
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
    "ViT": Form("vit.", ("ViTForImageClassification", "ViTModel"), _VIT_NAMES, _VIT_ENTRIES, _read_vit, _write_vit),
    "MiT": Form(
        "segformer.",
        ("SegformerForImageClassification", "SegformerModel"),
        _MIT_NAMES,
        _MIT_ENTRIES,
        _read_mit,
        _write_mit,
    ),
    "SegFormer": Form(
        "segformer.",
        ("SegformerForSemanticSegmentation",),
        _SEGFORMER_NAMES,
        {"encoder": ""} | _MIT_ENTRIES | _SEGFORMER_ENTRIES,
        _read_segformer,
        _write_segformer,
    ),
}
