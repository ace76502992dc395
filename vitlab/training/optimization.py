"""How the weights move: the learning rate of every step and of every layer, and the running average of the weights.

Lecture: "Training".
Papers: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019 (AdamW); Bao et al., "BEiT", 2022
(layer-wise decay); Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992.
"""

from typing import Any

import torch
from torch import nn

from vitlab.encoder import EncoderBlock
from vitlab.training.recipe import SCHEDULES, Recipe

HEADS = ("head.", "pooler.", "decoder.")


def learning_rate_factor(step: int, recipe: Recipe) -> float:
    """What the peak of every learning rate is multiplied with in a step: the recipe's schedule, with the peak 1."""
    cycle = recipe.cycle_steps
    return SCHEDULES[recipe.schedule](step % cycle, cycle, recipe.warmup_steps, 1.0)


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """The parameters for AdamW, sorted by learning rate and weight decay.

    The last of L blocks has the learning rate lr · layer_lr_decay, the one below it lr · layer_lr_decay², and so on
    down to the embeddings. What stands between two blocks belongs to the one before. The head has
    lr · head_lr_factor. Biases, norms and embeddings, which are vectors, are not decayed, nor is E_pos.

    Returns:
        Groups with `peak_lr`, the highest learning rate of the schedule.

    Source: Bao et al., appendix H; Xie et al., section 4.1.
    """
    blocks = [name + "." for name, module in model.named_modules() if isinstance(module, EncoderBlock)]
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    layer = 0  # 0 for what comes before the first block
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        layer = next((i for i, block in enumerate(blocks, start=1) if name.startswith(block)), layer)
        if name.startswith(HEADS):
            peak_lr = recipe.lr * recipe.head_lr_factor
        else:
            peak_lr = recipe.lr * recipe.layer_lr_decay ** (len(blocks) + 1 - layer)
        decay = recipe.weight_decay if parameter.ndim > 1 and not name.endswith("embedding") else 0.0
        groups.setdefault((peak_lr, decay), []).append(parameter)
    return [
        {"params": parameters, "peak_lr": peak_lr, "lr": peak_lr, "weight_decay": decay}
        for (peak_lr, decay), parameters in groups.items()
    ]


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, keep: float, step: int) -> None:
    """Move the running average of the weights a little towards the weights.

        average ← k · average + (1 - k) · weights,    k = min(keep, (1 + step) / (10 + step))

    At first the average keeps less, so that it forgets the random weights it began with.

    Args:
        average: a copy of the model, which is changed.
        model: the model in training.
        keep: the part that stays in the long run.
        step: from 0.
    """
    part = 1 - min(keep, (1 + step) / (10 + step))
    old, new = average.state_dict(), model.state_dict()
    floating = [name for name, tensor in old.items() if tensor.is_floating_point()]
    torch._foreach_lerp_([old[name] for name in floating], [new[name] for name in floating], part)
    for name in old.keys() - set(floating):  # BatchNorm counts its batches
        old[name].copy_(new[name])
