"""Slips of arguments: without effect, exchanged, transposed, taken from one image for all."""

from collections.abc import Iterator
from itertools import combinations, permutations

from vitlab.checks.engine.program import Operation
from vitlab.checks.engine.slips.additions import CAUSAL, SCALED
from vitlab.checks.engine.slips.slip import FIRST, Slip
from vitlab.checks.engine.slips.view import View, axes_of
from vitlab.checks.engine.words import listed, plural

# What may happen to an argument x at the beginning, with the words for it, its cost for tokens, and for weights.
AT_FIRST = (
    ("torch.zeros_like({x})", "{name} has no effect, as if it were 0", 1.3, 1.3),
    ("torch.ones_like({x})", "{name} has no effect, as if it were 1", 1.5, 2.0),
    ("-{x}", "{name} is taken with the other sign", 1.8, 1.8),
    ("F.normalize({x}, dim=-1)", "{name} is normalized to length 1", 1.7, 1.7),
    ("F.layer_norm({x}, {x}.shape[-1:])", "{name} is layer-normalized first", 1.5, 2.0),
    ("F.relu({x})", "there is a ReLU on {name} first", 1.8, 1.8),
    ("F.gelu({x})", "there is a GELU on {name} first", 1.9, 1.9),
    ("{x}.softmax(-1)", "there is a softmax on {name} first", 1.8, 1.8),
    ("{x} - {x}.mean(-1, keepdim=True)", "the mean of {name} is subtracted first", 1.8, 1.8),
    ("{x} / 255", "{name} is divided by 255 first", 1.8, 1.8),
    (CAUSAL, "there is a causal mask on {name} first", 1.7, 2.2),
)
OF_MATRICES = (
    ("{x}.mT", "{name} is transposed", 1.1),
    ("torch.eye(len({x}), {x}.shape[-1], dtype={x}.dtype)", "{name} is replaced by the identity", 1.4),
    ("{x}.reshape({x}.mT.shape).mT", "{name} is reshaped to its transposed shape, which shuffles it", 1.5),
)
OF_WHOLE_NUMBERS = (
    ("1", "{name} has no effect, as if it were 1", 1.2),
    *((str(number), f"{{name}} is taken to be {number}", 1.6) for number in (0, 2, 3, 4, 8, 16)),
    ("{name} + 1", "{name} is one too large", 1.8),
    ("{name} - 1", "{name} is one too small", 1.8),
)
OF_NUMBERS = (
    ("0.0", "{name} has no effect, as if it were 0", 1.2),
    ("1.0", "{name} has no effect, as if it were 1", 1.6),
    ("{name} ** 2", "{name} is squared", 1.8),
    ("{name} ** 0.5", "the square root of {name} is used in its place", 1.8),
    ("1 - {name}", "1 - {name} is used in the place of {name}", 1.4),
    ("{name} / 2", "{name} is halved", 1.9),
    *((repr(number), f"{number:g} is used in the place of {{name}}", 1.4) for number in (1e-5, 1e-6, 1e-8, 1e-12, 0.1)),
)
OF_LISTS = (
    ("{name}[::-1]", "{name} are taken in reverse order", 1.3),
    ("{name}[1:]", "the first of {name} is left out", 1.4),
    ("{name}[:-1]", "the last of {name} is left out", 1.4),
    ("{name}[:1] * len({name})", "the first of {name} is used for all", 1.3),
    ("{name}[-1:] * len({name})", "the last of {name} is used for all", 1.4),
    ("{name}[:1]", "only the first of {name} is used", 1.4),
)


def of_arguments(view: View) -> Iterator[Slip]:
    for name, shape in view.shapes.items():
        yield from _of_tensor(view, name, shape)
    yield from _of_pairs(view)
    for name in view.program.arguments:
        value = view.values.get(name)
        kinds = {int: OF_WHOLE_NUMBERS, float: OF_NUMBERS, list: OF_LISTS}.get(type(value), ())
        for code, clause, cost in kinds:
            yield _at_first(clause.format(name=name), cost, (name, code.format(name=name)))
        for symbol, source in view.sources.items() if type(value) is int else ():
            if source != name:
                yield _at_first(f"{view.count(symbol)} is used in the place of {name}", 1.6, (name, source))


