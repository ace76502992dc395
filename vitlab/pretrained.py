"""Published weights in and out, in the file format of Hugging Face: config.json and model.safetensors.

A folder that `save_pretrained` writes loads in `transformers`, and the other way round. Nothing is ever unpickled.

    ViT.from_pretrained("google/vit-base-patch16-224")
    ViT.from_pretrained("facebook/dino-vits8")
    MiT.from_pretrained("nvidia/mit-b0")
    SegFormer.from_pretrained("nvidia/segformer-b0-finetuned-ade-512-512")
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    CacheNotFound,
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vitlab.mit import MiT, MiTConfig
from vitlab.segformer import SegFormer, SegFormerConfig
from vitlab.vit import ViT, ViTConfig

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
CONVERTER = "SFconvertbot"  # the hub's own account that writes pickled weights of old repositories as safetensors


class CheckpointError(Exception):
    """A checkpoint cannot be read, written or used by this model; the sentence says why and what would be right."""


def from_pretrained(kind: type, id_or_folder: str | Path, *, num_classes: int | None = None) -> nn.Module:
    """A model with published weights, in evaluation mode.

    Args:
        kind: ViT, MiT or SegFormer.
        id_or_folder: a folder, or the name of a repository on the Hugging Face hub. A download is kept in
            huggingface_hub's cache and shows its progress bar; with HF_HUB_OFFLINE=1 only the cache is asked.
        num_classes: where given, the head is not the checkpoint's but a new one with random weights for so many
            classes, to be fine-tuned; 0 for none.

    Raises:
        CheckpointError: if the checkpoint cannot be reached or is not one of this kind of model.
    """
    settings, tensors = read_checkpoint(id_or_folder)
    form = FORMS[kind]
    architecture = (settings.get("architectures") or ["nothing"])[0]
    if architecture not in form.architectures:
        raise CheckpointError(
            f"{id_or_folder} holds a {architecture}, but {kind.__name__} reads {' or '.join(form.architectures)}."
        )
    try:
        config = form.read_config(settings, tensors)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{id_or_folder}/{CONFIG_FILE} lacks or misstates {error}.") from error
    if num_classes is not None:
        config = replace(config, num_classes=num_classes)
    model = kind(config)
    _load(model, tensors, str(id_or_folder), with_head=num_classes is None)
    return model.eval()


def load_pretrained(model: nn.Module, id_or_folder: str | Path, *, with_head: bool = True) -> None:
    """Give an existing model the weights of a checkpoint, all of them or, if one does not fit, none.

        load_pretrained(segformer.encoder, "nvidia/mit-b0", with_head=False)

    Args:
        model: a ViT, MiT or SegFormer.
        id_or_folder: as in `from_pretrained`.
        with_head: whether the classifier is loaded as well; if not, the model's own one stays as it is.

    Raises:
        CheckpointError: if the checkpoint cannot be reached, or a tensor is missing, unexpected or of another shape.
    """
    _, tensors = read_checkpoint(id_or_folder)
    _load(model, tensors, str(id_or_folder), with_head=with_head)


def save_pretrained(model: nn.Module, folder: str | Path, *, classes: Sequence[str] | None = None) -> None:
    """Write config.json and model.safetensors, which `from_pretrained` and `transformers` read.

    Args:
        model: a ViT, MiT or SegFormer.
        folder: made where it does not exist.
        classes: the names of the model's outputs; "LABEL_0" and so on where not given.

    Raises:
        CheckpointError: if `transformers` has no model that computes the same: mean pooling, or a head behind a pooler.
    """
    form = FORMS[type(model)]
    settings = form.write_config(model)
    if classes is not None:
        settings |= _labels(classes)
    names = file_names(model)
    tensors = {names[own]: as_filed(own, tensor).contiguous() for own, tensor in model.state_dict().items()}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})  # transformers asks for this entry


def read_checkpoint(id_or_folder: str | Path) -> tuple[dict, dict[str, Tensor]]:
    """The settings in config.json and the tensors in model.safetensors.

    Raises:
        CheckpointError: if they cannot be found, reached or read.
    """
    settings = read_settings(id_or_folder, CONFIG_FILE)
    try:
        return settings, load_file(_locate(id_or_folder, WEIGHTS_FILE))
    except (ValueError, SafetensorError) as error:
        raise CheckpointError(f"{WEIGHTS_FILE} of {id_or_folder} is damaged: {error}") from error


def read_settings(id_or_folder: str | Path, name: str) -> dict:
    """What a JSON file of a checkpoint holds.

    Raises:
        CheckpointError: if it cannot be found, reached or read.
    """
    try:
        return dict(json.loads(_locate(id_or_folder, name).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{name} of {id_or_folder} is damaged: {error}") from error


def _locate(id_or_folder: str | Path, name: str) -> Path:
    """The path of a checkpoint's file, downloaded if it is on the hub."""
    folder = Path(id_or_folder)
    if folder.is_dir():
        if not (folder / name).is_file():
            raise CheckpointError(
                f"the folder {folder} has no {name}: a checkpoint is {CONFIG_FILE} and {WEIGHTS_FILE}."
            )
        return folder / name
    try:
        return _download(str(id_or_folder), name)
    except HFValidationError:
        fault = "is neither a folder nor a name on the hub, which would look like google/vit-base-patch16-224"
    except RepositoryNotFoundError:
        fault = "is neither a folder nor a repository on the hub that can be read without logging in"
    except LocalEntryNotFoundError:
        fault = (
            f"is no folder, {name} is not in the cache, and the hub cannot be reached: download it once while online"
        )
    except EntryNotFoundError:
        fault = f"has no {name} on the hub, and other formats, which could run code when opened, are not read"
    except OSError as error:
        fault = f"could not be fetched from the hub ({error}): try again, or give a folder"
    raise CheckpointError(f"{id_or_folder} {fault}.")


