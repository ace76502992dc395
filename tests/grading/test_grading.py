"""From the instructor's notebook to the marks, with nbgrader's own commands; and the demonstration class."""

import csv
import json
import shutil
from html import escape
from pathlib import Path

import nbformat
import pytest
import torch
from nbgrader.utils import is_grade, is_solution
from torch.nn import functional as F

from vitlab.checks import run
from vitlab.checks.engine.report import MIME
from vitlab.grading import demonstration
from vitlab.grading.classroom import STUDENTS, TAKEN, Student, fill_in, read_notebook, read_student, reasons, students
from vitlab.grading.command import nbgrader

ROOT = Path(__file__).parents[2]
TOPIC = "embeddings"
SCRIPT = "<script>alert(1)</script>"

# Says SCRIPT in every way in which a student's code can say something.
SCRIPTED = Student(
    "scripted",
    "mistaken: tries to run a script in the browser of whoever reads the report",
    {},
    {
        "patchify": f"def patchify(images, patch_size):\n    raise ValueError('{SCRIPT}')",
        "embed_patches": f"def embed_patches(images, E, patch_size):\n    return type('{SCRIPT}', (), {{}})()",
        "assemble_sequence": "import warnings\n\n\ndef assemble_sequence(*arguments):\n"
        f"    print('{SCRIPT}')\n    warnings.warn('{SCRIPT}')\n    return torch.zeros(2, 7, 5)",
    },
)
CLASS = [
    read_student(STUDENTS / TOPIC / "noisy.py"),
    read_student(STUDENTS / TOPIC / "square_images.py"),
    SCRIPTED,
]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course's folder after generate, release, fetch, submit, collect, autograde, feedback and export."""
    here = tmp_path_factory.mktemp("grading")
    course = here / "course"
    shutil.copytree(ROOT / "solutions" / TOPIC, course / "solutions" / TOPIC)
    shutil.copy(ROOT / "nbgrader_config.py", course)
    exchange = [f"--Exchange.root={here}/exchange", f"--Exchange.cache={here}/cache"]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_CURRENT_TEST")  # where it is set, kernels do not listen to the file descriptors
        patch.chdir(course)
        nbgrader("generate_assignment", TOPIC)
        nbgrader("release_assignment", TOPIC, *exchange)
        for student in CLASS:
            desk = here / student.name
            desk.mkdir()
            patch.chdir(desk)
            nbgrader("fetch_assignment", TOPIC, "--course=vision-transformers", *exchange)
            notebook = read_notebook(desk, TOPIC)
            fill_in(notebook, student, solutions=read_notebook(course / "solutions", TOPIC))
            nbformat.write(notebook, desk / TOPIC / f"{TOPIC}.ipynb")
            nbgrader("submit", TOPIC, "--course=vision-transformers", f"--student={student.name}", *exchange)
        patch.chdir(course)
        nbgrader("collect", TOPIC, *exchange)
        nbgrader("autograde", TOPIC)
        nbgrader("generate_feedback", TOPIC)
        nbgrader("export", "--to=grades.csv")
    return course


def _graded_cells(course, student):
    cells = read_notebook(course / "autograded" / student, TOPIC).cells
    return {cell.metadata.nbgrader.grade_id: cell for cell in cells if is_grade(cell)}


def _feedback(course, student):
    return (course / "feedback" / student / TOPIC / f"{TOPIC}.html").read_text(encoding="utf-8")


def test_the_marks_are_exported(course):
    with open(course / "grades.csv", encoding="utf-8") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    assert set(rows) == {student.name for student in CLASS}
    partial = 10 - (4 - CLASS[1].expected["patchify"])
    assert [float(rows[s.name]["score"]) for s in CLASS] == [10, partial, 0]  # the written answers are not marked yet
    assert {float(row["max_score"]) for row in rows.values()} == {13}
    assert 0 < CLASS[1].expected["patchify"] < 4  # so that partial credit was tried


def test_marks_are_found_on_other_numbers_than_the_notebook_s(course):
    (output,) = _graded_cells(course, "square_images")["patchify"].outputs
    assert output.data[MIME]["seed"] > 0


