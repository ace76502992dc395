"""Notebooks that come back damaged, answers that end the kernel: nobody else loses a mark, nothing looks like a 0."""

import copy
import csv
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import DeadKernelError
from nbgrader.preprocessors import Execute

from vitlab.grading import intake
from vitlab.grading.classroom import Student, fill_in, read_notebook
from vitlab.grading.command import nbgrader
from vitlab.grading.execution import ExecuteAll

ROOT = Path(__file__).parents[2]
TOPIC = "embeddings"
RELEASED = read_notebook(ROOT / "exercises", TOPIC)
GRADED = [cell.metadata.nbgrader.grade_id for cell in RELEASED.cells if "nbgrader" in cell.metadata]


@pytest.fixture
def solved():
    notebook = copy.deepcopy(RELEASED)
    fill_in(notebook, Student("reference", "right", {}), read_notebook(ROOT / "solutions", TOPIC))
    return notebook


def cell(notebook, grade_id):
    return next(c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id)


def lose_metadata(notebook):
    for one in notebook.cells:
        one.metadata = nbformat.NotebookNode()
        one.id = f"new-{len(one.source)}-{id(one)}"


def copy_an_answer(notebook):
    own = cell(notebook, "patchify_solution")
    stub = copy.deepcopy(cell(RELEASED, "patchify_solution"))
    stub.id = "copied"
    notebook.cells.insert(notebook.cells.index(own), stub)


def split_an_answer(notebook):
    own = cell(notebook, "embed_patches_solution")
    half = copy.deepcopy(own)
    half.id, half.source = "half", "helper = 1"
    notebook.cells.insert(notebook.cells.index(own), half)


def delete_a_check(notebook):
    notebook.cells.remove(cell(notebook, "patchify"))


def old_metadata(notebook):
    for one in notebook.cells:
        if "nbgrader" in one.metadata:
            one.metadata.nbgrader = {"grade_id": one.metadata.nbgrader.grade_id, "schema_version": 1}


def code_into_text(notebook):
    own = cell(notebook, "patchify_solution")
    notebook.cells[notebook.cells.index(own)] = nbformat.v4.new_markdown_cell(own.source, metadata=own.metadata)


def metadata_of_another_kind(notebook):
    first, second, check = (
        cell(notebook, name) for name in ("patchify_solution", "embed_patches_solution", "patchify")
    )
    first.metadata.nbgrader, second.metadata.nbgrader.grade_id, check.metadata.nbgrader = None, ["x"], [1]


