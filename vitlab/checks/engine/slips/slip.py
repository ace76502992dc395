"""What a slip is, and how a program runs with slips in it."""

import ast
from dataclasses import dataclass
from typing import Any

from vitlab.checks.engine.program import RESULT, Operation, Program, execute, substitute

FIRST = -1  # the place before the first operation


@dataclass(frozen=True)
class Slip:
    """clause: what is wrong ("the division by √d_k is missing"); changes: what stands in the places of operations."""

    clause: str
    cost: float
    changes: tuple[tuple[int, tuple[Operation, ...]], ...]


def changed(program: Program, slips: tuple[Slip, ...]) -> tuple[list[Operation], int]:
    """The operations of the program with some slips in it, and the index of the first operation that is another.

    Raises:
        ValueError: if two slips change the same operation, and neither only adds something behind it.
    """
    replaced: dict[int, tuple[Operation, ...]] = {}
    for slip in slips:
        for place, operations in slip.changes:
            before = replaced.get(place, ())
            if before and place != FIRST:
                operations = _one_behind_the_other(before, operations, program.operations[place])
                before = ()
            replaced[place] = before + operations
    operations = list(replaced.get(FIRST, ()))
    for place, operation in enumerate(program.operations):
        operations += replaced.get(place, (operation,))
    return operations, max(0, min(replaced))


def _one_behind_the_other(
    one: tuple[Operation, ...], other: tuple[Operation, ...], original: Operation
) -> tuple[Operation, ...]:
    """What adds something behind an operation keeps the operation itself, and may stand behind another slip."""
    for first, second in ((one, other), (other, one)):
        if len(second) == 2 and second[0].code == original.code:
            *kept, last = first
            inner = Operation((f"{second[0].targets[0]}_too",), last.code, last.step, last.origin)
            code = substitute(second[1].tree, {second[0].targets[0]: ast.Name(inner.targets[0])})
            return (*kept, inner, Operation(second[1].targets, ast.unparse(code), second[1].step, second[1].origin))
    raise ValueError("two slips change one operation")


def run(program: Program, slips: tuple[Slip, ...], arguments: tuple, known: dict[str, Any] | None = None) -> Any:
    """The result of the program with slips in it.

    known: everything that the program without slips computes of these arguments; what no slip touches is taken from it.

    Raises:
        whatever the operations raise.
    """
    operations, first = changed(program, slips)
    if known is None:
        known, first = {**program.names, **dict(zip(program.arguments, arguments, strict=True))}, 0
    return execute(operations[first:], dict(known))[RESULT]
