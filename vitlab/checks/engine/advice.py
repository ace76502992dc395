"""What could be better in an answer that is right: a loop over tokens, a device or a size that is written into it.

An answer's source is a text here, parsed with `ast` and never executed: it may come from a hostile program. Which axis
a loop goes along is read off the contract ("B n d") as far as the source is simple; where it is not, nothing is said.
"""

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from vitlab.checks.engine.exercise import Exercise, Many

LONGEST_SOURCE = 20_000  # characters; of a longer source nothing is said
ONE_BY_ONE = {  # axes along which one product goes at once, and what their indices count
    "n": "tokens", "m": "keys", "H": "rows", "rows": "rows", "W": "columns", "columns": "columns",
}  # fmt: skip
DEVICE = re.compile(r"(cpu|cuda|mps)(:\d+)?")
SIZED = {  # what makes or cuts tensors, its arguments being sizes
    "zeros", "ones", "empty", "full", "eye", "rand", "randn", "arange", "new_zeros", "new_ones", "new_empty",
    "new_full", "reshape", "view", "unflatten", "expand", "broadcast_to", "repeat", "tile",
}  # fmt: skip
SMALL = 16  # numbers up to here count axes, channels, the 9 places of a kernel
OF_A_BYTE = {255, 256}
SAME_AXES = {"clone", "contiguous", "cpu", "detach", "double", "float", "numpy", "to", "tolist", "zeros_like"}


def advice(source: str, exercise: Exercise | None = None) -> tuple[str, ...]:
    """What to say of a right answer, one sentence of each kind at most.

    Args:
        source: of the function, whoever wrote it.
        exercise: its contract; without one (a function that trains) its sizes are its own affair.
    """
    if len(source) > LONGEST_SOURCE:
        return ()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of "\d" and the like
            function = next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
        found = [_named_device(function)]
        if exercise:
            reader = _Reader(exercise, function)
            found = [reader.loop, *found, _written_size(function)]
        return tuple(f"This costs no point: {sentence}" for sentence in found if sentence)
    except Exception:  # no function, a monster, or what nobody thought of: a right answer stays right without advice
        return ()


def _named_device(function: ast.FunctionDef) -> str:
    nodes = list(ast.walk(function))
    if any(isinstance(node, ast.Attribute) and node.attr == "is_available" for node in nodes):
        return ""  # it looks where it is
    compared = {id(part) for node in nodes if isinstance(node, ast.Compare) for part in (node.left, *node.comparators)}
    for node in nodes:
        named = isinstance(node, ast.Constant) and isinstance(node.value, str) and DEVICE.fullmatch(node.value)
        moved = (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("cpu", "cuda")
        )
        if (named and id(node) not in compared) or moved:
            return (
                f"{_quoted(node)} is a device that is written into the code. Take it from an argument, as in "
                f"`device=x.device`, and the function runs wherever its arguments are."
            )
    return ""


def _written_size(function: ast.FunctionDef) -> str:
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and _name(node.func) in SIZED:
            filled = _name(node.func) in ("full", "new_full")
            sizes = [part for argument in node.args[: 1 if filled else None] for part in _parts(argument)]
            if any(_is_size(part) for part in sizes):
                return f"in {_quoted(node)} a size is written into the code. Take sizes from the arguments, and any will do."
    return ""


def _is_size(node: ast.expr) -> bool:
    number = node.value if isinstance(node, ast.Constant) else None
    return type(number) is int and number > SMALL and number not in OF_A_BYTE


