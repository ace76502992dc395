"""The trained models that come with the package: small, readable, and as good as their cards say."""

import json
from pathlib import Path

import pytest

from vitlab.data import load
from vitlab.data.download import find_given
from vitlab.pretrained.hub import WEIGHTS
from vitlab.pretrained.predictor import read_predictor
from vitlab.training.evaluation import evaluate_predictor, main_score
from vitlab.training.recipe import read_recipe
from vitlab.training.run import same_run

FOLDERS = sorted(WEIGHTS.glob("*/"))
RESULTS = sorted(Path(__file__).parents[2].glob("book/results/*.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_model_keeps_what_its_card_promises(folder):
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 8_000_000
    metrics = json.loads((folder / "metrics.json").read_text())
    name, promised = main_score(metrics)
    assert f"{name.replace('_', ' ')}: {promised:.2%}" in (folder / "README.md").read_text()
    assert not metrics["where"]["commit"].endswith("-dirty")
    data = metrics["recipe"]["data"]
    given = data.get("path", data["name"])
    if given not in ("digits", "shapes") and find_given(given) is None:
        pytest.skip(f"VITLAB_DATA names no folder with {given}")  # a test does not download
    dataset = load(**data)
    if dataset.card.name != metrics["data"]["name"]:
        pytest.skip(f"it was trained on {metrics['data']['name']}, and here is {dataset.card.name}")
    found = evaluate_predictor(read_predictor(folder), dataset, folder.name, data["name"])
    assert found[name] == pytest.approx(promised, abs=0.002)  # the weights are rounded to float16


def test_what_the_book_shows_comes_from_the_recipes_that_it_shows():
    compared = 0
    for path in [*(folder / "metrics.json" for folder in FOLDERS), *RESULTS]:
        content = json.loads(path.read_text())
        for run in content.get("runs", [content]):
            if "recipe" in run and "seed" in run:
                same_run(path, run["recipe"], read_recipe(run["recipe"]["name"], seed=run["seed"]))
                compared += 1
    assert compared > 9
