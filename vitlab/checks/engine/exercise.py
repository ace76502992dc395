"""What an exercise is: a reference, the shapes that it takes, parts that earn points, and misconceptions.

    scores = Exercise(
        attention_scores,
        takes={"Q": "B n d_k", "K": "B m d_k"},
        returns="B n m",
        parts=(Part("one image", 1, Sizes(B=1), Sizes(B=1, m="n")), ...),
    )

    @scores.misconception("These are distances between queries and keys: the score is their dot product, over √d_k.")
    def _(Q, K):
        return torch.cdist(Q, K)

Its name and the order of its arguments are those of the reference. Cases are drawn from a seed: sizes that a line does not
give are drawn, too, and all different, so that no transpose passes by luck.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_origin

import torch
from torch import Generator, Tensor

Function = Callable[..., Any]

WORDS = {  # what an index of an axis of that length counts
    "B": "image", "n": "token", "m": "key", "d": "feature", "d_k": "feature", "d_v": "feature", "d_h": "feature",
    "d_ff": "hidden feature", "h": "head", "C": "channel", "H": "row", "W": "column", "rows": "row", "columns": "column",
    "N": "class", "n+1": "term", "L": "block", "P": "pixel",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Arguments to call with, and in a few words what is special about them ("one image, B = 1, n = 5, m = 3")."""

    description: str
    arguments: tuple
    sizes: dict[str, int]
    gradient: bool = False  # also compare the gradients
    largest: tuple[int, ...] = ()  # if given, no tensor with more numbers than one of this shape may be made


class Sizes:
    """A case in a line of sizes: `Sizes("one image", B=1, m="n")` has as many keys as queries.

    Args:
        words: what is special about the case; the sizes are added to the words.
        change: gets the drawn arguments and returns those to use instead: `lambda Q, K: (100 * Q, K)`.
        gradient: in float64, with gradients compared.
        largest: gets the arguments and returns the shape of the largest tensor that has to be made of them; whoever makes
            a larger one is told.
        fixed: sizes that are not to be drawn: a number, or the name of another size.
    """

    def __init__(
        self,
        words: str = "",
        change: Function | None = None,
        *,
        gradient: bool = False,
        largest: Function | None = None,
        **fixed: int | str,
    ):
        self.words, self.change, self.gradient, self.largest, self.fixed = words, change, gradient, largest, fixed


LARGE = range(17, 24)  # drawn for a size that is given as "large"


class Part:
    """A piece of an exercise that earns its points when every one of its cases is right."""

    def __init__(self, title: str, points: int, *cases: Sizes):
        self.title, self.points, self.lines = title, points, cases


@dataclass(frozen=True)
class Misconception:
    function: Function
    sentence: str

    @property
    def is_of_two(self) -> bool:
        """Whether it is two mistakes already, so that a third one beside it is too much to believe."""
        return "Two things" in self.sentence  # also behind an introduction


@dataclass(frozen=True)
class FollowThrough:
    """An exercise built on earlier ones: what it would return with the student's versions of those."""

    earlier: tuple[Function, ...]  # the references of the earlier exercises
    function: Function  # takes the earlier functions, and then the arguments of the exercise


@dataclass(frozen=True)
class Many:
    """In `takes`: a list of as many values as `size` says, each as `of` says."""

    size: str
    of: Any


