"""A program seen in one case: the values of its names, their axes, and the words for them."""

import ast
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from vitlab.checks.engine.exercise import WORDS, Case, Exercise, evaluate
from vitlab.checks.engine.program import Operation, Program, is_temporary
from vitlab.checks.engine.words import Notation, plural


class View:
    """What the finders of slips look at, so that what cannot run is not tried, and words fit what is there."""

    def __init__(self, program: Program, exercise: Exercise, case: Case):
        self.program, self.exercise, self.sizes = program, exercise, case.sizes
        self.values = program.run(case.arguments)
        self.notation = Notation(program, self.size, exercise.steps)
        self.words = WORDS | dict(zip(exercise.shape, exercise.axes, strict=True))
        self.sources = dict(sizes_of(exercise))  # how to get each size from the arguments
        self.shapes = dict(tensors_of(exercise))  # the declared shape of each tensor argument
        self.uses: dict[str, list[int]] = {}
        for place, op in enumerate(program.operations):
            for name in atoms(op.code):
                self.uses.setdefault(name, []).append(place)

    def where(self, op: Operation) -> str:
        """ " in `scores`": the named step of an operation; "" for a helper's, whose name no student knows."""
        named = op.step and op.targets[0] != op.step and op.step[0] != "_"
        return f" in {self.notation.name(op.step, '`')}" if named else ""

    def value(self, code: str) -> Any:
        try:
            return eval(code, dict(self.values))
        except Exception:
            return None

    def size(self, code: str) -> str:
        """The symbol of a size that is read off a tensor: the declared axis of an argument, where two have one length."""
        name, _, axis = code.removesuffix("]").partition(".shape[")
        if name in self.program.arguments and axis.lstrip("-").isdigit():
            declared = self.exercise.takes[self.exercise.arguments[self.program.arguments.index(name)]]
            if isinstance(declared, str) and axes_of(declared)[int(axis)].isidentifier():
                return axes_of(declared)[int(axis)]
        return self.symbol(self.value(code))

    def symbol(self, size: Any) -> str:
        """The symbol, or the declared axis, that has this size here: 12 is "h*d_h"; "" if none has."""
        declared = " ".join((*map(axes_only, self.shapes.values()), *self.exercise.shape)).split()
        for symbol in (*self.sizes, *declared):
            if type(size) is int and evaluate(symbol, self.sizes) == size:
                return symbol
        return ""

    def length(self, value: Tensor, axis: int) -> str:
        return self.symbol(value.shape[axis]) or str(value.shape[axis])

    def words_of(self, symbol: str) -> str:
        return plural(self.words[symbol]) if symbol in self.words else f"the axis of length {symbol}"

    def place_words(self, value: Tensor, axis: int) -> str:
        """What an axis counts: "queries", or "axis 2"."""
        symbol = self.symbol(value.shape[axis])
        return plural(self.words[symbol]) if symbol in self.words else f"axis {axis % value.ndim}"

    def axis_words(self, value: Tensor, axis: int) -> str:
        words = self.place_words(value, axis)
        return f"the entries of {words}" if words.startswith("axis") else f"the {words}"

    def along(self, value: Tensor, axis: int, right: int) -> str:
        """ "over the queries instead of the keys"; of two axes that count the same thing, the columns or the rows."""
        wrong, wanted = self.axis_words(value, axis), self.axis_words(value, right)
        if wrong == wanted:
            down, along = "down the columns", "along the rows"
            return f"{down} instead of {along}" if axis < right else f"{along} instead of {down}"
        return f"over {wrong} instead of {wanted}"

    def count(self, symbol: str) -> str:
        word = self.words.get(symbol, "number")
        return symbol if word == "number" else f"{symbol} (the number of {plural(word)})"

    def named(self) -> list[str]:
        """Tensors with a name in the source that something is made from."""
        used = [name for name in self.uses if name not in self.program.names and not is_temporary(name)]
        return [name for name in used if isinstance(self.values.get(name), Tensor)]

    def alternatives(self, name: str, op: Operation) -> list[str]:
        """Other arguments and named steps, known before an operation, that could stand in a tensor's place there."""
        shape, place = self.values[name].shape, self.program.operations.index(op)
        known = {target for op in self.program.operations[:place] for target in op.targets} | set(self.shapes)
        others = [other for other in self.named() if other != name and other in known]
        alike = [other for other in others if self.values[other].shape == shape]
        if name in self.shapes:  # of other sizes, too: K for V runs where d_k = d_v
            axes = len(axes_of(self.shapes[name]))
            alike += [other for other in others if len(axes_of(self.shapes.get(other, ""))) == axes]
        return list(dict.fromkeys(alike))


def atoms(code: str) -> list[str]:
    """The names in an expression, in the order in which they stand there."""
    names = [node for node in ast.walk(ast.parse(code, mode="eval")) if isinstance(node, ast.Name)]
    return [node.id for node in sorted(names, key=lambda node: node.col_offset)]


def called(tree: ast.Call) -> tuple[str, str, str]:
    """Of a call: the function's name, its operand, and the other arguments as they stand."""
    arguments = [ast.unparse(argument) for argument in tree.args]
    words = [ast.unparse(word) for word in tree.keywords]
    if is_method(tree):
        return tree.func.attr, ast.unparse(tree.func.value), ", ".join(arguments + words)
    name = tree.func.attr if isinstance(tree.func, ast.Attribute) else ast.unparse(tree.func)
    return name, arguments[0] if arguments else "", ", ".join(arguments[1:] + words)


def is_method(tree: ast.Call) -> bool:
    """x.mean(...), and not torch.mean(x, ...)."""
    function = tree.func
    return isinstance(function, ast.Attribute) and ast.unparse(function.value) not in ("torch", "F", "math")


def with_operand(tree: ast.Call, operand: str) -> str:
    """The call with another operand."""
    name, _, rest = called(tree)
    if is_method(tree):
        return f"{operand}.{name}({rest})"
    return f"{ast.unparse(tree.func)}({', '.join(filter(None, (operand, rest)))})"


def sizes_of(exercise: Exercise) -> Iterator[tuple[str, str]]:
    """How each size is read off the arguments: ("n", "Q.shape[1]"), or ("h", "num_heads")."""
    found: dict[str, str] = {}
    for name, shape in tensors_of(exercise):
        for k, symbol in enumerate(axes_of(shape)):
            found.setdefault(symbol, f"{name}.shape[{k}]")
    for name, spec in exercise.takes.items():
        if exercise.parameters[name].annotation is int and isinstance(spec, str) and spec.isidentifier():
            found.setdefault(spec, name)
    yield from found.items()


def tensors_of(exercise: Exercise) -> Iterator[tuple[str, str]]:
    """Each tensor of the arguments, as it is written, with its declared shape: ("p['W_Q']", "d d")."""
    for name, spec in exercise.takes.items():
        if isinstance(spec, str) and exercise.parameters[name].annotation not in (int, float):
            yield name, spec
        items = spec.items() if isinstance(spec, dict) else enumerate(spec) if isinstance(spec, list) else ()
        yield from ((f"{name}[{key!r}]", of) for key, of in items if isinstance(of, str))


def axes_only(shape: str) -> str:
    return shape.partition("<")[0]


def axes_of(shape: str) -> list[str]:
    return axes_only(shape).split()
