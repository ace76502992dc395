"""What a finished training leaves in its folder, and what several of them say together."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from statistics import mean as mean_of
from statistics import stdev
from typing import Any

import torch
from torch import Tensor, nn

from vitlab.data import Dataset, load
from vitlab.files import write_json
from vitlab.pretrained import save_pretrained
from vitlab.pretrained.model import PublishedModel
from vitlab.pretrained.predictor import PREPROCESSOR_FILE, read_predictor, save_predictor
from vitlab.provenance import provenance
from vitlab.training.evaluation import evaluate, main_score, scores
from vitlab.training.log import draw_curves, read_log
from vitlab.training.recipe import Recipe, TrainingError, as_content, data_options

METRICS_FILE, CURVES_FILE, MODEL_FOLDER = "metrics.json", "curves.png", "model"


def finish(
    folder: Path,
    recipe: Recipe,
    dataset: Dataset,
    average: nn.Module,
    mean: Tensor,
    deviation: Tensor,
    processes: int,
) -> None:
    """Write metrics.json, curves.png and model/ from the log and the last average of the weights."""
    lines = read_log(folder)
    score, _ = main_score(lines[-1])
    device = mean.device
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
        save_predictor(folder / MODEL_FOLDER, average.cpu(), dataset, mean.cpu(), deviation.cpu())
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


def publish(run: Path, folder: Path) -> None:
    """Write the model of a finished run in half the bytes, with a card that says what it is.

    Args:
        run: the folder of the run.
        folder: receives config.json, model.safetensors in float16, preprocessor_config.json, metrics.json, README.md.

    Raises:
        TrainingError, CheckpointError: if the run is not finished.
    """
    metrics = read_metrics(run)
    predictor = read_predictor(run)
    save_pretrained(predictor.model.half(), folder, classes=predictor.classes)
    for source in (run / MODEL_FOLDER / PREPROCESSOR_FILE, run / METRICS_FILE):
        shutil.copyfile(source, folder / source.name)
    (folder / "README.md").write_text(card(folder.name, metrics), encoding="utf-8")


def card(name: str, metrics: dict[str, Any]) -> str:
    """What a user of published weights must know, in Markdown."""
    recipe, data, where = metrics["recipe"], metrics["data"], metrics["where"]
    score, value = main_score(metrics)
    return f"""# {name}

A {recipe["model"]["kind"]} with {metrics["parameters"]:,} parameters, trained from random weights by the recipe
`{recipe["name"]}`: `vitlab train {recipe["name"]} --seed {metrics["seed"]}`. The weights are a running average, kept in
float16.

- **{score.replace("_", " ")}: {value:.2%}**, on {data["test"]:,} images that it was not trained on, before the rounding
  to float16. `metrics.json` has the other numbers.
- **Trained** in {metrics["seconds"] / 60:.0f} minutes on {where["device"]}, {where["threads"]} threads, PyTorch
  {where["torch"]}, commit {where["commit"]}, {where["date"]}.
- **Data**: {data["name"]}, {data["train"]:,} images; {data["size"]}. Source: {data["source"]}. Licence:
  {data["licence"]}. Cite: {data["citation"]}.
- **For** teaching: it was trained for minutes, and a longer training makes a better model.
"""


def evaluate_checkpoint(id_or_folder: str, name: str) -> dict[str, Any]:
    """The scores of a trained or published model on a data set.

    Args:
        id_or_folder: as in `read_predictor`.
        name: as in `data_options`.

    Raises:
        CheckpointError, DataError: if either cannot be had.
        TrainingError: if the model's classes are not those of the data.
    """
    predictor = read_predictor(id_or_folder)
    dataset = load(**data_options(name))
    if len(predictor.classes) != len(dataset.classes):
        raise TrainingError(
            f"{id_or_folder} tells {len(predictor.classes)} classes apart, but {name} has {len(dataset.classes)}."
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mean, deviation = predictor.mean.to(device), predictor.deviation.to(device)
    test = dataset.test.to(device)
    matrix = evaluate(predictor.model.to(device), test, len(dataset.classes), mean, deviation)
    return scores(matrix, dataset)


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
