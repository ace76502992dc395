"""What else could stand in a function's source: the same text with one thing changed, the likeliest changes first.

A table of slips starts from the reference, and knows a mistake only in the reference's own way of computing. These
changes start from what somebody wrote, in whatever way: where one of them makes it right, the mistake is at that place.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

MOST = 4000  # changes of one function
LONGEST_LINE = 200  # characters of a statement that is shown as a whole
LIBRARIES = {"torch", "F", "nn", "np", "numpy", "math", "einops"}
ALIKE = (  # names of which one may be taken for another
    ("sum", "mean", "amax", "amin", "prod", "max", "min"), ("var", "std"), ("sqrt", "rsqrt", "square"), ("argmax", "argmin"),
    ("floor", "ceil", "round"), ("zeros", "ones"), ("zeros_like", "ones_like"), ("relu", "gelu", "silu"),
    ("softmax", "log_softmax", "sigmoid"), ("cat", "stack"), ("tril", "triu"), ("repeat", "repeat_interleave"),
    ("matmul", "mul"), ("sin", "cos"), ("exp", "log", "log2", "log10"), ("floor_divide", "true_divide"), ("view", "reshape"),
)  # fmt: skip
WORDS = (("bilinear", "nearest", "bicubic", "area"), ("none", "tanh"), ("mean", "sum", "none"), ("zeros", "replicate"))
OPTIONS = {  # that are easily forgotten
    **dict.fromkeys(("var", "std"), ("unbiased=False", "keepdim=True", "unbiased=False, keepdim=True")),
    **dict.fromkeys(("sum", "mean", "amax", "amin", "norm"), ("keepdim=True",)),
    **dict.fromkeys(("unfold", "conv2d"), ("padding=1",)), "layer_norm": ("eps=eps", "eps=1e-6"), "zeros": ("dtype=torch.long",), "enumerate": ("start=1",),
    "interpolate": ("align_corners=False", 'mode="bilinear"', 'mode="bilinear", align_corners=False'),
}  # fmt: skip
FORGOTTEN = {("align_corners", False), ("unbiased", False), ("keepdim", True), ("batch_first", True)}
OPERATORS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.MatMult: "@", ast.Mod: "%", ast.Pow: "**",
    ast.BitAnd: "&", ast.BitOr: "|",
}  # fmt: skip
IN_PLACE_OF = {"&": "|", "|": "&", **dict.fromkeys(("+", "-", "*", "/", "//", "@"), ("+", "-", "*", "/", "//"))}
COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
# What may be missing around a value x.
AROUND = (
    "{x}.transpose(-2, -1)", "{x} ** 0.5", "-{x}", "{x} + 1", "{x} - 1", "1 - {x}", "{x} * 2", "{x} / 2", "{x} ** 2",
    "{x}.transpose(1, 2)", "{x}.transpose(2, 3)", "{x}[None]", "{x}[..., None]", "{x}[:, None]", "{x}[:, :, None, None]", "{x}[:, 0]",
    "{x}[1:]", "{x}[:-1]", "{x}[:, 1:]", "{x}.T", "{x}.permute(0, 2, 3, 1)", "{x}.permute(0, 3, 1, 2)", "{x}.flip(-1)",
    "{x}.softmax(-1)", "F.gelu({x})", "F.relu({x})", "{x}.exp()", "{x}.log()", "{x}.abs()", "{x}.float()", "{x}.long()",
    "{x}.sum(-1, keepdim=True)", "{x}.mean(-1, keepdim=True)", "{x}.clone()", "{x}.bool()", "{x}.flatten(1)", "{x}.flatten(2)",
    "{x}.squeeze(0)", "{x}.squeeze(-1)", "{x}.squeeze(1)", "{x}[0]", "{x}[-1]", "{x}[::-1]", "reversed({x})", "int({x})",
)  # fmt: skip
KEEPING = {code for code in AROUND[:11] if " - " not in code}  # those that lose nothing of x; 1 - 1 does
ABOUT = {"shape", "ndim", "dtype", "device"}  # for these nobody takes another tensor's view
WITH = ("{x} + {name}", "{x} + {name}[:, None, None]", "{x} - {name}", "{x} * {name}", "{x} / {name}", "{x} @ {name}")


@dataclass(frozen=True)
class Edit:
    """Pieces of a text with what stands there instead: (start, end, new), from the last to the first.

    keeps: whether all that was computed is still used, so that no mistake is made by it.
    said: the change in words; "" if the lines before and after say enough.
    """

    pieces: tuple[tuple[int, int, str], ...]
    cost: float
    keeps: bool = False
    said: str = ""

    def applied(self, source: str) -> str:
        for start, end, new in self.pieces:
            source = source[:start] + new + source[end:]
        return source


class Source:
    """The text of a function, where in it each node stands, and its `names`: arguments, what it assigns, `given`.

    outside: of these what comes from outside, arguments and `given`; forgotten: what is read nowhere.
    """

    def __init__(self, text: str, given: Iterable[str] = ()):
        self.text, self.lines = text, text.split("\n")
        self.starts = [sum(len(line) + 1 for line in self.lines[:k]) for k in range(len(self.lines))]
        function = next(node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef))
        first = function.body[0]
        has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        self.body = function.body[has_docstring:]
        arguments = [argument.arg for argument in function.args.args]
        assigned = [n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        self.names = list(dict.fromkeys([*arguments, *(name for name in assigned if name != "_"), *given]))
        self.outside = {*arguments, *given}
        used = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        self.forgotten = set(self.names) - used

    def place(self, line: int, column: int) -> int:
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def span(self, node: ast.AST) -> tuple[int, int]:
        return self.place(node.lineno, node.col_offset), self.place(node.end_lineno, node.end_col_offset)

    def code(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.text[start:end]

    def part(self, node: ast.AST) -> str:
        """As it stands, in parentheses where it would fall apart as a part of something else."""
        return closed(self.code(node), node)


def closed(code: str, node: ast.AST) -> str:
    alone = (ast.Name, ast.Constant, ast.Call, ast.Subscript, ast.Attribute, ast.List, ast.ListComp)
    negative = isinstance(node, ast.Constant) and code.startswith("-")
    return code if isinstance(node, alone) and not negative else f"({code})"


def edits(text: str, given: Iterable[str] = ()) -> list[Edit]:
    """The changes of a function's source, the likeliest first: at one place, or alike in lines that are alike.

    Args:
        given: what may be used beside the function's own names, such as p["W_Q"].
    """
    source = Source(text, given)
    found: list[Edit] = []
    alike: dict[tuple, list[Edit]] = defaultdict(list)
    for number, statement in enumerate(_statements(source.body)):
        shape = _shape(statement)
        for path, node, parent in _expressions(statement):
            others = _instead(source, node, parent, not {"slice", "lower", "upper"}.isdisjoint(path[-6:]))
            for k, other in enumerate(other for other in others if other.new != source.code(node)):
                edit = Edit(((*source.span(node), other.new),), other.cost, other.keeps)
                found.append(edit)
                alike[shape, path, k].append(edit)  # Q, K and V made in three lines, with one mistake
                if other.everywhere:
                    alike[other.everywhere,].append(edit)
                    alike[number, other.everywhere].append(edit)
                    alike[number, _slice(path), other.everywhere].append(edit)
                    for one in (number, number + 1):  # with the line before, and with the next: i = k // m; j = k % m
                        alike["two lines", one, other.everywhere].append(edit)
    for several in alike.values():
        pieces = sorted((piece for edit in several for piece in edit.pieces), reverse=True)
        if len(several) > 1 and all(end <= later for (_, end, _), (later, *_) in zip(pieces[1:], pieces, strict=False)):
            found.append(Edit(tuple(pieces), several[0].cost + 0.05, several[0].keeps))
    found += _of_block(source, source.body, None)
    once = {edit.pieces: edit for edit in sorted(found, key=lambda edit: -edit.cost)}  # the cheapest of each
    return sorted(once.values(), key=lambda edit: edit.cost)[:MOST]


def _slice(path: tuple) -> tuple:
    """The path up to the last slice in it, i * R:(i + 1) * R."""
    bounds = [k for k, step in enumerate(path) if step in ("lower", "upper")]
    return path[: bounds[-1]] if bounds else path


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        for inner in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, inner, []))


def _shape(statement: ast.stmt) -> str:
    """How a statement is built, whatever its names are."""
    return re.sub(r"(id|arg|name|attr|value)='[^']*'", r"\1", ast.dump(statement))


def _expressions(statement: ast.stmt) -> Iterator[tuple[tuple, ast.expr, ast.AST]]:
    """The expressions of a statement, those of statements within it aside: how to get to each, it, and its parent."""

    def below(node: ast.AST, path: tuple) -> Iterator[tuple[tuple, ast.expr, ast.AST]]:
        for name, value in ast.iter_fields(node):
            for k, child in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(child, ast.stmt) or not isinstance(child, ast.AST):
                    continue
                if isinstance(child, ast.expr):
                    yield (*path, name, k), child, node
                yield from below(child, (*path, name, k))

    yield from below(statement, ())


class Other(NamedTuple):
    """What could stand in the place of an expression.

    everywhere: a name for the same change elsewhere, which may be made together with it; "" if it is made alone.
    """

    new: str
    cost: float
    keeps: bool = False
    everywhere: str = ""


def _instead(source: Source, node: ast.expr, parent: ast.AST, in_brackets: bool) -> Iterator[Other]:
    inside = isinstance(parent, ast.BinOp | ast.UnaryOp | ast.Attribute | ast.Subscript | ast.Compare | ast.Starred)

    def fit(new: str) -> str:
        return closed(new, ast.parse(f"({new})", mode="eval").body) if inside else new  # ( ): it may have lines

    option = parent.arg if isinstance(parent, ast.keyword) else ""
    is_index = isinstance(parent, ast.Subscript) and node is parent.slice
    stored = isinstance(getattr(node, "ctx", None), ast.Store)
    match node:
        case ast.Constant(value=bool(value)):
            yield Other(str(not value), 1.0, (option, not value) in FORGOTTEN, f"{option} {value}")
        case (
            ast.Constant(value=int() | float())
            | ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float()))
        ):
            if not isinstance(parent, ast.UnaryOp):
                value, is_place = ast.literal_eval(node), bool(option) or in_brackets
                others = ((new, f"{option} {value} {new}") for new in _numbers(value))
                yield from (Other(fit(repr(new)), 1.1, is_place, everywhere) for new, everywhere in others)
                yield from (Other(name, 1.3) for name in source.names)
        case ast.Constant(value=str(value)) if is_index:  # of a dict
            given = f"{source.code(parent.value)}[{source.code(node)}]".replace("'", '"')
            keys = [name.partition("[")[2][:-1] for name in source.names if "[" in name]
            yield from (Other(key, 1.15, True) for key in keys if given in source.names and key != source.code(node))
        case ast.Constant(value=str(value)):
            yield from (Other(repr(new), 1.2, True, f"{value} {new}") for new in _texts(value))
        case ast.UnaryOp(operand=operand):
            yield Other(source.part(operand), 1.2, True)
        case ast.BinOp():
            yield from _of_operator(source, node, fit)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARISONS:
            a, b = source.part(left), source.part(right)
            yield from (Other(f"{a} {sign} {b}", 1.2) for sign in COMPARISONS.values())
        case ast.Call():
            yield from _of_call(source, node)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            if not stored and not isinstance(parent, ast.Assign):  # rows, columns = ...: the names say what is what
                yield from _in_another_order(source, node, elements)
        case ast.Subscript(value=value) if not stored:
            yield Other(source.part(value), 1.5)
        case ast.IfExp(body=body, orelse=other):
            yield Other(source.part(body), 1.4)
            yield Other(source.part(other), 1.4)
    is_called = isinstance(parent, ast.Call) and node is parent.func
    is_module = isinstance(node, ast.Name) and node.id in LIBRARIES
    if stored or is_called or is_module or isinstance(node, ast.Starred | ast.Slice | ast.Lambda):
        return
    if isinstance(node, ast.Name):
        yield from (Other(name, 1.3, False, f"{node.id} {name}") for name in source.names if name != node.id)
    is_target = isinstance(parent, ast.Subscript) and isinstance(parent.ctx, ast.Store) and node is parent.value
    if is_target or (isinstance(parent, ast.Attribute) and parent.attr in ABOUT):
        return
    is_number = isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)
    if is_index or is_number or isinstance(node, ast.Tuple | ast.List | ast.Constant | ast.JoinedStr):
        return
    x = source.part(node)
    whole = isinstance(parent, ast.Assign | ast.AugAssign | ast.Return)
    for place, code in enumerate(AROUND):
        yield Other(fit(code.format(x=x)), 1.6 + 0.02 * place - 0.1 * whole, code in KEEPING)
    if whole or isinstance(parent, ast.BinOp | ast.Call | ast.Slice):
        within = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
        is_product = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)
        for place, code in enumerate(WITH):
            sign = code.split()[1]
            # What is taken from outside is added, and what was forgotten divided by; else something may be undone.
            keeping = {"+": source.outside - within, "/": source.forgotten}.get(sign, ())
            is_step = sign == "*" and in_brackets and isinstance(node, ast.Name)  # i * P, where i alone stands
            cost = 2.5 - 0.8 * whole + 0.1 * place - 1.2 * is_step - 0.6 * (sign == "*" and is_product)
            for name in source.names:
                if name != x:
                    everywhere = f"{code} {name}" if is_step else ""
                    yield Other(fit(code.format(x=x, name=name)), cost, name in keeping, everywhere)


def _numbers(value: int | float) -> Iterator[int | float]:
    if isinstance(value, int):
        near = (value + 1, value - 1, -value, *range(-3, 4), 0.5, 0.0)
    else:
        near = (-value, 2 * value, value / 2, 1 - value, 1 / value if value else 1.0, 1e-5, 1e-6, 0.0, 1.0)
    yield from dict.fromkeys(number for number in near if number != value or type(number) is not type(value))


def _texts(value: str) -> Iterator[str]:
    """Other options, and of an einsum other letters."""
    for words in WORDS:
        if value in words:
            yield from (word for word in words if word != value)
    if "->" in value:
        letters = sorted({letter for letter in value if letter.isalpha()})
        for k, letter in enumerate(value):
            if letter.isalpha():
                yield from (value[:k] + other + value[k + 1 :] for other in letters if other != letter)
        for i, j in combinations(range(len(value)), 2):
            if value[i].isalpha() and value[j].isalpha() and "->" not in value[i:j] and "," not in value[i:j]:
                yield value[:i] + value[j] + value[i + 1 : j] + value[i] + value[j + 1 :]


def _of_operator(source: Source, node: ast.BinOp, fit: Callable[[str], str]) -> Iterator[Other]:
    a, b, sign = source.part(node.left), source.part(node.right), OPERATORS.get(type(node.op), "")
    for kept, dropped in ((node.left, node.right), (node.right, node.left)):
        again = isinstance(dropped, ast.Name) and ast.dump(dropped) in ast.dump(kept)  # as in z + f(z)
        is_number = isinstance(dropped, ast.Constant)
        yield Other(fit(source.code(kept)), 1.15 if is_number else 1.3, again or is_number)
    yield from (Other(fit(f"{a} {other} {b}"), 1.2) for other in IN_PLACE_OF.get(sign, ""))
    if sign in ("-", "/", "@", "//", "**"):
        yield Other(fit(f"{b} {sign} {a}"), 1.3, True)
    for new in _in_parentheses(source, node):
        yield Other(fit(new), 1.15, True)


def _in_parentheses(source: Source, node: ast.BinOp) -> Iterator[str]:
    """(a + b) * c in the place of a + b * c, and a * (b + c) in that of a * b + c, for longer sums alike."""
    low, high = (ast.Add, ast.Sub), (ast.Mult, ast.Div, ast.FloorDiv, ast.MatMult, ast.Mod)
    if not isinstance(node.op, low):
        return
    start, end = source.span(node)
    first = node.left
    while isinstance(first, ast.BinOp) and isinstance(first.op, low):
        first = first.left
    for product, opens in ((node.right, False), (first, True)):
        if not isinstance(product, ast.BinOp) or not isinstance(product.op, high):
            continue
        place = source.span(product.right)[0] if opens else source.span(product.left)[1]
        before, behind = source.text[start:place], source.text[place:end]
        new = f"{before}({behind})" if opens else f"({before}){behind}"
        try:
            ast.parse(f"({new})", mode="eval")
        except SyntaxError:  # there are parentheses already
            continue
        yield new


def _of_call(source: Source, node: ast.Call) -> Iterator[Other]:
    function, arguments = node.func, [*node.args, *node.keywords]
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    start, written = source.code(function), [source.code(argument) for argument in arguments]
    of_library = isinstance(function, ast.Attribute) and source.code(function.value) in LIBRARIES
    operand = function.value if isinstance(function, ast.Attribute) and not of_library else next(iter(node.args), None)
    if operand is not None and not isinstance(operand, ast.Starred | ast.GeneratorExp):
        yield Other(source.part(operand), 1.4)
    for words in ALIKE:
        if name in words:
            renamed = ((other, f"{start[: -len(name)]}{other}") for other in words if other != name)
            keeps = name not in ("zeros", "ones", "zeros_like", "ones_like")
            yield from (Other(f"{to}({', '.join(written)})", 1.2, keeps, f"{name} {word}") for word, to in renamed)
    for new in OPTIONS.get(name, ()):
        if not any(word.arg == new.partition("=")[0] for word in node.keywords):
            yield Other(f"{start}({', '.join([*written, new])})", 1.1, True, new)
    if name == "range" and len(written) == 1:
        yield Other(f"range(1, {written[0]})", 1.2)
    for k, argument in enumerate(node.args[1:], start=1):  # F.normalize(x, -1)
        if argument is node.args[-1] and not isinstance(argument, ast.Starred):
            yield Other(
                f"{start}({', '.join([*written[:k], f'dim={written[k]}', *written[k + 1 :]])})",
                1.25,
                True,
                f"dim={written[k]}",
            )
    for k, argument in enumerate(arguments):
        yield Other(f"{start}({', '.join(written[:k] + written[k + 1 :])})", 1.3, isinstance(argument, ast.keyword))
    for i, j in combinations(range(len(node.args)), 2):
        yield Other(f"{start}({', '.join(_exchanged(written, i, j))})", 1.2, True)


def _in_another_order(source: Source, node: ast.expr, elements: list[ast.expr]) -> Iterator[Other]:
    written = [source.code(element) for element in elements]
    left, right = ("[", "]") if isinstance(node, ast.List) else ("(", ")")
    if isinstance(node, ast.Tuple) and not source.code(node).startswith("("):
        left = right = ""
    for i, j in combinations(range(len(written)), 2):
        yield Other(f"{left}{', '.join(_exchanged(written, i, j))}{right}", 1.2, True)
    if len(written) > 3:
        yield Other(f"{left}{', '.join(written[::-1])}{right}", 1.2, True)
    if len(written) > 1:
        for k in range(len(written)):
            inner = ", ".join(written[:k] + written[k + 1 :])
            yield Other(f"{left}{inner}{',' if len(written) == 2 and left != '[' else ''}{right}", 1.3)


def _exchanged(items: list[str], i: int, j: int) -> list[str]:
    items = list(items)
    items[i], items[j] = items[j], items[i]
    return items


def _of_block(source: Source, body: list[ast.stmt], outer: ast.stmt | None) -> Iterator[Edit]:
    """Whole statements left out, exchanged with the next one, moved out of a loop; assignments of another kind."""
    for k, statement in enumerate(body):
        start, end = source.span(statement)
        code, is_last = source.code(statement), k == len(body) - 1
        line = _one_line(_first_line(source, statement))
        if len(body) > 1 and not isinstance(statement, ast.Return):
            yield Edit(((start, end, "pass"),), 1.4, said=f"`{line}` left out")
        if not is_last:
            following = source.code(body[k + 1])
            said = f"`{_one_line(_first_line(source, body[k + 1]))}` before `{line}`"
            yield Edit(((*source.span(body[k + 1]), code), (start, end, following)), 1.5, said=said)
        if isinstance(statement, ast.Assign) and not is_last and isinstance(body[k + 1], ast.For):
            first = body[k + 1].body[0]
            inner = source.span(first)[0]
            moved = ((inner, inner, f"{code}\n{' ' * first.col_offset}"), (start, end, "pass"))
            yield Edit(moved, 1.2, said=f"`{line}` at the beginning of the loop, and not before it")
        if is_last and k and isinstance(outer, ast.For):
            moved = (start - statement.col_offset, end, f"{' ' * outer.col_offset}{code}")
            yield Edit((moved,), 1.2, said=f"`{line}` behind the loop, and not in it")
        if isinstance(statement, ast.AugAssign | ast.Assign):
            target = statement.target if isinstance(statement, ast.AugAssign) else statement.targets[0]
            target, value = source.code(target), source.code(statement.value)
            signs = ("=", "+=", "-=", "*=", "/=") if isinstance(statement, ast.AugAssign) else ("+=", "-=", "*=")
            yield from (Edit(((start, end, f"{target} {sign} {value}"),), 1.4) for sign in signs)
        if isinstance(statement, ast.Break | ast.Continue):
            others = {"break", "continue", "pass"} - {code}
            yield from (Edit(((start, end, other),), 1.2) for other in sorted(others))
        if isinstance(statement, ast.If):
            yield Edit(((*source.span(statement.test), f"not ({source.code(statement.test)})"),), 1.3)
        for inner in ("body", "orelse"):
            yield from _of_block(source, getattr(statement, inner, []), statement)


def in_words(text: str, edit: Edit) -> str:
    """What an edit changes, for a sentence: the statements that it touches, in one line each."""
    if edit.said:
        return edit.said
    source = Source(text)
    heads = [_head(source, statement) for statement in _statements(source.body)]
    pieces: dict[tuple[int, int], list[tuple[int, int, str]]] = defaultdict(list)
    for piece in edit.pieces:
        around = [(start, end) for start, end in heads if start <= piece[0] and piece[1] <= end]
        pieces[min(around, key=lambda head: head[1] - head[0])].append(piece)
    lines = [
        (_one_line(text[start:end]), _one_line(Edit(tuple(inner), 0.0).applied(text[:end])[start:]))
        for (start, end), inner in sorted(pieces.items())
    ]
    if max(len(line) for both in lines for line in both) > LONGEST_LINE:
        lines = [(_one_line(text[start:end]), _one_line(new)) for start, end, new in reversed(edit.pieces)]
    return ", and ".join(f"`{after}` in the place of `{before}`" for before, after in lines)


def _first_line(source: Source, statement: ast.stmt) -> str:
    start, end = _head(source, statement)
    return source.text[start:end]


def _head(source: Source, statement: ast.stmt) -> tuple[int, int]:
    """Where a statement stands; of a loop or a condition, its first line."""
    start, end = source.span(statement)
    if nested := getattr(statement, "body", None):
        end = source.span(nested[0])[0]
    return start, end


def _one_line(code: str) -> str:
    return re.sub(r"\s+", " ", code).strip()
