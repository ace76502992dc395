"""The training loop, the same on a laptop, in Colab and on many machines.

    vitlab train digits
    accelerate launch --num_processes 8 -m vitlab train cifar10

Everything that is random in a step, the choice of the images, their augmentation, dropout, comes from the seed and the
number of the step alone. So a run that was killed continues as if nothing had happened, and several processes see the
images that one would see.

Lecture: "Training".
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import parse_flag_from_env
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from vitlab.data import IGNORE, load
from vitlab.decoder import upsampled_cross_entropy
from vitlab.training.batches import Batches, seed_of
from vitlab.training.checkpoint import read_state, save_state
from vitlab.training.evaluation import evaluate, main_score, scores
from vitlab.training.log import append_to_log, read_log, write_log
from vitlab.training.optimization import learning_rate_factor, parameter_groups, update_average
from vitlab.training.recipe import Recipe, TrainingError, as_content, augmentation_of, build_model, make_recipe
from vitlab.training.rehearsal import rehearse
from vitlab.training.run import finish, read_metrics


def train(recipe: Recipe, folder: Path, *, checkpoint_seconds: float = 60.0) -> dict[str, Any]:
    """Train a model, or go on where an earlier call was interrupted.

    Args:
        recipe: what to compute.
        folder: of the run. It receives log.jsonl and checkpoint.safetensors and, at the end, metrics.json, curves.png
            and model/, which `from_pretrained` reads.
        checkpoint_seconds: how much work may be lost when the process is killed.

    Returns:
        The content of metrics.json.

    Raises:
        TrainingError: if the folder holds a run of another recipe, the loss is no number any more, or memory runs out.
        DataError: if the data cannot be had.
    """
    start = time.monotonic()
    recipe = make_recipe(as_content(recipe), recipe.name)  # also where none of its numbers comes from a file
    accelerator = Accelerator(mixed_precision=mixed_precision())
    rank, processes, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    with accelerator.main_process_first():  # one process downloads, the others find it there
        dataset = load(**recipe.data)
    normalization = dataset.normalization().to(device)
    dataset = replace(dataset, train=dataset.train.to(device), test=dataset.test.to(device))

    def prepare(images: Tensor) -> Tensor:
        return normalization(images.float() / 255)

    batches = Batches(recipe, dataset, augmentation_of(recipe, dataset.is_segmentation), rank, processes)

    model = build_model(recipe, dataset).to(device)
    if processes > 1 and device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    average = deepcopy(model).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe), fused=True)
    first, seconds_before = resume(recipe, folder, model, average, optimizer, accelerator)
    forward, optimizer = accelerator.prepare(model, optimizer)
    if recipe.compile and device.type == "cuda":
        forward = torch.compile(forward)

    small = {"upsample": False} if dataset.is_segmentation else {}  # the loss upsamples, a few rows at a time
    saved = time.monotonic()
    losses = []  # since the last report; they stay on the device, because to look at one makes a GPU wait
    with explained(recipe, device):
        rehearse(average, batches, dataset, prepare)
        progress = tqdm(range(first, recipe.steps), recipe.name, recipe.steps, initial=first, disable=rank > 0)
        for step in progress:
            torch.manual_seed(seed_of(recipe.seed, step, rank))  # for dropout and stochastic depth
            factor = learning_rate_factor(step, recipe)
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor

            images, targets = batches(step)
            loss = loss_of(forward(normalization(images), **small), targets, accelerator)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
            optimizer.zero_grad()
            update_average(average, model, recipe.average, step)
            losses.append(loss.detach())

            done = step + 1
            if done % recipe.log_every and done < recipe.steps:
                continue
            report = {"step": done, "loss": accelerator.reduce(torch.stack(losses).mean(), "mean").item()}
            losses.clear()
            if not math.isfinite(report["loss"]):
                raise TrainingError(
                    f"the loss is not a number any more, {done} steps after the beginning: begin again with a lower "
                    f"learning rate (--lr {recipe.lr / 3:.1g}) or more warmup_steps, in another folder."
                )
            if done % recipe.evaluate_every == 0 or done == recipe.steps:
                matrix = evaluate(average, dataset.test, len(dataset.classes), prepare, part=(rank, processes))
                matrix.counts = accelerator.reduce(matrix.counts.to(device), "sum").cpu()
                report |= scores(matrix, dataset)
                progress.set_postfix_str("{} {:.4f}".format(*main_score(report)))
            seconds = seconds_before + time.monotonic() - start
            if rank == 0:
                append_to_log(folder, report | {"lr": recipe.lr * factor, "seconds": seconds})
                if done == recipe.steps or time.monotonic() - saved > checkpoint_seconds:
                    scaler = accelerator.scaler.state_dict() if accelerator.scaler else None
                    meta = {"step": done, "seconds": seconds, "recipe": as_content(recipe), "scaler": scaler}
                    save_state(folder, model, average, optimizer.optimizer, meta)
                    saved = time.monotonic()
    if rank == 0:
        finish(folder, recipe, dataset, average, normalization, processes)
    accelerator.wait_for_everyone()
    return read_metrics(folder)


def mixed_precision() -> str:
    """bfloat16 where the GPU computes with it itself, else float16; float32 on a processor."""
    if parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available():  # the flag is accelerate's --cpu
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def loss_of(outputs: Tensor, targets: Tensor, accelerator: Accelerator) -> Tensor:
    """The mean cross-entropy, over the images or over the pixels that count.

    Args:
        outputs: (b, N), or (b, N, h, w), which is upsampled to the size of the masks.
        targets: (b, N), the probability of each class; or masks (b, H, W).
        accelerator: knows the other processes. Their gradients are averaged as if each had as many pixels as the
            others, so that a process with more of them has to weigh its mean more.
    """
    if targets.is_floating_point():
        return F.cross_entropy(outputs.float(), targets)
    counted = (targets != IGNORE).sum()
    share = counted / accelerator.reduce(counted.float(), "mean").clamp(min=1e-9)
    targets = torch.where(counted > 0, targets, 0)  # 0/0 would be no number: without a pixel that counts the share is 0
    return share * upsampled_cross_entropy(outputs, targets, IGNORE)


def resume(
    recipe: Recipe,
    folder: Path,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
) -> tuple[int, float]:
    """Restore what an earlier run in this folder has reached.

    Returns:
        The next step, and the seconds spent before.

    Raises:
        TrainingError: if that was a run of another recipe, or its checkpoint is damaged.
    """
    state = read_state(folder)
    step, seconds = 0, 0.0
    if state:
        meta, restore = state
        for name, value in as_content(recipe).items():
            if meta["recipe"].get(name) != value:
                raise TrainingError(
                    f"{folder} holds a run with {name} = {meta['recipe'].get(name)!r}, but now it is {value!r}: choose "
                    f"another folder with --out, or delete this one."
                )
        restore(model, average, optimizer)
        if accelerator.scaler:
            accelerator.scaler.load_state_dict(meta["scaler"])
        step, seconds = meta["step"], meta["seconds"]
    if accelerator.is_main_process:  # what was reported after the checkpoint will be reported again
        write_log(folder, [line for line in read_log(folder) if line["step"] <= step])
    return step, seconds


@contextmanager
def explained(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Turn "out of memory" and a full disk into what to do about them."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"the run cannot be written ({error}): make room, and the same command goes on from the last checkpoint."
        ) from error
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise TrainingError(
            f"the memory of this {'GPU' if device.type == 'cuda' else 'machine'} is too small for "
            f"{recipe.batch_size} images at a time: try --batch-size {max(2, recipe.batch_size // 2)}, with half the "
            f"learning rate and twice the steps, in another folder."
        ) from error
