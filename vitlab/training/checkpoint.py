"""The state of a training, in one file.

A step draws its random numbers from the seed and its own number alone (see `vitlab.training.loop`), so there is no
random state to keep: weights, their average, the optimizer's moments and the number of the step are all.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vitlab.files import written_whole
from vitlab.training.recipe import TrainingError

FILE = "checkpoint.safetensors"


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
        for key, tensor in optimizer.state[parameter].items():  # the two moments, and AdamW's count of steps
            tensors[f"optimizer.{key}.{name}"] = tensor
    with written_whole(folder / FILE) as draft:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, draft, {"meta": json.dumps(meta)})


def read_state(folder: Path) -> tuple[dict[str, Any], Callable] | None:
    """The state that `save_state` wrote: its meta, and a function that puts it into a model, an average, an optimizer.

    Returns:
        None where the folder has none.

    Raises:
        TrainingError: if the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["meta"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, TypeError, KeyError, ValueError, OSError) as error:
        raise TrainingError(f"{path} is damaged ({error}): delete it to begin again.") from error

    def restore(model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        model.load_state_dict(_of("model.", tensors))
        average.load_state_dict(_of("average.", tensors))
        device = next(model.parameters()).device
        for name, parameter in model.named_parameters():
            for key in ("step", "exp_avg", "exp_avg_sq"):
                optimizer.state[parameter][key] = tensors[f"optimizer.{key}.{name}"].to(device)

    return meta, restore


def _of(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
