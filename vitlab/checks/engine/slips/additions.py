"""Slips of too much: something done to a value that should be left as it is."""

from collections.abc import Iterator
from itertools import combinations, permutations

from torch import Tensor

from vitlab.checks.engine.program import RESULT, Operation, is_temporary
from vitlab.checks.engine.slips.view import View

CAUSAL = "{x}.masked_fill(torch.ones_like({x}).triu(1).bool(), float('-inf'))"
# What may have been put in behind a value x, with the words for it: "there is ... after ...", and its cost.
INSERTED = (
    ("F.relu({x})", "a ReLU", 1.4), ("F.gelu({x})", "a GELU", 1.4), ("{x}.sigmoid()", "a sigmoid", 1.6),
    ("{x}.tanh()", "a tanh", 1.6), ("{x}.exp()", "an exponential", 1.7), ("{x}.abs()", "an absolute value", 1.8),
    ("{x} ** 2", "a square", 1.8), ("-{x}", "a minus sign", 1.6), ("{x} * 2", "a factor of 2", 1.7),
    ("{x} / 2", "a division by 2", 1.7), ("F.normalize({x}, dim=-1)", "a normalization to length 1", 1.5),
    ("F.layer_norm({x}, {x}.shape[-1:])", "a layer norm", 1.5), ("{x} - {x}.mean(-1, keepdim=True)", "a subtraction of the mean", 1.6),
    ("{x} / {x}.sum(-1, keepdim=True)", "a division by the sum", 1.7), ("{x} / 255", "a division by 255", 1.7),
    ("{x}.clamp(0, 1)", "a clamping to 0 … 1", 1.8), ("{x}.clamp(-1, 1)", "a clamping to -1 … 1", 2.0),
    ("{x}.clamp(-10, 10)", "a clamping to -10 … 10", 2.2), ("{x}.round()", "a rounding", 2.0),
    ("{x}.log()", "a logarithm", 2.0), ("{x}.sqrt()", "a square root", 2.0), ("{x} + 1", "an extra + 1", 1.9),
    ("{x} - 1", "an extra - 1", 1.9), ("{x}.log_softmax(-1)", "a log-softmax", 1.9),
    ("{x} / {x}.std(-1, keepdim=True)", "a division by the standard deviation", 2.0),
    ("{x} + 1e-6", "an extra ε of 1e-6", 1.9), ("{x} + 1e-5", "an extra ε of 1e-5", 2.0),
    ("{x} / {x}.amax(-1, keepdim=True)", "a division by the maximum", 2.0), ("{x}.tril()", "a causal mask (zeros above the diagonal)", 1.7),
    (CAUSAL, "a causal mask", 1.6),
    ("F.silu({x})", "a SiLU", 2.0), ("F.dropout({x}, 1.0) + {x} / (1 - 0.1)", "a scaling as of dropout", 2.4),
)  # fmt: skip

# The same along one axis, whose entries are `words`; `what` is the value.
ALONG = (
    ("{x}.softmax({axis})", "there is a softmax over {words} {after}", 1.5),
    ("{x}.mean({axis}, keepdim=True).expand({x}.shape)", "{what} is averaged over {words}", 1.6),
    ("{x}.narrow({axis}, 0, 1).expand({x}.shape)", "the first of {words} is used for all of them in {what}", 1.6),
    ("{x}.narrow({axis}, -1, 1).expand({x}.shape)", "the last of {words} is used for all of them in {what}", 1.7),
    ("{x}.flip({axis})", "{words} come in reverse order in {what}", 1.8),
    ("{x}.roll(1, {axis})", "{words} are shifted by one in {what}", 2.0),
    ("{x}.roll(-1, {axis})", "{words} are shifted by one in {what}", 2.0),
    ("{x} / {x}.sum({axis}, keepdim=True)", "{what} is divided by its sum over {words}", 1.9),
)
SCALED = (
    ("{x} / {size} ** 0.5", "{what} is divided by √{count}", 1.4),
    ("{x} / {size}", "{what} is divided by {count}", 1.5),
    ("{x} * {size} ** 0.5", "{what} is multiplied by √{count}", 1.6),
    ("{x} * {size}", "{what} is multiplied by {count}", 1.7),
)
# The right numbers of a result in another shape.
RESHAPED = (
    ("{x}.sum({axis})", "the result is summed over {words}", 1.5),
    ("{x}.mean({axis})", "the result is averaged over {words}", 1.5),
    ("{x}.select({axis}, 0)", "only the first of {words} is returned", 1.4),
    ("{x}.select({axis}, -1)", "only the last of {words} is returned", 1.6),
    ("{x}.narrow({axis}, 0, 1)", "only the first of {words} is returned", 1.4),
    ("{x}.narrow({axis}, 1, {x}.shape[{axis}] - 1)", "the first of {words} is missing in the result", 1.5),
    ("{x}.narrow({axis}, 0, {x}.shape[{axis}] - 1)", "the last of {words} is missing in the result", 1.5),
)