class _Reader:
    """Follows a function's sizes from its arguments on, and notes its first loop over tokens or pixels.

    A value is a tuple of axes ("B", "n", "d") for a tensor, a dict, list or `Many` of such as the contract has them, a
    `_Shape`, a frozenset of axes for a number that is made of their lengths, or None where nothing is known.
    """

    def __init__(self, exercise: Exercise, function: ast.FunctionDef):
        self.loop = ""
        arguments = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
        self.known: dict[str, Any] = {}
        for argument, name in zip(arguments, exercise.arguments, strict=False):
            is_number = exercise.parameters[name].annotation is int
            self.known[argument] = None if is_number else _axes(exercise.takes[name])
        for statement in function.body:
            self.read(statement)

    def read(self, node: ast.AST) -> None:
        """Take in a statement or expression, and what is in it, in the order in which it runs."""
        match node:
            case ast.For(target=target, iter=iterated) | ast.comprehension(target=target, iter=iterated):
                self.read(iterated)
                self.note(iterated, f"`for {_text(target)} in {_text(iterated)}`")
                self.bind(target, self.item(iterated))
                inner = [*node.body, *node.orelse] if isinstance(node, ast.For) else node.ifs
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
                inner = [*node.generators, node.elt]
            case ast.Assign(targets=[target], value=value):
                self.read(value)
                self.bind(target, self.value(value))
                inner = []
            case _:
                inner = list(ast.iter_child_nodes(node))
        for part in inner:
            self.read(part)

    def note(self, iterated: ast.expr, quoted: str) -> None:
        counted = next((ONE_BY_ONE[axis] for axis in self.along(iterated) if axis in ONE_BY_ONE), "")
        if counted and not self.loop:
            self.loop = (
                f"{quoted} takes the {counted} one at a time. Whole tensors take them all at once, in one product, sum or "
                f"reshape, and that is much faster."
            )

    def bind(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, list | _Shape):
            place = 0
            for part in target.elts:
                if isinstance(part, ast.Starred):
                    place += len(value) - len(target.elts) + 1
                else:
                    self.bind(part, value[place] if 0 <= place < len(value) else None)
                    place += 1
        elif isinstance(target, ast.Name):
            self.known[target.id] = frozenset(_symbols(value)) if isinstance(value, str) else value

    def along(self, iterated: ast.expr) -> list[str]:
        """The axes that a loop goes along, one index after the other; those of `range(H // P)` are H and P."""
        match iterated:
            case ast.Call(func=function, args=[first, *rest]):
                match _name(function):
                    case "range":
                        if len(rest) == 2 and not self.is_one(rest[1]):
                            return []  # in steps: a piece at a time
                        stop = self.value(rest[0] if rest else first)
                        return sorted(stop) if isinstance(stop, frozenset) else []
                    case "enumerate" | "reversed":
                        return self.along(first)
                    case "zip" | "product":
                        return [axis for argument in (first, *rest) for axis in self.along(argument)]
        axes = self.moved_first(iterated)
        return _symbols(axes[0]) if axes else []

    def is_one(self, step: ast.expr) -> bool:
        """Whether a range's step goes from one patch, token or pixel to the next: 1, or a size that is given."""
        return _integer(step) == 1 or self.value(step) != frozenset()

    def item(self, iterated: ast.expr) -> Any:
        """What a loop's variable holds."""
        match iterated:
            case ast.Call(func=ast.Name(id="enumerate"), args=[of]):
                return [None, self.item(of)]
            case ast.Call(func=ast.Name(id="zip"), args=args):
                return [self.item(of) for of in args]
            case ast.Call(func=ast.Name(id="reversed"), args=[of]):
                return self.item(of)
        if axes := self.moved_first(iterated):
            return axes[1:]
        container = self.value(iterated)
        return container.of if isinstance(container, Many) else None

    def moved_first(self, iterated: ast.expr) -> tuple[str, ...]:
        """A tensor's axes, the one first that is iterated over: of `x.unbind(1)` the one at 1."""
        match iterated:
            case ast.Call(func=ast.Attribute(attr="unbind", value=of), args=args, keywords=keywords):
                axis, axes = next((_integer(x) for x in (*args, *(k.value for k in keywords))), 0), self.axes(of)
                if axis is None or not -len(axes) <= axis < len(axes):
                    return ()
                axis %= len(axes)
                return axes[axis], *axes[:axis], *axes[axis + 1 :]
        return self.axes(iterated)

    def axes(self, node: ast.expr) -> tuple[str, ...]:
        """Those of a tensor; none where it is not known to be one."""
        found = self.value(node)
        return found if isinstance(found, tuple) and not isinstance(found, _Shape) else ()

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Name(id=name):
                return self.known.get(name)
            case ast.Constant(value=int() | float()):
                return frozenset()
            case ast.Attribute(attr="shape", value=of) | ast.Call(func=ast.Attribute(attr="size", value=of), args=[]):
                return _Shape(self.axes(of)) or None
            case ast.Call(func=ast.Attribute(attr="size", value=of), args=[axis]):
                return self.length(self.axes(of), _integer(axis))
            case ast.Call(func=ast.Attribute(attr="numel", value=of)):
                return frozenset(symbol for axis in self.axes(of) for symbol in _symbols(axis))
            case ast.Call(func=ast.Name(id="len"), args=[of]):
                return self.length(self.axes(of), 0)
            case ast.Call(func=ast.Name(id="int" | "round" | "min" | "max") | ast.Attribute(value=ast.Name(id="math"))):
                return _together(self.value(argument) for argument in node.args)
            case ast.BinOp(left=left, op=operator, right=right):
                by = self.value(right)
                if isinstance(operator, ast.FloorDiv | ast.Div) and by == frozenset():
                    return None  # of n // 64 pieces, each holds many
                return _together([self.value(left), by])
            case ast.Call(func=ast.Attribute(attr=name, value=of), args=args):
                return self.called(name, self.axes(of), [_integer(argument) for argument in args])
            case ast.Subscript(value=of, slice=index):
                return self.indexed(self.value(of), index)
        return None

    def length(self, axes: tuple[str, ...], axis: int | None) -> frozenset[str] | None:
        inside = axis is not None and -len(axes) <= axis < len(axes)
        return frozenset(_symbols(axes[axis])) if inside else None

    def called(self, name: str, axes: tuple[str, ...], numbers: list[int | None]) -> tuple[str, ...] | None:
        """The axes of what a tensor's method returns."""
        inside = all(k is not None and -len(axes) <= k < len(axes) for k in numbers)
        if name in SAME_AXES:
            return axes
        if (name in ("flatten", "ravel") and not numbers) or (name in ("reshape", "view") and numbers == [-1]):
            return ("*".join(axes),)
        if name in ("transpose", "swapaxes") and len(numbers) == 2 and inside:
            swapped = list(axes)
            swapped[numbers[0]], swapped[numbers[1]] = axes[numbers[1]], axes[numbers[0]]
            return tuple(swapped)
        if name == "permute" and len(numbers) == len(axes) and inside:
            return tuple(axes[k] for k in numbers)
        return None

    def indexed(self, of: Any, index: ast.expr) -> Any:
        if isinstance(of, _Shape) and isinstance(index, ast.Slice):
            first, last = (bound and _integer(bound) for bound in (index.lower, index.upper))
            return _Shape(of[first:last])
        if isinstance(of, _Shape):
            return self.length(of, _integer(index))
        if isinstance(of, dict):
            return of.get(index.value) if isinstance(index, ast.Constant) else None
        if isinstance(of, Many):
            return of.of
        parts = index.elts if isinstance(index, ast.Tuple) else [index]
        if not isinstance(of, tuple) or len(parts) > len(of):
            return None
        if any(not isinstance(part, ast.Slice | ast.Name | ast.BinOp) and _integer(part) is None for part in parts):
            return None
        kept = [axis for axis, part in zip(of, parts, strict=False) if isinstance(part, ast.Slice)]
        return (*kept, *of[len(parts) :])