def _at_first(clause: str, cost: float, *assignments: tuple[str, str]) -> Slip:
    made = tuple(Operation((name,), code, "", ("argument",)) for name, code in assignments)
    return Slip(clause, cost, ((FIRST, made),))


def _put(name: str, value: str) -> tuple[str, str]:
    """The assignment that gives a tensor another value, where it stands in a dict or list too."""
    whole, _, key = name.rstrip("]").partition("[")
    if not key:
        return name, value
    if key.isdigit():
        return whole, f"[*{whole}[:{key}], {value}, *{whole}[{key} + 1:]]"
    return whole, f"{{**{whole}, {key}: {value}}}"


def _said(name: str) -> str:
    """p['W_Q'] is W_Q in a sentence."""
    return name.partition("['")[2].rstrip("']") or name


def _of_tensor(view: View, name: str, shape: str) -> Iterator[Slip]:
    axes, integers = axes_of(shape), "<" in shape
    said, tokens = _said(name), "B" in axes

    def at_first(clause: str, cost: float, code: str) -> Slip:
        return _at_first(clause, cost, _put(name, code))

    if not integers:
        for code, clause, cost, of_weights in AT_FIRST:
            yield at_first(clause.format(name=said), cost if tokens else of_weights, code.format(x=name))
    for symbol, source in view.sources.items() if tokens and not integers else ():
        for code, clause, cost in SCALED:
            clause = clause.format(what=said, count=view.count(symbol))
            yield at_first(clause, cost + 0.3, code.format(x=name, size=source))
    if len(axes) == 2:
        for code, clause, cost in OF_MATRICES:
            yield at_first(clause.format(name=said), cost, code.format(x=name))
    for k, axis in enumerate(axes):
        words = f"the {plural(view.words.get(axis, 'number'))}"
        of = f"{words} of {said}" if words != f"the {said}" else words  # not "the images of images"
        yield at_first(f"{of} are taken in reverse order", 1.7, f"{name}.flip({k})")
        first = f"{name}.narrow({k}, 0, 1).expand({name}.shape)"
        yield at_first(f"the first of {of} is used for all", 1.5 if tokens else 2.0, first)
        last = f"{name}.narrow({k}, -1, 1).expand({name}.shape)"
        yield at_first(f"the last of {of} is used for all", 1.6 if tokens else 2.1, last)
        if not integers:
            mean = f"{name}.mean({k}, keepdim=True).expand({name}.shape)"
            yield at_first(f"{said} is averaged over {words}", 1.7, mean)
        for shift in (1, -1):
            yield at_first(f"{of} are shifted by one", 1.9, f"{name}.roll({shift}, {k})")
    for a, b in combinations(range(len(axes)), 2):
        both, moved = f"{view.words_of(axes[a])} and {view.words_of(axes[b])} of {said}", f"{name}.transpose({a}, {b})"
        yield at_first(f"{both} are exchanged", 1.4, moved)
        yield at_first(f"{both} are mixed by a reshape", 1.5, f"{moved}.reshape({name}.shape)")
        back = f"{name}.reshape({moved}.shape).transpose({a}, {b})"
        yield at_first(f"{both} are mixed by a reshape", 1.5, back)


def _of_pairs(view: View) -> Iterator[Slip]:
    """One tensor in the place of another of its shape."""
    by_shape: dict[str, list[str]] = {}
    for name, shape in view.shapes.items():
        by_shape.setdefault(shape, []).append(name)
    for shape, names in by_shape.items():
        for a, b in permutations(names, 2):
            yield _at_first(f"{_said(b)} is used in the place of {_said(a)}", 1.1, _put(a, b))
        for a, b in combinations(names, 2):
            keep = ("early", a)
            yield _at_first(f"{_said(a)} and {_said(b)} are exchanged", 1.1, keep, _put(a, b), _put(b, "early"))
        if len(names) > 1 and len(axes_of(shape)) == 2:
            clause = f"{listed([_said(name) for name in names])} are transposed (as nn.Linear stores weights)"
            yield _at_first(clause, 1.2, *(_put(name, f"{name}.mT") for name in names))
