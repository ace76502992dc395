"""What a student reads after a check: points, sentences, and the place where the result goes wrong."""

import re
from dataclasses import dataclass
from html import escape
from typing import Any

MIME = "application/vnd.vitlab.report+json"
SHOWN = 8  # numbers of a row in an excerpt


@dataclass(frozen=True)
class PartResult:
    title: str
    points: int
    failed_on: str | None  # its first failed case, "" if there is none to name, or None if all were right


@dataclass(frozen=True)
class Excerpt:
    """One row of the expected and of the received result, around the first difference."""

    case: str
    position: str  # "image 0, patch 1, number 2"
    index: int  # of the first difference within the row
    expected: tuple[float, ...]
    received: tuple[float, ...]


@dataclass(frozen=True)
class Example:
    """The smallest case that fails, as Python to be copied into a cell."""

    code: str
    expected: str
    received: str
    steps: tuple[str, ...]  # "scores = torch.tensor(...)": what a right solution has on the way


@dataclass(frozen=True)
class ExerciseResult:
    name: str
    parts: tuple[PartResult, ...]
    sentences: tuple[str, ...]
    excerpt: Excerpt | None
    remarks: tuple[str, ...]
    excused: bool = False  # right only given the results of earlier functions, which are wrong
    example: Example | None = None
    named: bool = False  # whether a sentence says which mistake gives these numbers
    advice: tuple[str, ...] = ()  # on how a right answer is written; it costs no point

    @property
    def points(self) -> int:
        return sum(part.points for part in self.parts if part.failed_on is None)

    @property
    def possible(self) -> int:
        return sum(part.points for part in self.parts)

    @property
    def passed(self) -> bool:
        return self.points == self.possible > 0


@dataclass(frozen=True)
class Report:
    """The result of a check. Its repr is the points, which nbgrader reads; `print` shows the sentences."""

    exercises: tuple[ExerciseResult, ...]
    seed: int  # from which the cases were drawn

    @property
    def points(self) -> int:
        return sum(exercise.points for exercise in self.exercises)

    @property
    def possible(self) -> int:
        return sum(exercise.possible for exercise in self.exercises)

    @property
    def passed(self) -> bool:
        return all(exercise.passed for exercise in self.exercises)

    def as_dict(self) -> dict[str, Any]:
        """Points and sentences as plain data."""
        return {
            "points": self.points,
            "possible": self.possible,
            "passed": self.passed,
            "seed": self.seed,
            "exercises": [
                {"name": e.name, "points": e.points, "possible": e.possible, "sentences": list(e.sentences)}
                for e in self.exercises
            ],
        }

    def __repr__(self) -> str:
        return str(self.points)

    def __str__(self) -> str:
        return "\n\n".join([*map(_as_text, self.exercises), *self._how_to_repeat()])

    def _repr_html_(self) -> str:
        repeat = (f"<p><small>{sentence}</small></p>" for sentence in self._how_to_repeat())
        return "\n".join([*map(_as_html, self.exercises), *repeat])

    def _how_to_repeat(self) -> list[str]:
        """For a student whose marks were found on other numbers than those of the notebook, which has seed 0."""
        return [] if self.passed or self.seed == 0 else [f"To see the same numbers again, use seed={self.seed}."]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/plain": repr(self), "text/html": self._repr_html_(), MIME: self.as_dict()}


def _as_text(exercise: ExerciseResult) -> str:
    lines = [
        f"{exercise.name}: {exercise.points} of {exercise.possible} points",
        *exercise.sentences,
        *_whose_steps(exercise),
    ]
    if exercise.excerpt:
        where, expected, received = _first_difference(exercise.excerpt)
        lines.append(f"{where} {expected} was expected, and {received} came.")
    if exercise.example:
        lines += ["The smallest case that fails:", *(f"    {line}" for line in _lines(exercise.example))]
    lines += [f"  {_mark(part)} {part.title} ({_points(part.points)}){_failure(part)}" for part in exercise.parts]
    return "\n".join([*lines, *exercise.remarks, *exercise.advice])


def _as_html(exercise: ExerciseResult) -> str:
    """Everything that may come from a student's code is escaped. Colours are the page's own, light or dark."""
    head = f"<p><strong><code>{escape(exercise.name)}</code>: {exercise.points} of {_points(exercise.possible)}</strong></p>"
    sentences = "".join(f"<p>{_code(sentence)}</p>" for sentence in (*exercise.sentences, *_whose_steps(exercise)))
    parts = "".join(
        f"<li>{_mark(part)} {escape(part.title)} ({_points(part.points)}){escape(_failure(part))}</li>"
        for part in exercise.parts
    )
    remarks = "".join(f"<pre>{escape(remark)}</pre>" for remark in exercise.remarks)
    advice = "".join(f"<p>{_code(sentence)}</p>" for sentence in exercise.advice)
    body = f'{head}{sentences}{_table(exercise.excerpt)}{_fold(exercise.example)}<ul style="list-style: none; padding-left: 0">{parts}</ul>{remarks}{advice}'
    colour = "#2e8b57" if exercise.passed else "#d2691e"
    return f'<div style="border-left: 4px solid {colour}; padding-left: 1em; max-width: 50em">{body}</div>'


