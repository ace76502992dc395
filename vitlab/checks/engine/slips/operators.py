"""Slips of +, -, *, /, @ and **: left out, turned round, another one in its place."""

import ast
from collections.abc import Iterator

from vitlab.checks.engine.program import Operation, is_temporary
from vitlab.checks.engine.slips.view import View

# For a op b: what stands in its place, the clause in which A and B are the two in words, AB the whole, and the cost.
OF_NUMBERS = {
    ast.Div: (
        ("{a}", "the division by {B}{there} is missing", 1.0),
        ("{a} * {b}", "there is a multiplication by {B} instead of a division{there}", 1.2),
        ("{b} / {a}", "{AB} is turned upside down{there}", 1.7),
        ("{a} - {b}", "{B} is subtracted instead of divided by{there}", 1.8),
        ("{a} / ({b}) ** 0.5", "{A} is divided by the square root of {B} instead of {B} itself{there}", 1.6),
        ("{a} / ({b}) ** 2", "{A} is divided by the square of {B} instead of {B} itself{there}", 1.6),
        ("{a} // {b}", "the division by {B}{there} is rounded down", 1.7),
        ("{a} / ({b} + 1e-6)", "an ε is added to {B} before the division{there}", 1.6),
        ("{a} / ({b} + 1e-8)", "an ε is added to {B} before the division{there}", 1.7),
        ("{a} / ({b} + 1e-5)", "an ε is added to {B} before the division{there}", 1.7),
        ("{a} / int({b})", "{B} is rounded to a whole number{there}", 1.7),
    ),
    ast.Mult: (
        ("{a}", "the multiplication by {B}{there} is missing", 1.0),
        ("{b}", "the multiplication by {A}{there} is missing", 1.0),
        ("{a} / {b}", "there is a division by {B} instead of a multiplication{there}", 1.4),
        ("{a} + {b}", "{A} and {B} are added instead of multiplied{there}", 1.4),
        ("{a} * {b} * {b}", "the multiplication by {B} happens twice{there}", 1.9),
    ),
    ast.Add: (
        ("{a}", "{B} is not added{there}", 1.0),
        ("{b}", "{A} is not added{there}", 1.0),
        ("{a} - {b}", "{B} is subtracted instead of added{there}", 1.3),
        ("{a} * {b}", "{A} and {B} are multiplied instead of added{there}", 1.3),
        ("{a} + 2 * {b}", "{B} is added twice{there}", 1.6),
        ("2 * {a} + {b}", "{A} is added twice{there}", 1.6),
        ("({a} + {b}) / 2", "the mean of {A} and {B} is taken instead of their sum{there}", 1.6),
    ),
    ast.Sub: (
        ("{a}", "{B} is not subtracted{there}", 1.0),
        ("{a} + {b}", "{B} is added instead of subtracted{there}", 1.3),
        ("{b} - {a}", "{AB} has the wrong sign{there}", 1.5),
        ("({a} - {b}).abs()", "the absolute value of {AB} is taken{there}", 1.8),
    ),
    ast.Pow: (
        ("{a}", "{power} of {A}{there} is missing", 1.0),
        ("({a}).abs()", "the absolute value of {A} is taken instead of its power {B}{there}", 1.4),
        ("{a} ** (2 * {b})", "the power of {A} is twice {B}{there}", 1.8),
        ("{a} ** -({b})", "the power of {A} has the wrong sign{there}", 1.8),
    ),
    ast.MatMult: (
        ("{a}", "the product with {B}{there} is missing", 1.0),
        ("{b}", "the product with {A}{there} is missing", 1.3),
        ("{a} @ {b}.mT", "{B} is transposed in the product {AB}", 1.1),
        ("{a}.mT @ {b}", "{A} is transposed in the product {AB}", 1.3),
        ("{b} @ {a}", "the factors of the product {AB} are exchanged", 1.3),
        ("{a}.mT @ {b}.mT", "both factors of the product {AB} are transposed", 1.7),
        ("{a} * {b}", "{A} and {B} are multiplied number by number (*) instead of as matrices (@)", 1.3),
        ("{a} + {b}", "{A} and {B} are added instead of multiplied{there}", 1.8),
        ("({a} @ {b}).mT", "the product {AB} is transposed", 1.5),
        ("{a} @ {b}.reshape({b}.mT.shape).mT", "{B} is reshaped where it should be transposed", 1.8),
    ),
}
SUMMED = ("({a} @ {b}).sum(0, keepdim=True)", "the products {AB} of all images are summed up", 1.9)
OTHER_SIGNS = {  # between whole numbers
    ast.Add: ("{a} + {b}", "there is a sum of {A} and {B} in the wrong place{there}", 1.8),
    ast.Sub: ("{a} - {b}", "there is a difference of {A} and {B} in the wrong place{there}", 1.8),
    ast.Mult: ("{a} * {b}", "there is a product of {A} and {B} in the wrong place{there}", 1.8),
    ast.FloorDiv: ("{a} // {b}", "there is a quotient of {A} and {B} in the wrong place{there}", 1.8),
}
OF_SIZES = {
    ast.FloorDiv: (
        ("-(-{a} // {b})", "{A} / {B} is rounded up instead of down{there}", 1.4),
        ("round({a} / {b})", "{A} / {B} is rounded instead of rounded down{there}", 1.5),
        ("{a} / {b}", "{A} / {B} is not rounded down{there}", 1.5),
    ),
    ast.Pow: (("{a} * {b}", "{A} is multiplied by {B} instead of raised to it{there}", 1.5),),
}
OF_ANY_SIZES = (
    ("{a}", "{A} alone stands where {AB} should{there}", 1.2),
    ("{b}", "{B} alone stands where {AB} should{there}", 1.2),
    ("({a} {sign} {b}) + 1", "{AB} is by 1 too large{there}", 1.5),
    ("({a} {sign} {b}) + -1", "{AB} is by 1 too small{there}", 1.5),
)
DOUBLED = ("{a} + {a}", "{A} is added to itself instead of multiplied{there}", 1.6)  # P + P for P · P
SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**", ast.Div: "/"}


def of_operator(view: View, op: Operation, tree: ast.expr) -> Iterator[tuple]:
    if not isinstance(tree, ast.BinOp):
        return
    kind, b = type(tree.op), ast.unparse(tree.right)
    pieces = {"a": ast.unparse(tree.left), "b": b, "sign": SIGNS.get(kind, "")}
    words = {"A": view.notation.of(tree.left), "B": view.notation.of(tree.right), "AB": view.notation.of(tree)}
    words["there"] = view.where(op)
    words["power"] = {"2": "the square", "0.5": "the square root"}.get(words["B"], f"the power {words['B']}")
    if isinstance(view.value(pieces["a"]), int) and isinstance(view.value(b), int):
        others = (slip for sign, slip in OTHER_SIGNS.items() if sign is not kind)
        found = (*others, *OF_SIZES.get(kind, ()), *OF_ANY_SIZES)
        if kind is ast.Mult and pieces["a"] == b:
            found = (*found, DOUBLED)
    else:
        found = OF_NUMBERS.get(kind, ())
        if kind is ast.MatMult and (b in view.shapes or is_temporary(b)):
            found = (*found, SUMMED)
    for code, clause, cost in found:
        yield (code,), code.format(**pieces), clause.format(**words), cost
