"""The training loop, the same on a laptop, in Colab and on many machines.

    vitlab train digits
    accelerate launch --num_processes 8 -m vitlab train cifar10

Everything that is random in a step, the choice of the images, their augmentation, dropout, comes from the seed and the
number of the step alone. So a run that was killed continues as if nothing had happened, and several processes see the
images that one would see.

Lecture: "Training".
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import parse_flag_from_env
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from vitlab.data import IGNORE, DataError, load
from vitlab.decoder import upsampled_cross_entropy
from vitlab.machine import is_out_of_memory, provenance
from vitlab.training.batches import Batches, seed_of
from vitlab.training.checkpoint import FILE, fingerprint, read_state, save_state
from vitlab.training.evaluation import evaluate, main_score, scores
from vitlab.training.log import append_to_log, write_log
from vitlab.training.optimization import learning_rate_factor, parameter_groups, update_average
from vitlab.training.recipe import Recipe, TrainingError, as_content, augmentation_of, build_model, make_recipe
from vitlab.training.rehearsal import rehearse
from vitlab.training.run import METRICS_FILE, claimed, finish, read_metrics, same_run
from vitlab.validation import path_of


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
        TrainingError: if the folder holds a run of another recipe or other things, or another process trains there; if
            model and data do not suit each other; if the loss is no number any more, or memory runs out.
        DataError: if the data cannot be had.
        OSError: if the folder cannot be written; once there is room, the same call goes on.
    """
    if not isinstance(recipe, Recipe):
        raise TrainingError(f"what is trained is a Recipe, as `read_recipe` reads it, and not {recipe!r}.")
    folder = path_of(folder, TrainingError)
    recipe = make_recipe(as_content(recipe), recipe.name)  # also where none of its numbers comes from a file
    if "TORCHELASTIC_RUN_ID" not in os.environ and {"WORLD_SIZE", "LOCAL_RANK"} & os.environ.keys():
        raise TrainingError(
            "WORLD_SIZE and LOCAL_RANK say that this is one of several processes, but no launcher has started it: "
            "begin the command with `accelerate launch -m`, or unset both."
        )
    if os.path.lexists(folder / METRICS_FILE):
        metrics = read_metrics(folder)
        same_run(folder, metrics["recipe"], recipe)
        return metrics
    accelerator = Accelerator(mixed_precision=mixed_precision())
    with claimed(folder) if accelerator.is_main_process else nullcontext():
        _train(recipe, folder, accelerator, checkpoint_seconds)
    return read_metrics(folder)


