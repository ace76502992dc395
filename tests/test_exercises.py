"""The committed exercises are what nbgrader makes from the solutions, and fit the checks."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
import yaml
from nbgrader.utils import is_grade, is_solution

from vitlab.authoring.exercises import release
from vitlab.authoring.notebooks import MILESTONES
from vitlab.checks import LECTURE, TOPICS, exercises

ROOT = Path(__file__).parents[1]
each_topic = pytest.mark.parametrize("topic", TOPICS)


def _files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _cells(folder, topic):
    return nbformat.read(ROOT / folder / topic / f"{topic}.ipynb", as_version=4).cells


def test_committed_exercises_are_the_generated_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    gradebook_before = (ROOT / "gradebook.db").exists()
    release(tmp_path / "exercises")
    generated = _files(tmp_path / "exercises")
    assert set(generated) == {f"{name}/{name}.ipynb" for name in (*TOPICS, *MILESTONES.values())}
    assert _files(ROOT / "exercises") == generated, "run `make exercises` and commit what it changes"
    assert (ROOT / "gradebook.db").exists() == gradebook_before


def test_what_an_editor_notes_in_a_solution_stays_out_of_the_exercise(tmp_path, monkeypatch):
    notebook = nbformat.read(ROOT / "solutions" / "embeddings" / "embeddings.ipynb", as_version=4)
    notebook.metadata.language_info.version = "3.99"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.execution = {"iopub.status.busy": "2026-01-01T00:00:00Z"}
            cell.outputs = [nbformat.v4.new_output("stream", text="an output")]
            cell.execution_count = 7
    (tmp_path / "solutions" / "embeddings").mkdir(parents=True)
    nbformat.write(notebook, tmp_path / "solutions" / "embeddings" / "embeddings.ipynb")
    (tmp_path / "nbgrader_config.py").write_bytes((ROOT / "nbgrader_config.py").read_bytes())
    monkeypatch.chdir(tmp_path)
    release(tmp_path / "exercises")
    assert _files(tmp_path / "exercises" / "embeddings") == _files(ROOT / "exercises" / "embeddings")


@each_topic
def test_points_are_those_of_the_checks(topic):
    graded = [cell for cell in _cells("solutions", topic) if is_grade(cell) and not is_solution(cell)]
    points = {cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader.points for cell in graded}
    assert points == {exercise.name: exercise.points for exercise in exercises(topic)}
    for cell in graded:
        assert cell.source.splitlines()[-1] == f"check({cell.metadata.nbgrader.grade_id})"


@each_topic
def test_one_question_is_marked_by_hand(topic):
    by_hand = [cell for cell in _cells("solutions", topic) if is_grade(cell) and is_solution(cell)]
    assert [cell.cell_type for cell in by_hand] == ["markdown"]


@each_topic
def test_grade_ids_are_unique(topic):
    ids = [cell.metadata.nbgrader.grade_id for cell in _cells("solutions", topic) if "nbgrader" in cell.metadata]
    assert len(ids) == len(set(ids)) == 2 * len(exercises(topic)) + 1


@each_topic
def test_no_solution_reaches_the_students(topic):
    solved = {cell.id: cell for cell in _cells("solutions", topic) if is_solution(cell)}
    released = {cell.id: cell for cell in _cells("exercises", topic) if is_solution(cell)}
    assert set(released) == set(solved)
    for cell_id, cell in released.items():
        if cell.cell_type == "markdown":
            assert cell.source == "*Write your answer here.*"
            continue
        before, solution, after = _around_the_solution(solved[cell_id].source)
        assert cell.source.startswith(before) and cell.source.endswith(after) and solution not in cell.source
        assert "raise NotImplementedError" in cell.source


def _around_the_solution(source):
    before, _, rest = source.partition("    ### BEGIN SOLUTION\n")
    solution, _, after = rest.partition("    ### END SOLUTION")
    assert before and solution
    return before, solution, after


@each_topic
def test_a_stub_has_the_arguments_of_its_reference(topic):
    sources = [cell.source for cell in _cells("solutions", topic) if is_solution(cell) and cell.cell_type == "code"]
    stubs = {f.name: f for source in sources for f in ast.parse(source).body if isinstance(f, ast.FunctionDef)}
    for exercise in exercises(topic):
        assert tuple(argument.arg for argument in stubs[exercise.name].args.args) == exercise.arguments


def _chapters():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [Path(chapter["file"]).name for part in toc["parts"] for chapter in part["chapters"]]


def test_topics_and_chapters_come_in_the_lecture_s_order():
    chapters = _chapters()
    assert [chapter for chapter in chapters if chapter in LECTURE] == [t for t in LECTURE if t in chapters]
    assert set(TOPICS) <= set(chapters)
    assert {path.parent.name for path in ROOT.glob("solutions/*/*.ipynb")} == {*TOPICS, *MILESTONES.values()}


def test_the_introduction_lists_all_topics_and_leads_to_the_chapters_that_are_there():
    cells = nbformat.read(ROOT / "book/introduction.ipynb", as_version=4).cells
    (plan,) = (cell.source for cell in cells if cell.id == "plan")
    items = re.findall(r"^\d+\. .*", plan, re.M)
    for topic, item in zip(LECTURE, items, strict=True):
        assert re.findall(r"\((\w+)\.ipynb\)", item) == ([topic] if topic in _chapters() else []), item
    assert ("not written yet" in plan) == (not set(LECTURE) <= set(_chapters()))
