"""The loop beside a plain one: how much the augmentation in batches is worth, in images a second and in memory.

The plain loop is what a tutorial shows: a `DataLoader` whose two workers augment one image at a time, with PIL, on the
processor. Both train the same model on the same batches' size with the same two augmentations, crop and flip; each run
has a process of its own, and they take turns. How much of the machine's matrix rate a loop uses says what is left to
gain.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.nn import functional as F
from torch.utils.data import DataLoader

from vitlab.bench.measurement import alone, device, machine_rates, resident
from vitlab.data import Dataset, load
from vitlab.files import write_json
from vitlab.machine import provenance
from vitlab.training.log import read_log
from vitlab.training.loop import train
from vitlab.training.operations import flop_of_an_image
from vitlab.training.recipe import Recipe, TrainingError, build_model

COMPARED = ("crop_padding", "flip")  # the augmentations that both loops do


class OneImageAtATime(torch.utils.data.Dataset):
    """The training images of a classification, each one augmented when it is asked for."""

    def __init__(self, dataset: Dataset, padding: int, flip: bool):
        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy().squeeze()) for image in dataset.train.images]
        self.labels = dataset.train.labels.tolist()
        self.normalization = dataset.normalization()
        self.padding, self.flip = padding, flip

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        image = self.images[i]
        left, top = torch.randint(0, 2 * self.padding + 1, (2,)).tolist()
        size = image.size
        image = ImageOps.expand(image, self.padding).crop((left, top, left + size[0], top + size[1]))
        if self.flip and torch.rand(()) < 0.5:
            image = ImageOps.mirror(image)
        pixels = torch.from_numpy(np.array(image)).float().div(255)  # (H, W) or (H, W, C)
        pixels = pixels.reshape(*pixels.shape[:2], -1).permute(2, 0, 1)  # (C, H, W)
        return self.normalization(pixels), self.labels[i]


def plain(recipe: Recipe) -> float:
    """Train by a plain loop; images a second, without the start."""
    where = device()
    dataset = load(**recipe.data)
    model = build_model(recipe, dataset).to(where)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    images = OneImageAtATime(dataset, **{"padding": 0, "flip": False} | _options(recipe))
    loader = DataLoader(images, recipe.batch_size, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True)
    step, began = 0, 0.0
    while True:
        for x, y in loader:
            loss = F.cross_entropy(model(x.to(where)), y.to(where))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
            loss.item()  # waits for a GPU
            step += 1
            if step == 1:
                began = time.perf_counter()
            if step == recipe.steps:
                return (step - 1) * recipe.batch_size / (time.perf_counter() - began)


def _options(recipe: Recipe) -> dict[str, Any]:
    return {name.removeprefix("crop_"): value for name, value in recipe.augmentation.items() if name in COMPARED}


def ours(recipe: Recipe) -> float:
    """Train by `vitlab.training.train`; images a second, without the start and the evaluation at the end."""
    with tempfile.TemporaryDirectory() as folder:
        train(recipe, Path(folder))
        first, *_, last = read_log(Path(folder))[:-1]
    return (last["step"] - first["step"]) * recipe.batch_size / (last["seconds"] - first["seconds"])


LOOPS = {"vitlab": ours, "plain": plain}


def one_run(loop: str, recipe: dict[str, Any]) -> dict[str, float | None]:
    """Images a second and the peak of the memory, in a process of its own: see `alone`.

    The plain loop's two workers have more memory of their own.
    """
    rate = LOOPS[loop](Recipe(**recipe))
    gpu = torch.cuda.max_memory_allocated() if device() == "cuda" else None
    return {"images_per_second": rate, "peak_memory_bytes": resident("VmHWM"), "peak_gpu_memory_bytes": gpu}


def run(recipe: Recipe, path: Path, rounds: int, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Measure both loops in turns, and write the result.

    Args:
        recipe: of a classification; its steps are those of one run, at least 4.
        path: of the JSON file.
        rounds: how often each loop takes its turn.

    Raises:
        TrainingError: if the recipe is of a segmentation.
        MeasurementError: if a loop fails.
    """
    dataset = load(**recipe.data)
    if dataset.is_segmentation:
        raise TrainingError(f"{recipe.name} trains a segmentation, but the plain loop classifies: choose another.")
    augmentation = {name: value for name, value in recipe.augmentation.items() if name in COMPARED}
    recipe = replace(recipe, augmentation=augmentation, evaluations=1, warmup_steps=0)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in LOOPS}
    for i in range(rounds):
        for name in LOOPS if i % 2 == 0 else reversed(LOOPS):
            results[name].append(alone(one_run, name, asdict(recipe)))
            say(f"{name}: {results[name][-1]['images_per_second']:.0f} images/s")
    flop = flop_of_an_image(build_model(recipe, dataset), recipe, dataset)
    least = flop / machine_rates()["matrix_flop_per_s"]  # seconds an image
    rates = {name: [result["images_per_second"] for result in each] for name, each in results.items()}
    content = {
        "where": provenance(device()),
        "data": dataset.card.name,
        "recipe": asdict(recipe),
        "speed_ratio": median(mine / other for mine, other in zip(rates["vitlab"], rates["plain"], strict=True)),
        "matrix_share": {name: least * median(each) for name, each in rates.items()},
        "loops": results,
    }
    write_json(path, content)
    return content