def _train(recipe: Recipe, folder: Path, accelerator: Accelerator, checkpoint_seconds: float) -> None:
    start = time.monotonic()
    rank, processes, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    with accelerator.main_process_first():  # one process downloads, the others find it there
        dataset = load(**recipe.data)
    train, test = dataset.train, dataset.test
    data = fingerprint(dataset.classes, train.images, train.labels, test.images, test.labels)
    normalization = dataset.normalization().to(device)
    if (normalization.deviation == 0).any():
        raise DataError("a channel has the same value in all training images: there is nothing to learn from it.")
    dataset = replace(dataset, train=train.to(device), test=test.to(device))
    batches = Batches(recipe, dataset, augmentation_of(recipe, dataset.is_segmentation), rank, processes)
    small = {"upsample": False} if dataset.is_segmentation else {}  # the loss upsamples, a few rows at a time

    def prepare(images: Tensor) -> Tensor:
        return normalization(images.float() / 255)

    on_processor = torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16 and device.type == "cpu")

    def loss_on(model: nn.Module, step: int) -> Tensor:
        images, targets = batches(step)
        with on_processor:
            outputs = model(normalization(images), **small)
        return loss_of(outputs, targets, accelerator)

    model = build_model(recipe, dataset).to(device)
    if processes > 1 and device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    average = deepcopy(model).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe), fused=True)
    state = {"step": 0, "seconds": 0.0, "losses": [], "log": [], "scaler": None}
    state |= {"recipe": as_content(recipe), "data": data, "where": provenance(device)}
    with explained(recipe, device, processes):
        if (folder / FILE).exists():
            state = resume(recipe, folder, data, model, average, optimizer, accelerator)
        else:
            with accelerator.autocast():
                rehearse(model, average, loss_on, batches, dataset, prepare)
            if rank == 0:
                save_state(folder, model, average, optimizer, state)  # from now on this is the folder of this run
    first, seconds_before, lines = state["step"], state["seconds"], state["log"]
    if rank == 0:
        write_log(folder, lines)  # what was reported after the checkpoint will be reported again
    forward, optimizer = accelerator.prepare(model, optimizer)
    if recipe.compile and device.type == "cuda":
        forward = torch.compile(forward)

    saved = time.monotonic()
    losses = list(torch.tensor(state["losses"], device=device))  # since the last report; a look makes a GPU wait
    progress = tqdm(range(first, recipe.steps), recipe.name, recipe.steps, initial=first, disable=rank > 0)
    with explained(recipe, device, processes):
        for step in progress:
            torch.manual_seed(seed_of(recipe.seed, step, rank))  # for dropout and stochastic depth
            factor = learning_rate_factor(step, recipe)
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor

            if recipe.patch_dropout:
                model.patch_dropout = recipe.patch_dropout * (1 - step / recipe.steps)
            loss = loss_on(forward, step)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
            optimizer.zero_grad()
            update_average(average, model, recipe.average, step)
            losses.append(accelerator.reduce(loss.detach(), "mean"))

            done, seconds = step + 1, seconds_before + time.monotonic() - start
            if done % recipe.log_every == 0 or done == recipe.steps:
                report = {"step": done, "loss": check_finite(torch.stack(losses).mean(), recipe, done).item()}
                losses.clear()
                if done % recipe.evaluate_every == 0 or done == recipe.steps:
                    check_finite(nn.utils.parameters_to_vector(model.parameters()), recipe, done)
                    matrix = evaluate(average, dataset.test, len(dataset.classes), prepare, part=(rank, processes))
                    matrix.counts = accelerator.reduce(matrix.counts.to(device), "sum").cpu()
                    report |= scores(matrix, dataset)
                    progress.set_postfix_str("{} {:.4f}".format(*main_score(report)))
                lines.append(report | {"lr": recipe.lr * factor, "seconds": seconds})
                if rank == 0:
                    append_to_log(folder, lines[-1])
            if rank == 0 and (done == recipe.steps or time.monotonic() - saved > checkpoint_seconds):
                check_finite(nn.utils.parameters_to_vector(model.parameters()), recipe, done)
                state |= {"step": done, "seconds": seconds, "losses": [each.item() for each in losses]}
                state["scaler"] = accelerator.scaler.state_dict() if accelerator.scaler else None
                save_state(folder, model, average, optimizer.optimizer, state)
                saved = time.monotonic()
    if rank == 0:
        finish(folder, recipe, dataset, average, normalization, processes, state)
    accelerator.wait_for_everyone()


def mixed_precision() -> str:
    """bfloat16 where the GPU computes with it itself, else float16; float32 on a processor (but see `Recipe.bf16`)."""
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


def check_finite(numbers: Tensor, recipe: Recipe, done: int) -> Tensor:
    """The numbers themselves.

    Raises:
        TrainingError: if one is infinite or not a number.
    """
    if not numbers.isfinite().all():
        raise TrainingError(
            f"the loss is not a number any more, {done} steps after the beginning: begin again with a lower learning "
            f"rate (--lr {recipe.lr / 3:.1g}) or more warmup_steps, in another folder."
        )
    return numbers


def resume(
    recipe: Recipe,
    folder: Path,
    data: str,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
) -> dict[str, Any]:
    """Restore what an earlier run in this folder has reached.

    Returns:
        What it saved beside the weights: the step, the seconds spent, the log and so on.

    Raises:
        TrainingError: if that was a run of another recipe or on other data, or its checkpoint is damaged.
    """
    state, restore = read_state(folder)
    same_run(folder, state["recipe"], recipe)
    if state["data"] != data:
        raise TrainingError(
            f"{folder} holds a run on other data: images, masks or classes were added, taken away or changed. Bring "
            f"them back, or choose another folder with --out."
        )
    restore(model, average, optimizer)
    if accelerator.scaler and state["scaler"]:  # there is none before the first step, nor from a processor
        accelerator.scaler.load_state_dict(state["scaler"])
    return state


@contextmanager
def explained(recipe: Recipe, device: torch.device, processes: int) -> Iterator[None]:
    """Turn "out of memory" into what to do about it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fewer = recipe.batch_size // (4 * processes) * 2 * processes  # about half, of which `Batches` makes equal parts
        advice = (
            f"try --batch-size {fewer}, with a learning rate lower and steps more by the same factor, in another folder"
            if fewer
            else "smaller images or a smaller model need less"
        )
        raise TrainingError(
            f"the memory of this {'GPU' if device.type == 'cuda' else 'machine'} is too small for "
            f"{recipe.batch_size // processes} images at a time: {advice}."
        ) from error
