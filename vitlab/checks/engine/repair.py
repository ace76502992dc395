"""The change that makes a wrong answer right, looked for where no known mistake gives its numbers.

A table of slips begins with the reference, and misses what goes wrong in another way of computing. Here the search begins
with what the student wrote, whatever that is.
"""

import ast
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from vitlab.checks.engine import diagnosis, values
from vitlab.checks.engine.candidate import Candidate, Outcome
from vitlab.checks.engine.edits import Edit, edits, in_words
from vitlab.checks.engine.exercise import Exercise, Misconception
from vitlab.checks.engine.slips.view import tensors_of
from vitlab.checks.engine.trial import Trial, agrees

Numbered = Callable[[int], Trial]
SECONDS = 3.0  # of processor time, for all that is tried
SECONDS_OF_ONE = 0.5  # of one call: with another number a loop may take for ever


def repair(exercise: Exercise, candidate: Candidate, trials: list[Trial]) -> str:
    """The sentence on one change of a student's own code that makes it right, or on two of which the first makes some
    results right; or on one that leaves a known mistake, and on that; or ""."""
    source = _source(trials[0].outcome.source)
    found = source and _search(source, exercise, candidate, trials)
    if not found:
        return ""
    if found.left:
        return f"Two things. First: {found.left.sentence} Second, write {found.changes[0]}."
    number = "one change" if len(found.changes) == 1 else "two changes"
    return f"Your function is right with {number}: {'; and '.join(found.changes)}."


@dataclass(frozen=True)
class _Found:
    """Changes, in words, after which a function is right, but for what is `left`."""

    changes: tuple[str, ...]
    left: Misconception | None = None


def _search(
    source: str, exercise: Exercise, candidate: Candidate, trials: list[Trial], again: bool = True
) -> _Found | None:
    trials = sorted(trials, key=lambda trial: (not trial.misplaced, _size(trial)))  # cheap ones that are wrong first
    known, start = _Known(exercise, trials[0]) if again else None, time.process_time()
    beside: _Found | None = None  # a known mistake
    better: tuple[Edit, Numbered] | None = None  # some results are right, and were not; no others are wrong
    for edit in edits(source, _given(exercise)):
        if time.process_time() - start > SECONDS:
            break
        made = _with_source(edit.applied(source), exercise, candidate, trials)
        if _is_right(made(0), trials[0]):
            if all(_is_right(made(k), trial) for k, trial in enumerate(trials)):
                return _Found((in_words(source, edit),))
            if not better and all(_is_right(made(k), trial) for k, trial in enumerate(trials) if not trial.misplaced):
                better = edit, made
        if known and not beside and edit.keeps and (left := known.mistakes(made(0))):
            every = [made(k) for k in range(len(trials))]
            if mistake := next((m for m in left if agrees(m.function, every) and _spares(m, trials)), None):
                beside = _Found((in_words(source, edit),), mistake)
    if beside or not better or not again:
        return beside
    edit, made = better
    changed = [replace(made(k), misplaced=not _is_right(made(k), trial)) for k, trial in enumerate(trials)]
    second = _search(edit.applied(source), exercise, candidate, changed, again=False)
    return second and _Found((in_words(source, edit), *second.changes))


def _given(exercise: Exercise) -> list[str]:
    """What stands in an argument that is a dict: p["W_Q"]."""
    return [name.replace("'", '"') for name, _ in tensors_of(exercise) if "['" in name]


def _source(source: str) -> str:
    """A function's source from its `def` on; "" if it is none, or has a loop that may not end."""
    try:
        function = next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    except (SyntaxError, StopIteration, RecursionError, ValueError):
        return ""
    if any(isinstance(node, ast.While) for node in ast.walk(function)):
        return ""
    return "".join(source.splitlines(keepends=True)[function.lineno - 1 : function.end_lineno])


def _size(trial: Trial) -> int:
    return sum(x.numel() for _, x in values.tensors(trial.case.arguments))


def _with_source(source: str, exercise: Exercise, candidate: Candidate, trials: list[Trial]) -> Numbered:
    """What gives the trial number k as it is with another source; each is made once, when it is asked for."""
    seconds = SECONDS_OF_ONE if "for " in source else None  # a clock costs time itself

    @cache
    def made(k: int) -> Trial:
        arguments = trials[k].case.arguments
        return replace(trials[k], outcome=candidate.call(exercise.name, arguments, seconds=seconds, instead=source))

    return made


def _is_right(trial: Trial, before: Trial) -> bool:
    """Whether a change made a result right; a dtype that was wrong before may stay so."""
    came, expected = trial.came, trial.expected
    if came is None or came.is_floating_point() != expected.is_floating_point():
        return False
    dtypes = {expected.dtype} if before.came is None else {expected.dtype, before.came.dtype}
    return diagnosis.close(came, expected, expected.dtype) and (not expected.ndim or came.dtype in dtypes)


def _spares(misconception: Misconception, trials: list[Trial]) -> bool:
    """Whether a mistake does no harm where a student's result is right: else the student has not made it."""
    right = [replace(trial, outcome=Outcome("returned", trial.expected)) for trial in trials if not trial.misplaced]
    return not right or agrees(misconception.function, right)


class _Known:
    """What the misconceptions of an exercise give in one case."""

    def __init__(self, exercise: Exercise, trial: Trial):
        found: dict[torch.Size, list[tuple[Tensor, Misconception]]] = defaultdict(list)
        for misconception in exercise.misconceptions:
            if misconception.is_of_two:
                continue
            try:
                result = values.as_tensor(misconception.function(*values.copy(trial.case.arguments)))
            except Exception:  # it stops in this case
                continue
            found[result.shape].append((result.double().flatten(), misconception))
        self.results = {
            shape: (torch.stack([result for result, _ in ones]), [m for _, m in ones]) for shape, ones in found.items()
        }

    def mistakes(self, trial: Trial) -> list[Misconception]:
        """Those that give nearly the numbers of a trial of the same case."""
        came = trial.came
        if came is None or came.is_complex() or came.shape not in self.results:
            return []
        results, misconceptions = self.results[came.shape]
        near = (results - came.double().flatten()).abs().amax(dim=1) <= 1e-2 * results.abs().amax(dim=1)
        return [misconceptions[k] for k in near.nonzero().flatten().tolist()]
