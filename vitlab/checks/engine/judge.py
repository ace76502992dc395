"""How a candidate's answer to an exercise is judged.

A result is right if it has the contracted shape and the numbers of the reference: integers and booleans exactly,
floating numbers up to the tolerance of their dtype. As to the kind of number,

- where a floating tensor is contracted, it has the dtype of the reference's;
- where integers are contracted, any integer dtype is right, and a float is not, though it be 4.0: who divides with /
  where // is meant should hear of it now, since 3.5 comes next;
- where a number is contracted, it is a Python or NumPy number, or a tensor without axes, of any precision. 1 is right
  for 1.0. No gradient is asked of a Python number, and none of an exercise whose results are integers.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from vitlab.checks.engine import diagnosis, switches, values
from vitlab.checks.engine.advice import advice
from vitlab.checks.engine.candidate import Candidate, Outcome
from vitlab.checks.engine.exercise import Case, Exercise
from vitlab.checks.engine.explain import Told, explain
from vitlab.checks.engine.observation import NUMBERS_WRONG
from vitlab.checks.engine.report import ExerciseResult, PartResult
from vitlab.checks.engine.trial import RIGHT_BUT, Trial, agrees

Call = tuple[str, tuple[values.Value, ...], Tensor | None]  # a name, arguments and what came of them
OVERWRITES = "A call changes what an earlier call returned, or was given: make a new tensor in each call."


def judge(exercise: Exercise, candidate: Candidate, seed: int, passed: frozenset[str] = frozenset()) -> ExerciseResult:
    """Try a candidate on every case of an exercise.

    The notebook's switches change nothing here, and its random streams go on as if nothing had been drawn.

    Args:
        exercise: what to check.
        candidate: what reaches the student's code.
        seed: draws the cases.
        passed: earlier exercises that the candidate is known to have right, so that they take no blame.
    """
    with switches.own(), switches.random_streams_kept():
        return _judge(exercise, candidate, seed, passed)


def _judge(exercise: Exercise, candidate: Candidate, seed: int, passed: frozenset[str]) -> ExerciseResult:
    by_part = [[_try(exercise, candidate, case) for case in cases] for cases in exercise.cases(seed)]
    trials = [trial for of_part in by_part for trial in of_part]
    if all(trial.outcome.kind == "missing" or _not_written(trial.outcome) for trial in trials):
        return _without_points(exercise, trials[0].fault, "")
    if unsteady := _unsteady(exercise, candidate, trials):
        return _without_points(exercise, unsteady, "two calls", remarks([trial.outcome for trial in trials]))
    excused = False
    blamed, calls = _earlier_to_blame(exercise, candidate, trials)
    if blamed:
        names = " and ".join(f"`{name}`" for name in blamed)
        if right := [name for name in blamed if name in passed]:
            sentences = [
                f"Your `{right[0]}` is right in its own check and wrong when it is called here: does it keep something between calls, or work for some sizes only?"
            ]
        elif not _can_tell(trials, calls):
            sentences = [
                f"Nothing can be said yet: the results of your {names} are nothing to go on with. Repair {names} first."
            ]
        else:  # a mistake costs points once, where it is made
            excused = True
            by_part = [[_excuse(exercise, candidate, trial, calls) for trial in of_part] for of_part in by_part]
            sentences = [f"Right, given the results of your {names}: the points are yours. Repair {names}."]
            sentences += [trial.fault for of_part in by_part for trial in of_part if trial.fault][:1]
        told = Told(sentences)
    else:
        told = explain(exercise, candidate, trials, seed)
    parts = [
        PartResult(part.title, part.points, next((t.case.description for t in of_part if t.fault), None))
        for part, of_part in zip(exercise.parts, by_part, strict=True)
    ]
    said, sentences = remarks([trial.outcome for trial in trials]), tuple(told.sentences)
    right = not excused and all(part.failed_on is None for part in parts)
    better = advice(trials[0].outcome.source, exercise) if right else ()
    return ExerciseResult(
        exercise.name, tuple(parts), sentences, told.excerpt, said, excused, told.example, told.named, better
    )


def _without_points(exercise: Exercise, sentence: str, failed_on: str, remarks: tuple[str, ...] = ()) -> ExerciseResult:
    parts = tuple(PartResult(part.title, part.points, failed_on) for part in exercise.parts)
    return ExerciseResult(exercise.name, parts, (sentence,), None, remarks)


def _try(exercise: Exercise, candidate: Candidate, case: Case) -> Trial:
    expected = values.as_tensor(exercise.reference(*case.arguments))
    if kind_of(expected) == "float" and expected.ndim == 0 and not _in_double(case):
        expected = expected.float()  # as exact as the numbers that it is made of, however the reference computes it
    outcome = candidate.call(exercise.name, case.arguments, largest=bool(case.largest))
    if fault := _fault_of_result(exercise, outcome, expected):
        return Trial(case, expected, outcome, fault, misplaced=True)
    return Trial(case, expected, outcome, _fault_beside_result(exercise, candidate, case, outcome), misplaced=False)


def _in_double(case: Case) -> bool:
    return any(x.dtype == torch.float64 for _, x in values.tensors(case.arguments))


def _fault_of_result(exercise: Exercise, outcome: Outcome, expected: Tensor) -> str:
    if fault := fault_of_form(exercise, outcome, expected):
        return fault
    output = values.as_tensor(outcome.output)
    kind, expected_kind = kind_of(output), kind_of(expected)
    if not diagnosis.close(output, expected, expected.dtype):
        if expected.ndim == 0:
            decimal = expected_kind == "integer" and kind == "float" and output.isfinite() and output % 1 != 0
            whole = ", a whole number: divide with //, since / gives a decimal number" if decimal else ""
            return f"The function returns {_digits(output, expected)}; expected was {_digits(expected, output)}{whole}."
        if expected_kind == "float" and output.dtype != expected.dtype and diagnosis.nearly(output, expected):
            return (
                f"The function returns {output.dtype} for inputs of {expected.dtype}, and digits are lost on the way: "
                f"keep the dtype of the input."
            )
        relation = diagnosis.wrong_numbers(output, expected, expected.dtype, exercise.axes)
        seen = f"{relation} {exercise.broken_property(output)}".strip()
        return seen or NUMBERS_WRONG
    if kind == "float" and expected_kind == "integer":
        if expected.ndim == 0:
            return f"The function returns a float, {output.item()}; expected was a whole number: divide with //, since / gives a decimal number."
        return f"The numbers are right, but they are of {output.dtype}; expected are integers ({expected.dtype})."
    if diagnosis.dtype_matters(expected) and output.dtype != expected.dtype:
        return f"The numbers are right, but the function returns {output.dtype} for inputs of {expected.dtype}: keep the dtype of the input."
    return ""


def fault_of_form(exercise: Exercise, outcome: Outcome, expected: Tensor) -> str:
    """What is wrong before any number is looked at: no function, an exception, no tensor, another shape or kind."""
    if outcome.kind == "missing":
        return outcome.text
    if outcome.kind == "raised":
        return _raised(exercise, outcome)
    if outcome.kind == "late":
        return "The function takes too long: is there a loop that does not end?"
    wanted = f"a tensor of {expected.dtype} with the shape {exercise.returns} = {tuple(expected.shape)}"
    if expected.ndim == 0:
        wanted = "a whole number" if kind_of(expected) == "integer" else "a number"
    if outcome.output is None:
        advice = ""
        if outcome.text == "None":
            advice = " Is a `return` missing?"
        if outcome.text == "a generator":
            advice = " Is there a `yield` where a `return` should be?"
        if outcome.text.startswith(("a list", "a tuple")) and expected.ndim:
            advice = " Return one tensor: torch.stack or torch.cat makes one of several."
        return f"The function returns {outcome.text}; expected was {wanted}.{advice}"
    output = values.as_tensor(outcome.output)
    what = f"a tensor of {output.dtype}"
    if not isinstance(outcome.output, Tensor):
        what = "an int" if kind_of(output) == "integer" else f"a {kind_of(output)}"
        if expected.ndim:
            return f"The function returns {what}; expected was {wanted}."
    if output.shape != expected.shape:
        if expected.ndim == 0:
            return f"The result has the shape {tuple(output.shape)}; expected was {wanted}."
        return diagnosis.wrong_shape(output, expected, exercise.returns)
    may_be = {"float": ("float", "integer") if expected.ndim == 0 else ("float",), "integer": ("integer", "float")}
    if kind_of(output) not in may_be.get(kind_of(expected), (kind_of(expected),)):
        return f"The function returns {what}; expected was {wanted}."
    return ""


def kind_of(x: Tensor) -> str:
    """Of what kind the numbers are: complex, float, integer or bool."""
    if x.is_complex():
        return "complex"
    return "float" if x.is_floating_point() else "bool" if x.dtype == torch.bool else "integer"


def _digits(number: Tensor, other: Tensor) -> str:
    """A number with as many digits as it takes to tell it from the other one."""
    if kind_of(number) != "float":
        return f"{number.item()}"
    return next((f"{number:.{n}g}" for n in (5, 9) if f"{number:.{n}g}" != f"{other:.{n}g}"), f"{number:.17g}")


def _not_written(outcome: Outcome) -> bool:
    """Whether the line that stands in place of an answer was reached; PyTorch may raise the same error elsewhere."""
    _, has_code, code = outcome.line.partition(": ")
    stub = not has_code or "raise" in code
    return outcome.kind == "raised" and outcome.text.startswith("NotImplementedError") and stub


def _raised(exercise: Exercise, outcome: Outcome) -> str:
    own = outcome.inside not in ("", exercise.name) and outcome.inside[:1] != "<"  # <listcomp> is no function's name
    inside = f" of `{outcome.inside}`" if own else ""
    if _not_written(outcome):
        if inside:
            return f"`{exercise.name}` calls `{outcome.inside}`, which is not written yet."
        return f"`{exercise.name}` is not written yet: replace the line that raises NotImplementedError."
    place, _, code = outcome.line.partition(": ")
    where = f" at {place}{inside}{': ' if code else ''}{code}" if place else ""
    advice = diagnosis.hint(
        outcome.text + (outcome.warned if ".T" in code else ""), outcome.there, code, exercise.arguments
    )
    if not where and outcome.text.startswith("TypeError") and "argument" in outcome.text:
        advice = f"It is called as {exercise.name}({', '.join(exercise.arguments)})."
    there = f" There, {outcome.there}." if outcome.there else ""
    end = "" if outcome.text.endswith(".") else "."
    return f"The function stopped{where} with {outcome.text}{end}{there} {advice}".strip()


def _fault_beside_result(
    exercise: Exercise, candidate: Candidate, case: Case, outcome: Outcome, compare: bool = True
) -> str:
    """What is wrong although the result is right: inputs changed in place, a tensor that is too large, gradients cut or
    (if compared) wrong."""
    if outcome.changed:
        name = values.name_of(outcome.changed[0], exercise.arguments)
        return f"{RIGHT_BUT} the function changes its input `{name}` in place; the caller still needs it."
    if outcome.overwrites:
        return OVERWRITES
    if too_large := _too_large(exercise, candidate, case, outcome):
        return too_large
    if not case.gradient or not isinstance(outcome.output, Tensor):
        return ""
    inputs = values.copy(case.arguments, requires_grad=True)
    result = exercise.reference(*inputs)
    if not isinstance(result, Tensor) or not result.requires_grad:
        return ""
    leaves = [(path, leaf) for path, leaf in values.tensors(inputs) if leaf.requires_grad]
    cotangent = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).reshape(result.shape)
    expected = torch.autograd.grad(result, [leaf for _, leaf in leaves], cotangent, materialize_grads=True)
    outcome = candidate.call(exercise.name, case.arguments, cotangent)
    if outcome.kind != "returned":
        return f"{RIGHT_BUT} not for tensors that need gradients: " + (
            fault_of_form(exercise, outcome, result.detach())
        )
    came = dict(zip((path for path, _ in values.tensors(case.arguments)), outcome.gradients, strict=False))
    for (path, _), gradient in zip(leaves, expected, strict=True):
        name = values.name_of(path, exercise.arguments)
        if came.get(path) is None:
            if not gradient.any():  # the result does not depend on it
                continue
            return (
                f"{RIGHT_BUT} no gradient flows back to `{name}`: does something detach it "
                f"(.detach(), .data, .item(), .numpy(), torch.tensor(...), torch.no_grad())? Nothing could be learned so."
            )
        if compare and not diagnosis.close(came[path], gradient, gradient.dtype):
            return f"{RIGHT_BUT} the gradient with respect to `{name}` is not: a part of the computation is detached."
    return ""


def _too_large(exercise: Exercise, candidate: Candidate, case: Case, outcome: Outcome) -> str:
    """The sentence on a tensor that need not be as large as it is; copies of the arguments may always be made."""
    allowed = max([math.prod(case.largest), *(x.numel() for _, x in values.tensors(case.arguments))])
    made = math.prod(outcome.largest)
    if not case.largest or made <= allowed or made <= _made_by_earlier(exercise, candidate, case):
        return ""
    why = exercise.why_too_large(outcome.largest, *case.arguments)
    return (
        f"{RIGHT_BUT} a tensor of {made:,} numbers is made on the way, {outcome.largest}. {why}{' ' if why else ''}"
        f"It can be done with {math.prod(case.largest):,} at most, {case.largest}."
    )


def _made_by_earlier(exercise: Exercise, candidate: Candidate, case: Case) -> int:
    """How many numbers the largest tensor has that the candidate's own earlier functions make in this case: what they
    may make in their own check is not held against the function that calls them."""
    made = [0]

    def of_student(reference: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*arguments: values.Value) -> Tensor:
            made.append(math.prod(candidate.call(reference.__name__, arguments, largest=True).largest))
            return reference(*arguments)

        return call

    if exercise.builds_on:
        exercise.builds_on.function(*map(of_student, exercise.builds_on.earlier), *case.arguments)
    return max(made)


def _unsteady(exercise: Exercise, candidate: Candidate, trials: list[Trial]) -> str:
    """The sentence for a function that draws something at random, or keeps something from one call to the next."""
    first = trials[0]
    if first.came is None:
        return ""
    for _ in range(2):  # at once after each other, too
        again = candidate.call(exercise.name, first.case.arguments).output
        if again is None or not _same(values.as_tensor(again), first.came):
            unwritten = "fill all of what torch.empty makes, " if "empty" in first.outcome.source else ""
            return f"Two calls with the same arguments give different results: {unwritten}use nothing random, and keep nothing between calls."
    if first.fault or any(trial.misplaced for trial in trials):  # there is something to explain already
        return ""
    # The same sizes with other numbers, those of the case turned round: what was kept for these sizes is wrong now.
    turned = values.copy(first.case.arguments)
    for _, x in values.tensors(turned):
        x.copy_(x.flip(tuple(range(x.ndim))))
    expected = values.as_tensor(exercise.reference(*turned))
    outcome = candidate.call(exercise.name, turned)
    if outcome.overwrites:
        return OVERWRITES
    if outcome.output is None or not diagnosis.close(values.as_tensor(outcome.output), expected, first.dtype):
        sentence = f"The result is right for {first.case.description}, and wrong for the same sizes with other numbers"
        stale = outcome.output is not None and _same(values.as_tensor(outcome.output), first.came)
        return f"{sentence}: it is the earlier result; keep nothing between calls." if stale else f"{sentence}."
    return ""


def _same(x: Tensor, y: Tensor) -> bool:
    return x.dtype == y.dtype and diagnosis.close(x, y, torch.float64)


def _earlier_to_blame(
    exercise: Exercise, candidate: Candidate, trials: list[Trial]
) -> tuple[tuple[str, ...], list[Call]]:
    """The earlier functions whose mistakes explain all that is wrong with the results of this one, if there are such.

    They must be steady: neither their own results nor those of this function may change with a further call.

    Returns:
        their names, and the calls of them that were made to find out.
    """
    misplaced = [trial for trial in trials if trial.misplaced]
    if exercise.builds_on is None or not misplaced:
        return (), []
    calls: list[Call] = []
    missing: set[str] = set()

    def result_of(name: str, arguments: tuple) -> Tensor | None:
        outcome = candidate.call(name, arguments)
        if outcome.kind == "missing":
            missing.add(name)
        return None if outcome.output is None else values.as_tensor(outcome.output)

    def of_student(reference: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*arguments: values.Value) -> Tensor:
            output = result_of(reference.__name__, arguments)
            calls.extend([(reference.__name__, values.copy(arguments), output)] * 2)  # at once after each other, too
            if output is None:
                raise ValueError(f"{reference.__name__} returned no tensor")
            return output

        return call

    def steady(came: Tensor | None, again: Tensor | None) -> bool:
        return came is again if came is None or again is None else _same(came, again)

    earlier, function = exercise.builds_on.earlier, exercise.builds_on.function
    for suspects in [*((reference,) for reference in earlier), earlier]:  # one of them, or all together
        functions = [of_student(reference) if reference in suspects else reference for reference in earlier]
        calls.clear()
        if agrees(partial(function, *functions), trials) and not missing.intersection(s.__name__ for s in suspects):
            own = [(exercise.name, trial.case.arguments, trial.came) for trial in misplaced]
            if all(steady(came, result_of(name, arguments)) for name, arguments, came in [*calls, *own]):
                return tuple(reference.__name__ for reference in suspects), calls
    return (), []


def _can_tell(trials: list[Trial], calls: list[Call]) -> bool:
    """Whether results show a computation: of the right dtype, and not all one number; and so for the earlier ones.

    Their shapes need not be right: they are those that follow from the earlier results, or nothing would agree.
    """
    came = [(trial.came, trial.dtype) for trial in trials if trial.came is not None]
    if any(result.ndim and result.dtype != dtype for result, dtype in came):
        return False
    return _vary([result for result, _ in came]) and _vary([output for _, _, output in calls if output is not None])


def _vary(results: list[Tensor]) -> bool:
    """Whether there are two different numbers, NaN and infinity aside."""
    numbers = torch.cat([torch.empty(0).double(), *(result.flatten().double() for result in results)])
    finite = numbers[numbers.isfinite()]
    return finite.numel() > 1 and bool(finite.max() - finite.min() > 1e-6 * finite.abs().max())


def _excuse(exercise: Exercise, candidate: Candidate, trial: Trial, calls: list[Call]) -> Trial:
    """The trial as it stands if its result is taken as right; the inputs and the flow of gradients still count."""
    if not trial.misplaced:
        return trial
    case = trial.case
    if case.gradient and any(_cuts_gradients(candidate, call) for call in calls):  # that costs there, and not here
        case = replace(case, gradient=False)
    fault = _fault_beside_result(exercise, candidate, case, trial.outcome, compare=False)
    return replace(trial, fault=fault, misplaced=False)


def _cuts_gradients(candidate: Candidate, call: Call) -> bool:
    name, arguments, output = call
    if output is None:
        return True
    gradients = candidate.call(name, arguments, torch.ones_like(output)).gradients
    floating = [x.is_floating_point() for _, x in values.tensors(arguments)]
    return not gradients or any(x and gradient is None for x, gradient in zip(floating, gradients, strict=True))


def remarks(outcomes: list[Outcome]) -> tuple[str, ...]:
    """What the code said while it ran; this costs no point."""
    printed = next((outcome.printed for outcome in outcomes if outcome.printed), "")
    warned = next((outcome.warned for outcome in outcomes if outcome.warned), "")
    said = (("printed", printed), ("warned", warned))
    return tuple(f"While it ran, your code {verb}: {text.strip()}" for verb, text in said if text.strip())
