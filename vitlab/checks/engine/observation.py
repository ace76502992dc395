"""What can be seen from outside of a wrong answer that no known mistake explains."""

from typing import Any

import torch
from torch import Generator, Tensor

from vitlab.checks.engine import diagnosis, values
from vitlab.checks.engine.candidate import Candidate
from vitlab.checks.engine.exercise import Exercise, Sizes
from vitlab.checks.engine.program import Operation, Program, execute, is_temporary, read
from vitlab.checks.engine.slips.view import atoms
from vitlab.checks.engine.trial import Trial
from vitlab.checks.engine.words import bare, listed

NUMBERS_WRONG = "The shape is right, but the numbers are not."


def seen(exercise: Exercise, candidate: Candidate, trials: list[Trial]) -> list[str]:
    """Which steps of the right way the result has or misses, and on what it depends or does not, in sentences.

    Args:
        trials: those with a wrong result.
    """
    trial = trials[0]
    found = [_changed(exercise, trial), _step(exercise, trial), _without_effect(exercise, candidate, trials)]
    found += [] if found[-1] else [_touching(exercise, candidate, trial)]
    if not any(found) and trial.fault == NUMBERS_WRONG:  # nothing else is known
        found = [missed_step(exercise, candidate)]
    return [sentence for sentence in found if sentence]


def _changed(exercise: Exercise, trial: Trial) -> str:
    if not trial.outcome.changed:
        return ""
    name = values.name_of(trial.outcome.changed[0], exercise.arguments)
    return (
        f"The function changes its input `{name}` in place, and may read again what it has written: make a new tensor."
    )


def _step(exercise: Exercise, trial: Trial) -> str:
    """The named step of the reference whose numbers the result has."""
    for name, value in reversed(steps(exercise, trial.case.arguments)):
        if value.numel() > 1 and trial.came is not None and diagnosis.close(trial.came, value, trial.dtype):
            return f"These are the numbers of {_in_words(exercise, name)}: what comes after is missing."
    return ""


def _in_words(exercise: Exercise, step: str) -> str:
    return exercise.steps.get(step) or f"the step `{step}`"


def steps(exercise: Exercise, arguments: tuple) -> list[tuple[str, Tensor]]:
    """The named steps of the reference on the way to its result, in order."""
    program = read(exercise.reference, exercise.given)
    values = program.run(arguments)
    made = [op.targets[0] for op in program.operations if len(op.targets) == 1]
    return [(bare(name), values[name]) for name in made if not is_temporary(name) and isinstance(values[name], Tensor)][
        :-1
    ]


TRIALS = 4  # that are looked at, to see what has an effect


def _without_effect(exercise: Exercise, candidate: Candidate, trials: list[Trial]) -> str:
    """Arguments, tensors and sizes, that should have an effect and have none in any of the trials."""
    idle: dict[int, None] = {}
    active: set[int] = set()
    for trial in trials[:TRIALS]:
        arguments = trial.case.arguments
        if trial.came is None or trial.came.is_floating_point() != trial.expected.is_floating_point():
            return ""
        for k, other in [(k, _another(x)) for k, x in enumerate(arguments) if type(x) is int or _floating(x)]:
            output, right = _moved(exercise, candidate, trial, k, other)
            if output is None or right is None:
                continue
            if not diagnosis.close(output, trial.came, trial.dtype):
                active.add(k)
            elif not diagnosis.close(right, trial.expected, trial.dtype):
                idle[k] = None
    arguments = trials[0].case.arguments
    without = [k for k in idle if k not in active]
    if sizes := [k for k in without if not _floating(arguments[k])]:
        return f"The result does not depend on `{exercise.arguments[sizes[0]]}`."
    if without and len(without) < sum(map(_floating, arguments)):
        return f"The result does not depend on {listed([f'`{exercise.arguments[k]}`' for k in without])}."
    return ""


def _another(x: Tensor | int) -> Tensor | int:
    """Another value of the same kind."""
    if isinstance(x, int):
        return 2 if x == 1 else 1
    return x + torch.linspace(0.5, 1.5, x.numel(), dtype=x.dtype).reshape(x.shape)


def _moved(
    exercise: Exercise, candidate: Candidate, trial: Trial, k: int, other: Tensor | int
) -> tuple[Tensor | None, Tensor | None]:
    """What the candidate and the reference give with another value of an argument; None for an exception."""
    changed = (*trial.case.arguments[:k], other, *trial.case.arguments[k + 1 :])
    try:
        right = values.as_tensor(exercise.reference(*changed))
    except Exception:  # the other arguments need another number
        return None, None
    output = candidate.call(exercise.name, changed).output
    return None if output is None else values.as_tensor(output), right