DAMAGES = {  # what happened, and a word of what is said of it
    lose_metadata: "had lost its name",
    copy_an_answer: "more than once",
    split_an_answer: "more than once",
    delete_a_check: "",
    old_metadata: "",
    code_into_text: "",
    metadata_of_another_kind: "had lost its name",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_notebook_has_every_graded_cell_once_with_the_student_s_answer(solved, damage):
    sources = {grade_id: cell(solved, grade_id).source for grade_id in GRADED}
    damage(solved)
    notes = intake.repair(solved, RELEASED)
    found = [c.metadata.nbgrader.grade_id for c in solved.cells if "nbgrader" in c.metadata]
    assert sorted(found) == sorted(GRADED)
    for grade_id in GRADED:
        if grade_id != "written_question" or damage is not lose_metadata:  # a text without a name cannot be known again
            assert cell(solved, grade_id).source == sources[grade_id]
        assert cell(solved, grade_id).metadata.nbgrader == cell(RELEASED, grade_id).metadata.nbgrader
    assert DAMAGES[damage] in " ".join(notes)
    places = [solved.cells.index(cell(solved, grade_id)) for grade_id in ("patchify_solution", "patchify")]
    assert places == sorted(places)  # an answer stands before its check


def test_a_whole_notebook_is_left_as_it_is(solved):
    before = copy.deepcopy(solved)
    assert intake.repair(solved, RELEASED) == [] and solved == before


def test_an_answer_that_is_gone_is_said(solved):
    solved.cells.remove(cell(solved, "patchify_solution"))
    [note] = intake.repair(solved, RELEASED)
    assert note.startswith("No answer to `patchify` was found")
    assert "NotImplementedError" in cell(solved, "patchify_solution").source


def test_notebooks_without_cell_ids_as_colab_saves_them_are_filled_in_and_mended(solved):
    released, solutions = copy.deepcopy(RELEASED), read_notebook(ROOT / "solutions", TOPIC)
    for one in released.cells + solutions.cells:
        del one["id"]
    notebook = copy.deepcopy(released)
    fill_in(notebook, Student("reference", "right", {}), solutions)
    for one in notebook.cells:
        one.metadata = nbformat.NotebookNode()
    intake.repair(notebook, released)
    for grade_id in set(GRADED) - {"written_question"}:  # a text without a name cannot be known again
        assert cell(notebook, grade_id).source == cell(solved, grade_id).source


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course in which one student's kernel ends, one lost all metadata, one file is broken and one is misnamed."""
    course = tmp_path_factory.mktemp("intake")
    for name in ("solutions", "exercises"):
        shutil.copytree(ROOT / name / TOPIC, course / name / TOPIC)
    shutil.copy(ROOT / "nbgrader_config.py", course)

    def hand_in(student, damage=lambda notebook: None, name=TOPIC):
        notebook = copy.deepcopy(RELEASED)
        fill_in(notebook, Student("reference", "right", {}), read_notebook(ROOT / "solutions", TOPIC))
        damage(notebook)
        folder = course / "submitted" / student / TOPIC
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / f"{name}.ipynb")

    def end_the_kernel(notebook):
        cell(
            notebook, "patchify_solution"
        ).source = "def patchify(images, patch_size):\n    import os\n\n    os._exit(1)"
        cell(notebook, "embed_patches_solution").source += "\nexit()\n"

    hand_in("ana", end_the_kernel)
    hand_in("ben, junior", lose_metadata)
    hand_in("cleo", delete_a_check)
    hand_in("emil")
    hand_in("fay", name="embeddings (1)")
    (course / "submitted/emil" / TOPIC / f"{TOPIC}.ipynb").write_text("{", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_CURRENT_TEST")
        patch.chdir(course)
        nbgrader("generate_assignment", TOPIC)
        with pytest.raises(SystemExit):  # for those that cannot be read
            nbgrader("autograde", TOPIC)
        nbgrader("generate_feedback", TOPIC)
        nbgrader("export")
    return course


def test_the_marks_of_everybody_are_what_they_deserve(course):
    with open(course / "grades.csv", encoding="utf-8", newline="") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    by_program = 10
    assert float(rows["ben, junior"]["score"]) == float(rows["cleo"]["score"]) == by_program
    assert float(rows["ana"]["score"]) == by_program - 4 - 3  # patchify, and embed_patches, which calls it
    for student in ("emil", "fay"):
        assert rows[student]["score"] == "" and "not graded" in rows[student]["remark"]
    assert "to be marked by hand" in rows["cleo"]["remark"]


def test_a_cell_that_ends_the_kernel_says_so_on_the_student_s_page(course):
    page = (course / "feedback/ana" / TOPIC / f"{TOPIC}.html").read_text(encoding="utf-8")
    assert "This cell ended the whole program" in page and "exit() would end the whole notebook" in page


def test_what_was_mended_stands_on_the_student_s_page(course):
    page = (course / "feedback/ben, junior" / TOPIC / f"{TOPIC}.html").read_text(encoding="utf-8")
    assert "Mended before grading" in page and "had lost its name" in page


def test_a_look_before_grading_names_what_cannot_be_graded(course, monkeypatch, capsys):
    monkeypatch.chdir(course)
    monkeypatch.setattr("sys.argv", ["intake", TOPIC])
    before = {path: path.read_bytes() for path in Path("submitted").rglob("*.ipynb")}
    assert intake.main() == 1
    said = capsys.readouterr().out
    assert "embeddings.ipynb is no notebook" in said and "the folder holds embeddings (1).ipynb" in said
    assert "2 of them not to be graded" in said and "cleo" not in said
    assert before == {path: path.read_bytes() for path in Path("submitted").rglob("*.ipynb")}


@pytest.mark.parametrize("name", ["gus\njunior", "gus [2]", "gus*"])
def test_a_name_that_nbgrader_misreads_is_told(name, tmp_path):
    (tmp_path / name / TOPIC).mkdir(parents=True)
    (note,) = intake.look(TOPIC, tmp_path, ROOT / "exercises")[name]
    assert note.startswith("NOT GRADED: the folder's name has")


def test_a_look_at_nothing_is_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["intake", TOPIC])
    with pytest.raises(SystemExit):
        intake.main()
    assert "nothing lies in submitted/STUDENT/embeddings/" in capsys.readouterr().err


def test_a_kernel_that_ends_between_two_cells_is_the_first_one_s_fault(monkeypatch):
    def run(self, notebook, resources, km=None):
        runs.append([one.source for one in notebook.cells])
        for self.running, source in enumerate(runs[-1]):
            if "get_ipython().ask_exit()" in runs[-1][: self.running]:
                raise DeadKernelError
            if source == "os._exit(0)":
                raise DeadKernelError
        return notebook, resources

    runs, sources = [], ["1", "get_ipython().ask_exit()", "check", "os._exit(0)", "2"]
    monkeypatch.setattr(Execute, "preprocess", run)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    notebook, _ = ExecuteAll().preprocess(notebook, {})
    assert [ran == source for ran, source in zip(runs[-1], sources, strict=True)] == [True, False, True, False, True]
    assert [one.source for one in notebook.cells] == sources
