"""A reference as a list of single operations, so that wrong versions of it can be made and run.

    scores = Q @ K.transpose(-2, -1) / math.sqrt(d_k)

becomes four operations, each with the named step (`scores`) that it belongs to. Helpers of the topic's own file are
written out where they are called, so that a slip can be made at one call and not at the others.
"""

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any


@dataclass(frozen=True)
class Operation:
    """`targets = code`, one operation on names and literals.

    step: the name in the source to which this operation contributes; "" for the result.
    origin: where in the source it stands; the same for every call of a helper.
    """

    targets: tuple[str, ...]
    code: str
    step: str
    origin: tuple

    @property
    def tree(self) -> ast.expr:
        return ast.parse(self.code, mode="eval").body


@dataclass
class Program:
    """A function as operations. The last one makes `RESULT`."""

    function: Callable
    operations: list[Operation]
    arguments: tuple[str, ...]
    names: dict[str, Any]  # what the code may use beside its own variables: torch, F, math, given functions

    def run(self, arguments: tuple) -> dict[str, Any]:
        """Everything that the function computes, by name.

        Raises:
            whatever the operations raise.
        """
        environment = {**self.names, **dict(zip(self.arguments, arguments, strict=True))}
        return execute(self.operations, environment)


RESULT = "result"
_compiled: dict[str, Any] = {}


def execute(operations: list[Operation], environment: dict[str, Any]) -> dict[str, Any]:
    """Run the operations one after the other; `environment` takes what they compute."""
    for operation in operations:
        if operation.code not in _compiled:
            _compiled[operation.code] = compile(operation.code, "<operation>", "eval")
        value = eval(_compiled[operation.code], environment)  # code that was made here, from vitlab's own source
        if len(operation.targets) == 1:
            environment[operation.targets[0]] = value
        else:
            for target, item in zip(operation.targets, value, strict=True):
                environment[target] = item
    return environment


def read(function: Callable, given: tuple[Callable, ...] = ()) -> Program:
    """The program of a function.

    Args:
        function: a function whose source is a chain of assignments and a return. What is no such chain (a loop, a
            comprehension) is one operation as a whole.
        given: helpers that are not to be written out, because students are given them.
    """
    reader = _Reader(given)
    arguments = tuple(inspect.signature(function).parameters)
    reader.taken |= {*arguments, RESULT}
    if not is_chain(source_tree(function)):
        whole = Operation((RESULT,), f"{function.__name__}({', '.join(arguments)})", "", ("whole",))
        return Program(function, [whole], arguments, {**function.__globals__, function.__name__: function})
    result = reader.call(function, [ast.Name(name) for name in arguments], step="", depth=0)
    reader.emit((RESULT,), result, "", ("return",))
    return Program(function, _without_detours(reader.operations), arguments, reader.names)


