"""Formulas and operations in words: what a sentence says of a piece of the reference."""

import ast
import re
from collections.abc import Callable, Mapping

from vitlab.checks.engine.program import Program, is_shape, is_temporary

NOUNS = {  # what an operation is called in a sentence
    "exp": "the exponential", "sqrt": "the square root", "softmax": "the softmax", "mean": "the mean", "sum": "the sum",
    "amax": "the maximum", "max": "the maximum", "var": "the variance", "std": "the standard deviation",
    "transpose": "the exchange of axes", "permute": "the exchange of axes", "movedim": "the move of axes", "log": "the logarithm",
    "log_softmax": "the log-softmax", "gelu": "the GELU", "relu": "the ReLU", "erf": "erf", "flatten": "the flattening",
    "reshape": "the reshape", "pad": "the border", "interpolate": "the upsampling", "upsample": "the upsampling",
    "normalize": "the normalization to length 1", "square": "the square", "cos": "the cosine", "cat": "the concatenation",
    "expand": "the expansion to all images", "flip": "the reversal", "abs": "the absolute value", "pow": "the power",
    "layer_norm": "the layer norm", "one_hot": "the one-hot form", "gather": "the choice of the label's entry",
    "unfold": "the cutting", "conv2d": "the convolution", "clamp": "the clamping", "round": "the rounding",
    "multi_head_self_attention": "the attention", "ffn": "the FFN", "attention": "the attention",
}  # fmt: skip

SIGNS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "·", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "mod", ast.USub: "-", ast.UAdd: "+",
    ast.BitAnd: "and", ast.BitOr: "or", ast.Invert: "not ", ast.Not: "not ", ast.Eq: "=", ast.NotEq: "≠", ast.Lt: "<",
    ast.LtE: "≤", ast.Gt: ">", ast.GtE: "≥", ast.In: "in", ast.Is: "is", ast.IsNot: "is not", ast.NotIn: "not in",
}  # fmt: skip
# How tightly an operation binds its operands; what is looser inside of it needs parentheses.
LEVELS = {
    ast.Add: 1, ast.Sub: 1, ast.USub: 1, ast.Mult: 2, ast.Div: 2, ast.FloorDiv: 2, ast.Mod: 2, ast.MatMult: 3, ast.Pow: 4,
}  # fmt: skip
# What a formula does not show: the same numbers, laid out in another way or of another dtype.
UNSEEN = (
    "reshape", "view", "flatten", "permute", "expand", "unsqueeze", "squeeze", "movedim", "unflatten", "contiguous", "to",
    "float", "double", "long",
)  # fmt: skip


def plural(noun: str) -> str:
    """ "class" -> "classes", "query" -> "queries"."""
    if noun.endswith(("ch", "s", "x")):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"


def bare(name: str) -> str:
    """A variable's name as in the source, without the number that makes it unique."""
    return re.sub(r"__\d+$", "", name)


