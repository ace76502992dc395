"""Checks of the exercises: whether a function is right and, if not, what is wrong with it.

    from vitlab.checks import check

    check(patchify)                                         # in a notebook: points and reasons
    run("embeddings", {"patchify": my_patchify, ...})       # a whole topic

One file a topic holds its exercises; `candidate` reaches the student's code, `exercise` judges it, `diagnosis` finds the
words for a difference, `report` shows them.
"""

import inspect
import os
from collections.abc import Callable, Mapping
from importlib import import_module

from vitlab.checks.engine.candidate import Candidate, LocalCandidate
from vitlab.checks.engine.exercise import Exercise
from vitlab.checks.engine.judge import judge
from vitlab.checks.engine.report import ExerciseResult, Report

TOPICS = ("embeddings", "attention")  # in the lecture's order


def exercises(topic: str) -> tuple[Exercise, ...]:
    """The exercises of a topic, in the order of its notebook.

    Raises:
        ValueError: if there is no such topic.
    """
    if topic not in TOPICS:
        raise ValueError(f"there is no topic {topic!r}; the topics are {', '.join(TOPICS)}.")
    return import_module(f"vitlab.checks.{topic}").EXERCISES


def run(topic: str, functions: Mapping[str, Callable] | Candidate, seed: int = 0) -> Report:
    """Check all exercises of a topic.

    Args:
        topic: such as "attention".
        functions: from exercise names to functions; other names in it are not looked at. Or a candidate that reaches
            functions elsewhere.
        seed: draws the cases; the same seed gives the same cases.

    Raises:
        ValueError: if there is no such topic.
    """
    candidate = LocalCandidate(functions) if isinstance(functions, Mapping) else functions
    return Report(tuple(judge(exercise, candidate, seed) for exercise in exercises(topic)), seed)


def check(function: Callable, seed: int | None = None) -> Report:
    """Check one function, found by its name; what a notebook's cell calls.

    The report of something that is no exercise has no points, and says so: a graded cell never ends in an exception.

    Args:
        function: one of the functions that the exercises ask for.
        seed: draws the cases; if None, the environment variable VITLAB_SEED (which a grader sets), or else 0.
    """
    if seed is None:
        seed = int(os.environ.get("VITLAB_SEED", "0"))
    by_name = {exercise.name: exercise for topic in TOPICS for exercise in exercises(topic)}
    # the function's own module or notebook, where its name and the earlier functions that it builds on are
    beside = getattr(inspect.unwrap(function), "__globals__", {}) if callable(function) else {}
    names = [name for name in by_name if name in beside and beside[name] is function]
    name = names[0] if names else str(getattr(function, "__name__", type(function).__name__))[:60]
    if name not in by_name:
        sentence = f"There is no exercise `{name}`; give check one of the functions {', '.join(by_name)}."
        return Report((ExerciseResult(name, (), (sentence,), None, ()),), seed)
    return Report((judge(by_name[name], LocalCandidate({**beside, name: function}), seed),), seed)
