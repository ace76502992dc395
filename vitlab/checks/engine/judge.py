"""How a candidate's answer to an exercise is judged."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from vitlab.checks.engine import diagnosis
from vitlab.checks.engine.candidate import Candidate, Outcome
from vitlab.checks.engine.exercise import Case, Exercise
from vitlab.checks.engine.report import Excerpt, ExerciseResult, PartResult


@dataclass(frozen=True)
class Trial:
    """One case, what was expected and what came."""

    case: Case
    expected: Tensor
    outcome: Outcome
    fault: str  # the sentence that says what is wrong, or ""
    misplaced: bool  # whether the fault lies in the result itself, so that a misconception may explain it

    @property
    def dtype(self) -> torch.dtype:
        return self.expected.dtype


def judge(exercise: Exercise, candidate: Candidate, seed: int) -> ExerciseResult:
    """Try a candidate on every case of an exercise.

    Args:
        exercise: what to check.
        candidate: what reaches the student's code.
        seed: draws the cases.
    """
    generator = Generator().manual_seed(seed)
    by_part = [[_try(exercise, candidate, case) for case in part.cases(generator)] for part in exercise.parts]
    trials = [trial for of_part in by_part for trial in of_part]
    sentences, excerpt = _explain(exercise, trials), _excerpt(exercise, trials)
    if blamed := _earlier_to_blame(exercise, candidate, trials):  # a mistake costs points once, where it is made
        by_part = [[trial for trial in of_part if not trial.misplaced] for of_part in by_part]
        sentences = [f"Right, given the results of your {blamed}: the points are yours. Repair {blamed}."]
        sentences += [trial.fault for of_part in by_part for trial in of_part if trial.fault][:1]
        excerpt = None
    parts = [
        PartResult(part.title, part.points, next((t.case.description for t in of_part if t.fault), None))
        for part, of_part in zip(exercise.parts, by_part, strict=True)
    ]
    if random := _answers_randomly(exercise, candidate, trials[0]):
        sentences, excerpt = [random], None
        parts = [PartResult(part.title, part.points, "two calls with the same arguments") for part in exercise.parts]
    return ExerciseResult(exercise.name, tuple(parts), tuple(sentences), excerpt, _remarks(trials))


def _try(exercise: Exercise, candidate: Candidate, case: Case) -> Trial:
    expected = exercise.reference(*case.arguments)
    outcome = candidate.call(exercise.name, case.arguments)
    if fault := _fault_of_result(exercise, outcome, expected):
        return Trial(case, expected, outcome, fault, misplaced=True)
    return Trial(case, expected, outcome, _fault_beside_result(exercise, candidate, case, outcome), misplaced=False)


def _fault_of_result(exercise: Exercise, outcome: Outcome, expected: Tensor) -> str:
    wanted = f"a tensor of {expected.dtype} with the shape {exercise.returns} = {tuple(expected.shape)}"
    if outcome.kind == "missing":
        return outcome.text
    if outcome.kind == "raised":
        return _raised(exercise, outcome)
    if outcome.output is None:
        advice = ""
        if outcome.text == "None":
            advice = " Is a `return` missing?"
        if outcome.text.startswith(("a list", "a tuple")):
            advice = " Return one tensor: torch.stack or torch.cat makes one of several."
        return f"The function returns {outcome.text}; expected was {wanted}.{advice}"
    output = outcome.output
    if output.shape != expected.shape:
        return diagnosis.wrong_shape(output, expected, exercise.returns)
    if output.is_complex() or not output.is_floating_point():
        return f"The function returns a tensor of {output.dtype}; expected was {wanted}."
    if not diagnosis.close(output, expected, expected.dtype):
        if output.dtype != expected.dtype:
            return (
                f"The function returns {output.dtype} for inputs of {expected.dtype}, and digits are lost on the way: "
                f"keep the dtype of the input."
            )
        relation = diagnosis.wrong_numbers(output, expected, expected.dtype, exercise.axes)
        seen = f"{relation} {exercise.broken_property(output)}".strip()
        return seen or "The shape is right, but the numbers are not: work out the first one below by hand."
    if output.dtype != expected.dtype:
        return f"The numbers are right, but the function returns {output.dtype} for inputs of {expected.dtype}: keep the dtype of the input."
    return ""


def _raised(exercise: Exercise, outcome: Outcome) -> str:
    if outcome.text.startswith("NotImplementedError"):
        return diagnosis.hint(outcome.text)
    where = f" at {outcome.line}" if outcome.line else ""
    advice = diagnosis.hint(outcome.text + outcome.warned)
    if not where and outcome.text.startswith("TypeError") and "argument" in outcome.text:
        advice = f"It is called as {exercise.name}({', '.join(exercise.arguments)})."
    return (
        f"The function stopped{where} with {outcome.text}{'' if outcome.text.endswith('.') else '.'} {advice}".strip()
    )


def _fault_beside_result(exercise: Exercise, candidate: Candidate, case: Case, outcome: Outcome) -> str:
    """What is wrong although the result is right: inputs changed in place, gradients cut or wrong."""
    if outcome.changed:
        name = exercise.arguments[outcome.changed[0]]
        return f"The result is right, but the function changes its input `{name}` in place; the caller still needs it."
    if not case.gradient:
        return ""
    differentiable = [i for i, argument in enumerate(case.arguments) if isinstance(argument, Tensor)]
    leaves = [case.arguments[i].clone().requires_grad_() for i in differentiable]
    inputs = list(case.arguments)
    for i, leaf in zip(differentiable, leaves, strict=True):
        inputs[i] = leaf
    result = exercise.reference(*inputs)
    cotangent = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).reshape(result.shape)
    expected = torch.autograd.grad(result, leaves, cotangent)
    outcome = candidate.call(exercise.name, case.arguments, cotangent)
    if outcome.kind != "returned":
        return "The result is right, but not for tensors that need gradients: " + (
            _fault_of_result(exercise, outcome, result)
        )
    for i, gradient in zip(differentiable, expected, strict=True):
        came = outcome.gradients[i] if outcome.gradients else None
        name = exercise.arguments[i]
        if came is None:
            return (
                f"The result is right, but no gradient flows back to `{name}`: does something detach it "
                f"(.detach(), .data, .item(), .numpy(), torch.tensor(...), torch.no_grad())? Nothing could be learned so."
            )
        if not diagnosis.close(came, gradient, gradient.dtype):
            return f"The result is right, but the gradient with respect to `{name}` is not: a part of the computation is detached."
    return ""


def _answers_randomly(exercise: Exercise, candidate: Candidate, first: Trial) -> str:
    if first.outcome.output is None:
        return ""
    again = candidate.call(exercise.name, first.case.arguments).output
    if again is not None and diagnosis.close(again, first.outcome.output, torch.float64):
        return ""
    return (
        "Two calls with the same arguments give different results: use nothing random, and keep nothing between calls."
    )


def _explain(exercise: Exercise, trials: list[Trial]) -> list[str]:
    """The sentences for the student: the named mistake if there is one, else what was seen."""
    misplaced = [trial for trial in trials if trial.misplaced]
    beside = [trial for trial in trials if trial.fault and not trial.misplaced]
    sentences = []
    if misplaced:
        named = _misconception(exercise, trials)
        sentences.append(named or misplaced[0].fault)
        right = [trial for trial in trials if not trial.misplaced]
        if right and not named:
            sentences.append(f"It works for {right[0].case.description}, but not for {misplaced[0].case.description}.")
    sentences += [trial.fault for trial in beside[:1]]
    return sentences or [f"`{exercise.name}` is right."]


def _misconception(exercise: Exercise, trials: list[Trial]) -> str:
    """The sentence of the misconception that would have given all these results, or ""."""
    known = exercise.misconceptions + exercise.pairs
    return next((misconception.sentence for misconception in known if _agrees(misconception.function, trials)), "")


def _agrees(function: Callable[..., Tensor], trials: list[Trial]) -> bool:
    """Whether `function` gives what the candidate gave, in every trial: the same numbers, or an exception for one."""
    if all(trial.outcome.output is None for trial in trials):  # nothing to compare
        return False
    for trial in trials:
        try:
            output = function(*trial.case.arguments)
        except Exception:
            output = None
        came = trial.outcome.output
        if (came is None) != (output is None):
            return False
        if came is not None and not diagnosis.close(came, output, trial.dtype):
            return False
    return True


def _earlier_to_blame(exercise: Exercise, candidate: Candidate, trials: list[Trial]) -> str:
    """The earlier functions whose mistakes explain all that is wrong with the results of this one, or ""."""
    if exercise.builds_on is None or not any(trial.misplaced for trial in trials):
        return ""

    def of_student(reference: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*arguments: Tensor | int) -> Tensor:
            output = candidate.call(reference.__name__, arguments).output
            if output is None:
                raise ValueError(f"{reference.__name__} returned no tensor")
            return output

        return call

    earlier, function = exercise.builds_on.earlier, exercise.builds_on.function
    for suspects in [*((reference,) for reference in earlier), earlier]:  # one of them, or all together
        functions = [of_student(reference) if reference in suspects else reference for reference in earlier]
        if _agrees(partial(function, *functions), trials):
            return " and ".join(f"`{reference.__name__}`" for reference in suspects)
    return ""


def _excerpt(exercise: Exercise, trials: list[Trial]) -> Excerpt | None:
    """The first place where the first wrong result is wrong, if it has the right shape."""
    trial = next((trial for trial in trials if trial.misplaced), None)
    output = trial.outcome.output if trial else None
    if output is None or output.shape != trial.expected.shape or output.is_complex():
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


def _remarks(trials: list[Trial]) -> tuple[str, ...]:
    """What the code said while it ran; this costs no point."""
    printed = next((trial.outcome.printed for trial in trials if trial.outcome.printed), "")
    warned = next((trial.outcome.warned for trial in trials if trial.outcome.warned), "")
    said = (("printed", printed), ("warned", warned))
    return tuple(f"While it ran, your code {verb}: {text.strip()}" for verb, text in said if text.strip())
