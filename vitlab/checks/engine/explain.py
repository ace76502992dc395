"""Words for a wrong answer: the mistake that gives its numbers, or else what can be seen of it, and its smallest case."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Generator, Tensor

from vitlab.checks.engine import diagnosis, values
from vitlab.checks.engine.candidate import Candidate
from vitlab.checks.engine.exercise import Case, Exercise, Sizes
from vitlab.checks.engine.program import is_temporary, read
from vitlab.checks.engine.report import Example, Excerpt
from vitlab.checks.engine.table import lookup
from vitlab.checks.engine.trial import Trial
from vitlab.checks.engine.words import bare, listed

NUMBERS_WRONG = "The shape is right, but the numbers are not."
TRIED = 24  # explanations that are compared with the student's numbers in every case
SMALL = 60  # small cases that are tried
SHOWN = 24  # numbers of an argument or result that are shown in the smallest case


@dataclass(frozen=True)
class Told:
    """What a student is told of a wrong answer."""

    sentences: list[str]
    excerpt: Excerpt | None = None
    example: Example | None = None
    named: bool = False  # whether the mistake is known that gives these numbers


def explain(exercise: Exercise, candidate: Candidate, trials: list[Trial], seed: int) -> Told:
    """The words for what the trials showed: the mistake that gives these numbers, or else what was seen of it."""
    misplaced = [trial for trial in trials if trial.misplaced]
    beside = [trial.fault for trial in trials if trial.fault and not trial.misplaced][:1]
    if not misplaced:
        return Told(beside or [f"`{exercise.name}` is right."])
    first = misplaced[0]
    named = mistake(exercise, candidate, trials, seed)
    if named:
        sentences = [
            named,
            *([first.fault] if first.came is not None and first.came.shape != first.expected.shape else []),
        ]
    else:
        sentences = [first.fault, *seen(exercise, candidate, first)]
        if right := [trial for trial in trials if not trial.misplaced]:
            sentences.append(f"It works for {right[0].case.description}, but not for {first.case.description}.")
    return Told(sentences + beside, _excerpt(exercise, first), smallest(exercise, candidate), bool(named))


def mistake(exercise: Exercise, candidate: Candidate, trials: list[Trial], seed: int) -> str:
    """The sentence on the mistake that gives exactly the candidate's numbers, in all its trials, or ""."""
    if all(trial.came is None for trial in trials):  # nothing to compare
        return ""
    for misconception in exercise.misconceptions:
        if agrees(misconception.function, trials):
            return misconception.sentence
    again: list[Trial] = []
    if not _can_be_told(trials):
        return ""
    for explanation, _ in zip(lookup(exercise, candidate), range(TRIED), strict=False):
        if agrees(explanation, trials):
            again = again or _with_other_numbers(exercise, candidate, seed + 1)
            if agrees(explanation, again):
                return explanation.sentence
    return ""


def _can_be_told(trials: list[Trial]) -> bool:
    """Whether the results are of the right kind and show a computation: all zeros fit too many mistakes."""
    came = [trial.came for trial in trials if trial.came is not None]
    if any(
        trial.came.is_floating_point() != trial.expected.is_floating_point()
        for trial in trials
        if trial.came is not None
    ):
        return False
    numbers = torch.cat([result.flatten().double() for result in came])
    finite = numbers[numbers.isfinite()]
    return 2 * finite.numel() > numbers.numel() and bool(finite.max() - finite.min() > 1e-6 * finite.abs().max())


def _with_other_numbers(exercise: Exercise, candidate: Candidate, seed: int) -> list[Trial]:
    return [
        Trial(
            case, values.as_tensor(exercise.reference(*case.arguments)), candidate.call(exercise.name, case.arguments)
        )
        for cases in exercise.cases(seed)
        for case in cases
    ]


def agrees(function: Callable, trials: list[Trial]) -> bool:
    """Whether `function` gives what the candidate gave, in every trial: the same numbers, or an exception for one."""
    if all(trial.came is None for trial in trials):  # nothing to compare
        return False
    for trial in trials:
        try:
            output = values.as_tensor(function(*values.copy(trial.case.arguments)))
        except Exception:
            output = None
        came = trial.came
        if (came is None) != (output is None):
            return False
        if came is not None and not diagnosis.close(came, output, trial.dtype):
            return False
    return True


# ---- Where no mistake fits: what can be seen from outside.


def seen(exercise: Exercise, candidate: Candidate, trial: Trial) -> list[str]:
    """Which step of the right way the result has, and on what it depends or does not, in sentences."""
    return [sentence for sentence in (_step(exercise, trial), _dependence(exercise, candidate, trial)) if sentence]


def _step(exercise: Exercise, trial: Trial) -> str:
    """The named step of the reference whose numbers the result has."""
    for name, value in reversed(steps(exercise, trial.case.arguments)):
        if value.numel() > 1 and trial.came is not None and diagnosis.close(trial.came, value, trial.dtype):
            return f"These are the numbers of the step `{name}`: what comes after it is missing."
    return ""


def steps(exercise: Exercise, arguments: tuple) -> list[tuple[str, Tensor]]:
    """The named steps of the reference on the way to its result, in order."""
    program = read(exercise.reference, exercise.given)
    values = program.run(arguments)
    made = [op.targets[0] for op in program.operations if len(op.targets) == 1]
    return [(bare(name), values[name]) for name in made if not is_temporary(name) and isinstance(values[name], Tensor)][
        :-1
    ]


