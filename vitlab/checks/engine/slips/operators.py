"""Slips of +, -, *, /, @ and **: left out, turned round, another one in its place."""

import ast
from collections.abc import Iterator

from vitlab.checks.engine.program import Operation, is_temporary
from vitlab.checks.engine.slips.view import View


def of_operator(view: View, op: Operation, tree: ast.expr) -> Iterator[tuple]:
    if not isinstance(tree, ast.BinOp):
        return
    a, b = ast.unparse(tree.left), ast.unparse(tree.right)
    A, B = view.notation.of(tree.left), view.notation.of(tree.right)
    kind, there = type(tree.op), view.where(op)
    if isinstance(view.value(a), int) and isinstance(view.value(b), int):
        yield from _of_integers(view, op, kind, a, b, A, B)
        return
    if kind is ast.Div:
        yield ("drop",), a, f"the division by {B}{there} is missing", 1.0
        yield ("times",), f"{a} * {b}", f"there is a multiplication by {B} instead of a division{there}", 1.2
        yield ("turned",), f"{b} / {a}", f"{A} / {B} is turned upside down{there}", 1.7
        yield ("minus",), f"{a} - {b}", f"{B} is subtracted instead of divided by{there}", 1.8
        yield (
            ("root",),
            f"{a} / ({b}) ** 0.5",
            f"{A} is divided by the square root of {B} instead of {B} itself{there}",
            1.6,
        )
        yield (
            ("square",),
            f"{a} / ({b}) ** 2",
            f"{A} is divided by the square of {B} instead of {B} itself{there}",
            1.6,
        )
        yield ("floor",), f"{a} // {b}", f"the division by {B}{there} is rounded down", 1.7
        yield ("epsilon",), f"{a} / ({b} + 1e-6)", f"an ε is added to {B} before the division{there}", 1.6
        yield ("epsilon 8",), f"{a} / ({b} + 1e-8)", f"an ε is added to {B} before the division{there}", 1.7
        yield ("epsilon 5",), f"{a} / ({b} + 1e-5)", f"an ε is added to {B} before the division{there}", 1.7
        yield ("rounded",), f"{a} / int({b})", f"{B} is rounded to a whole number{there}", 1.7
    elif kind is ast.Mult:
        yield ("drop b",), a, f"the multiplication by {B}{there} is missing", 1.0
        yield ("drop a",), b, f"the multiplication by {A}{there} is missing", 1.0
        yield ("over",), f"{a} / {b}", f"there is a division by {B} instead of a multiplication{there}", 1.4
        yield ("plus",), f"{a} + {b}", f"{A} and {B} are added instead of multiplied{there}", 1.4
        yield ("square",), f"{a} * {b} * {b}", f"the multiplication by {B} happens twice{there}", 1.9
    elif kind is ast.Add:
        yield ("drop b",), a, f"{B} is not added{there}", 1.0
        yield ("drop a",), b, f"{A} is not added{there}", 1.0
        yield ("minus",), f"{a} - {b}", f"{B} is subtracted instead of added{there}", 1.3
        yield ("times",), f"{a} * {b}", f"{A} and {B} are multiplied instead of added{there}", 1.3
        yield ("twice b",), f"{a} + 2 * {b}", f"{B} is added twice{there}", 1.6
        yield ("twice a",), f"2 * {a} + {b}", f"{A} is added twice{there}", 1.6
        yield ("mean",), f"({a} + {b}) / 2", f"the mean of {A} and {B} is taken instead of their sum{there}", 1.6
    elif kind is ast.Sub:
        yield ("drop",), a, f"{B} is not subtracted{there}", 1.0
        yield ("plus",), f"{a} + {b}", f"{B} is added instead of subtracted{there}", 1.3
        yield ("turned",), f"{b} - {a}", f"{A} - {B} has the wrong sign{there}", 1.5
        yield ("abs",), f"({a} - {b}).abs()", f"the absolute value of {A} - {B} is taken{there}", 1.8
    elif kind is ast.Pow:
        power = {"2": "the square", "0.5": "the square root"}.get(B, f"the power {B}")
        yield ("drop",), a, f"{power} of {A}{there} is missing", 1.0
        yield ("abs",), f"({a}).abs()", f"the absolute value of {A} is taken instead of its power {B}{there}", 1.4
        yield ("other",), f"{a} ** (2 * {b})", f"the power of {A} is twice {B}{there}", 1.8
        yield ("inverse",), f"{a} ** -({b})", f"the power of {A} has the wrong sign{there}", 1.8
    elif kind is ast.MatMult:
        yield ("drop b",), a, f"the product with {B}{there} is missing", 1.0
        yield ("drop a",), b, f"the product with {A}{there} is missing", 1.3
        yield ("b.T",), f"{a} @ {b}.mT", f"{B} is transposed in the product {A} {B}", 1.1
        yield ("a.T",), f"{a}.mT @ {b}", f"{A} is transposed in the product {A} {B}", 1.3
        yield ("turned",), f"{b} @ {a}", f"the factors of the product {A} {B} are exchanged", 1.3
        yield ("both",), f"{a}.mT @ {b}.mT", f"both factors of the product {A} {B} are transposed", 1.7
        yield (
            ("element",),
            f"{a} * {b}",
            f"{A} and {B} are multiplied number by number (*) instead of as matrices (@)",
            1.3,
        )
        yield ("plus",), f"{a} + {b}", f"{A} and {B} are added instead of multiplied{there}", 1.8
        yield ("(ab).T",), f"({a} @ {b}).mT", f"the product {A} {B} is transposed", 1.5
        yield (
            ("reshaped",),
            f"{a} @ {b}.reshape({b}.mT.shape).mT",
            f"{B} is reshaped where it should be transposed",
            1.8,
        )
        if b in view.shapes or is_temporary(b):
            yield (
                ("summed",),
                f"({a} @ {b}).sum(0, keepdim=True)",
                f"the products {A} {B} of all images are summed up",
                1.9,
            )


