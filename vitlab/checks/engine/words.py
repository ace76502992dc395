"""Formulas and operations in words: what a sentence says of a piece of the reference."""

import ast
import re
from collections.abc import Callable

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
    """

    def __init__(self, program: Program, size: Callable[[str], str] = lambda code: ""):
        self.size = size
        self.made = {op.targets[0]: op for op in program.operations if len(op.targets) == 1}

    def of(self, node: ast.expr | str) -> str:
        if isinstance(node, str):
            node = ast.parse(node, mode="eval").body
        if isinstance(node, ast.Name):
            if is_temporary(node.id) and node.id in self.made:
                if self.size(node.id):
                    return self.size(node.id)
                return self.of(self.made[node.id].tree)
            return bare(node.id)
        if isinstance(node, ast.BinOp):
            left, right = self._operand(node.left), self._operand(node.right)
            if isinstance(node.op, ast.MatMult):
                return f"{left} {right}"
            if isinstance(node.op, ast.Pow):
                return {"2": f"{left}²", "0.5": f"√{left}"}.get(right, f"{left}^{right}")
            signs = {ast.Add: "+", ast.Sub: "-", ast.Mult: "·", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "mod"}
            return f"{left} {signs[type(node.op)]} {right}"
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
            return f"{self._operand(node.value)}ᵀ"
        if isinstance(node, ast.Attribute):
            return node.attr if self._module(node) else f"{self.of(node.value)}.{node.attr}"
        if isinstance(node, ast.Subscript) and is_shape(node) and self.size(ast.unparse(node)):
            return self.size(ast.unparse(node))
        if isinstance(node, ast.Subscript):
            return f"{self.of(node.value)}[{self._index(node.slice)}]"
        if isinstance(node, ast.List | ast.Tuple):
            return ", ".join(self.of(item) for item in node.elts)
        if isinstance(node, ast.UnaryOp):
            return f"-{self._operand(node.operand)}"
        return bare(ast.unparse(node))

    def _operand(self, node: ast.expr) -> str:
        text = self.of(node)
        return f"({text})" if re.search(r" [-+/·] ", text) and not text.endswith(")") else text

    def _call(self, node: ast.Call) -> str:
        function = node.func
        if isinstance(function, ast.Attribute) and not self._module(function):
            name, operands = function.attr, [function.value, *node.args]
        else:
            name = function.attr if isinstance(function, ast.Attribute) else bare(ast.unparse(function))
            operands = node.args
        if name == "transpose" and {ast.unparse(axis) for axis in operands[1:]} == {"-1", "-2"}:
            return f"{self._operand(operands[0])}ᵀ"
        if name == "sqrt":
            inner = self.of(operands[0])
            return f"√{inner}" if re.fullmatch(r"[\w.]+", inner) else f"√({inner})"
        if name in (
            "reshape",
            "view",
            "flatten",
            "permute",
            "transpose",
            "expand",
            "unsqueeze",
            "movedim",
            "unflatten",
        ):
            return self.of(operands[0])
        shown = operands[:1] if name in ("mean", "sum", "amax", "softmax") else operands
        return f"{name}({', '.join(self.of(operand) for operand in shown)})"

    def _module(self, node: ast.Attribute) -> bool:
        return isinstance(node.value, ast.Name) and node.value.id in ("torch", "F", "math")

    def _index(self, node: ast.expr) -> str:
        return re.sub(r"__\d+\b", "", ast.unparse(node).strip("()"))


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