def _touching(exercise: Exercise, candidate: Candidate, trial: Trial) -> str:
    """The sentence on images that have an effect on each other, where each should be computed for itself."""
    first, came = trial.case.arguments[0], trial.came
    if came is None or not _floating(first) or exercise.shape[:1] != ("B",) or len(first) < 2:
        return ""
    others = first.clone()
    others[-1] = others[-1].flip(0) + 1
    output, right = _moved(exercise, candidate, trial, 0, others)
    if output is None or right is None or not output.shape == came.shape == trial.expected.shape:
        return ""
    may_touch = not diagnosis.close(right[0], trial.expected[0], trial.dtype)  # in mixup they do
    if may_touch or diagnosis.close(output[0], came[0], trial.dtype):
        return ""
    return "The first image's result changes when only the last image does: images should not touch each other."


def missed_step(exercise: Exercise, candidate: Candidate) -> str:
    """The first named step that the result has not been through, as its derivatives show.

    Whatever is computed from a step stays as it is, to first order, where the arguments move in a direction in which the
    step does not change. The result of someone who has missed the step changes.
    """
    program = read(exercise.reference, exercise.given)
    arguments = exercise.case(
        Sizes(gradient=True, **dict.fromkeys(exercise.symbols, 2)), Generator().manual_seed(3)
    ).arguments
    before = _double(candidate, exercise, arguments)
    if before is None:
        return ""
    computed = program.run(arguments)
    passed = ""
    for place, op in enumerate(program.operations[:-1]):
        name = op.targets[0]
        later = {used for other in program.operations[place + 1 :] for used in atoms(other.code)}
        own = [k for k, a in enumerate(exercise.arguments) if _floating(arguments[k]) and a not in later]
        if is_temporary(name) or len(op.targets) > 1 or not own:
            continue
        beside = _made_from({exercise.arguments[k] for k in own}, program.operations[:place])
        if any(isinstance(computed[other], Tensor) for other in beside & later):  # a way around the step
            continue
        still = _direction_of_rest(program, place, arguments, own)
        if still is None:
            continue
        moved = list(arguments)
        for k, step in zip(own, still, strict=True):
            moved[k] = arguments[k] + STEP * step
        after = _double(candidate, exercise, tuple(moved))
        said = listed([f"`{exercise.arguments[k]}`" for k in own])
        step = _in_words(exercise, bare(name))
        if after is None or after.shape != before.shape:
            return ""
        if (after - before).abs().max() > 0.01 * STEP * before.abs().max():
            return f"Look at {step} first: your result changes with {said} also where {step} does not."
        passed = f"Your result depends on {said} only through {step}: look at that step, and at what comes after it."
    return passed


def _made_from(names: set[str], operations: list[Operation]) -> set[str]:
    """What is computed from some names, directly or through others."""
    made = set(names)
    for operation in operations:
        if made & set(atoms(operation.code)):
            made |= set(operation.targets)
    return made - names


STEP = 1e-4  # how far the arguments are moved; what is of second order in it is 1e-4 of what is of first


def _direction_of_rest(program: Program, place: int, arguments: tuple, own: list[int]) -> list[Tensor] | None:
    """A direction in which the value made at `place` does not change when these arguments move; None if there is none."""
    flat = torch.cat([arguments[k].flatten() for k in own])

    def value(x: Tensor) -> Tensor | None:
        parts = x.split([arguments[k].numel() for k in own])
        changed = list(arguments)
        for k, part in zip(own, parts, strict=True):
            changed[k] = part.view(arguments[k].shape)
        names = {**program.names, **dict(zip(program.arguments, changed, strict=True))}
        return execute(program.operations[: place + 1], names)[program.operations[place].targets[0]]

    if not isinstance(value(flat), Tensor) or not value(flat).is_floating_point():
        return None
    jacobian = torch.autograd.functional.jacobian(value, flat).reshape(-1, flat.numel())
    _, sizes, directions = torch.linalg.svd(jacobian)
    rank = int((sizes > 1e-9 * sizes.max()).sum())
    if rank == flat.numel():
        return None
    still = directions[rank:].sum(dim=0)
    still = still / still.abs().max()
    return [
        part.view(arguments[k].shape)
        for k, part in zip(own, still.split([arguments[k].numel() for k in own]), strict=True)
    ]


def _floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _double(candidate: Candidate, exercise: Exercise, arguments: tuple) -> Tensor | None:
    output = candidate.call(exercise.name, arguments).output
    if output is None or not _floating(output := values.as_tensor(output)) or not bool(output.isfinite().all()):
        return None
    return output.double()
