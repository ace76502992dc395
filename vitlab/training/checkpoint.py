"""The state of a training, in one file.

A step draws its random numbers from the seed and its own number alone (see `vitlab.training.loop`), so there is no
random state to keep: weights, their average, the optimizer's moments, the number of the step and the log are all. The
run writes it first of all, and with it the folder becomes the run's own.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitlab.files import read_tensors, write_tensors, written_whole
from vitlab.training.recipe import TrainingError

FILE = "checkpoint.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # AdamW's count of steps and its two moments; before step 1 it has none


def fingerprint(*contents: str | Tensor | Sequence) -> str:
    """A hash of texts and tensors, in lists or not: of their shapes and every bit."""
    digest = hashlib.sha256()
    for each in contents:
        if isinstance(each, Tensor):
            digest.update(f"{each.dtype}, {tuple(each.shape)}".encode())
            digest.update(each.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        else:
            digest.update((each if isinstance(each, str) else fingerprint(*each)).encode())
    return digest.hexdigest()


def save_state(
    folder: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, meta: dict[str, Any]
) -> None:
    """Write the state of a training into its folder.

    Args:
        folder: of the run.
        model, average: the model in training, and the running average of its weights.
        optimizer: AdamW, over the parameters of the model.
        meta: numbers and texts that JSON can hold: the step, the recipe, and so on.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, tensor in optimizer.state.get(parameter, {}).items():  # none before step 1, nor for what stays fixed
            tensors[f"optimizer.{key}.{name}"] = tensor
    text = json.dumps(meta, allow_nan=False)
    with written_whole(folder / FILE) as draft:
        write_tensors(draft, tensors, {"meta": text, "fingerprint": _fingerprint(text, tensors)})


def read_state(folder: Path) -> tuple[dict[str, Any], Callable]:
    """The state that `save_state` wrote: its meta, and a function that puts it into a model, an average, an optimizer.

    Raises:
        TrainingError: if the file is damaged, or anything in it is not as it was written.
    """
    path = folder / FILE
    try:
        tensors, about = read_tensors(path)
    except ValueError as error:
        raise TrainingError(f"{path} is damaged ({error}): delete {folder} to begin again.") from error
    if not {"meta", "fingerprint"} <= about.keys():
        raise TrainingError(
            f"{path} was not written by this version of vitlab, which keeps a fingerprint in it: choose another folder "
            f"with --out, or delete {folder} to begin again."
        )
    text, written = about["meta"], about["fingerprint"]
    if _fingerprint(text, tensors) != written:
        raise TrainingError(f"{path} was changed after it was written: delete {folder} to begin again.")

    def restore(model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        model.load_state_dict(_of("model.", tensors))
        average.load_state_dict(_of("average.", tensors))
        device = next(model.parameters()).device
        for name, parameter in model.named_parameters():
            moments = {key: tensors.get(f"optimizer.{key}.{name}") for key in MOMENTS}
            moments = {key: moment.to(device) for key, moment in moments.items() if moment is not None}
            if moments:
                optimizer.state[parameter] |= moments

    return json.loads(text), restore


def _fingerprint(text: str, tensors: dict[str, Tensor]) -> str:
    return fingerprint(text, *sorted(tensors), *(tensors[name] for name in sorted(tensors)))


def _of(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
