"""What happened in a training, a line of JSON for every report, and its curves as a figure."""

import json
from pathlib import Path
from typing import Any

from vitlab.files import written_whole

FILE = "log.jsonl"


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (folder / FILE).read_text(encoding="utf-8").splitlines()]


def write_log(folder: Path, lines: list[dict[str, Any]]) -> None:
    """The whole log, in place of the old one."""
    with written_whole(folder / FILE) as draft:
        draft.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def append_to_log(folder: Path, line: dict[str, Any]) -> None:
    """One more line."""
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def draw_curves(lines: list[dict[str, Any]], score: str, path: Path) -> None:
    """The loss and the learning rate over the steps, and what was reached on the test images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    reports = [line for line in lines if "loss" in line]
    left.plot([line["step"] for line in reports], [line["loss"] for line in reports], label="loss in training")
    left.set(xlabel="step", ylabel="loss")
    tests = [line for line in lines if score in line]
    right.plot([line["step"] for line in tests], [line[score] for line in tests], "o-")
    right.set(xlabel="step", ylabel=score.replace("_", " "), ylim=(0, 1))
    figure.savefig(path, dpi=150)
