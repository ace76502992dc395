"""One case, tried."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vitlab.checks.engine import values
from vitlab.checks.engine.candidate import Outcome
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