@dataclass
class _Reader:
    given: tuple[Callable, ...]
    operations: list[Operation] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)
    count: int = 0
    taken: set[str] = field(default_factory=set)

    def emit(self, targets: tuple[str, ...], value: ast.expr, step: str, origin: tuple) -> None:
        self.operations.append(Operation(targets, ast.unparse(value), step, origin))

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}__{self.count}"

    def unused(self, name: str) -> str:
        """`name`, or where something is called so already, another one of that stem: each name is assigned once."""
        self.taken, taken = self.taken | {name}, self.taken
        return self.fresh(name) if name in taken else name

    def call(self, function: Callable, arguments: list[ast.expr], step: str, depth: int) -> ast.expr:
        """Write a function out; returns the name or literal that holds its result."""
        tree = source_tree(function)
        for name, value in (inspect.getclosurevars(function).nonlocals | function.__globals__).items():
            if not name.startswith("__"):
                self.names.setdefault(name, value)
        local = dict(zip(inspect.signature(function).parameters, arguments, strict=True))
        where = (function.__name__,)
        for k, statement in enumerate(tree.body):
            if isinstance(statement, ast.Return):
                return self.flat(statement.value, local, step, (*where, k), function, depth)
            [target] = statement.targets
            if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
                pairs = list(zip(target.elts, statement.value.elts, strict=True))
            else:
                pairs = [(target, statement.value)]
            values = [self.assigned(to, value, local, step, (*where, k, n), function, depth)
                      for n, (to, value) in enumerate(pairs)]  # fmt: skip
            for made in values:
                local |= made
        raise AssertionError(f"{function.__name__} is no chain: see is_chain")

    def assigned(self, target, value, local, step, where, function, depth) -> dict[str, ast.expr]:
        """Emit one assignment; returns what its names stand for from now on."""
        if isinstance(target, ast.Name):
            made = self.flat(value, local, target.id, where, function, depth)
            if isinstance(made, ast.Name) and is_temporary(made.id):
                self._rename(made.id, name := self.unused(target.id))
                return {target.id: ast.Name(name)}
            if isinstance(made, ast.Name | ast.Constant):  # only another name for something
                return {target.id: made}
            names = [target.id]
        else:
            made = self.flat(value, local, step, where, function, depth)
            names = [name.id for name in target.elts]
        renamed = [self.unused(name) for name in names]
        self.emit(tuple(renamed), made, names[0] if len(names) == 1 else step, (*where, "="))
        return {name: ast.Name(new) for name, new in zip(names, renamed, strict=True)}

    def _rename(self, old: str, new: str) -> None:
        """The last operation made the temporary `old`: let it make `new` at once."""
        last = self.operations[-1]
        if last.targets == (old,):
            self.operations[-1] = Operation((new,), last.code, last.step, last.origin)
        else:
            self.emit((new,), ast.Name(old), last.step, ("=",))

    def flat(self, node: ast.expr, local: Mapping, step: str, where: tuple, function: Callable, depth: int) -> ast.expr:
        """Emit the operations of an expression; returns the name or literal of its value."""

        def inner(child: ast.expr, k: int) -> ast.expr:
            return self.flat(child, local, step, (*where, k), function, depth)

        if isinstance(node, ast.Constant):
            return node
        if isinstance(node, ast.Name):
            return local.get(node.id, node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
            return node
        if isinstance(node, ast.Starred):
            return ast.Starred(inner(node.value, 0))
        if isinstance(node, ast.Tuple | ast.List):
            return type(node)([inner(child, k) for k, child in enumerate(node.elts)], ast.Load())
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id not in local:
            return node  # torch.float32, math.pi
        if isinstance(node, ast.Call) and not any(isinstance(a, ast.GeneratorExp | ast.ListComp) for a in node.args):
            called = node.func
            helper = function.__globals__.get(called.id) if isinstance(called, ast.Name) else None
            arguments = [inner(child, k) for k, child in enumerate(node.args)]
            if self._written_out(helper, node):
                return self.call(helper, arguments, step or helper.__name__, depth + 1)
            if isinstance(called, ast.Attribute):
                called = ast.Attribute(inner(called.value, -1), called.attr, ast.Load())
            keywords = [ast.keyword(word.arg, inner(word.value, 100 + k)) for k, word in enumerate(node.keywords)]
            value = ast.Call(called, arguments, keywords)
        elif isinstance(node, ast.BinOp):
            value = ast.BinOp(inner(node.left, 0), node.op, inner(node.right, 1))
        elif isinstance(node, ast.UnaryOp):
            value = ast.UnaryOp(node.op, inner(node.operand, 0))
        elif isinstance(node, ast.Subscript):
            value = ast.Subscript(inner(node.value, 0), self._renamed(node.slice, local), ast.Load())
        elif isinstance(node, ast.Attribute):
            value = ast.Attribute(inner(node.value, 0), node.attr, ast.Load())
        else:  # a comprehension, a condition: one operation as it stands
            value = self._renamed(node, local)
        if is_shape(value):
            return value
        target = self.fresh("v")
        self.emit((target,), value, step, where)
        return ast.Name(target)

    def _written_out(self, helper: Any, node: ast.Call) -> bool:
        if not isinstance(helper, FunctionType) or node.keywords or any(isinstance(a, ast.Starred) for a in node.args):
            return False
        if helper in self.given or not helper.__module__.startswith("vitlab."):
            return False
        return is_chain(source_tree(helper))

    def _renamed(self, node: ast.expr, local: Mapping[str, ast.expr]) -> ast.expr:
        """`node` with the local names replaced; those that a comprehension binds stay."""
        loops = [part.target for part in ast.walk(node) if isinstance(part, ast.comprehension)]
        bound = {name.id for loop in loops for name in ast.walk(loop) if isinstance(name, ast.Name)}
        return substitute(node, {name: value for name, value in local.items() if name not in bound})


def substitute(node: ast.expr, values: Mapping[str, ast.expr]) -> ast.expr:
    """A copy of `node` with expressions in the places of names."""

    class Substitution(ast.NodeTransformer):
        def visit_Name(self, name: ast.Name) -> ast.expr:
            return values.get(name.id, name)

    return Substitution().visit(copy.deepcopy(node))


def source_tree(function: Callable) -> ast.FunctionDef:
    """A function's tree without docstring and without the lines that only refuse bad input."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    [definition] = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)][:1]
    definition.body = [
        statement
        for statement in definition.body
        if not isinstance(statement, ast.Expr)
        and not (isinstance(statement, ast.If) and all(isinstance(s, ast.Raise) for s in statement.body))
    ]
    return definition


def is_chain(tree: ast.FunctionDef) -> bool:
    """Whether a function is nothing but assignments to names, and a return."""
    *steps, last = tree.body
    targets = [target for step in steps if isinstance(step, ast.Assign) for target in step.targets]
    plain = [n for target in targets for n in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return (
        isinstance(last, ast.Return)
        and all(isinstance(step, ast.Assign) and len(step.targets) == 1 for step in steps)
        and all(isinstance(name, ast.Name) for name in plain)
    )


def is_temporary(name: str) -> bool:
    """Whether a name was made here for a value that has none in the source."""
    return name.startswith("v__")


def is_shape(node: ast.expr) -> bool:
    """Whether an expression is a size read off a tensor: Q.shape[-1], len(Z)."""
    if isinstance(node, ast.Subscript):
        node = node.value
        return isinstance(node, ast.Attribute) and node.attr == "shape" and isinstance(node.value, ast.Name)
    return isinstance(node, ast.Attribute) and node.attr == "shape" and isinstance(node.value, ast.Name)


def _without_detours(operations: list[Operation]) -> list[Operation]:
    """Drop operations that only rename what the one before them made."""
    kept: list[Operation] = []
    for operation in operations:
        if (
            kept
            and len(operation.targets) == 1
            and operation.code == kept[-1].targets[-1]
            and len(kept[-1].targets) == 1
        ):
            last = kept.pop()
            used_later = any(last.targets[0] in o.code for o in operations if o is not operation)
            kept.append(last)
            if not used_later:
                kept[-1] = Operation(operation.targets, last.code, last.step, last.origin)
                continue
        kept.append(operation)
    return kept
