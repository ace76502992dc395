"""Wrong versions of a reference, derived from its own operations, each with a clause that says what is wrong.

A slip changes one operation (or the same in all like places), leaves one out, puts one in, or exchanges two. Its cost says
how far-fetched it is: where two explain the same numbers, the cheaper one is told. One file holds one kind of slip; `view`
is what they look at.

A finder of slips yields (key, code, clause, cost): what stands in the place of the operation, and a key that is the same
for the same slip elsewhere.
"""

from collections.abc import Iterator

from torch import Tensor

from vitlab.checks.engine.exercise import Case, Exercise
from vitlab.checks.engine.program import Operation, Program
from vitlab.checks.engine.slips.additions import behind
from vitlab.checks.engine.slips.arguments import of_arguments
from vitlab.checks.engine.slips.functions import of_call
from vitlab.checks.engine.slips.names import of_literals, of_names
from vitlab.checks.engine.slips.operators import of_operator
from vitlab.checks.engine.slips.order import too_early
from vitlab.checks.engine.slips.slip import FIRST, Slip, run
from vitlab.checks.engine.slips.view import View, atoms
from vitlab.checks.engine.words import joined

__all__ = ["FIRST", "Slip", "run", "slips"]

Found = tuple[int, str, float, tuple[Operation, ...]]  # a place, a clause, its cost, what stands there instead


def slips(program: Program, exercise: Exercise, case: Case) -> list[Slip]:
    """All slips of a program that run differently, cheap ones first; `case` shows what can run."""
    view = View(program, exercise, case)
    cheapest: dict[tuple, Slip] = {}
    for slip in (*_single(view), *_of_like_arguments(view), *of_arguments(view)):
        key = tuple((place, tuple((op.targets, op.code) for op in operations)) for place, operations in slip.changes)
        if key not in cheapest or slip.cost < cheapest[key].cost:
            cheapest[key] = slip
    return sorted(cheapest.values(), key=lambda slip: slip.cost)


def _single(view: View) -> Iterator[Slip]:
    """The slips of one operation, and of one that a helper does in several places, at all of them."""
    alike: dict[tuple, list[Found]] = {}
    for place, op in enumerate(view.program.operations):
        for key, *found in _at(view, place, op):
            alike.setdefault((op.origin, key), []).append((place, *found))
    for ones in alike.values():
        for place, clause, cost, operations in ones:
            yield Slip(clause, cost + 0.2 * (len(ones) > 1), ((place, operations),))
        if len(ones) > 1:
            yield _together(ones)


def _of_like_arguments(view: View) -> Iterator[Slip]:
    """The same slip where several arguments of one shape go through the same operation: Z W_Q, Z W_K, Z W_V."""
    groups: dict[tuple, list[int]] = {}
    for place, op in enumerate(view.program.operations):
        names = atoms(op.code)
        if any(name in view.shapes for name in names[1:]) and names[0] not in names[1:]:
            pattern = tuple(view.shapes.get(name, name) for name in names)
            groups.setdefault((pattern, op.code.rstrip("_0123456789QKVOabcdefghijklmnopqrstuvwxyz")), []).append(place)
    for places in groups.values():
        kinds: dict[tuple, list[Found]] = {}
        for place in places:
            for key, *found in _at(view, place, view.program.operations[place]):
                if key[0] not in ("for", "residual"):
                    kinds.setdefault(key, []).append((place, *found))
        yield from (_together(ones) for ones in kinds.values() if len(ones) == len(places) > 1)


def _together(ones: list[Found]) -> Slip:
    clauses = list(dict.fromkeys(clause for _, clause, _, _ in ones))
    cost = max(cost for _, _, cost, _ in ones) + 0.1
    return Slip(joined(clauses), cost, tuple((place, operations) for place, _, _, operations in ones))


def _at(view: View, place: int, op: Operation) -> Iterator[tuple[tuple, str, float, tuple[Operation, ...]]]:
    """The slips of one operation: (key, clause, cost, what stands in its place)."""
    if len(op.targets) > 1:
        return
    tree, value = op.tree, view.values.get(op.targets[0])
    for find in (of_operator, of_call, of_literals, of_names):
        for key, code, clause, cost in find(view, op, tree):
            yield key, clause, cost, (Operation(op.targets, code, op.step, op.origin),)
    if isinstance(value, Tensor):
        inner = f"before_{op.targets[0]}"
        made = Operation((inner,), op.code, op.step, op.origin)
        for key, code, clause, cost in behind(view, place, op, value):
            yield key, clause, cost, (made, Operation(op.targets, code.replace("{x}", inner), op.step, op.origin))
    yield from too_early(view, place, op, tree)