def _of_integers(view: View, op: Operation, kind: type, a: str, b: str, A: str, B: str) -> Iterator[tuple]:
    there = view.where(op)
    for sign, code, said in (
        (ast.Add, "{a} + {b}", "a sum"), (ast.Sub, "{a} - {b}", "a difference"), (ast.Mult, "{a} * {b}", "a product"),
        (ast.FloorDiv, "{a} // {b}", "a quotient"),
    ):  # fmt: skip
        if sign is not kind:
            yield (said,), code.format(a=a, b=b), f"there is {said} of {A} and {B} in the wrong place{there}", 1.8
    yield ("drop b",), a, f"{B} is left out behind {A}{there}", 1.2
    yield ("drop a",), b, f"{A} is left out before {B}{there}", 1.2
    if kind is ast.FloorDiv:
        yield ("up",), f"-(-{a} // {b})", f"{A} / {B} is rounded up instead of down{there}", 1.4
        yield ("round",), f"round({a} / {b})", f"{A} / {B} is rounded instead of rounded down{there}", 1.5
        yield ("true",), f"{a} / {b}", f"{A} / {B} is not rounded down{there}", 1.5
    if kind is ast.Mult and a == b:
        yield ("sum",), f"{a} + {a}", f"{A} is added to itself instead of multiplied{there}", 1.6
    if kind is ast.Pow:
        yield ("double",), f"{a} * {b}", f"{A} is multiplied by {B} instead of raised to it{there}", 1.5
    for more in (1, -1):
        yield (
            ("more", more),
            f"({a} {_sign(kind)} {b}) + {more}",
            f"{A} {_sign(kind)} {B} is {'one too many' if more > 0 else 'one too few'}{there}",
            1.5,
        )


def _sign(kind: type) -> str:
    return {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**", ast.Div: "/"}[
        kind
    ]