def test_a_student_reads_why_points_are_missing(course):
    cell = _graded_cells(course, "square_images")["patchify"]
    page = _feedback(course, "square_images")
    assert reasons(cell)
    for sentence in reasons(cell):
        assert escape(sentence) in page


def test_warnings_and_stderr_cost_nothing_and_disappear(course):
    for cell in _graded_cells(course, "noisy").values():
        assert not [output for output in cell.get("outputs", []) if output.output_type == "stream"]
    assert "straight to the file descriptor" in (course / "submitted/noisy/embeddings/embeddings.ipynb").read_text()
    assert "patchify is slow" in _feedback(course, "noisy")  # the report keeps it as a remark


def test_a_script_does_not_come_out_of_the_report(course):
    for name in SCRIPTED.cells:
        (report,) = [output.data for output in _graded_cells(course, "scripted")[name].outputs]
        assert escape(SCRIPT) in report["text/html"]
        assert "<script" not in report["text/html"]
    assert SCRIPT not in _feedback(course, "scripted")


CLASSES = [(topic, student) for topic in TAKEN for student in students(topic)]


@pytest.mark.parametrize(("topic", "student"), CLASSES, ids=[f"{topic}-{student.name}" for topic, student in CLASSES])
def test_the_demonstration_class_gets_what_it_should(topic, student):
    notebook = read_notebook(ROOT / "exercises", topic)
    fill_in(notebook, student, solutions=read_notebook(ROOT / "solutions", topic))
    functions = {"torch": torch, "F": F}
    for cell in notebook.cells:
        if cell.cell_type == "code" and (is_solution(cell) or cell.id == "imports"):
            exec(cell.source, functions)
    for result in run(topic, functions).exercises:
        assert result.points == student.expected.get(result.name, result.possible), result.sentences


@pytest.mark.parametrize("topic", TAKEN)
def test_the_class_has_every_kind_of_student(topic):
    class_ = students(topic)
    assert sum(student.description.startswith("right") for student in class_) >= 4
    assert sum(student.description.startswith("mistaken") for student in class_) >= 3
    assert {"reference", "noisy", "blank"} <= {student.name for student in class_}
    for student in class_:
        assert student.description.startswith("right") == (not student.expected)


def _marks(points):
    mark = {"points": points, "possible": 4.0, "expected": 4.0, "reasons": ["The rows are columns."]}
    by_hand = {"points": None, "possible": 3.0, "expected": None, "reasons": []}
    return {"embeddings": {"loops": {"description": "right", "exercises": {"patchify": mark, "written": by_hand}}}}


def test_the_table_shows_marks_and_reasons(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(demonstration, "class_marks", lambda: _marks(4.0))
    assert demonstration.main() == 0
    shown = capsys.readouterr().out
    assert "4/4" in shown and "by hand" in shown and "4/7" in shown and "The rows are columns" not in shown


def test_a_mark_that_surprises_is_a_failure(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(demonstration, "class_marks", lambda: _marks(1.0))
    with pytest.raises(SystemExit, match="loops has 1/4 and not 4 for patchify"):
        demonstration.main()
    assert "patchify 1/4: The rows are columns." in capsys.readouterr().out


def test_marks_are_reused_until_something_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "solutions/embeddings").mkdir(parents=True)
    solution = tmp_path / "solutions/embeddings/embeddings.ipynb"
    solution.write_text("1")
    (tmp_path / "nbgrader_config.py").write_text("")
    graded = []

    def grade(course):
        course.mkdir(parents=True, exist_ok=True)
        graded.append(course)
        return _marks(float(len(graded)))

    monkeypatch.setattr("vitlab.grading.classroom.grade", grade)
    assert demonstration.class_marks() == demonstration.class_marks() == _marks(1.0)
    solution.write_text("2")
    assert demonstration.class_marks() == _marks(2.0)
    assert json.loads(demonstration.MARKS.read_text())["fingerprint"] == demonstration.fingerprint()