def _download(repository: str, name: str) -> Path:
    try:
        return Path(huggingface_hub.hf_hub_download(repository, name))
    except EntryNotFoundError as error:
        revision = None
        if name == WEIGHTS_FILE:
            revision = _conversion(repository, reachable=not isinstance(error, LocalEntryNotFoundError))
        if revision is None:
            raise
        return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision))


def _conversion(repository: str, *, reachable: bool) -> str | None:
    """Where the hub's converter has proposed safetensors for a repository that holds only pickled weights.

    Such proposals are often never merged: they stay beside the repository, as refs/pr/NUMBER.

    Args:
        repository: its name.
        reachable: whether the hub can be asked; if not, what the cache has of proposals counts.
    """
    if reachable:
        proposals = huggingface_hub.get_repo_discussions(repository, author=CONVERTER, discussion_type="pull_request")
        revisions = [proposal.git_reference for proposal in proposals if proposal.author == CONVERTER]
    else:
        try:
            cached = huggingface_hub.scan_cache_dir().repos
        except CacheNotFound:
            return None
        revisions = [
            ref for repo in cached if repo.repo_id == repository for each in repo.revisions for ref in each.refs
        ]
    return next((revision for revision in revisions if revision.startswith("refs/pr/")), None)


def _load(model: nn.Module, tensors: dict[str, Tensor], source: str, *, with_head: bool) -> None:
    """Copy the tensors into the model, after all of them have been found to fit."""
    prefix = FORMS[type(model)].prefix  # a file has it or not, depending on whether the model had a head
    given = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    own_names = {file_name.removeprefix(prefix): own for own, file_name in file_names(model).items()}
    if any(map(_is_head, given)):
        given = {name: tensor for name, tensor in given.items() if not name.startswith("pooler.")}  # see `_read_vit`
    if not with_head:
        given = {name: tensor for name, tensor in given.items() if not _is_head(name)}
        own_names = {name: own for name, own in own_names.items() if not _is_head(name)}

    state = model.state_dict()
    wanted = {name: as_filed(own, state[own]).shape for name, own in own_names.items()}
    missing, unexpected = wanted.keys() - given.keys(), given.keys() - wanted.keys()
    if missing:
        raise CheckpointError(f"{source} does not fit this model: it lacks {_listed(missing)}.")
    if unexpected:
        raise CheckpointError(f"{source} does not fit this model, which has no {_listed(unexpected)}.")
    for name, shape in wanted.items():
        if given[name].shape != shape:
            raise CheckpointError(
                f"{source} does not fit this model: {name} has the shape {tuple(given[name].shape)} instead of "
                f"{tuple(shape)}."
            )
    model.load_state_dict(state | {own: given[name].reshape(state[own].shape) for name, own in own_names.items()})


