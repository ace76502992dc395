"""Words for a wrong answer: the mistake that gives its numbers, or else what can be seen of it."""

from dataclasses import dataclass, replace

import torch

from vitlab.checks.engine import diagnosis, values
from vitlab.checks.engine.candidate import Candidate
from vitlab.checks.engine.exercise import Exercise
from vitlab.checks.engine.observation import NUMBERS_WRONG, seen
from vitlab.checks.engine.repair import repair
from vitlab.checks.engine.report import Example, Excerpt
from vitlab.checks.engine.smallest import smallest
from vitlab.checks.engine.table import THOSE_OF, lookup
from vitlab.checks.engine.trial import RIGHT_BUT, Trial, agrees

TRIED = 24  # explanations that are compared with the student's numbers in every case
LOOKED_AT = 10_000  # numbers of a result, to see whether they show a computation


@dataclass(frozen=True)
class Told:
    """What a student is told of a wrong answer."""

    sentences: list[str]
    excerpt: Excerpt | None = None
    example: Example | None = None
    named: bool = False  # whether the mistake is known that gives these numbers


def explain(exercise: Exercise, candidate: Candidate, trials: list[Trial], seed: int) -> Told:
    """The words for what the trials showed: the mistake that gives these numbers, or else what was seen of it."""
    misplaced = _without_chance(exercise, [trial for trial in trials if trial.misplaced])
    beside = [trial.fault for trial in trials if trial.fault and not trial.misplaced][:1]
    if not misplaced:
        return Told(beside or [f"`{exercise.name}` is right."])
    first, beside = misplaced[0], [fault.replace(RIGHT_BUT, "Besides,") for fault in beside]
    named = mistake(exercise, candidate, trials, seed)
    if not named and not _right_in_number(trials) and not any(trial.outcome.changed for trial in trials):
        named = repair(exercise, candidate, trials)
    if named and not beside:
        beside = _other_dtype(misplaced)
    if named:
        raised = first.came is None
        said = named.replace(THOSE_OF, "Your function does what comes of") if raised else named
        sentences = [said, *([first.fault] if raised or first.came.shape != first.expected.shape else [])]
    else:
        sentences = [first.fault, *seen(exercise, candidate, misplaced)]
        if right := [trial for trial in trials if not trial.misplaced]:
            sentences.append(f"It works for {right[0].case.description}, but not for {first.case.description}.")
    return Told(sentences + beside, _excerpt(exercise, first), smallest(exercise, candidate), bool(named))


def _without_chance(exercise: Exercise, trials: list[Trial]) -> list[Trial]:
    """The trials, the first of them without a pattern that only it has: in few numbers there are many."""
    patterns = [diagnosis.OWN_FACTOR.format(exercise.axes[-2])] if len(exercise.axes) > 1 else []
    for pattern in (*patterns, diagnosis.LEFT_OUT):
        if trials and pattern in trials[0].fault:
            told = (trial for trial in trials if trial.came is not None and trial.came.shape[-1:] != (1,))
            if not all(pattern in trial.fault or diagnosis.ZERO in trial.fault for trial in told):
                return [replace(trials[0], fault=NUMBERS_WRONG), *trials[1:]]
    return trials


def mistake(exercise: Exercise, candidate: Candidate, trials: list[Trial], seed: int) -> str:
    """The sentence on the mistake that gives exactly the candidate's numbers, in all its trials, or ""."""
    misplaced = [trial for trial in trials if trial.misplaced]
    in_words = all(trial.outcome.kind == "raised" for trial in misplaced)  # there are no wrong numbers to compare
    for misconception in exercise.misconceptions:
        if agrees(misconception.function, trials, in_words):
            return misconception.sentence
    if all(trial.came is None for trial in trials):
        return ""
    again: list[Trial] = []
    if _right_in_number(trials) or not _can_be_told(trials):
        return ""
    for explanation, _ in zip(lookup(exercise, candidate), range(TRIED), strict=False):
        if agrees(explanation, trials, in_words):
            again = again or _with_other_numbers(exercise, candidate, seed + 1)
            if agrees(explanation, again, in_words):
                return explanation.sentence
    return ""


def _right_in_number(trials: list[Trial]) -> bool:
    """Whether something else than the numbers is wrong everywhere, such as their dtype: no slip explains that."""
    return all(trial.came is not None and diagnosis.close(trial.came, trial.expected, trial.dtype) for trial in trials)


def _can_be_told(trials: list[Trial]) -> bool:
    """Whether the results are of the right kind and show a computation: all zeros fit too many mistakes."""
    came = [trial.came for trial in trials if trial.came is not None]
    if any(diagnosis.other_kind(trial.came, trial.expected) for trial in trials if trial.came is not None):
        return False
    numbers = torch.cat([result.flatten()[:LOOKED_AT].double() for result in came])  # a result may be huge by mistake
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


def _other_dtype(trials: list[Trial]) -> list[str]:
    """The sentence on a dtype that is wrong beside wrong numbers."""
    for trial in trials:
        came, expected = trial.came, trial.expected
        if came is not None and expected.ndim and came.dtype != expected.dtype:
            if came.is_floating_point() and not expected.is_floating_point():
                return [f"Besides, the function returns {came.dtype}; expected were integers ({expected.dtype})."]
            if diagnosis.dtype_matters(expected):
                return [
                    f"Besides, the function returns {came.dtype} for inputs of {expected.dtype}: keep the dtype of the input."
                ]
    return []


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
