"""Slips of order: an operation before the one that should come first."""

import ast
from collections.abc import Iterator

from torch import Tensor

from vitlab.checks.engine.program import Operation, substitute
from vitlab.checks.engine.slips.view import View, atoms, called
from vitlab.checks.engine.words import NOUNS


def too_early(view: View, place: int, op: Operation, tree: ast.expr) -> Iterator[tuple]:
    """This operation before the one that makes its operand."""
    maker = view.program.operations[place - 1]
    for name in [name for name in maker.targets if name in atoms(op.code)]:
        if view.uses[name] != [place] or not isinstance(view.values[name], Tensor):
            continue
        for operand in atoms(maker.code):
            if isinstance(view.values.get(operand), Tensor):
                code = ast.unparse(substitute(tree, {name: ast.Name(operand)}))
                early = Operation((f"early_{name}",), code, op.step, op.origin)
                code = ast.unparse(substitute(maker.tree, {operand: ast.Name(early.targets[0])}))
                late = Operation(op.targets, code, op.step, op.origin)
                first, second = _said(view, maker), _said(view, op)
                clause, cost = f"{second} comes before {first} instead of after it", 1.3
                if first == second:  # other words for the same numbers, such as exchanged axes, say more
                    clause, cost = f"two steps are done in the other order, each of them {first}", 1.5
                yield ("order", operand), clause, cost, (early, late)


def _said(view: View, op: Operation) -> str:
    """An operation as a noun: "the softmax", "the division by √d_k"."""
    tree = op.tree
    if isinstance(tree, ast.BinOp):
        B = view.notation.of(tree.right)
        return {
            ast.Div: f"the division by {B}", ast.FloorDiv: f"the division by {B}", ast.Mult: f"the multiplication by {B}", ast.Add: f"the addition of {B}",
            ast.Sub: f"the subtraction of {B}", ast.MatMult: f"the product with {B}", ast.Pow: f"the power {B}",
        }.get(type(tree.op), f"{view.notation.of(tree)}")  # fmt: skip
    if isinstance(tree, ast.Call):
        name, x, _ = called(tree)
        of = f" of {view.notation.of(x)}" if x and name in ("transpose", "reshape") else ""
        return NOUNS.get(name, f"`{name}`") + of
    return view.notation.of(tree)
