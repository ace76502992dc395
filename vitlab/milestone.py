"""A milestone: a whole model that runs on a student's own functions, taken from the notebooks that lie beside it.

    mine = collect(("embeddings", ..., "vit"), Path("."))
    print(mine)                                             # which functions are there, and right
    scores = mine["vit"](images, p, patch_size, num_heads)  # they call each other, as far as they are right
    print(mine.verdict(scores, model(images)))

Of a notebook only what defines the functions is executed: they, and the imports, functions, classes and constants that
they use. That runs in this process with the rights of whoever runs it: this is for one's own notebooks, and grades
nobody.
"""

import ast
import dis
import functools
import json
import linecache
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from torch import Tensor

from vitlab.checks import AnyExercise, exercises, run
from vitlab.checks.engine.words import listed

NEAR = 1e-4  # how far float32 scores may lie from those of the same weights in another order, relative to the largest


@dataclass(frozen=True)
class Answer:
    """One function: `fault` is "" where the student's is right, and else says why vitlab's stands in for it."""

    topic: str
    name: str
    fault: str


@dataclass
class Notebook:
    """What a student's notebook defines.

    path: None if there is none.
    functions: the answers that are there, by the name of the exercise.
    namespace: where they find what they call.
    faults: what is wrong with the others, or with these.
    notes: what is wrong with what they use.
    """

    path: Path | None
    functions: dict[str, Callable] = field(default_factory=dict)
    namespace: dict[str, Any] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Definition:
    """A statement of a cell that gives names a meaning.

    place: where it stands, as the beginning of a sentence; its code says the same when it fails.
    line: within the cell.
    """

    names: frozenset[str]
    code: CodeType
    place: str
    line: int


@dataclass(frozen=True)
class Milestone:
    """The functions of some topics, the student's where they are right and else vitlab's, linked with each other.

    calls: how often each has been called since.
    """

    answers: tuple[Answer, ...]
    notebooks: dict[str, Notebook]
    functions: dict[str, Callable]
    calls: Counter

    def __getitem__(self, name: str) -> Callable:
        return self.functions[name]

    @property
    def missing(self) -> list[str]:
        """The functions for which vitlab's stand in."""
        return [answer.name for answer in self.answers if answer.fault]

    def __str__(self) -> str:
        lines = []
        for topic, notebook in self.notebooks.items():
            lines.append(f"{topic}: {notebook.path or f'there is no {topic}.ipynb here'}")
            for answer in (answer for answer in self.answers if answer.topic == topic):
                lines += _wrapped(f"✗ {answer.name}: {answer.fault}" if answer.fault else f"✓ {answer.name}")
            lines += [line for note in notebook.notes for line in _wrapped(note)]
        right = len(self.answers) - len(self.missing)
        return "\n".join([*lines, "", f"{right} of {len(self.answers)} functions are yours and right."])

    def verdict(self, scores: Tensor, expected: Tensor) -> str:
        """Whether the milestone is reached: nothing stood in, and the model's own scores came out.

        Args:
            scores: what these functions have answered.
            expected: what the model answers.
        """
        difference = (scores - expected).abs().max().item()
        lines = [f"The largest difference to the model's own scores is {difference:.1g}."]
        if self.missing:
            lines.append(f"The milestone is not reached yet: vitlab's functions stood in for {_named(self.missing)}.")
        elif not difference <= NEAR * expected.abs().max():  # nan is not
            lines.append("The milestone is not reached yet: your functions pass their checks, and together they err.")
        else:
            lines.append("The milestone is reached: the model has answered with your functions.")
            unused = [answer.name for answer in self.answers if not self.calls[answer.name]]
            lines += [f"Not called: {_named(unused)}."] if unused else []
        return "\n".join(textwrap.fill(line, width=100) for line in lines)


def collect(topics: tuple[str, ...], folder: Path) -> Milestone:
    """Find a student's functions, check each one, and link those that are right with each other.

    Each is judged in its own notebook's surroundings, as the check there does. Then, wherever one calls a function of
    an earlier topic, which its notebook has from vitlab, it calls the student's own.

    Args:
        topics: in the lecture's order.
        folder: holds the notebooks, TOPIC.ipynb or TOPIC/TOPIC.ipynb; or its neighbours do, ../TOPIC/TOPIC.ipynb.
    """
    references = {exercise.name: exercise.reference for topic in topics for exercise in exercises(topic)}
    notebooks = {topic: _read(_find(topic, folder), exercises(topic)) for topic in topics}
    answers, chosen, calls = [], {}, Counter()
    for topic, notebook in notebooks.items():
        for result in run(topic, notebook.functions).exercises:
            if result.name in notebook.functions and not result.passed:
                notebook.faults[result.name] = result.sentences[0]
            fault = notebook.faults.get(result.name, "")
            answers.append(Answer(topic, result.name, fault))
            function = _copy(references[result.name]) if fault else notebook.functions[result.name]
            chosen[result.name] = _counted(function, result.name, calls)
        notebook.namespace |= {name: chosen[name] for name in notebook.functions}
    names = {id(reference): name for name, reference in references.items()}
    for namespace in [
        *(notebook.namespace for notebook in notebooks.values()),
        *(chosen[answer.name].__wrapped__.__globals__ for answer in answers if answer.fault),
    ]:
        namespace |= {key: chosen[names[id(value)]] for key, value in namespace.items() if id(value) in names}
    return Milestone(tuple(answers), notebooks, chosen, calls)


