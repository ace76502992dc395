"""A checkpoint and a model: read, compare, copy, write. Nothing is ever unpickled.

safetensors and the hub's library are imported where they are used, because `import vitlab` needs neither.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from vitlab.files import folder_written_whole, read_tensors, write_json, write_tensors
from vitlab.pretrained.forms import (
    CONFIG_FILE,
    FORMS,
    WEIGHTS_FILE,
    CheckpointError,
    Form,
    as_filed,
    is_head,
    labels,
    read_labels,
)
from vitlab.validation import path_of, read_table, validated


def from_pretrained(kind: type, id_or_folder: str | Path, *, num_classes: int | None = None) -> nn.Module:
    """A model with published weights, in evaluation mode.

    Weights have the licence of who published them: NVIDIA's SegFormer and MiT weights, and what is fine-tuned from
    them, are for research only, not for commercial use.

    Args:
        kind: ViT, MiT or SegFormer.
        id_or_folder: a folder; or the name of a model that comes with this package, "vit-cifar10"; or that of a
            repository on the Hugging Face hub, "google/vit-base-patch16-224". A download is kept in huggingface_hub's
            cache and shows its progress bar; with HF_HUB_OFFLINE=1 only the cache is asked.
        num_classes: where given, the head is not the checkpoint's but a new one with random weights for so many
            classes, to be fine-tuned, and without a pooler, which no published classifier has; 0 for none.

    Raises:
        CheckpointError: if the checkpoint cannot be reached, is not one of this kind of model, or contradicts itself;
            or if this kind has no published form.
        ValueError: if there is no model with so many classes.
    """
    form, where = _form(kind), f"{id_or_folder}/{CONFIG_FILE}"
    settings, tensors = read_checkpoint(id_or_folder)
    architecture, classes = read_labels(settings, where)
    if architecture not in form.architectures:
        raise CheckpointError(
            f"{id_or_folder} holds a {architecture}, but {kind.__name__} reads {' or '.join(form.architectures)}."
        )
    heads = [len(t) for name, t in tensors.items() if is_head(name) and t.ndim and len(t) != len(classes)]
    if heads:
        raise CheckpointError(f"{where} has {len(classes)} labels, but {WEIGHTS_FILE} has a head of {heads[0]}.")
    numbers, with_head = form.read_config(settings, tensors, where, len(classes)), num_classes is None
    config = validated(kind.Config, numbers, where, CheckpointError, form.entries)
    try:
        with torch.device("meta"):  # the model without its memory: what does not fit the file is never made
            weights = _fitting(kind(config), tensors, str(id_or_folder), with_head=with_head)
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from error
    if not with_head:
        config = replace(config, num_classes=num_classes)
        if num_classes and getattr(config, "pooler", False):  # a head behind a pooler could not be saved
            config = replace(config, pooler=False)
    model = kind(config)
    model.load_state_dict(weights, strict=with_head)
    return model.eval()


def load_pretrained(model: nn.Module, id_or_folder: str | Path, *, with_head: bool = True) -> None:
    """Give an existing model the weights of a checkpoint, all of them or, if one does not fit, none.

        load_pretrained(segformer.encoder, "nvidia/mit-b0", with_head=False)

    Args:
        model: a ViT, MiT or SegFormer.
        id_or_folder: as in `from_pretrained`.
        with_head: whether the classifier is loaded as well; if not, the model's own one stays as it is.

    Raises:
        CheckpointError: if the checkpoint cannot be reached, or a tensor is missing, unexpected, of another shape or
            another type, or not finite.
    """
    _, tensors = read_checkpoint(id_or_folder)
    model.load_state_dict(_fitting(model, tensors, str(id_or_folder), with_head=with_head), strict=with_head)


def save_pretrained(model: nn.Module, folder: str | Path, *, classes: Sequence[str] | None = None) -> None:
    """Write config.json and model.safetensors, which `from_pretrained` and `transformers` read.

    Args:
        model: a ViT, MiT or SegFormer.
        folder: made where it does not exist.
        classes: the names of the model's outputs; "LABEL_0" and so on where not given.

    Raises:
        CheckpointError: if `transformers` has no model that computes the same: mean pooling, or a head behind a pooler;
            or if what was written could not be read: a model that is not that of its config, weights that are not
            finite, names that are not those of its outputs.
    """
    form, state = _form(type(model)), model.state_dict()
    settings = form.write_config(asdict(model.config))
    if classes is not None:
        settings |= labels([classes] if isinstance(classes, str) else classes)  # one name, and not its letters
        if (count := len(read_labels(settings, "the model")[1])) != model.config.num_classes:
            raise CheckpointError(f"there are {count} names for {model.config.num_classes} outputs.")
    names = form.file_names(state)
    tensors = {names[own]: as_filed(own, tensor).clone() for own, tensor in state.items()}
    with torch.device("meta"):
        _fitting(type(model)(model.config), tensors, "what is to be saved", with_head=True)
    with folder_written_whole(path_of(folder, CheckpointError)) as draft:
        write_json(draft / CONFIG_FILE, settings)
        write_tensors(draft / WEIGHTS_FILE, tensors, {"format": "pt"})  # transformers asks for this entry


def read_checkpoint(id_or_folder: str | Path) -> tuple[dict, dict[str, Tensor]]:
    """The settings in config.json and the tensors in model.safetensors.

    Raises:
        CheckpointError: if they cannot be found, reached or read.
    """
    from vitlab.pretrained.hub import locate

    settings = read_settings(id_or_folder, CONFIG_FILE)
    try:
        return settings, read_tensors(locate(id_or_folder, WEIGHTS_FILE))[0]
    except ValueError as error:
        raise CheckpointError(f"{WEIGHTS_FILE} of {id_or_folder} is damaged: {error}") from error


def read_settings(id_or_folder: str | Path, name: str) -> dict:
    """What a JSON file of a checkpoint holds.

    Raises:
        CheckpointError: if it cannot be found, reached or read.
    """
    from vitlab.pretrained.hub import locate

    return read_table(locate(id_or_folder, name), CheckpointError)


def _form(kind: type) -> Form:
    if kind.__name__ not in FORMS:
        raise CheckpointError(f"a {kind.__name__} has no published form, only {', '.join(FORMS)} have one.")
    return FORMS[kind.__name__]


def _fitting(model: nn.Module, tensors: dict[str, Tensor], source: str, *, with_head: bool) -> dict[str, Tensor]:
    """The model's tensors, by its own names, out of those of a file, after all of them have been found to fit."""
    form, state = _form(type(model)), model.state_dict()
    prefix = form.prefix  # a file has it or not, depending on whether the model had a head
    given = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    if len(given) < len(tensors):
        raise CheckpointError(f"{source} holds tensors twice, with and without {prefix!r} before their names.")
    own_names = {file_name.removeprefix(prefix): own for own, file_name in form.file_names(state).items()}
    if any(map(is_head, given)):  # then a pooler is of no use: see `forms._read_vit`
        given = {name: tensor for name, tensor in given.items() if not name.startswith("pooler.")}
    if not with_head:
        given = {name: tensor for name, tensor in given.items() if not is_head(name)}
        own_names = {name: own for name, own in own_names.items() if not is_head(name)}

    wanted = {name: as_filed(own, state[own]) for name, own in own_names.items()}
    missing, unexpected = wanted.keys() - given.keys(), given.keys() - wanted.keys()
    if missing:
        raise CheckpointError(f"{source} does not fit this model: it lacks {_listed(missing)}.")
    if unexpected:
        raise CheckpointError(f"{source} does not fit this model, which has no {_listed(unexpected)}.")
    for name, right in wanted.items():
        tensor = given[name]
        if tensor.shape != right.shape:
            raise CheckpointError(
                f"{source} does not fit this model: {name} has the shape {tuple(tensor.shape)} instead of "
                f"{tuple(right.shape)}."
            )
        if tensor.dtype != right.dtype and not (tensor.is_floating_point() and right.is_floating_point()):
            raise CheckpointError(f"{source} does not fit this model: {name} holds {tensor.dtype}, not {right.dtype}.")
        if not tensor.float().isfinite().all():
            raise CheckpointError(f"{source}: {name} holds numbers that are not finite in {tensor.dtype}.")
    return {own: given[name].reshape(state[own].shape) for name, own in own_names.items()}


def _listed(names: set[str]) -> str:
    first, *others = sorted(names)
    return first + (f" and {len(others)} more tensors" if others else "")