class Exercise:
    """A contract, a reference, parts and misconceptions.

    Args:
        reference: the right function. Its source, a chain of named steps, is also what wrong versions are derived from.
        takes: the shape of each tensor in the lecture's symbols ("B n d"; "B H W < N" holds integers below N); for an int
            its symbol ("P"), for a tuple of ints their symbols ("H W"); for a float its value or (lowest, highest); for a dict or list of tensors one of those; see
            `Many` for lists whose length is drawn.
        returns: the shape of the result in the same symbols; "" for a number.
        parts: what earns points.
        where: sizes that follow from others, {"d": "h*d_h"}.
        axes: what one index of each axis of the result counts, "image query key"; from `WORDS` where it is not given.
        given: functions of vitlab that students are given, so that no mistake is looked for in them.
        builds_on: the earlier exercises whose mistakes are not to be paid for here again.
        broken_property: a sentence on what any right result obeys and this one does not, or "".
        why_too_large: a sentence on where a tensor of a shape comes from that is larger than need be, or ""; gets the
            shape and the arguments.
        steps: words for named steps of the reference and its formulations, where the lecture has no such name: {"cut":
            "the cut grid"}.
        pinned: sizes that the fixed cases of the table of slips must have, where primes will not do ({"P": 2}).
        draw: makes the arguments where shapes do not say enough: gets a generator, the sizes and the dtype.
    """

    def __init__(
        self,
        reference: Function,
        *,
        takes: dict[str, Any],
        returns: str,
        parts: tuple[Part, ...],
        where: dict[str, str] | None = None,
        axes: str = "",
        given: tuple[Function, ...] = (),
        builds_on: FollowThrough | None = None,
        broken_property: Callable[[Tensor], str] = lambda output: "",
        why_too_large: Callable[..., str] = lambda shape, *arguments: "",
        steps: dict[str, str] | None = None,
        pinned: dict[str, int] | None = None,
        draw: Function | None = None,
    ):
        self.reference = reference
        self.name = reference.__name__
        self.parameters = dict(inspect.signature(reference).parameters)
        self.arguments = tuple(self.parameters)
        if tuple(takes) != self.arguments:
            raise ValueError(
                f"{self.name} takes {', '.join(self.arguments)}, but shapes are given for {', '.join(takes)}."
            )
        self.takes, self.where, self.parts, self.given = takes, where or {}, parts, given
        self.pinned = pinned or {}
        self.shape = tuple(returns.split())
        self.returns = f"({', '.join(self.shape)})" if self.shape else "a number"
        self.axes = tuple(axes.split()) or tuple(WORDS.get(symbol, "number") for symbol in self.shape)
        self.builds_on, self.broken_property, self._draw = builds_on, broken_property, draw
        self.why_too_large, self.steps = why_too_large, steps or {}
        self.symbols = tuple(dict.fromkeys(s for s in _symbols([takes, *self.where.values()]) if s not in self.where))
        self.misconceptions: list[Misconception] = []
        self.formulations: list[Function] = [reference]

    @property
    def points(self) -> int:
        return sum(part.points for part in self.parts)

    def misconception(self, sentence: str) -> Callable[[Function], Function]:
        """Decorates a wrong version with the sentence that helps whoever wrote it."""

        def add(function: Function) -> Function:
            self.misconceptions.append(Misconception(function, sentence))
            return function

        return add

    def formulation(self, function: Function) -> Function:
        """Decorates the right function, written in another way: its slips are looked for, too."""
        self.formulations.append(function)
        return function

    def cases(self, seed: int) -> list[list[Case]]:
        """The cases of each part."""
        generator = Generator().manual_seed(seed)
        return [[self.case(line, generator) for line in part.lines] for part in self.parts]

    def case(self, line: Sizes, generator: Generator) -> Case:
        sizes = self.sizes(line.fixed, generator)
        dtype = torch.float64 if line.gradient else torch.float32
        arguments = self.values(sizes, generator, dtype)
        if line.change:
            arguments = line.change(*arguments)
            arguments = arguments if isinstance(arguments, tuple) else (arguments,)
        words = [line.words] if line.words else []
        words += [f"{symbol} = {sizes[symbol]}" for symbol in self.symbols] + ["float64"] * line.gradient
        largest = line.largest(*arguments) if line.largest else ()
        return Case(", ".join(words), arguments, sizes, line.gradient, largest)

    def sizes(self, fixed: dict[str, int | str], generator: Generator) -> dict[str, int]:
        """A number for every symbol: those not fixed all different, from 2 up."""
        given = {size for size in fixed.values() if isinstance(size, int)}
        candidates = [size for size in range(2, 8 + max(0, len(self.symbols) - 4)) if size not in given]
        drawn = [candidates[i] for i in torch.randperm(len(candidates), generator=generator)]
        sizes = dict(zip(self.symbols, drawn, strict=False))
        for symbol, size in fixed.items():
            if size == "large":
                size = LARGE[int(torch.randint(len(LARGE), (), generator=generator))]
            sizes[symbol] = sizes[size] if isinstance(size, str) else size
        return sizes | {symbol: evaluate(expression, sizes) for symbol, expression in self.where.items()}

    def values(self, sizes: dict[str, int], generator: Generator, dtype: torch.dtype) -> tuple:
        """Arguments of those sizes: normal numbers; matrices divided by √rows, so that products keep their size."""
        if self._draw:
            return self._draw(generator, sizes, dtype)
        kinds = self.parameters
        return tuple(draw(spec, kinds[name].annotation, sizes, generator, dtype) for name, spec in self.takes.items())


def draw(spec: Any, kind: Any, sizes: dict[str, int], generator: Generator, dtype: torch.dtype) -> Any:
    """A value as `spec` says: see `Exercise`."""
    if isinstance(spec, dict):
        return {key: draw(of, Tensor, sizes, generator, dtype) for key, of in spec.items()}
    if isinstance(spec, list):
        return [draw(of, Tensor, sizes, generator, dtype) for of in spec]
    if isinstance(spec, Many):
        return [draw(spec.of, Tensor, sizes, generator, dtype) for _ in range(sizes[spec.size])]
    if isinstance(spec, tuple):
        return spec[0] + (spec[1] - spec[0]) * float(torch.rand((), generator=generator))
    if not isinstance(spec, str):
        return spec
    if kind is int:
        return evaluate(spec, sizes)
    if get_origin(kind) is tuple:
        return tuple(evaluate(size, sizes) for size in spec.split())
    axes, _, below = spec.partition("<")
    shape = [evaluate(axis, sizes) for axis in axes.split()]
    if below:
        return torch.randint(evaluate(below, sizes), shape, generator=generator)
    values = torch.randn(shape, generator=generator, dtype=dtype)
    return values / shape[0] ** 0.5 if len(shape) == 2 else values


def evaluate(expression: str, sizes: dict[str, int]) -> int:
    """The number that an expression of sizes stands for: "2*P" or "n+1"."""
    return int(eval(expression, {"__builtins__": {}}, dict(sizes)))  # written in vitlab.checks, never by a student


def _symbols(spec: Any) -> list[str]:
    """The sizes that a declaration speaks of, in its order."""
    if isinstance(spec, dict):
        return [symbol for of in spec.values() for symbol in _symbols(of)]
    if isinstance(spec, list):
        return [symbol for of in spec for symbol in _symbols(of)]
    if isinstance(spec, Many):
        return [spec.size, *_symbols(spec.of)]
    if not isinstance(spec, str):
        return []
    return re.findall(r"[A-Za-z_]\w*", spec)
