"""Slips of functions: left out, done twice, a relative in its place, over another axis, with another option."""

import ast
from collections.abc import Callable, Iterator

from torch import Tensor

from vitlab.checks.engine.program import Operation
from vitlab.checks.engine.slips.axes import of_shapes
from vitlab.checks.engine.slips.einsum import of_einsum
from vitlab.checks.engine.slips.view import View, called, is_method, with_operand
from vitlab.checks.engine.words import NOUNS

# What may stand in the place of a function f(x, rest): by f's name.
KIN = {
    "mean": (("{x}.sum({rest})", "the sum"), ("{x}.amax({rest})", "the maximum"), ("{x}.median({rest}).values", "the median")),
    "sum": (("{x}.mean({rest})", "the mean"), ("{x}.amax({rest})", "the maximum"), ("{x}.norm({rest})", "the length"),
            ("{x}.abs().sum({rest})", "the sum of absolute values")),
    "amax": (("{x}.amin({rest})", "the minimum"), ("{x}.mean({rest})", "the mean"), ("{x}.amax()", "the maximum of all")),
    "max": (("{x}.min()", "the minimum"), ("{x}.mean()", "the mean")),
    "exp": (("torch.exp2({x})", "a power of 2"), ("2.718 ** {x}", "a power of 2.718 (e rounded)"), ("2.71828 ** {x}", "a power of 2.71828 (e rounded)"), ("{x}.expm1()", "the exponential less 1"), ("{x}.relu()", "a ReLU"), ("{x} ** 2", "the square"), ("{x}.abs()", "the absolute value")),
    "sqrt": (("{x} ** 2", "the square"), ("{x} ** (1 / 3)", "the third root")),
    "softmax": (("{x}.sigmoid()", "a sigmoid"), ("{x}.log_softmax({rest})", "a log-softmax"), ("{x} / {x}.sum({rest}, keepdim=True)", "a division by the sum"),
                ("{x}.exp()", "the exponential alone"), ("F.relu({x})", "a ReLU"), ("{x}.relu() / {x}.relu().sum({rest}, keepdim=True)", "a ReLU divided by its sum"),
                ("F.one_hot({x}.argmax({rest}), {x}.shape[-1]).to({x}.dtype)", "the largest entry alone (argmax)"),
                ("F.normalize({x}, dim=-1)", "a normalization to length 1"), ("(-{x}).softmax({rest})", "a softmax of the negative"), ("{x}.tanh()", "a tanh"),
                ("F.softplus({x})", "a softplus"), ("{x}.softmax({rest}).sqrt()", "the root of the softmax"), ("torch.ones_like({x}) / {x}.shape[-1]", "equal weights")),
    "gelu": (("F.relu({x})", "a ReLU"), ("F.gelu({x}, approximate='tanh')", "the tanh approximation of GELU"), ("F.silu({x})", "a SiLU"),
             ("{x} * torch.sigmoid(1.702 * {x})", "the sigmoid approximation of GELU"), ("{x}.sigmoid()", "a sigmoid"), ("{x}.tanh()", "a tanh"),
             ("F.leaky_relu({x})", "a leaky ReLU"), ("F.elu({x})", "an ELU"), ("F.softplus({x})", "a softplus")),
    "relu": (("F.gelu({x})", "a GELU"), ("{x}.sigmoid()", "a sigmoid"), ("{x}.tanh()", "a tanh"), ("F.silu({x})", "a SiLU"), ("F.leaky_relu({x})", "a leaky ReLU"), ("{x}.abs()", "the absolute value")),
    "erf": (("torch.tanh({x})", "the tanh"), ("torch.sigmoid({x})", "the sigmoid"), ("torch.erfc({x})", "erfc")),
    "log": (("torch.log2({x})", "the logarithm of base 2"), ("torch.log10({x})", "the logarithm of base 10"), ("torch.log1p({x})", "log(1 + x)")),
    "log_softmax": (("{x}.softmax({rest})", "the softmax without its logarithm"), ("torch.log(torch.sigmoid({x}))", "the log of a sigmoid")),
    "cos": (("math.sin({x})", "the sine"),),
    "normalize": (("{x} / {x}.norm()", "a division by the length of all"), ("F.normalize({x}, p=1, dim=-1)", "a division by the sum of absolute values"), ("{x}.softmax(-1)", "a softmax")),
    "cat": (("torch.stack({rest})", "a stack"),),
}  # fmt: skip

# What may stand in the place of an option, with the clause.
_OPTIONS = {
    ("align_corners", "False"): (("True", "the corners are aligned (align_corners=True)"),),
    ("mode", "'bilinear'"): (("'bicubic'", "the upsampling is bicubic instead of bilinear"), ("'nearest'", "the upsampling takes the nearest neighbour instead of bilinear weights"), ("'area'", "the upsampling is by area instead of bilinear")),
    ("unbiased", "False"): (("True", "the variance is divided by d - 1 (unbiased) instead of d"),),
    ("correction", "0"): (("1", "the variance is divided by d - 1 (unbiased) instead of d"),),
    ("approximate", "'none'"): (("'tanh'", "the tanh approximation of GELU is used"),),
}  # fmt: skip


