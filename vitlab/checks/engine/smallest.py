"""The smallest case on which an answer is wrong, as Python to be copied into a cell."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Generator, Tensor

from vitlab.checks.engine import diagnosis, values
from vitlab.checks.engine.candidate import Candidate
from vitlab.checks.engine.exercise import Case, Exercise, Sizes
from vitlab.checks.engine.observation import steps
from vitlab.checks.engine.report import Example
from vitlab.checks.engine.trial import Trial

SMALL = 60  # small cases that are tried
SHOWN = 24  # numbers of a step that are shown


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
    on_the_way = [
        f"{name} = {_code(value)}{f'  # {exercise.steps[name]}' if name in exercise.steps else ''}"
        for name, value in steps(exercise, arguments)
        if value.numel() <= SHOWN
    ]
    return Example("\n".join(lines), _code(trial.expected), received, tuple(on_the_way))


def _code(value: Any) -> str:
    """A value as Python, with few digits."""
    if isinstance(value, Tensor) and not value.ndim:
        return _numbers(value.item())
    if isinstance(value, Tensor):
        numbers = f"tensor({_numbers(value.tolist())}" if value.numel() else f"zeros({tuple(value.shape)}"
        plain = value.is_floating_point() or (value.numel() and value.dtype in (torch.int64, torch.bool))
        return f"torch.{numbers})" if plain else f"torch.{numbers}, dtype={value.dtype})"
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
