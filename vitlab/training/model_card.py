"""The card of a model: what it is, how good, where it comes from, what for."""

from typing import Any

from vitlab.training.evaluation import main_score


def card(name: str, metrics: dict[str, Any]) -> str:
    """What a user of published weights must know, in Markdown."""
    recipe, data, where = metrics["recipe"], metrics["data"], metrics["where"]
    score, value = main_score(metrics)
    start = recipe["model"].get("pretrained") or recipe["model"].get("encoder_weights")
    part = "" if "pretrained" in recipe["model"] else " in its encoder"
    weights = f"the weights of `{start}`{part}, whose licence holds on," if start else "random weights"
    threads = "1 thread" if where["threads"] == 1 else f"{where['threads']} threads"
    return f"""# {name}

A {recipe["model"]["kind"]} with {metrics["parameters"]:,} parameters, trained from {weights} by the recipe
`{recipe["name"]}`: `vitlab train {recipe["name"]} --seed {metrics["seed"]}`. The weights are a running average, kept in
float16.

- **{score.replace("_", " ")}: {value:.2%}**, on {data["test"]:,} images that it was not trained on, before the rounding
  to float16. `metrics.json` has the other numbers.
- **Trained** with {metrics["operations"] / 1e15:.2g} PFLOP in {metrics["seconds"]:.0f} seconds, from the seed
  {metrics["seed"]}, on {where["device"]}, {threads}, PyTorch {where["torch"]},
  commit {where["commit"]}, {where["date"]}.
- **Data**: {data["name"]}, {data["train"]:,} images; {data["size"]}. Source: {data["source"]}. Licence:
  {data["licence"]}. Cite: {data["citation"]}.
- **For** teaching: a longer training makes a better model.
"""
