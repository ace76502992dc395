"""One case, tried; and whether a function does the same in several of them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vitlab.checks.engine import diagnosis, values
from vitlab.checks.engine.candidate import Outcome, message
from vitlab.checks.engine.exercise import Case

RIGHT_BUT = "The result is right, but"  # begins the sentence on a fault beside the result


@dataclass(frozen=True)
class Trial:
    """One case, what was expected and what came. A number is expected as a tensor without axes."""

    case: Case
    expected: Tensor
    outcome: Outcome
    fault: str = ""  # the sentence that says what is wrong
    misplaced: bool = False  # whether the fault lies in the result itself, so that a misconception may explain it

    @property
    def dtype(self) -> torch.dtype:
        return self.expected.dtype

    @property
    def came(self) -> Tensor | None:
        """The result, as a tensor; None if there is none."""
        return None if self.outcome.output is None else values.as_tensor(self.outcome.output)


def agrees(function: Callable, trials: list[Trial], in_words: bool = False) -> bool:
    """Whether `function` gives what the candidate gave, in every trial: the same numbers, or an exception for one.

    Where no numbers of the candidate are wrong, only exceptions can tell what it does: they must agree `in_words`, sizes
    included.
    """
    if not in_words and all(trial.came is None for trial in trials):  # nothing to compare
        return False
    for trial in trials:
        try:
            output = values.as_tensor(function(*values.copy(trial.case.arguments)))
        except Exception as error:
            output = None
            if in_words and message(error) != trial.outcome.text:
                return False
        came = trial.came
        if (came is None) != (output is None):
            return False
        if came is not None and not diagnosis.close(came, output, trial.dtype):
            return False
    return True
