"""Slips of einsum: an index in another place, left out, or with another letter than the one that it should meet."""

import ast
from collections.abc import Iterator
from itertools import permutations

from vitlab.checks.engine.program import Operation
from vitlab.checks.engine.slips.view import View


def of_einsum(view: View, op: Operation, tree: ast.Call) -> Iterator[tuple]:
    """Slips of torch.einsum("bid,bjd->bij", Q, K)."""
    spec = ast.literal_eval(tree.args[0])
    inputs, _, output = spec.partition("->")
    letters = sorted(set(inputs) - {","})
    there = view.where(op)

    def written(inputs: str, output: str) -> str:
        operands = ", ".join(ast.unparse(argument) for argument in tree.args[1:])
        return f"torch.einsum({f'{inputs}->{output}'!r}, {operands})"

    for order in permutations(output) if len(output) <= 4 else ():
        other = "".join(order)
        if other != output:
            yield ("output", other), written(inputs, other), f"einsum returns {other} instead of {output}{there}", 1.1
    for k, letter in enumerate(output):
        left = output[:k] + output[k + 1 :]
        yield ("left out", letter), written(inputs, left), f"einsum sums over {letter}, which should stay{there}", 1.3
        for other in letters:
            if other not in output:
                code = written(inputs, output.replace(letter, other))
                clause = f"einsum keeps the index {other} and sums over {letter}, instead of the other way round{there}"
                yield ("kept", letter, other), code, clause, 1.2
    for k, letter in enumerate(inputs):
        if letter == ",":
            continue
        part = 1 + inputs[:k].count(",")
        for other in (*letters, "z"):
            if other != letter:
                said = "an index of its own" if other == "z" else other
                clause = f"einsum calls {letter} of its operand {part} {said}{there}"
                yield ("input", k, other), written(inputs[:k] + other + inputs[k + 1 :], output), clause, 1.4
