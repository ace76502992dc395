"""What an exercise is.

It is a contract, a reference, parts (cases drawn from a seed, worth points) and misconceptions: wrong
implementations, each with the sentence that helps whoever wrote it. A candidate that fails is compared with all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Generator, Tensor

from vitlab.checks.engine.values import Value

Arguments = tuple[Value, ...]


@dataclass(frozen=True)
class Case:
    """Arguments to call with, and in a few words what is special about them ("an image of 4 x 6 pixels")."""

    description: str
    arguments: Arguments
    gradient: bool = False  # also compare the gradients


@dataclass(frozen=True)
class Part:
    """A piece of an exercise that earns its points when every one of its cases is right."""

    title: str
    points: int
    cases: Callable[[Generator], list[Case]]


@dataclass(frozen=True)
class Misconception:
    function: Callable[..., Tensor]
    sentence: str


@dataclass(frozen=True)
class FollowThrough:
    """An exercise built on earlier ones: what it would return with the student's versions of those."""

    earlier: tuple[Callable[..., Tensor], ...]  # the references of the earlier exercises
    function: Callable[..., Tensor]  # takes the earlier functions, and then the arguments of the exercise


@dataclass(frozen=True)
class Exercise:
    name: str
    arguments: tuple[str, ...]  # their names, as in the contract
    returns: str  # the shape in the lecture's symbols, such as "(B, n, d)"
    axes: tuple[str, ...]  # what one index of each axis of the result is, such as ("image", "patch", "number")
    reference: Callable[..., Tensor]
    parts: tuple[Part, ...]
    misconceptions: tuple[Misconception, ...]
    pairs: tuple[Misconception, ...] = ()  # two mistakes at once
    builds_on: FollowThrough | None = None
    broken_property: Callable[[Tensor], str] = lambda output: ""  # what any right result obeys and this one does not

    @property
    def points(self) -> int:
        return sum(part.points for part in self.parts)
