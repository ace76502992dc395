"""A class that exists only here: what its students hand in, and the marks that nbgrader gives them.

Each student is named after what he or she did. `reference` copies the solutions and `blank` hands the exercise in as it
came; the others are the files in students/<topic>/. Such a file has a docstring (what the student did), the functions
that the student wrote (what is missing is copied from the solutions) and, where marks will be lost, EXPECTED: the
points of those exercises.
"""

import ast
import os
import re
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbgrader.api import Gradebook
from nbgrader.utils import is_grade, is_solution

from vitlab.checks import TOPICS, exercises
from vitlab.checks.engine.report import MIME
from vitlab.grading.command import nbgrader

STUDENTS = Path(__file__).with_name("students")
TAKEN = tuple(topic for topic in TOPICS if (STUDENTS / topic).is_dir())  # the topics that the class takes
WRITTEN_ANSWER = "This answer stands for one that a student wrote. A person reads and marks it."


@dataclass(frozen=True)
class Student:
    name: str
    description: str
    expected: dict[str, float]  # points of the exercises in which marks will be lost
    cells: dict[str, str] = field(default_factory=dict)  # exercise -> the student's cell


def students(topic: str) -> list[Student]:
    """Those who do the exercises of `topic`."""
    nothing = {exercise.name: 0.0 for exercise in exercises(topic)}
    return [
        Student("reference", "right: copies the solutions", {}),
        *[read_student(path) for path in sorted((STUDENTS / topic).glob("*.py"))],
        Student("blank", "hands the exercise in as it came", nothing),
    ]


def read_student(path: Path) -> Student:
    """A student's file, read without running it."""
    source = path.read_text(encoding="utf-8")
    module = ast.parse(source)
    imports = [ast.unparse(node) for node in module.body if isinstance(node, ast.Import | ast.ImportFrom)]
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    expected = [ast.literal_eval(node.value) for node in module.body if isinstance(node, ast.Assign)]
    return Student(
        path.stem,
        ast.get_docstring(module),
        expected[0] if expected else {},
        {f.name: "\n".join([*imports, "\n", ast.get_source_segment(source, f)]) for f in functions},
    )


def fill_in(notebook: nbformat.NotebookNode, student: Student, solutions: nbformat.NotebookNode) -> None:
    """Write a student's answers into the notebook that was released."""
    if student.name == "blank":
        return
    solution_of = {
        cell.metadata.nbgrader.grade_id: re.sub(r" *### (BEGIN|END) SOLUTION\n?", "", cell.source)
        for cell in filter(is_solution, solutions.cells)
    }
    for cell in filter(is_solution, notebook.cells):
        if cell.cell_type == "markdown":
            cell.source = WRITTEN_ANSWER
        else:
            own = [code for name, code in student.cells.items() if f"def {name}(" in cell.source]
            cell.source = own[0] if own else solution_of[cell.metadata.nbgrader.grade_id]


def hand_in(topic: str, student: Student, course: Path) -> None:
    """Put the student's notebook where `nbgrader autograde` looks for it."""
    notebook = read_notebook(course / "exercises", topic)
    fill_in(notebook, student, read_notebook(course / "solutions", topic))
    folder = course / "submitted" / student.name / topic
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{topic}.ipynb")


def grade(course: Path) -> dict[str, Any]:
    """Make the folder `course` anew and grade the class in it, with nbgrader's own commands; the marks by topic.

    As many students are graded at a time as there are cores. What nbgrader and the kernels say is in nbgrader.log.
    """
    shutil.rmtree(course, ignore_errors=True)
    for topic in TAKEN:
        shutil.copytree(Path("solutions", topic), course / "solutions" / topic)
    of_topic = {topic: students(topic) for topic in TAKEN}
    topics_of = {}  # one worker grades all of a student's work, so that no two write about the same student at once
    for topic, class_ in of_topic.items():
        for student in class_:
            topics_of.setdefault(student.name, []).append(topic)
    in_course = f"--CourseDirectory.root={course.resolve()}"
    with ProcessPoolExecutor(initializer=write_stderr_to, initargs=(course / "nbgrader.log",)) as workers:
        workers.submit(nbgrader, "generate_assignment", "*", in_course).result()
        for topic, class_ in of_topic.items():
            for student in class_:
                hand_in(topic, student, course)
        graded = [workers.submit(autograde, name, topics, in_course) for name, topics in topics_of.items()]
        for i, name_and_topics in enumerate(as_completed(graded), start=1):
            print(f"[{i:2}/{len(graded)}] graded {name_and_topics.result()}", flush=True)
        print("writing the feedback pages", flush=True)
        workers.submit(nbgrader, "generate_feedback", "*", in_course).result()
        workers.submit(nbgrader, "export", f"--to={course / 'grades.csv'}", in_course).result()
    return {topic: {s.name: marks(topic, s, course) for s in class_} for topic, class_ in of_topic.items()}


def write_stderr_to(log: Path) -> None:
    """From now on this process, and every kernel that it starts, writes its stderr to the end of a file."""
    with open(log, "a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 2)


def autograde(student: str, topics: list[str], in_course: str) -> str:
    for topic in topics:
        nbgrader("autograde", topic, f"--student={student}", in_course)
    return f"{student} in {' and '.join(topics)}"


def marks(topic: str, student: Student, course: Path) -> dict[str, Any]:
    """What the gradebook says about a student, and the reasons that the graded notebook gives.

    points is None where a person has to mark.
    """
    graded = read_notebook(course / "autograded" / student.name, topic)
    by_exercise = {}
    with Gradebook(f"sqlite:///{(course / 'gradebook.db').resolve()}") as gradebook:
        for cell in filter(is_grade, graded.cells):
            name = cell.metadata.nbgrader.grade_id
            mark = gradebook.find_grade(name, topic, topic, student.name)
            by_exercise[name] = {
                "points": None if mark.needs_manual_grade else mark.score,
                "possible": mark.max_score,
                "expected": None if is_solution(cell) else student.expected.get(name, mark.max_score),
                "reasons": reasons(cell),
            }
    return {"description": student.description, "exercises": by_exercise}


def reasons(cell: nbformat.NotebookNode) -> list[str]:
    """The sentences of the reports in a cell's outputs, or the exception in which it ended."""
    sentences = []
    for output in cell.get("outputs", []):
        if output.output_type == "error":
            sentences.append(f"{output.ename}: {output.evalue}")
        report = output.get("data", {}).get(MIME, {"exercises": []})
        sentences += [sentence for exercise in report["exercises"] for sentence in exercise["sentences"]]
    return sentences


def read_notebook(folder: Path, topic: str) -> nbformat.NotebookNode:
    return nbformat.read(folder / topic / f"{topic}.ipynb", as_version=4)
