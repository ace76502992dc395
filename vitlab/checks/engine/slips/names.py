"""Slips of names and numbers: one quantity in the place of another."""

import ast
from collections.abc import Iterator

from torch import Tensor

from vitlab.checks.engine.program import Operation, is_shape, is_temporary, substitute
from vitlab.checks.engine.slips.view import View, called
from vitlab.checks.engine.words import bare

SHAPES = ("transpose", "permute", "flatten", "reshape", "view", "unflatten", "expand", "unfold", "cat", "movedim")
FIXED = (1, 2, 3, 8, 16, 64, 256, 512, 768)  # numbers that are written where a size should be read off


def of_names(view: View, op: Operation, tree: ast.expr) -> Iterator[tuple]:
    """A tensor in the place of another, a size in the place of another."""
    there = view.where(op)
    for name in _tensors(tree):
        if isinstance(view.values.get(name), Tensor) and name not in view.program.names:
            for other in view.alternatives(name, op):
                clause = f"{view.notation.name(other)} stands where {view.notation.of(name)} should{there}"
                yield ("for", name, other), ast.unparse(substitute(tree, {name: ast.Name(other)})), clause, 1.2
    if isinstance(tree, ast.Call) and called(tree)[0] in SHAPES:
        return
    made = op.targets[0]  # d_h = d // num_heads
    symbol = view.symbol(view.values.get(made))
    if isinstance(tree, ast.BinOp) and symbol and not is_temporary(made):
        counts_features = view.words.get(symbol, "").endswith("feature")
        for number in FIXED if counts_features else [number for number in FIXED if number <= 16]:
            clause = f"the fixed number {number} stands where {bare(made)} should"
            yield ("size", made, number), str(number), clause, 1.6
    for code in dict.fromkeys(
        ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Subscript)
    ):
        size = view.value(code)
        if type(size) is not int or not (code.isidentifier() or is_shape(ast.parse(code, mode="eval").body)):
            continue
        said = bare(op.targets[0]) if op.code == code else view.notation.of(code)
        for other, source in view.sources.items():
            if view.symbol(size) != other:
                clause = f"{view.count(other)} stands where {said} should{there}"
                yield ("size", said, other), _put(tree, code, source), clause, 1.3
        for number in FIXED:
            clause = f"the fixed number {number} stands where {said} should{there}"
            yield ("size", said, number), _put(tree, code, str(number)), clause, 1.6


def _tensors(tree: ast.expr) -> Iterator[str]:
    """The names in an expression, but for those that only a size is read off: in `scores / Q.shape[-1] ** 0.5`, scores."""

    def below(node: ast.AST) -> Iterator[ast.AST]:
        if not is_shape(node):
            yield node
            for child in ast.iter_child_nodes(node):
                yield from below(child)

    yield from dict.fromkeys(node.id for node in below(tree) if isinstance(node, ast.Name))


def _put(tree: ast.expr, old: str, new: str) -> str:
    """The code with one expression in the places of another."""

    class Put(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            if isinstance(node, ast.expr) and ast.unparse(node) == old:
                return ast.parse(new, mode="eval").body
            return self.generic_visit(node)

    return ast.unparse(Put().visit(ast.parse(ast.unparse(tree), mode="eval").body))


def of_literals(view: View, op: Operation, tree: ast.expr) -> Iterator[tuple]:
    """Numbers written in the code, other than axes and shapes."""
    if (
        isinstance(tree, ast.Subscript)
        and isinstance(tree.slice, ast.Slice)
        and not tree.slice.upper
        and tree.slice.lower
    ):
        first, what = ast.unparse(tree.slice.lower), ast.unparse(tree.value)  # E_pos[1:]
        name, last = view.notation.of(what), first[1:] if first.startswith("-") else f"-{first}"
        clause = f"{name}[:{last}] stands where {name}[{first}:] should"
        yield ("ends", first), f"{what}[:-({first})]", clause, 1.3
    if isinstance(tree, ast.Call) and called(tree)[0] in SHAPES:
        return
    words = [word for node in ast.walk(tree) if isinstance(node, ast.Call) for word in node.keywords]
    axes = {id(node) for word in words if word.arg in ("dim", "keepdim") for node in ast.walk(word.value)}
    for k, constant in enumerate(node for node in ast.walk(tree) if isinstance(node, ast.Constant)):
        old = constant.value
        if type(old) not in (int, float) or id(constant) in axes:
            continue
        nearby = (old * 2, old / 2) if isinstance(old, float) else (old + 1, old - 1)
        for new in {0: (1, 2), 1: (0, 2, 0.5), 2: (1, 3, 4), 3: (1, 4)}.get(old, nearby):
            constant.value = new
            code = ast.unparse(tree)
            constant.value = old
            yield ("number", k, new), code, f"{new:g} stands where {old:g} should in {view.notation.of(tree)}", 1.5
