"""How a check reaches a student's code: call this name with these tensors, get an outcome back.

A check knows only `Candidate.call`. Whether the code runs in this process (`LocalCandidate`) or in another one makes no
difference to it: an `Outcome` holds plain tensors, numbers and text, and shares no object with the student's code.
"""

import contextlib
import io
import linecache
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

LONGEST_TEXT = 1000  # characters kept of what a student's code says
LIBRARIES = (sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["purelib"], str(Path(__file__).parents[2]))


@dataclass(frozen=True)
class Outcome:
    """What came of one call.

    kind: "returned" (a tensor, in `output`), "other" (something else, named in `text`), "raised" (an exception, in
        `text`, at `line`) or "missing" (there is no such function; `text` says why).
    gradients: one for each argument, None where nothing flowed; empty if no gradient was asked for.
    changed: positions of the arguments that the call changed in place.
    printed, warned: what the code said while it ran.
    """

    kind: str
    output: Tensor | None = None
    text: str = ""
    line: str = ""
    gradients: tuple[Tensor | None, ...] = ()
    changed: tuple[int, ...] = ()
    printed: str = ""
    warned: str = ""


class Candidate(Protocol):
    def call(self, name: str, arguments: tuple[Tensor | int, ...], cotangent: Tensor | None = None) -> Outcome:
        """Call the function `name`; with a cotangent, also return the gradients of sum(output · cotangent)."""


class LocalCandidate:
    """Functions of this process, by name."""

    def __init__(self, functions: Mapping[str, Callable]):
        self.functions = functions

    def call(self, name: str, arguments: tuple[Tensor | int, ...], cotangent: Tensor | None = None) -> Outcome:
        if name not in self.functions:
            return Outcome("missing", text=f"There is no function `{name}` yet.")
        function = self.functions[name]
        if not callable(function):
            return Outcome("missing", text=f"`{name}` is {_in_words(function)}, not a function.")
        return perform(function, arguments, cotangent)


def perform(function: Callable, arguments: tuple[Tensor | int, ...], cotangent: Tensor | None = None) -> Outcome:
    """Call `function` on copies of the arguments and write down everything that happens."""
    copies = tuple(_copy(argument, requires_grad=cotangent is not None) for argument in arguments)
    gradients: tuple[Tensor | None, ...] = ()
    with _listening() as heard:
        try:
            value = function(*copies)
            output, text = _plain(value)
            if cotangent is not None and output is not None:
                gradients = _gradients(value, copies, cotangent)
            kind, line = ("returned" if output is not None else "other"), ""
        except KeyboardInterrupt:  # the person at the keyboard
            raise
        except BaseException as error:  # SystemExit too: whatever a student's code does becomes a sentence
            kind, output, text, line = "raised", None, _message(error), _line(error)
    changed = tuple(i for i, (copy, given) in enumerate(zip(copies, arguments, strict=True)) if _differs(copy, given))
    return Outcome(kind, output, text, line, gradients, changed, heard.printed.getvalue(), heard.warned())


def _copy(argument: Tensor | int, requires_grad: bool) -> Tensor | int:
    if not isinstance(argument, Tensor):
        return argument
    return argument.detach().clone().requires_grad_(requires_grad and argument.is_floating_point())


def _differs(copy: Tensor | int, given: Tensor | int) -> bool:
    return isinstance(given, Tensor) and not torch.equal(copy.detach(), given)


def _plain(value: Any) -> tuple[Tensor | None, str]:
    """A tensor of our own with the same numbers; or None, and in words what came instead."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized or value.is_meta:
        return None, _in_words(value)
    return value.detach().as_subclass(Tensor).cpu().resolve_conj().resolve_neg().clone(), ""


def _gradients(value: Tensor, copies: tuple, cotangent: Tensor) -> tuple[Tensor | None, ...]:
    """d sum(value · cotangent) / d argument, None for integers and wherever the graph is cut."""
    gradients: list[Tensor | None] = [None] * len(copies)
    leaves = [i for i, copy in enumerate(copies) if isinstance(copy, Tensor) and copy.requires_grad]
    if value.requires_grad and value.shape == cotangent.shape:
        found = torch.autograd.grad(value, [copies[i] for i in leaves], cotangent.to(value.dtype), allow_unused=True)
        for i, gradient in zip(leaves, found, strict=True):
            gradients[i] = gradient
    return tuple(gradients)


def _in_words(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, Tensor):
        return f"a tensor with the layout {value.layout}"
    names = {"ndarray": "a NumPy array", "int": "an int", "function": "a function"}
    name = type(value).__name__[:60]
    if isinstance(value, list | tuple):
        return f"a {name} of {len(value)}"
    return names.get(name, f"a {name}")


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # a student's exception class may be broken, too
        text = ""
    name = type(error).__name__
    return f"{name}: {text}"[:LONGEST_TEXT] if text else name


def _line(error: BaseException) -> str:
    """The last line of the student's own code on the way to the error: "line 3: x = images.view(4)"."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((*LIBRARIES, "<frozen", "<__array")):
            code = (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
            return f"line {frame.lineno}: {code}"[:LONGEST_TEXT] if code else f"line {frame.lineno}"
    return ""


class _Clipped(io.StringIO):
    """Keeps the beginning of what is written, and drops the rest."""

    def write(self, text: str) -> int:
        super().write(text[: LONGEST_TEXT - self.tell()])
        return len(text)


class _Heard:
    def __init__(self, caught: list[warnings.WarningMessage]):
        self.printed = _Clipped()
        self._caught = caught

    def warned(self) -> str:
        messages = (str(warning.message).partition(" (Triggered internally at")[0] for warning in self._caught)
        return "\n".join(dict.fromkeys(messages))[:LONGEST_TEXT]


@contextlib.contextmanager
def _listening() -> Iterator[_Heard]:
    """Catch prints and warnings, and give torch's switches back as they were."""
    dtype, always = torch.get_default_dtype(), torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # not only the first time in a process, so that every run hears the same
    with warnings.catch_warnings(record=True) as caught, torch.enable_grad():
        warnings.simplefilter("always")
        heard = _Heard(caught)
        with contextlib.redirect_stdout(heard.printed), contextlib.redirect_stderr(heard.printed):
            try:
                yield heard
            finally:
                torch.set_default_dtype(dtype)
                torch.set_warn_always(always)
