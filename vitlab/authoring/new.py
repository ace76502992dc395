"""The stubs of a new topic in all its rooms: `python -m vitlab.authoring new TOPIC FUNCTION ...`.

The functions stand in `vitlab/TOPIC.py` already: their signatures and docstrings give the names, arguments and
sentences of the exercise. What is written is where an author begins; what exists is left as it is.
"""

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

POINTS = 3  # of each exercise, until its author decides


def write_stubs(topic: str, names: list[str]) -> list[Path]:
    """Write the files of a topic that are not there yet.

    Returns:
        the paths that were written.

    Raises:
        ValueError: if `vitlab/TOPIC.py` has no such function.
    """
    functions = [_function(topic, name) for name in names]
    files = {
        Path(f"vitlab/checks/{topic}.py"): _checks(topic, functions),
        Path(f"tests/test_{topic}.py"): _tests(topic, functions),
        Path(f"book/{topic}.ipynb"): nbformat.writes(_chapter(topic)) + "\n",
        Path(f"solutions/{topic}/{topic}.ipynb"): nbformat.writes(_solution(topic, functions)) + "\n",
    }
    written = [path for path in files if not path.exists()]
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")
    return written


def _function(topic: str, name: str) -> Callable:
    module = import_module(f"vitlab.{topic}")
    if not inspect.isfunction(function := getattr(module, name, None)):
        raise ValueError(f"vitlab/{topic}.py has no function {name}: write the reference first.")
    return function


def _title(topic: str) -> str:
    return topic.replace("_", " ").capitalize()


def _first_line(function: Callable) -> str:
    return inspect.getdoc(function).splitlines()[0]


def _checks(topic: str, functions: list[Callable]) -> str:
    head = f'"""Checks of the exercise `{topic}`: {", ".join(f.__name__ for f in functions)}."""\n\n'
    head += "from vitlab.checks.engine.exercise import Exercise, Part, Sizes\n"
    head += f"from vitlab.{topic} import {', '.join(sorted(f.__name__ for f in functions))}\n"
    blocks = []
    for function in functions:
        takes = ", ".join(f'"{name}": ""' for name in inspect.signature(function).parameters)
        blocks.append(
            f"# ---- {function.__name__}\n\n"
            f"the_{function.__name__} = Exercise(\n    {function.__name__},\n    takes={{{takes}}},\n"
            f'    returns="",\n    parts=(Part("all", {POINTS}, Sizes(), Sizes(gradient=True)),),\n)\n'
        )
    names = "".join(f"the_{function.__name__}, " for function in functions)
    return "\n".join([head, *blocks, f"EXERCISES = ({names.rstrip()})\n"])


def _tests(topic: str, functions: list[Callable]) -> str:
    ways = "".join(f'    "{function.__name__}": (),\n' for function in functions)
    return (
        f'"""{_title(topic)}: the lecture\'s formulas, and every right way to write the exercise."""\n\n'
        f"CORRECT = {{  # right answers, written in other ways\n{ways}}}\n"
    )


def _cell(cell: NotebookNode, id: str, **nbgrader) -> NotebookNode:
    cell.id = id
    if nbgrader:
        kind = {"grade": False, "locked": False, "schema_version": 3, "solution": False, "task": False}
        cell.metadata["nbgrader"] = kind | nbgrader
    return cell


def _chapter(topic: str) -> NotebookNode:
    """The cells `set-up` and `exercise` are written by `python -m vitlab.authoring`."""
    cells = [
        _cell(
            new_markdown_cell(f"# {_title(topic)}\n\nThe question that this chapter answers with a number."), "title"
        ),
        _cell(new_code_cell(), "set-up"),
        _cell(new_markdown_cell(), "exercise"),
    ]
    return new_notebook(cells=cells)


def _solution(topic: str, functions: list[Callable]) -> NotebookNode:
    rows = "".join(f"| {k}. `{f.__name__}` | 2 of 5 | 10 | {POINTS} |\n" for k, f in enumerate(functions, start=1))
    objectives = (
        "When you are done you can\n\n- …\n\n| | difficulty | minutes | points |\n| --- | --- | --- | --- |\n" + rows
    ) + f"| {len(functions) + 1}. A question in writing | 3 of 5 | 15 | {POINTS} |"
    cells = [
        _cell(new_markdown_cell(f"# Exercise: {_title(topic).lower()}"), "title"),
        _cell(new_markdown_cell(), "open-in-colab"),
        _cell(new_markdown_cell(objectives), "objectives"),
        _cell(new_code_cell(), "set-up"),
        _cell(
            new_code_cell("import torch\n\nfrom vitlab.checks import check\nfrom vitlab.figures import look_at_it"),
            "imports",
        ),
    ]
    for k, function in enumerate(functions, start=1):
        cells += _section(k, function)
    question = f"## {len(functions) + 1}. A question in writing\n\na. …\n\nMarked by a person, **{POINTS} points**."
    answer = _cell(
        new_markdown_cell("**Model answer**\n\n…\n\n**Rubric** (half points are allowed)\n\n…"),
        "written-question-answer",
        grade=True, solution=True, points=POINTS, grade_id="written_question",
    )  # fmt: skip
    help_ = _cell(new_markdown_cell("## Help, I'm getting…\n\n- `NotImplementedError`\n\n  …"), "help")
    return new_notebook(cells=[*cells, _cell(new_markdown_cell(question), "written-question"), answer, help_])


def _section(k: int, function: Callable) -> list[NotebookNode]:
    name = function.__name__
    id = name.replace("_", "-").lower()
    arguments = list(inspect.signature(function).parameters)
    lines = "".join(f"    {argument}: …\n" for argument in arguments)
    stub = (
        f'def {name}({", ".join(arguments)}):\n    """{_first_line(function)}\n\n{lines}    returns: …\n    """\n'
        f"    ### BEGIN SOLUTION\n    …\n    ### END SOLUTION"
    )
    text = f"## {k}. `{name}`\n\n{_first_line(function)}\n\n**Your function** `{name}({', '.join(arguments)})` gets …"
    return [
        _cell(new_markdown_cell(text), id),
        _cell(new_code_cell(stub), f"{id}-solution", solution=True, grade_id=f"{name}_solution"),
        _cell(new_markdown_cell("**Look at it.** …"), f"{id}-look-text"),
        _cell(new_code_cell("with look_at_it():\n    …"), f"{id}-look"),
        _cell(
            new_code_cell(f"# Graded: {POINTS} points. Run it as often as you like.\ncheck({name})"),
            f"{id}-check",
            grade=True, locked=True, points=POINTS, grade_id=name,
        ),
    ]  # fmt: skip
