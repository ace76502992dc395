"""What a finished training leaves in its folder, and what several of them say together."""

import json
from dataclasses import asdict
from pathlib import Path
from statistics import mean as mean_of
from statistics import stdev
from typing import Any

import torch
from torch import nn

from vitlab.data import Dataset, Normalization
from vitlab.files import write_json
from vitlab.machine import provenance
from vitlab.pretrained.model import PublishedModel
from vitlab.pretrained.predictor import save_predictor
from vitlab.training.evaluation import main_score
from vitlab.training.log import draw_curves, read_log
from vitlab.training.recipe import Recipe, TrainingError, as_content

METRICS_FILE, CURVES_FILE, MODEL_FOLDER = "metrics.json", "curves.png", "model"


def finish(
    folder: Path,
    recipe: Recipe,
    dataset: Dataset,
    average: nn.Module,
    normalization: Normalization,
    processes: int,
) -> None:
    """Write metrics.json, curves.png and model/ from the log and the last average of the weights."""
    lines = read_log(folder)
    score, _ = main_score(lines[-1])
    device = normalization.mean.device
    results = {name: value for name, value in lines[-1].items() if name.startswith("test_")}
    metrics = {
        **results,
        "curve": [{name: line[name] for name in ("step", "seconds", score)} for line in lines if score in line],
        "seconds": lines[-1]["seconds"],
        "images_per_second": recipe.steps * recipe.batch_size / lines[-1]["seconds"],
        "peak_gpu_memory_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
        "parameters": sum(parameter.numel() for parameter in average.parameters()),
        "processes": processes,
        "seed": recipe.seed,
        "data": asdict(dataset.card) | {"train": len(dataset.train), "test": len(dataset.test)},
        "recipe": as_content(recipe),
        "where": provenance(device),
    }
    draw_curves(lines, folder / CURVES_FILE)
    if isinstance(average, PublishedModel):  # a U-Net has no published form
        save_predictor(folder / MODEL_FOLDER, average.cpu(), dataset, normalization.to("cpu"))
    write_json(folder / METRICS_FILE, metrics)


def read_metrics(folder: Path) -> dict[str, Any]:
    """What a finished run has reached.

    Raises:
        TrainingError: if there is no finished run.
    """
    try:
        return json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{folder} holds no finished run: there is no {METRICS_FILE}.") from error


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
