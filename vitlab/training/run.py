"""The folder of a run: that it belongs to one run, what a finished training leaves there, what several of them say."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from statistics import mean as mean_of
from statistics import stdev
from typing import Annotated, Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from vitlab.data import Dataset, Normalization
from vitlab.files import remove_draft, write_json, written_whole
from vitlab.pretrained.model import PublishedModel
from vitlab.pretrained.predictor import save_predictor
from vitlab.training import checkpoint, log
from vitlab.training.evaluation import main_score
from vitlab.training.operations import flop_of_an_image
from vitlab.training.recipe import Recipe, TrainingError, as_content
from vitlab.validation import Limits, Share, read_table, validated

METRICS_FILE, CURVES_FILE, MODEL_FOLDER, LOCK_FILE = "metrics.json", "curves.png", "model", ".lock"
FILES = (checkpoint.FILE, log.FILE, METRICS_FILE, CURVES_FILE)


@dataclass(frozen=True)
class Finished:
    """What is read of metrics.json later on."""

    seconds: Annotated[float, Limits(ge=0)]
    recipe: dict[str, Any]
    test_accuracy: Share = 0.0
    test_miou: Share = 0.0


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder is made and belongs to this process alone; what a killed run left half-written goes.

    Raises:
        TrainingError: if another process trains there, or other things than a run's stand where its files shall be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / LOCK_FILE).acquire(blocking=False)
    except Timeout as error:
        raise TrainingError(
            f"another process is training in {folder}: wait for it, or choose another folder with --out."
        ) from error
    with lock:
        places = [folder / name for name in (*FILES, MODEL_FOLDER)]
        for place in places:
            remove_draft(place)
        begun = (folder / checkpoint.FILE).is_file()  # a run writes it first of all
        for place in filter(os.path.lexists, places):
            if not begun or place.is_dir() != (place.name == MODEL_FOLDER):
                raise TrainingError(
                    f"{place} is not of a run that could go on: choose another folder with --out, or move it away."
                )
        yield


def same_run(folder: Path, before: dict[str, Any], recipe: Recipe) -> None:
    """Compare the recipe of the run in a folder with the one that is wanted there.

    Raises:
        TrainingError: if they differ.
    """
    # For entries that did not exist yet when the run began; those without a default have always been there.
    usual = {f.name: None if f.default is MISSING else f.default for f in fields(Recipe)}
    for name, value in as_content(recipe).items():
        was = before.get(name, usual[name])
        if was != value:
            raise TrainingError(
                f"{folder} holds a run with {name} = {was!r}, but now it is {value!r}: choose another folder with "
                f"--out, or delete this one."
            )


def finish(
    folder: Path,
    recipe: Recipe,
    dataset: Dataset,
    average: nn.Module,
    normalization: Normalization,
    processes: int,
    state: dict[str, Any],
) -> None:
    """Write curves.png, model/ and, as the last, metrics.json, from the last average of the weights.

    Args:
        state: what the last checkpoint says: the log's lines, the seconds, and where they were spent.
    """
    lines, seconds = state["log"], state["seconds"]
    score, _ = main_score(lines[-1])
    device = normalization.mean.device
    results = {name: value for name, value in lines[-1].items() if name.startswith("test_")}
    metrics = {
        **results,
        "curve": [{name: line[name] for name in ("step", "seconds", score)} for line in lines if score in line],
        "seconds": seconds,
        "operations": flop_of_an_image(average, recipe, dataset) * recipe.steps * recipe.batch_size,
        "images_per_second": recipe.steps * recipe.batch_size / seconds,
        "peak_gpu_memory_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
        "parameters": sum(parameter.numel() for parameter in average.parameters()),
        "processes": processes,
        "seed": recipe.seed,
        "data": asdict(dataset.card) | {"train": len(dataset.train), "test": len(dataset.test)},
        "recipe": as_content(recipe),
        "where": state["where"],
    }
    with written_whole(folder / CURVES_FILE) as draft:
        log.draw_curves(lines, score, draft)
    if isinstance(average, PublishedModel):  # a U-Net has no published form
        save_predictor(folder / MODEL_FOLDER, average.cpu(), dataset, normalization.to("cpu"))
    write_json(folder / METRICS_FILE, metrics)


def read_metrics(folder: Path) -> dict[str, Any]:
    """What a finished run has reached.

    Raises:
        TrainingError: if there is no finished run, or its metrics are damaged.
    """
    path = folder / METRICS_FILE
    if not path.is_file():
        raise TrainingError(f"{folder} holds no finished run: there is no file {METRICS_FILE}.")
    metrics = read_table(path, TrainingError)
    told = {each.name: metrics[each.name] for each in fields(Finished) if each.name in metrics}
    if not {"test_accuracy", "test_miou"} & told.keys():
        raise TrainingError(f"{path} has no 'test_accuracy' and no 'test_miou'.")
    validated(Finished, told, str(path), TrainingError)
    return metrics


def which_weights(folder: Path) -> dict[str, Any]:
    """What tells a reader of results which weights were measured: their score and the date of their training."""
    metrics = read_metrics(folder)
    name, score = main_score(metrics)
    return {name.removeprefix("test_"): score, "date": metrics["where"]["date"]}


def summarize(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Several runs of one recipe with different seeds: the mean and the spread of what they reached.

    Args:
        runs: the contents of their metrics.json.
    """
    score, _ = main_score(runs[0])
    reached = [run[score] for run in runs]
    return {
        "score": score,
        "mean": mean_of(reached),
        "deviation": stdev(reached) if len(reached) > 1 else None,
        "lowest": min(reached),
        "slowest_seconds": max(run["seconds"] for run in runs),
        "runs": runs,
    }