def of_call(view: View, op: Operation, tree: ast.expr) -> Iterator[tuple]:
    if isinstance(tree, ast.Attribute) and tree.attr in ("T", "mT"):
        yield ("drop",), ast.unparse(tree.value), f"{view.notation.of(tree.value)} is not transposed", 1.0
        return
    if not isinstance(tree, ast.Call):
        return
    name, x, rest = called(tree)
    if name == "einsum":
        yield from of_einsum(view, op, tree)
    if not x or name == "einsum":
        return
    X, there, noun = view.notation.of(x), view.where(op), NOUNS.get(name, f"`{name}`")
    value = view.value(x)
    if isinstance(value, Tensor | int | float) and not isinstance(value, bool) and name not in ("expand",):
        yield ("drop",), x, f"{noun} of {X}{there} is missing", 1.6 if name in ("amax", "max", "mean") else 1.0
    if isinstance(value, Tensor) and name not in ("reshape", "view", "expand", "transpose", "permute"):
        again = with_operand(tree, f"({ast.unparse(tree)})")
        yield ("twice",), again, f"{noun}{there} is applied twice", 1.4
    for code, other in KIN.get(name, ()):
        yield (other,), code.format(x=x, rest=rest), f"{other} stands where {noun} of {X} should{there}", 1.2
    if not isinstance(value, Tensor):
        return
    yield from _of_axes(view, op, tree, name, x, value, noun)
    yield from of_shapes(view, op, tree, name, x, value)
    for word in tree.keywords:
        old = ast.unparse(word.value)
        for new, clause in _OPTIONS.get((word.arg, old), ()):
            yield (word.arg, new), _with_keyword(tree, word.arg, new), f"{clause}{there}", 1.2


def _of_axes(view: View, op: Operation, tree: ast.Call, name: str, x: str, value: Tensor, noun: str) -> Iterator[tuple]:
    """The axis over which a function runs."""
    there = view.where(op)
    old, put = _axis(tree, name)
    if old is None or not -value.ndim <= old < value.ndim:
        return
    right = view.axis_words(value, old)
    for axis in range(-1, -value.ndim - 1, -1):
        if axis != old % value.ndim - value.ndim:
            yield ("axis", axis), put(str(axis)), f"{noun} runs {view.along(value, axis, old)} (dim={axis}){there}", 1.0
    if name == "mean":
        d = view.length(value, old)
        code = f"{x}.sum(dim={old}, keepdim={'keepdim=True' in op.code}) / ({x}.shape[{old}] - 1)"
        clause = f"the sum of {view.notation.of(x)} is divided by {d} - 1 instead of {d}{there}"
        yield ("d - 1",), code, clause, 1.2
    if name in ("mean", "sum", "amax"):
        every = tuple(range(value.ndim))
        yield ("all",), put(str(every)), f"{noun} runs over all numbers instead of {right}{there}", 1.3
        if value.ndim > 2:
            clause = f"{noun} runs over all numbers of an image instead of {right}{there}"
            yield ("all of an image",), put(str(every[1:])), clause, 1.2
    if name == "softmax" and value.ndim > 2:
        for first, said in ((1, "a whole image"), (-2, "whole matrices")):
            code = f"{x}.flatten({first}).softmax(-1).view({x}.shape)"
            yield ("all from", first), code, f"the softmax runs over {said} instead of {right}{there}", 1.3


def _with_keyword(tree: ast.Call, keyword: str, value: str) -> str:
    words = {word.arg: ast.unparse(word.value) for word in tree.keywords} | {keyword: value}
    if words.get("mode") in ("'nearest'", "'area'"):
        words.pop("align_corners", None)
    arguments = [ast.unparse(a) for a in tree.args] + [f"{k}={v}" for k, v in words.items()]
    return f"{ast.unparse(tree.func)}({', '.join(arguments)})"


def _axis(tree: ast.Call, name: str) -> tuple[int | None, Callable[[str], str]]:
    """The axis that a call runs over, None if it is not written there, and how to write the call with another one."""
    words = {word.arg: word.value for word in tree.keywords}
    k = 0 if is_method(tree) else 1
    if "dim" in words:
        return _number(words["dim"]), lambda axis: _with_keyword(tree, "dim", axis)
    if name not in ("softmax", "mean", "sum", "amax", "log_softmax", "cumsum") or len(tree.args) <= k:
        return None, lambda axis: ""

    def put(axis: str) -> str:
        arguments = [ast.unparse(argument) for argument in tree.args]
        arguments[k] = axis
        return f"{ast.unparse(tree.func)}({', '.join(arguments + [ast.unparse(word) for word in tree.keywords])})"

    return _number(tree.args[k]), put


def _number(node: ast.expr) -> int | None:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if isinstance(value, int) else None