class _Shape(tuple):
    """The axes of a tensor whose shape this is: unpacked, it gives lengths and not tensors."""


def _axes(spec: Any) -> Any:
    """What a contract says of an argument, with tuples of axes for tensors."""
    match spec:
        case str():
            return tuple(spec.partition("<")[0].split())
        case dict():
            return {key: _axes(of) for key, of in spec.items()}
        case Many(size, of):
            return Many(size, _axes(of))
    return None


def _together(values: Iterable[Any]) -> frozenset[str] | None:
    """The axes in a number that is made of others; None if no length is known to be in it."""
    numbers = [value for value in values if isinstance(value, frozenset)]
    return frozenset().union(*numbers) if numbers else None


def _symbols(axis: str) -> list[str]:
    return re.findall(r"[A-Za-z_]\w*", axis)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _integer(node: ast.expr) -> int | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _integer(node.operand)
        return None if number is None else -number
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else None


def _parts(argument: ast.expr) -> Iterator[ast.expr]:
    yield from argument.elts if isinstance(argument, ast.Tuple | ast.List) else [argument]


def _text(node: ast.AST) -> str:
    """Its code in a line; what a student's strings and names hold is made harmless where it is shown."""
    text = " ".join(ast.unparse(node).replace("`", "'").split())
    return text if len(text) <= 60 else f"{text[:59]}…"


def _quoted(node: ast.AST) -> str:
    return f"`{_text(node)}`"