def _whose_steps(exercise: ExerciseResult) -> list[str]:
    """Of names in the sentences that a student has perhaps never written: whose they are, and where their numbers stand."""
    every = exercise.example.steps if exercise.example else ()
    steps = [step.partition(" = ")[0] for step in every if "  # " not in step]  # the others are told in words
    said = [f"`{name}`" for name in steps if any(_speaks_of(sentence, name) for sentence in exercise.sentences)]
    if not said:
        return []
    are = "is a step" if len(said) == 1 else "are steps"
    return [f"({' and '.join(said)} {are} of a right solution; below, the smallest case that fails has the numbers.)"]


def _speaks_of(sentence: str, step: str) -> bool:
    """Whether a step is named: as code, or on its own in a sentence on slips; elsewhere "weights" is a plain word, and in
    "axes are cut" `cut` is."""
    as_word = rf"(?<!are )(?<!is )(?<![\w`'\"]){re.escape(step)}(?!\w)"
    return f"`{step}`" in sentence or (" slip" in sentence and re.search(as_word, sentence) is not None)


def _lines(example: Example) -> list[str]:
    """Python that can be copied into a cell, with what comes and what should."""
    said = ["", f"# expected: {example.expected}", f"# received: {example.received}"]
    steps = (
        ["# a right solution has on the way:", *(f"#     {step}" for step in example.steps)] if example.steps else []
    )
    return example.code.splitlines() + said + steps


def _fold(example: Example | None) -> str:
    if example is None:
        return ""
    code = escape("\n".join(_lines(example)))
    style = "white-space: pre-wrap; overflow-wrap: anywhere"
    return f'<details style="margin: .5em 0"><summary>The smallest case that fails, to copy into a cell</summary><pre style="{style}">{code}</pre></details>'


def _table(excerpt: Excerpt | None) -> str:
    if excerpt is None:
        return ""
    start = max(0, min(excerpt.index - SHOWN // 2, len(excerpt.expected) - SHOWN))
    padding = 'style="padding: 0 .5em; text-align: right"'
    columns = range(start, min(start + SHOWN, len(excerpt.expected)))

    def row(title: str, values: tuple[float, ...]) -> str:
        cells = "".join(
            f"<td {padding}><strong><u>{values[i]:.4g}</u></strong></td>"
            if i == excerpt.index
            else f"<td {padding}>{values[i]:.4g}</td>"
            for i in columns
        )
        return f'<tr><th scope="row" style="text-align: left">{title}</th>{cells}</tr>'

    where, _, _ = _first_difference(excerpt)
    numbers = "".join(f'<th scope="col" {padding}>{i}</th>' for i in columns)
    return (  # on a narrow screen the table scrolls inside its region, also by keyboard, and the sentence does not
        f'<p>{escape(where)}</p><div style="overflow-x: auto" tabindex="0" role="region" aria-label="first difference">'
        f"<table><tr><td></td>{numbers}</tr>{row('expected', excerpt.expected)}{row('received', excerpt.received)}"
        "</table></div>"
    )


def _first_difference(excerpt: Excerpt) -> tuple[str, str, str]:
    where = f"With {excerpt.case}, the first difference is at {excerpt.position}:"
    expected, received = excerpt.expected[excerpt.index], excerpt.received[excerpt.index]
    digits = 4 if f"{expected:.4g}" != f"{received:.4g}" else 9  # enough of them to see the difference
    return where, f"{expected:.{digits}g}", f"{received:.{digits}g}"


def _mark(part: PartResult) -> str:
    return "✓" if part.failed_on is None else "✗"


def _failure(part: PartResult) -> str:
    return f": wrong for {part.failed_on}" if part.failed_on else ""


def _points(points: int) -> str:
    return f"{points} point" if points == 1 else f"{points} points"


def _code(sentence: str) -> str:
    """Escaped, with `names` set as code."""
    pieces = escape(sentence).split("`")
    if len(pieces) % 2 == 0:  # an odd number of backticks: leave them alone
        return escape(sentence)
    return "".join(f"<code>{piece}</code>" if i % 2 else piece for i, piece in enumerate(pieces))