def _find(topic: str, folder: Path) -> Path | None:
    """The topic's notebook: by its own name or, where there is none, as browsers and Colab call copies; the newest."""
    copies = re.compile(rf"(copy of )?{topic}( ?\(\d+\))?\.ipynb", re.I)
    for place in (folder, folder / topic, folder / ".." / topic):
        found = [path for path in place.glob("*.ipynb") if copies.fullmatch(path.name)]
        if found:
            return max(found, key=lambda path: (path.name == f"{topic}.ipynb", path.stat().st_mtime))
    return None


def _read(path: Path | None, asked: tuple[AnyExercise, ...]) -> Notebook:
    """Execute what defines a notebook's answers; the cells for the answers come last, and so they count."""
    notebook = Notebook(path)
    names = {exercise.name for exercise in asked}
    cells, definitions, broken, missing = [], [], {}, "Its notebook is missing."
    if path is not None:
        try:
            cells, missing = _code_cells(path), "Not written yet."
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            missing = f"{path.name} cannot be read as a notebook ({type(error).__name__})."
    for grade_id, source in cells:
        try:
            definitions += _definitions(source, path.name)
        except (SyntaxError, ValueError) as error:
            about = [name for name in names if grade_id == f"{name}_solution" or f"def {name}(" in source]
            line = f" (line {error.lineno}: {(error.text or '').strip()})" if isinstance(error, SyntaxError) else ""
            sentence = f"{_place(source, path.name)} is no Python: {getattr(error, 'msg', error)}{line}."
            broken |= dict.fromkeys(about, sentence)
    for definition in _needed(definitions, names):
        try:
            exec(definition.code, notebook.namespace)
        except (Exception, SystemExit) as error:  # whatever a student's cell does becomes a sentence
            sentence = f"{definition.place} fails in line {definition.line} ({type(error).__name__}: {error})."
            broken |= dict.fromkeys(definition.names & names, sentence)
            notebook.notes += [] if definition.names & names else [sentence]
    for exercise in asked:
        function = notebook.namespace.get(exercise.name)
        if callable(function) and function is not exercise.reference:
            notebook.functions[exercise.name] = function
        else:
            notebook.faults[exercise.name] = broken.get(exercise.name, missing)
    return notebook


def _code_cells(path: Path) -> list[tuple[str, str]]:
    """The grade_id, or "", and the source of each, those that hold answers behind the others."""
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    graded = [(cell["metadata"].get("nbgrader", {}), "".join(cell["source"])) for cell in cells]
    graded.sort(key=lambda pair: bool(pair[0].get("solution")))  # stable: else in the notebook's order
    return [(marks.get("grade_id", ""), source) for marks, source in graded]


def _definitions(source: str, notebook: str) -> Iterator[Definition]:
    """A cell's imports, functions, classes and assignments, but for the stubs of the exercise.

    Raises:
        SyntaxError, ValueError: if the cell is no Python.
    """
    place = _place(source, notebook)
    linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)  # for what a check quotes
    try:
        tree = ast.parse(source)
    except SyntaxError:
        tree = ast.parse(_without_magics(source))
    for statement in tree.body:
        match statement:
            case ast.Import() | ast.ImportFrom():
                names = [(alias.asname or alias.name).partition(".")[0] for alias in statement.names]
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names = [] if _is_stub(statement) else [name]
            case ast.Assign(targets=targets) | ast.AnnAssign(target=targets, value=ast.expr()):
                targets = targets if isinstance(targets, list) else [targets]
                names = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
            case _:
                names = []
        if names:
            code = compile(ast.Module([statement], []), place, "exec")
            yield Definition(frozenset(names), code, place, statement.lineno)


def _needed(definitions: list[Definition], names: set[str]) -> list[Definition]:
    """Those that give `names` their meaning, and those that these use, in their order."""
    wanted, needed, more = set(), [], set(names)
    while not more <= wanted:
        wanted |= more
        needed = [definition for definition in definitions if definition.names & (wanted | {"*"})]
        more = {name for definition in needed for name in _globals(definition.code)}
    return needed


def _globals(code: CodeType) -> set[str]:
    """The names that code looks up outside itself, the functions within it included."""
    own = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_NAME", "LOAD_GLOBAL")}
    return own.union(*(_globals(part) for part in code.co_consts if isinstance(part, CodeType)))


def _place(source: str, notebook: str) -> str:
    first = next((line.strip() for line in source.splitlines() if line.strip() and not line.startswith("#")), "")
    return f"In {notebook}, the cell that begins with `{textwrap.shorten(first, 60, placeholder=' …')}`"


def _without_magics(source: str) -> str:
    """A cell without the lines that are for Jupyter, such as %pip or !ls."""
    if source.lstrip().startswith("%%") and not source.lstrip().startswith("%%time"):
        return ""  # another language, or a file
    return re.sub(r"^(\s*)[%!?].*", r"\1pass", source, flags=re.M)


def _is_stub(statement: ast.FunctionDef | ast.ClassDef) -> bool:
    """As the exercise leaves a function: its docstring, and a line that raises NotImplementedError."""
    *before, last = statement.body
    return isinstance(last, ast.Raise) and "NotImplementedError" in ast.unparse(last) and len(before) <= 1


def _copy(function: FunctionType) -> FunctionType:
    """One of vitlab's functions with surroundings of its own, where it can be linked with the student's."""
    namespace = dict(vars(sys.modules[function.__module__]))
    copy = FunctionType(function.__code__, namespace, function.__name__, function.__defaults__, function.__closure__)
    return functools.update_wrapper(copy, function)


def _counted(function: Callable, name: str, calls: Counter) -> Callable:
    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        calls[name] += 1
        return function(*arguments, **options)

    return call


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, width=100, initial_indent="  ", subsequent_indent="      ")


def _named(names: list[str]) -> str:
    return listed([f"`{name}`" for name in names])
