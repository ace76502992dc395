"""Bring every notebook into its committed form: `python -m vitlab.authoring`, run in the repository's root.

Chapters and solutions say some things in the same words: how to get vitlab, where the exercise is. Those cells are
written here, into the cell that has the right id, with the repository's address from _config.yml:

- `set-up` (code): installs vitlab where it is missing, as in Colab;
- `open-in-colab` (markdown), in a solution and so in the exercise made from it;
- `exercise` (markdown), in a chapter: the way to its exercise, and to the milestone that follows.

Every notebook then loses its outputs and whatever an editor left in its metadata, so that a commit shows what an author
changed and nothing else. Running it twice changes nothing.
"""

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import yaml

NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
KEPT_CELL_METADATA = {"mystnb", "nbgrader", "tags"}  # what authors write; the rest is an editor's

SET_UP = """\
# Colab has PyTorch, but not this course's package. Where vitlab is missing, install it; --no-deps leaves PyTorch alone.
import importlib.util

if importlib.util.find_spec("vitlab") is None:
    %pip install --quiet --no-deps "git+{repository}@{branch}"
"""

OPEN_IN_COLAB = "[Open this exercise in Colab]({colab}), or run it with Jupyter on your own computer."

EXERCISE = """\
## Now you

The exercise asks you to write what this chapter has shown, and tells you at once whether it is right and, if not, why.
[Open the exercise in Colab]({colab}), or [download the notebook]({notebook}) and run it with Jupyter on your own
computer.
"""

MILESTONE = """
## Then the milestone

It takes your functions of all exercises so far from the notebooks that you have saved, and runs a trained model on
nothing else. There is nothing to write. [Open the milestone in Colab]({colab}), or [download it]({notebook}) and run it
beside your exercises.
"""

MILESTONES = {"vit": "milestone_1", "decoder": "milestone_2"}  # the last topic that each one is built on


def notebooks() -> list[Path]:
    """The notebooks that people write: chapters and solutions. (nbgrader writes those under exercises/.)"""
    return sorted([*Path("book").glob("*.ipynb"), *Path("solutions").glob("*/*.ipynb")])


def generated_cells(config: dict, topic: str) -> dict[str, str]:
    """The text of each generated cell of a topic's notebooks, by the cell's id.

    Args:
        config: what _config.yml says.
        topic: for example "attention".
    """
    repository, branch = config["repository"]["url"], config["repository"]["branch"]
    host = f"{config['launch_buttons']['colab_url']}/github{urlsplit(repository).path}/blob/{branch}"

    def links(name: str) -> dict[str, str]:
        notebook = f"exercises/{name}/{name}.ipynb"
        return {"colab": f"{host}/{notebook}", "notebook": f"../{notebook}"}

    milestone = MILESTONE.format(**links(MILESTONES[topic])) if topic in MILESTONES else ""
    return {
        "set-up": SET_UP.format(repository=repository, branch=branch).strip(),
        "open-in-colab": OPEN_IN_COLAB.format(**links(topic)),
        "exercise": (EXERCISE.format(**links(topic)) + milestone).strip(),
    }


def committed_form(path: Path, config: dict) -> str:
    """A notebook's text as it should be committed: generated cells up to date, no outputs, no editor's metadata."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    notebook.nbformat_minor = 5
    generated = generated_cells(config, topic=path.stem)
    taken = {cell.get("id") for cell in notebook.cells}
    for place, cell in enumerate(notebook.cells):
        if "id" not in cell:
            cell["id"] = next(name for name in _names(cell, place) if name not in taken)
            taken.add(cell.id)
        cell.source = generated.get(cell.id, cell.source)
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in KEPT_CELL_METADATA}
        if cell.id == "set-up" and path.parent.name == "book":
            cell.metadata["tags"] = ["remove-cell"]  # of no use to a reader of the page
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.validate(notebook)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def _names(cell: nbformat.NotebookNode, place: int) -> Iterator[str]:
    """What a cell may be called that Colab has saved, which writes ids into the metadata, and an older format."""
    for name in (cell.metadata.get("id"), cell.metadata.get("nbgrader", {}).get("grade_id")):
        if isinstance(name, str) and re.fullmatch(r"[\w-]{1,64}", name, re.ASCII):
            yield name
    yield from (f"cell-{place + more}" for more in count())


def main(check: bool) -> int:
    """Write the notebooks that are out of date and name them; with `check`, name them only and return 1."""
    config = yaml.safe_load(Path("_config.yml").read_text(encoding="utf-8"))
    stale = 0
    for path in notebooks():
        text = committed_form(path, config)
        if text == path.read_text(encoding="utf-8"):
            continue
        stale += 1
        print(f"{path} is out of date: run python -m vitlab.authoring" if check else f"{path} rewritten")
        if not check:
            path.write_text(text, encoding="utf-8")
    return int(check and stale > 0)
