"""Slips of axes: moved, cut and joined in another way; parts put together in another order."""

import ast
from collections.abc import Iterator
from itertools import combinations, permutations

from torch import Tensor

from vitlab.checks.engine.program import Operation
from vitlab.checks.engine.slips.view import View, with_operand
from vitlab.checks.engine.words import listed


def of_shapes(view: View, op: Operation, tree: ast.Call, name: str, x: str, value: Tensor) -> Iterator[tuple]:
    """Slips of a call that moves, cuts or joins axes of x, whose value is given, or puts tensors together."""
    if name in ("transpose", "permute", "movedim", "flip"):
        code, there = ast.unparse(tree), view.where(op)
        clause = f"{view.notation.of(x)} is reshaped where axes should be exchanged{there}"
        yield ("reshape",), f"{x}.reshape({code}.shape)", clause, 1.0
    if name == "transpose":
        yield from _exchanged(view, tree, x, value)
    if name == "permute":
        yield from _ordered(view, op, tree, x, value)
    if name in ("reshape", "view") and len(tree.args) > 2:
        yield from _cut(view, tree, x)
    if name in ("reshape", "view", "flatten"):
        yield from _joined(view, op, tree, x, value)
    if name in ("cat", "stack") and isinstance(tree.args[0], ast.List | ast.Tuple):
        yield from _put_together(view, tree, name)


def _exchanged(view: View, tree: ast.Call, x: str, value: Tensor) -> Iterator[tuple]:
    right = " and ".join(view.place_words(value, int(ast.literal_eval(axis))) for axis in tree.args[-2:])
    for a, b in combinations(range(value.ndim), 2):
        both = f"{view.place_words(value, a)} and {view.place_words(value, b)}"
        clause = f"{both} of {view.notation.of(x)} are exchanged instead of {right}"
        yield ("pair", a, b), f"{x}.transpose({a}, {b})", clause, 1.4


def _ordered(view: View, op: Operation, tree: ast.Call, x: str, value: Tensor) -> Iterator[tuple]:
    order = [ast.literal_eval(axis) for axis in tree.args]
    for i, j in combinations(range(len(order)), 2):
        other = list(order)
        other[i], other[j] = other[j], other[i]
        both = f"{view.place_words(value, order[i])} and {view.place_words(value, order[j])}"
        clause = f"{both} are exchanged when the axes are ordered{view.where(op)}"
        yield ("order", i, j), f"{x}.permute({', '.join(map(str, other))})", clause, 1.2


def _cut(view: View, tree: ast.Call, x: str) -> Iterator[tuple]:
    """An axis of length h·d_h that is cut into d_h x h, and laid out as if it were cut into h x d_h."""
    sizes = [ast.unparse(size) for size in tree.args]
    X = view.notation.of(x)

    def turned(*places: int) -> str:
        other = list(sizes)
        for i in places:
            other[i], other[i + 1] = other[i + 1], other[i]
        return f"{x}.reshape({', '.join(other)})"

    def exchanged(*places: int) -> str:
        return "".join(f".transpose({i}, {i + 1})" for i in places)

    places = [i for i in range(len(sizes) - 1) if sizes[i] != sizes[i + 1]]
    for i in places:
        s, t = view.notation.of(sizes[i]), view.notation.of(sizes[i + 1])
        clause = f"an axis of {X} is cut into {t} x {s} instead of {s} x {t}, which deals its entries out one by one"
        yield ("dealt", i), turned(i) + exchanged(i), clause, 1.2
        yield ("cut", i), turned(i), f"{t} and {s} are exchanged when {X} is reshaped", 1.3
    for i, j in combinations(places, 2):
        if j > i + 1:  # rows x P and columns x P
            clause = f"axes of {X} are cut in the wrong order, " + " and ".join(
                f"{view.notation.of(sizes[k + 1])} x {view.notation.of(sizes[k])}" for k in (i, j)
            )
            yield ("dealt", i, j), turned(i, j) + exchanged(i, j), clause, 1.3
            yield ("cut", i, j), turned(i, j), clause, 1.4


def _joined(view: View, op: Operation, tree: ast.Call, x: str, value: Tensor) -> Iterator[tuple]:
    """Axes that are flattened in another order."""
    result = view.value(ast.unparse(tree))
    runs = joined_axes(tuple(value.shape), tuple(result.shape)) if isinstance(result, Tensor) else []
    for run in runs:
        right = ", ".join(view.place_words(value, axis) for axis in run)
        for order in permutations(run):
            if order != run:
                whole = [*range(run[0]), *order, *range(run[-1] + 1, value.ndim)]
                moved = with_operand(tree, f"{x}.permute({', '.join(map(str, whole))})")
                said = ", ".join(view.place_words(value, axis) for axis in order)
                clause = f"axes are flattened in the order {said} instead of {right}{view.where(op)}"
                yield ("joined", order), moved, clause, 1.2


def joined_axes(before: tuple[int, ...], after: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Which neighbouring axes a reshape joins: (2, 3, 4, 5) to (2, 60) joins the axes 1, 2 and 3."""
    runs, axis = [], 0
    for size in after:
        run, product = [], 1
        while axis < len(before) and (product < size or before[axis] == 1):
            run.append(axis)
            product *= before[axis]
            axis += 1
        if product != size:
            return []
        if 1 < len(run) <= 3:
            runs.append(tuple(run))
    return runs


def _put_together(view: View, tree: ast.Call, name: str) -> Iterator[tuple]:
    parts = [ast.unparse(part) for part in tree.args[0].elts]
    names = [view.notation.of(part) for part in parts]
    words = [ast.unparse(argument) for argument in (*tree.args[1:], *tree.keywords)]

    def together(chosen: list[int]) -> str:
        return f"torch.{name}({', '.join(['[' + ', '.join(parts[k] for k in chosen) + ']', *words])})"

    every = list(range(len(parts)))
    for order in permutations(every) if len(parts) <= 4 else ():
        if list(order) != every:
            said = ", ".join(names[k] for k in order)
            clause = f"the parts come in the order {said} instead of {', '.join(names)}"
            yield ("order", order), together(list(order)), clause, 1.0
    for k in every:
        clause = f"{names[k]} is missing among the parts that are put together"
        yield ("part", k), together([other for other in every if other != k]), clause, 1.1
    yield ("sum",), " + ".join(parts), f"{listed(names)} are added instead of put together", 1.3