def _dependence(exercise: Exercise, candidate: Candidate, trial: Trial) -> str:
    """Arguments that should have an effect and have none; images that touch each other."""
    came, arguments = trial.came, trial.case.arguments
    if came is None or came.is_floating_point() != trial.expected.is_floating_point():
        return ""

    def moved(k: int, other: Tensor) -> tuple[Tensor | None, Tensor]:
        """What the candidate and the reference give with another tensor in the place of an argument."""
        changed = (*arguments[:k], other, *arguments[k + 1 :])
        output = candidate.call(exercise.name, changed).output
        return None if output is None else values.as_tensor(output), values.as_tensor(exercise.reference(*changed))

    floating = [k for k, x in enumerate(arguments) if isinstance(x, Tensor) and x.is_floating_point()]
    without = []
    for k in floating:
        x = arguments[k]
        output, right = moved(k, x + torch.linspace(0.5, 1.5, x.numel(), dtype=x.dtype).reshape(x.shape))
        if output is not None and diagnosis.close(output, came, trial.dtype):
            if not diagnosis.close(right, trial.expected, trial.dtype):
                without.append(f"`{exercise.arguments[k]}`")
    if without and len(without) < len(floating):
        return f"The result does not depend on {listed(without)}."
    if floating[:1] == [0] and exercise.shape[:1] == ("B",) and len(arguments[0]) > 1:
        others = arguments[0].clone()
        others[-1] = others[-1].flip(0) + 1
        output, _ = moved(0, others)
        if output is not None and output.shape == came.shape == trial.expected.shape:
            if not diagnosis.close(output[0], came[0], trial.dtype):
                return "The first image's result changes when only the last image does: images should not touch each other."
    return ""


def _excerpt(exercise: Exercise, trial: Trial) -> Excerpt | None:
    """The first place where a wrong result is wrong, if it has the right shape."""
    output = trial.came
    if output is None or not output.ndim or output.shape != trial.expected.shape or output.is_complex():
        return None
    if diagnosis.close(output, trial.expected, trial.dtype):  # only its dtype is wrong
        return None
    position = diagnosis.first_difference(output, trial.expected, trial.dtype)
    row = position[:-1]
    return Excerpt(
        trial.case.description,
        ", ".join(f"{name} {i}" for name, i in zip(exercise.axes, position, strict=True)),
        position[-1],
        tuple(trial.expected[row].tolist()),
        tuple(output[row].tolist()),
    )


# ---- The smallest case that fails.


def smallest(exercise: Exercise, candidate: Candidate) -> Example | None:
    """The smallest case, of small whole numbers, on which the candidate is wrong; None if none was found."""
    for case in _small_cases(exercise):
        try:
            expected = values.as_tensor(exercise.reference(*case.arguments))
        except Exception:  # the reference refuses such sizes
            continue
        trial = Trial(case, expected, candidate.call(exercise.name, case.arguments))
        if trial.came is None or not diagnosis.close(trial.came, expected, expected.dtype):
            return _example(exercise, trial)
    return None


def _small_cases(exercise: Exercise) -> Iterator[Case]:
    generator = Generator().manual_seed(0)
    varied = exercise.symbols[:6]
    ranges = sorted(product((1, 2, 3), repeat=len(varied)), key=lambda sizes: (sum(sizes), max(sizes)))
    for sizes, _ in zip(ranges, range(SMALL), strict=False):
        fixed = dict.fromkeys(exercise.symbols, 2) | dict(zip(varied, sizes, strict=True))
        try:
            case = exercise.case(Sizes(**fixed), generator)
        except Exception:
            continue
        yield Case(case.description, tuple(_rounded(argument) for argument in case.arguments), case.sizes)


def _rounded(value: Any) -> Any:
    """Whole numbers between -3 and 3 in the places of floating ones."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return (2 * value / max(float(value.abs().max()), 1e-6) * 1.5).round() + 0.0
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value


def _example(exercise: Exercise, trial: Trial) -> Example:
    arguments = trial.case.arguments
    lines = [f"{name} = {_code(value)}" for name, value in zip(exercise.arguments, arguments, strict=True)]
    lines.append(f"{exercise.name}({', '.join(exercise.arguments)})")
    received = _code(trial.came) if trial.came is not None else trial.outcome.text
    on_the_way = [f"{name} = {_code(value)}" for name, value in steps(exercise, arguments) if value.numel() <= SHOWN]
    return Example("\n".join(lines), _code(trial.expected), received, tuple(on_the_way))


def _code(value: Any) -> str:
    """A value as Python, with few digits."""
    if isinstance(value, Tensor) and not value.ndim:
        return _numbers(value.item())
    if isinstance(value, Tensor):
        return f"torch.tensor({_numbers(value.tolist())})" if value.numel() else f"torch.zeros({tuple(value.shape)})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_code(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_code(item) for item in value) + "]"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def _numbers(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_numbers(item) for item in value) + "]"
    if isinstance(value, float):
        return {"nan": "nan", "inf": "inf", "-inf": "-inf"}.get(str(value)) or (
            f"{value:.4g}" + "." * (value == int(value) and abs(value) < 1e4)
        )
    return str(value)