def behind(view: View, place: int, op: Operation, value: Tensor) -> Iterator[tuple]:
    """Something done to a value that should be left as it is; {x} in the code stands for the value."""
    name = op.targets[0]
    what = (
        "the result"
        if name == RESULT
        else view.notation.name(name, "`")
        if not is_temporary(name)
        else view.notation.of(op.tree)
    )
    after = "at the end" if name == RESULT else f"after {what}"
    extra = 0.3 if is_temporary(name) else 0.0
    if value.is_floating_point():
        for key, code, clause, cost in _more(view, place, value, what):
            yield key, code, clause.replace("{after}", after), cost + extra
    if name == RESULT:
        yield from _of_result(view, value)


def _more(view: View, place: int, value: Tensor, what: str) -> Iterator[tuple]:
    for code, noun, cost in INSERTED:
        yield (code,), code, f"there is {noun} {{after}}", cost
    for axis in range(-1, -value.ndim - 1, -1):
        for code, clause, cost in ALONG if value.shape[axis] > 1 else ALONG[:1]:
            said = clause.format(what=what, words=view.axis_words(value, axis), after="{after}")
            yield (code, axis), code.format(x="{x}", axis=axis), said, cost
    for symbol, source in view.sources.items():
        for code, clause, cost in SCALED:
            said = clause.format(what=what, count=view.count(symbol))
            yield (code, symbol), code.format(x="{x}", size=source), said, cost
    known = {target for op in view.program.operations[:place] for target in op.targets} | set(view.shapes)
    for name in view.named():
        if name in known and view.values[name].shape == value.shape and view.values[name].is_floating_point():
            yield ("residual", name), f"{{x}} + {name}", f"{view.notation.name(name)} is added to {what}", 1.4
            yield ("factor", name), f"{{x}} * {name}", f"{what} is multiplied by {view.notation.name(name)}", 2.0
    for a, b in combinations(range(value.ndim), 2):
        both, moved = f"{view.place_words(value, a)} and {view.place_words(value, b)}", f"{{x}}.transpose({a}, {b})"
        clause = f"{what} has its {both} mixed by a reshape without exchanging axes"
        yield ("mixed", a, b), f"{moved}.reshape({{x}}.shape)", clause, 1.4 if a else 1.8
        yield ("mixed back", a, b), f"{{x}}.reshape({moved}.shape).transpose({a}, {b})", clause, 1.5 if a else 1.9
        if value.shape[a] == value.shape[b]:
            yield ("exchanged", a, b), moved, f"{both} of {what} are exchanged", 1.4


def _of_result(view: View, value: Tensor) -> Iterator[tuple]:
    for order in permutations(range(value.ndim)) if value.ndim <= 4 else ():
        if order != tuple(range(value.ndim)):
            shape = ", ".join(view.length(value, axis) for axis in order)
            clause = f"the axes of the result are in another order, ({shape})"
            if value.ndim == 2:  # a square shows no order
                clause = f"{view.place_words(value, 0)} and {view.place_words(value, 1)} of the result are exchanged"
            yield ("order", order), f"{{x}}.permute{order}", clause, 1.0
    for axis in range(value.ndim):
        words = view.axis_words(value, axis)
        for code, clause, cost in RESHAPED:
            yield (code, axis), code.format(x="{x}", axis=axis), clause.format(words=words), cost
        if axis + 1 < value.ndim:
            clause = f"{words} and {view.axis_words(value, axis + 1)} of the result are joined to one axis"
            yield ("flat", axis), f"{{x}}.flatten({axis}, {axis + 1})", clause, 1.3
    yield ("extra",), "{x}[None]", "the result has an axis of size 1 too many", 1.5
    yield ("argmax",), "{x}.argmax(-1)", "the largest entry's number (argmax) is returned instead of the entries", 1.6