class Notation:
    """Writes pieces of a program as a formula: Q Kᵀ / √d_k.

    Args:
        program: whose operations they are.
        size: the symbol of a size that is read off a tensor ("Q.shape[-1]" -> "d_k"), or "".
        steps: words in the places of some names.
    """

    def __init__(
        self, program: Program, size: Callable[[str], str] = lambda code: "", steps: Mapping[str, str] | None = None
    ):
        self.size, self.steps = size, steps or {}
        self.made = {op.targets[0]: op for op in program.operations if len(op.targets) == 1}

    def of(self, node: ast.expr | str) -> str:
        return self._formula(self._shown(node))

    def name(self, name: str, quote: str = "") -> str:
        """A variable in words, or else its name as in the source, in quotes if wanted."""
        return self.steps.get(bare(name)) or f"{quote}{bare(name)}{quote}"

    def _shown(self, node: ast.expr | str) -> ast.expr:
        """What a piece is written as: a temporary name as what made it, a reshape as what is reshaped."""
        if isinstance(node, str):
            node = ast.parse(node, mode="eval").body
        if isinstance(node, ast.Name) and is_temporary(node.id) and node.id in self.made:
            return node if self.size(node.id) else self._shown(self.made[node.id].tree)
        if isinstance(node, ast.Call):
            name, operands = self._called(node)
            if name in UNSEEN or (name == "transpose" and not _of_a_matrix(operands)):
                return self._shown(operands[0])
        return node

    def _formula(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return (is_temporary(node.id) and self.size(node.id)) or self.name(node.id)
        if isinstance(node, ast.BinOp):
            return self._operation(node)
        if isinstance(node, ast.UnaryOp):
            return f"{SIGNS[type(node.op)]}{self._operand(node.operand, 3)}"
        if isinstance(node, ast.Compare):
            right = (f"{SIGNS[type(op)]} {self.of(item)}" for op, item in zip(node.ops, node.comparators, strict=True))
            return " ".join((self.of(node.left), *right))
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
            return f"{self._operand(node.value, 5)}ᵀ"
        if isinstance(node, ast.Attribute):
            return node.attr if self._module(node) else f"{self._operand(node.value, 5)}.{node.attr}"
        if isinstance(node, ast.Subscript):
            return self._entry(node)
        if isinstance(node, ast.List | ast.Tuple):
            return ", ".join(self.of(item) for item in node.elts)
        if isinstance(node, ast.GeneratorExp | ast.ListComp):
            return "…"
        return bare(ast.unparse(node))

    def _operation(self, node: ast.BinOp) -> str:
        level = LEVELS.get(type(node.op), 1)
        left = self._operand(node.left, level)
        right = self._operand(node.right, level if isinstance(node.op, ast.Add) else level + 1)
        if isinstance(node.op, ast.MatMult):
            return f"{left} {right}"
        if isinstance(node.op, ast.Pow):
            base = self._operand(node.left, 5)
            return {"2": f"{base}²", "0.5": f"√{base}"}.get(right, f"{base}^{right}")
        return f"{left} {SIGNS[type(node.op)]} {right}"

    def _operand(self, node: ast.expr, level: int) -> str:
        """A piece of a larger formula, in parentheses where it would not hold together without."""
        node = self._shown(node)
        text = self._formula(node)
        if isinstance(node, ast.Name) and " " in text:  # words, or a formula that stands for a name
            return f"({text})"
        loose = isinstance(node, ast.BinOp | ast.UnaryOp | ast.Compare)
        return f"({text})" if loose and LEVELS.get(type(getattr(node, "op", None)), 0) < level else text

    def _entry(self, node: ast.Subscript) -> str:
        if is_shape(node) and self.size(ast.unparse(node)):
            return self.size(ast.unparse(node))
        if isinstance(node.value, ast.Name) and isinstance(key := getattr(node.slice, "value", None), str):
            return key  # p["W_Q"] is W_Q in a formula
        index = re.sub(r"__\d+\b", "", ast.unparse(node.slice).strip("()"))
        return f"{self._operand(node.value, 5)}[{index}]"

    def _called(self, node: ast.Call) -> tuple[str, list[ast.expr]]:
        """The name of what is called, and its operands, the tensor of a method among them."""
        function = node.func
        if isinstance(function, ast.Attribute) and not self._module(function):
            return function.attr, [function.value, *node.args]
        return function.attr if isinstance(function, ast.Attribute) else bare(ast.unparse(function)), node.args

    def _call(self, node: ast.Call) -> str:
        name, operands = self._called(node)
        if name == "transpose":
            return f"{self._operand(operands[0], 5)}ᵀ"
        if name == "sqrt":
            inner = self.of(operands[0])
            return f"√{inner}" if re.fullmatch(r"[\w.]+", inner) else f"√({inner})"
        shown = operands[:1] if name in ("mean", "sum", "amax", "softmax") else operands
        return f"{name}({', '.join(self.of(operand) for operand in shown)})"

    def _module(self, node: ast.Attribute) -> bool:
        return isinstance(node.value, ast.Name) and node.value.id in ("torch", "F", "math")


def _of_a_matrix(operands: list[ast.expr]) -> bool:
    """Whether the last two axes are exchanged, which is written Kᵀ."""
    return {ast.unparse(axis) for axis in operands[1:]} == {"-1", "-2"}


def listed(items: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def joined(clauses: list[str]) -> str:
    """The same clause about several things, in one: "each of Z W_Q and Z W_K is reshaped ..."."""
    if len(clauses) == 1:
        return clauses[0]
    pieces = [clause.split(" ") for clause in clauses]
    shortest = min(len(words) for words in pieces)
    start = next((k for k in range(shortest) if len({words[k] for words in pieces}) > 1), shortest)
    end = next((k for k in range(shortest - start) if len({words[-1 - k] for words in pieces}) > 1), shortest - start)
    while start and not pieces[0][start - 1].islower():  # Z in "Z W_Q" belongs to what is listed
        start -= 1
    middles = [" ".join(words[start : len(words) - end]) for words in pieces]
    if not all(middles) or any(len(middle.split(" ")) > 6 for middle in middles):
        return "; ".join(clauses)
    head, tail = " ".join(pieces[0][:start]), " ".join(pieces[0][len(pieces[0]) - end :])
    if not head:
        tail = re.sub(r"^is ", "are ", re.sub(r"^has ", "have ", re.sub(r"^stands ", "stand ", tail)))
    return " ".join(filter(None, (head, listed(middles), tail)))
