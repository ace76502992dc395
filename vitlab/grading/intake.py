"""What students hand in, made fit for grading.

`python -m vitlab.grading.intake TOPIC` looks at submitted/, says what it finds and changes nothing.

Notebooks come back with cells copied, split, moved or deleted, or without nbgrader's metadata. What belongs to an
exercise is found again by its grade_id, its cell's id or the function that it defines; a check that is gone is put
back; what cannot be found is said, and is never a 0 without a word. nbgrader makes the same repair when it grades.
"""

import argparse
import copy
import glob
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor


def repair(notebook: NotebookNode, released: NotebookNode) -> list[str]:
    """Give a student's notebook each graded cell of the released one, once. Changes `notebook`.

    Returns:
        what was mended, in sentences.
    """
    wanted = {_grade_id(cell): cell for cell in released.cells if _grade_id(cell)}
    notes, place = [], -1
    for grade_id, model in wanted.items():
        own = _own_cells(notebook, model, wanted)
        if not own:
            place += 1
            notebook.cells.insert(place, copy.deepcopy(model))
            if not _is_check(model):
                notes.append(f"No answer to `{_subject(grade_id)}` was found, by its name or by what it defines.")
            continue
        chosen, *others = own
        place = next(k for k, cell in enumerate(notebook.cells) if cell is chosen)
        if _grade_id(chosen) != grade_id:
            notes.append(f"The cell of `{_subject(grade_id)}` had lost its name; it was known by what it defines.")
        if any(_grade_id(cell) == grade_id for cell in others):
            notes.append(f"`{_subject(grade_id)}` was there more than once; graded is the likeliest.")
        if chosen.cell_type != model.cell_type:  # one key too many turns code into text
            chosen = notebook.cells[place] = NotebookNode(copy.deepcopy(model), source=chosen.source)
        chosen.metadata["nbgrader"] = copy.deepcopy(model.metadata.nbgrader)
        for cell in others:
            cell.metadata.pop("nbgrader", None)
    for cell in notebook.cells:
        if _grade_id(cell) not in wanted:
            cell.metadata.pop("nbgrader", None)
    return list(dict.fromkeys(notes))


def _own_cells(notebook: NotebookNode, model: NotebookNode, wanted: dict) -> list[NotebookNode]:
    """The cells of a student that may be the answer to one of the released cells, the likeliest first."""
    same = [cell for cell in notebook.cells if _grade_id(cell) == _grade_id(model)]
    if not same:  # by what else is known of it, among cells that belong to nothing
        free = [c for c in notebook.cells if c.cell_type == model.cell_type and _grade_id(c) not in wanted]
        same = [cell for cell in free if "id" in cell and cell.id == model.get("id")]  # Colab writes none
        same = same or [cell for cell in free if not _is_check(model) and _defines(cell, model)]
    return sorted(same, key=lambda cell: (not _defines(cell, model), cell.source == model.source))


def _defines(cell: NotebookNode, model: NotebookNode) -> bool:
    names = re.findall(r"^def (\w+)\(", model.source, re.M)
    return bool(names) and all(re.search(rf"^{name} *=|^def {name}\(", cell.source, re.M) for name in names[-1:])


def _grade_id(cell: NotebookNode) -> str:
    about = cell.metadata.get("nbgrader")  # whatever a student's file may hold
    return str(about.get("grade_id") or "") if isinstance(about, dict) else ""


def _is_check(cell: NotebookNode) -> bool:
    return bool(cell.metadata.nbgrader.get("grade")) and not cell.metadata.nbgrader.get("solution")


def _subject(grade_id: str) -> str:
    return grade_id.removesuffix("_solution")


class Intake(NbGraderPreprocessor):
    """Repairs a notebook before nbgrader looks at it, and says at its top what was mended."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        topic, name = resources["nbgrader"]["assignment"], resources["nbgrader"]["notebook"]
        released = nbformat.read(Path("exercises") / topic / f"{name}.ipynb", as_version=4)
        if notes := repair(nb, released):
            lines = "\n".join(f"- {note}" for note in notes)
            nb.cells.insert(0, nbformat.v4.new_markdown_cell(f"**Mended before grading**\n\n{lines}"))
        return nb, resources


def look(topic: str, submitted: Path = Path("submitted"), exercises: Path = Path("exercises")) -> dict[str, list[str]]:
    """What there is to say of each student's work, by the student's folder; those without remarks are left out.

    Raises:
        FileNotFoundError: if nothing was handed in, or there is no such exercise.
    """
    released = nbformat.read(exercises / topic / f"{topic}.ipynb", as_version=4)
    folders = sorted(path for path in submitted.glob(f"*/{topic}") if path.is_dir())
    if not folders:
        raise FileNotFoundError(f"nothing lies in {submitted}/STUDENT/{topic}/.")
    found = {folder.parent.name: _look_at(folder, topic, released) for folder in folders}
    return {student: notes for student, notes in found.items() if notes}


def _look_at(folder: Path, topic: str, released: NotebookNode) -> list[str]:
    name, path = folder.parent.name, folder / f"{topic}.ipynb"
    if "\n" in name or glob.escape(name) != name:
        return ["NOT GRADED: the folder's name has a line break or one of * ? [, which nbgrader misreads. Rename it."]
    if not path.exists():
        others = ", ".join(sorted(other.name for other in folder.glob("*.ipynb"))) or "no notebook"
        return [f"NOT GRADED: {path.name} is missing; the folder holds {others}. Rename it if it is the one."]
    try:
        return repair(nbformat.read(path, as_version=4), released)
    except Exception as error:  # whatever a student's file may hold
        return [f"NOT GRADED: {path.name} is no notebook ({type(error).__name__}). Ask for it again."]


def main() -> int:
    """Print the remarks; 1 if somebody's work cannot be graded as it is."""
    parser = argparse.ArgumentParser(prog="python -m vitlab.grading.intake", description=__doc__.partition(".")[0])
    parser.add_argument("topic")
    try:
        found = look(parser.parse_args().topic)
    except FileNotFoundError as error:
        parser.error(str(error))
    for student, notes in found.items():
        print(student if student.isprintable() else repr(student), *(f"  {note}" for note in notes), sep="\n")
    lost = [student for student, notes in found.items() if any(note.startswith("NOT GRADED") for note in notes)]
    print(f"{len(found)} with remarks, {len(lost)} of them not to be graded as they are.")
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