def _is_head(name: str) -> bool:
    return name.startswith(("classifier.", "decode_head.classifier."))


def _listed(names: set[str]) -> str:
    first, *others = sorted(names)
    return first + (f" and {len(others)} more tensors" if others else "")


# What a parameter is called here and in the file. All rules that match are applied, from the top.
_NORM_NAMES = [(r"\.gamma$", ".weight"), (r"\.beta$", ".bias")]
_MIT_NAMES = [
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
_NAMES = {
    ViT: [
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
    ],
    MiT: [*_MIT_NAMES, (r"^head", "classifier")],
    SegFormer: [
        (r"^encoder\.", ""),
        *_MIT_NAMES,
        (r"decoder\.project\.(\d)", r"decode_head.linear_c.\1.proj"),
        (r"decoder\.fuse", "decode_head.linear_fuse"),
        (r"decoder\.norm", "decode_head.batch_norm"),
        (r"decoder\.classify", "decode_head.classifier"),
    ],
}
# Axes of length 1 that the file has and the model does not need.
_AXES: dict[str, Callable[[Tensor], Tensor]] = {
    "embeddings.class_embedding": lambda x: x[None, None],  # (d,) -> (1, 1, d)
    "embeddings.position_embedding": lambda x: x[None],  # (n+1, d) -> (1, n+1, d)
    "decoder.fuse.weight": lambda x: x[:, :, None, None],  # (C, 4C) -> (C, 4C, 1, 1)
    "decoder.classify.weight": lambda x: x[:, :, None, None],
}


def file_names(model: nn.Module) -> dict[str, str]:
    """What each tensor of the model is called in a file: {own name: name in the file}."""
    prefix = FORMS[type(model)].prefix
    without_head = not isinstance(model, SegFormer) and model.head is None
    names = {}
    for own in model.state_dict():
        name = own
        for pattern, replacement in _NAMES[type(model)]:
            name = re.sub(pattern, replacement, name)
        names[own] = name.removeprefix(prefix) if without_head else name
    return names


def as_filed(own_name: str, tensor: Tensor) -> Tensor:
    """A tensor of the model in the shape that files give it."""
    return _AXES.get(own_name, lambda x: x)(tensor)


# What config.json says, and the same as a configuration of this package.


def _num_labels(settings: dict) -> int:
    return len(settings["id2label"]) if "id2label" in settings else settings.get("num_labels", 2)


def _labels(names: Sequence[str]) -> dict:
    return {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }


def _require(settings: dict, **published) -> None:
    for name, value in published.items():
        if settings.get(name, value) != value:
            raise CheckpointError(f"this checkpoint has {name} = {settings[name]!r}, but only {value!r} is known here.")


def _read_vit(settings: dict, tensors: dict[str, Tensor]) -> ViTConfig:
    _require(settings, hidden_act="gelu", qkv_bias=True, pooler_act="tanh")
    has_head = settings["architectures"][0] == "ViTForImageClassification"
    size = settings["image_size"]
    return ViTConfig(
        depth=settings["num_hidden_layers"],
        d=settings["hidden_size"],
        num_heads=settings["num_attention_heads"],
        patch_size=settings["patch_size"],
        image_size=size if isinstance(size, int) else tuple(size),
        num_classes=_num_labels(settings) if has_head else 0,
        channels=settings["num_channels"],
        d_ff=settings["intermediate_size"],
        # Published classifiers do not use a pooler, even where their file still holds one.
        pooler=not has_head and any("pooler.dense.weight" in name for name in tensors),
        eps=settings["layer_norm_eps"],
    )


def _write_vit(model: ViT) -> dict:
    config = model.config
    if config.pool != "class" or (config.pooler and config.num_classes):
        raise CheckpointError(
            "the published file format has neither mean pooling nor a head behind a pooler: save model.state_dict()."
        )
    size = config.image_size
    return {
        "architectures": ["ViTForImageClassification" if config.num_classes else "ViTModel"],
        "model_type": "vit",
        "num_hidden_layers": config.depth,
        "hidden_size": config.d,
        "num_attention_heads": config.num_heads,
        "patch_size": config.patch_size,
        "image_size": size if isinstance(size, int) else list(size),
        "num_channels": config.channels,
        "intermediate_size": config.d_ff or 4 * config.d,
        "layer_norm_eps": config.eps,
        "hidden_act": "gelu",
        "qkv_bias": True,
        **_labels([f"LABEL_{i}" for i in range(config.num_classes)]),
    }


def _read_mit(settings: dict, tensors: dict[str, Tensor]) -> MiTConfig:
    _require(settings, hidden_act="gelu", mlp_ratios=[4] * len(settings["hidden_sizes"]))
    return MiTConfig(
        d=tuple(settings["hidden_sizes"]),
        depths=tuple(settings["depths"]),
        num_heads=tuple(settings["num_attention_heads"]),
        sr_ratios=tuple(settings["sr_ratios"]),
        kernel_sizes=tuple(settings["patch_sizes"]),
        strides=tuple(settings["strides"]),
        num_classes=_num_labels(settings) if settings["architectures"][0] == "SegformerForImageClassification" else 0,
        channels=settings["num_channels"],
        drop_path=settings["drop_path_rate"],
    )


def _write_mit(model: MiT) -> dict:
    config = model.config
    return {
        "architectures": ["SegformerForImageClassification" if config.num_classes else "SegformerModel"],
        "model_type": "segformer",
        "num_encoder_blocks": len(config.d),
        "hidden_sizes": list(config.d),
        "depths": list(config.depths),
        "num_attention_heads": list(config.num_heads),
        "sr_ratios": list(config.sr_ratios),
        "num_channels": config.channels,
        "drop_path_rate": config.drop_path,
        "hidden_act": "gelu",
        "mlp_ratios": [4] * len(config.d),
        "patch_sizes": list(config.kernel_sizes),
        "strides": list(config.strides),
        **_labels([f"LABEL_{i}" for i in range(config.num_classes)]),
    }


def _read_segformer(settings: dict, tensors: dict[str, Tensor]) -> SegFormerConfig:
    return SegFormerConfig(
        encoder=_read_mit(settings, tensors),
        C=settings["decoder_hidden_size"],
        num_classes=_num_labels(settings),
        dropout=settings["classifier_dropout_prob"],
    )


def _write_segformer(model: SegFormer) -> dict:
    config = model.config
    return _write_mit(model.encoder) | {
        "architectures": ["SegformerForSemanticSegmentation"],
        "decoder_hidden_size": config.C,
        "classifier_dropout_prob": config.dropout,
        **_labels([f"LABEL_{i}" for i in range(config.num_classes)]),
    }


@dataclass(frozen=True)
class _Form:
    """How one kind of model is filed: its prefix, its names in config.json, and how that is read and written."""

    prefix: str
    architectures: tuple[str, ...]
    read_config: Callable[[dict, dict[str, Tensor]], object]
    write_config: Callable[[nn.Module], dict]


FORMS = {
    ViT: _Form("vit.", ("ViTForImageClassification", "ViTModel"), _read_vit, _write_vit),
    MiT: _Form("segformer.", ("SegformerForImageClassification", "SegformerModel"), _read_mit, _write_mit),
    SegFormer: _Form("segformer.", ("SegformerForSemanticSegmentation",), _read_segformer, _write_segformer),
}
