"""Checks of the exercises: whether a function is right and, if not, what is wrong with it.

    from vitlab.checks import check

    check(patchify)                                         # in a notebook: points and reasons
    run("embeddings", {"patchify": my_patchify, ...})       # a whole topic

One file a topic holds its exercises; in `engine`, `candidate` reaches the student's code, `judge` (or `training`, where
a model is trained) judges it, `diagnosis` finds the words for a difference, `report` shows them.
"""

import ast
import inspect
import linecache
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from types import FrameType

from vitlab.checks.engine.candidate import Candidate, LocalCandidate
from vitlab.checks.engine.exercise import Exercise
from vitlab.checks.engine.judge import judge
from vitlab.checks.engine.report import ExerciseResult, Report
from vitlab.checks.engine.training import TrainingExercise, judge_training

AnyExercise = Exercise | TrainingExercise
LECTURE = (  # all topics, in the lecture's order
    "embeddings", "attention", "layer_norm", "ffn", "encoder", "vit", "cifar", "interpretation",
    "segmentation", "overlap_embeddings", "sra", "mix_ffn", "mit", "decoder", "ade20k",
)  # fmt: skip
TOPICS = tuple(topic for topic in LECTURE if find_spec(f"vitlab.checks.{topic}"))  # those that have an exercise


def exercises(topic: str) -> tuple[Exercise | TrainingExercise, ...]:
    """The exercises of a topic, in the order of its notebook.

    Raises:
        ValueError: if there is no such topic.
    """
    if topic not in TOPICS:
        raise ValueError(f"there is no topic {topic!r}; the topics are {', '.join(TOPICS)}.")
    return import_module(f"vitlab.checks.{topic}").EXERCISES


def derivable() -> dict[str, Exercise]:
    """All exercises whose wrong versions are derived, by name: all but those in which a model is trained."""
    every = (exercise for topic in TOPICS for exercise in exercises(topic))
    return {exercise.name: exercise for exercise in every if isinstance(exercise, Exercise)}


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
    results: list[ExerciseResult] = []
    for exercise in exercises(topic):
        results.append(_result(exercise, candidate, seed, lambda: results))
    return Report(tuple(results), seed)


def check(function: Callable, seed: int | None = None) -> Report:
    """Check one function; what a notebook's cell calls.

    The exercise is the one whose name stands in the call: in `check(attention_weights)`, attention_weights. Where the
    call cannot be read, it is the one under whose name the function is found, in the notebook or beside the function;
    if it has several such names, the one for which it earns least.

    The report of something that is no exercise has no points, and says so: a graded cell never ends in an exception.

    Args:
        function: what an exercise asks for: a function, or anything else that can be called.
        seed: draws the cases; if None, the environment variable VITLAB_SEED (which a grader sets), or else 0.
    """
    if seed is None:
        seed = int(os.environ.get("VITLAB_SEED", "0"))
    by_name = {exercise.name: exercise for topic in TOPICS for exercise in exercises(topic)}
    caller = sys._getframe(1)
    # where the names of the functions are, and the earlier functions that it builds on: its own notebook or module
    beside = {**caller.f_globals, **caller.f_locals, **_globals_of(function)}
    asked = _name_in_call(caller)
    names = [asked] if asked in by_name else []
    names = names or [name for name in by_name if name in beside and beside[name] is function]
    names = names or [str(getattr(function, "__name__", type(function).__name__))[:60]]
    if names[0] not in by_name:
        sentence = f"There is no exercise `{names[0]}`; give check one of the functions {', '.join(by_name)}."
        return Report((ExerciseResult(names[0], (), (sentence,), None, ()),), seed)
    results = []
    for name in names:
        exercise, candidate = by_name[name], LocalCandidate({**beside, name: function})

        def earlier(exercise: AnyExercise = exercise, candidate: Candidate = candidate) -> list[ExerciseResult]:
            references = exercise.builds_on.earlier if isinstance(exercise, Exercise) and exercise.builds_on else ()
            return [judge(by_name[f.__name__], candidate, seed) for f in references if f.__name__ in by_name]

        results.append(_result(exercise, candidate, seed, earlier))
    return Report((min(results, key=lambda result: result.points),), seed)


def _result(
    exercise: AnyExercise, candidate: Candidate, seed: int, earlier: Callable[[], list[ExerciseResult]]
) -> ExerciseResult:
    """The result of one exercise; `earlier` gives those that may take blame, and is asked only where there is some."""
    if isinstance(exercise, TrainingExercise):
        return judge_training(exercise, candidate, seed)
    result = judge(exercise, candidate, seed)
    if exercise.builds_on and (result.excused or not result.passed):
        passed = frozenset(other.name for other in earlier() if other.passed and not other.excused)
        result = judge(exercise, candidate, seed, passed) if passed else result
    return _told_of_twins(result, candidate)


def _globals_of(function: Callable) -> dict:
    return getattr(inspect.unwrap(function), "__globals__", {}) if callable(function) else {}


def _name_in_call(caller: FrameType) -> str:
    """The name of what stands as the first argument in the call that `caller` is at, or "" if that cannot be read."""
    code = caller.f_code
    first, last, start, end = list(code.co_positions())[caller.f_lasti // 2]
    if None in (first, last, start, end):
        return ""
    lines = [linecache.getline(code.co_filename, i, caller.f_globals).encode() for i in range(first, last + 1)]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    try:
        call = ast.parse(b"".join(lines).decode(), mode="eval").body
    except (SyntaxError, ValueError):
        return ""
    match call:
        case ast.Call(
            args=[ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(str(name))), *_]
        ):
            return name
        case ast.Call(args=[], keywords=[ast.keyword(arg="function", value=ast.Name(id=name)), *_]):
            return name
    return ""


def _told_of_twins(result: ExerciseResult, candidate: Candidate) -> ExerciseResult:
    """With a sentence more, if a function that is wrong here is there under another exercise's name, too."""
    functions = candidate.functions if isinstance(candidate, LocalCandidate) else {}
    if result.passed or result.name not in functions:
        return result
    names = [exercise.name for topic in TOPICS for exercise in exercises(topic) if exercise.name != result.name]
    own = functions[result.name]
    twins = [f"`{name}`" for name in names if callable(own) and functions.get(name) is own]
    if not twins:
        return result
    sentence = f"`{result.name}` and {' and '.join(twins)} are one and the same function: each needs one of its own."
    return replace(result, sentences=(sentence, *result.sentences))
