"""How a check reaches a student's code: call this name with these values, get an outcome back.

A check knows only `Candidate.call`. Whether the code runs in this process (`LocalCandidate`) or in another one makes no
difference to it: an `Outcome` holds plain tensors, numbers and text, and shares no object with the student's code.
"""

import contextlib
import inspect
import io
import linecache
import random
import re
import signal
import sysconfig
import textwrap
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vitlab.checks.engine import switches, values
from vitlab.checks.engine.advice import LONGEST_SOURCE
from vitlab.checks.engine.values import Value

LONGEST_TEXT = 1000  # characters kept of what a student's code says
MOST_NUMBERS = 10_000_000  # in a tensor that a student's code returns
LIBRARIES = (sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["purelib"], str(Path(__file__).parents[2]))


@dataclass(frozen=True)
class Outcome:
    """What came of one call.

    kind: "returned" (a tensor or a number, in `output`), "other" (something else, named in `text`), "raised" (an
        exception, in `text`), "late" (it took more than its seconds) or "missing" (there is no such function; `text`
        says why).
    line, inside: where an exception was raised, and in which function, if it was another one of the student's own.
    there: what the names on that line stood for, "Q has the shape (2, 3, 5), d_k = 5".
    gradients: one for each tensor in the arguments, in the order of `values.tensors`, None where nothing flowed; empty
        if no gradient was asked for.
    changed: the paths of what the call changed in its arguments.
    overwrites: whether the call changed what an earlier call of this function had returned, or had been given.
    printed, warned: what the code said while it ran.
    seconds: of processor time.
    largest: the shape of the largest tensor that was made, where that was asked for; see `Largest`.
    source: of the function, "" where it cannot be read; a text, of which nothing is to be executed but where the function
        itself is (`instead`).
    """

    kind: str
    output: Tensor | int | float | None = None
    text: str = ""
    line: str = ""
    inside: str = ""
    there: str = ""
    gradients: tuple[Tensor | None, ...] = ()
    changed: tuple[values.Path, ...] = ()
    overwrites: bool = False
    printed: str = ""
    warned: str = ""
    seconds: float = 0.0
    largest: tuple[int, ...] = ()
    source: str = ""


class Candidate(Protocol):
    def call(
        self,
        name: str,
        arguments: tuple[Value, ...],
        cotangent: Tensor | None = None,
        seconds: float | None = None,
        largest: bool = False,
        instead: str = "",
    ) -> Outcome:
        """Call the function `name`.

        Args:
            cotangent: if given, the gradients of sum(output · cotangent) are returned, too.
            seconds: if given, the call has so many seconds of processor time, in one thread, as for training a model,
                and random numbers that start at the same place each time.
            largest: whether to look for the largest tensor that is made.
            instead: if given, the function is called as it would be with this for its source, among the same names.
        """


class LocalCandidate:
    """Functions of this process, by name."""

    def __init__(self, functions: Mapping[str, Callable]):
        self.functions = functions
        self._earlier: dict[str, list[tuple[Any, Any]]] = {}  # what the last call left, and how it was then
        self._sources: dict[str, str] = {}

    def call(
        self,
        name: str,
        arguments: tuple[Value, ...],
        cotangent: Tensor | None = None,
        seconds: float | None = None,
        largest: bool = False,
        instead: str = "",
    ) -> Outcome:
        if name not in self.functions:
            return Outcome("missing", text=f"There is no function `{name}` yet.")
        function = self.functions[name]
        if not callable(function):
            return Outcome("missing", text=f"`{name}` is {_in_words(function)}, not a function.")
        if instead:
            return perform(partial(_run_instead, function, instead), arguments, cotangent, seconds, largest)[0]
        outcome, left = perform(function, arguments, cotangent, seconds, largest)
        overwrites = any(_differences(was, now) for now, was in self._earlier.get(name, ()))
        self._earlier[name] = [(now, values.copy(now)) for now in left]
        if name not in self._sources:
            self._sources[name] = _source(function)
        return replace(outcome, overwrites=overwrites, source=self._sources[name])


def perform(
    function: Callable,
    arguments: tuple[Value, ...],
    cotangent: Tensor | None = None,
    seconds: float | None = None,
    largest: bool = False,
) -> tuple[Outcome, list]:
    """Call `function` on copies of the arguments, under a check's own switches, and write down everything that happens.

    The limit of seconds is kept by a signal, where there are signals and this is the main thread: it comes between two
    steps of Python, and code may catch it. What took too long is "late" in any case; who needs a hard limit runs the
    code in a process of its own, and ends that.

    Returns:
        the outcome, and what it left: the arguments as they are now, and the very numbers that were returned.
    """
    copies = values.copy(arguments, requires_grad=cotangent is not None)
    gradients: tuple[Tensor | None, ...] = ()
    left: list = [copies]
    made = Largest()
    start = time.process_time()
    with switches.own(), _listening() as heard:
        try:
            with _training(seconds, start), made if largest else contextlib.nullcontext():
                value = function(*copies)
            output, text = _plain(value)
            if isinstance(output, Tensor):
                left.append(value.detach().as_subclass(Tensor))
                if cotangent is not None:
                    gradients = _gradients(value, copies, cotangent)
            kind, place = ("returned" if output is not None else "other"), ("", "", "")
        except KeyboardInterrupt:  # the person at the keyboard
            raise
        except BaseException as error:  # SystemExit too: whatever a student's code does becomes a sentence
            kind, output, text, place = "raised", None, message(error), _place(error)
        changed = _differences(arguments, copies)
    spent = time.process_time() - start
    if seconds is not None and spent > seconds:
        kind, output, text, place = "late", None, "", ("", "", "")
    said = {"printed": heard.printed.getvalue(), "warned": heard.warned()}
    return Outcome(kind, output, text, *place, gradients, changed, seconds=spent, largest=made.shape, **said), left


class Largest(TorchDispatchMode):
    """Inside, the largest tensor that PyTorch's operations make is noted: its `shape` and how many `numbers` it has.

    A view that repeats the numbers of a smaller tensor (`expand`) makes none. What is computed in another thread, or by
    NumPy, is not seen.
    """

    def __init__(self):
        super().__init__()
        self.shape: tuple[int, ...] = ()
        self.numbers = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        for x in result if isinstance(result, list | tuple) else [result]:
            if isinstance(x, Tensor) and self.numbers < x.numel() <= x.untyped_storage().nbytes() // x.itemsize:
                self.shape, self.numbers = tuple(x.shape), x.numel()
        return result


class OutOfTimeError(BaseException):
    """The time is up. No `Exception`, so that a student's `except Exception` lets it pass."""


@contextlib.contextmanager
def _training(seconds: float | None, start: float) -> Iterator[None]:
    """One thread, known random numbers, and an `OutOfTimeError` once so much processor time has passed since `start`."""
    if seconds is None:
        yield
        return
    torch.set_num_threads(1)  # the switches give the others back; threads that wait for each other use up time, too
    torch.manual_seed(0)  # and not the seed of the check, from which held-back labels are drawn
    np.random.seed(0)
    random.seed(0)
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    running = True

    def stop(*_: Any) -> None:
        left = start + seconds - time.process_time()
        if left > 0:
            signal.setitimer(signal.ITIMER_PROF, left + 0.001, 1.0)  # it counts in ticks, and may come too early
        elif running:
            raise OutOfTimeError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)  # and again each second, if somebody catches it
    try:
        try:
            yield
        finally:
            running = False  # if the signal comes just before this line, the next one is a second away
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _differences(was: Any, now: Any) -> tuple[values.Path, ...]:
    """The path of the first difference, in a tuple, or an empty one. What cannot even be compared is different."""
    try:
        path = values.difference(was, now)
    except Exception:
        path = ()
    return () if path is None else (tuple(key if type(key) in (int, str) else type(key).__name__ for key in path),)


def _plain(value: Any) -> tuple[Tensor | int | float | None, str]:
    """A tensor or number of our own with the same value; or None, and in words what came instead.

    A NumPy number, alone or as an array without axes, is a number; any other NumPy array is none of our values. A tensor
    so large that copies and comparisons would fill the memory is none either: no exercise asks for one.
    """
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool):
        return value, ""
    if isinstance(value, float):
        return float.__pos__(value), ""  # of a subclass, too, whatever that redefines
    if isinstance(value, int):
        number = int.__pos__(value)
        return (number, "") if -(2**63) <= number < 2**63 else (None, "an int of more than 64 bits")
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized or value.is_meta:
        return None, _in_words(value)
    if str(value.dtype) not in values.DTYPES:
        return None, f"a tensor of {value.dtype}"
    if value.numel() > MOST_NUMBERS:
        return None, f"a tensor of {value.numel():,} numbers, {tuple(value.shape)}"
    return value.detach().as_subclass(Tensor).cpu().resolve_conj().resolve_neg().clone(), ""


def _gradients(value: Tensor, copies: tuple, cotangent: Tensor) -> tuple[Tensor | None, ...]:
    """d sum(value · cotangent) / d tensor for each tensor in the arguments, None wherever the graph is cut."""
    leaves = [leaf for _, leaf in values.tensors(copies)]
    gradients: list[Tensor | None] = [None] * len(leaves)
    floating = [i for i, leaf in enumerate(leaves) if leaf.requires_grad]
    if value.requires_grad and value.shape == cotangent.shape:
        found = torch.autograd.grad(value, [leaves[i] for i in floating], cotangent.to(value.dtype), allow_unused=True)
        for i, gradient in zip(floating, found, strict=True):
            gradients[i] = gradient
    return tuple(gradients)


def _run_instead(function: Callable, source: str, *arguments: Value) -> Any:
    """Call a function with another source, among a copy of its names, so that its own stay what they are."""
    function = inspect.unwrap(function)
    names = dict(function.__globals__)
    exec(_compiled(source), names)
    return names[function.__code__.co_name](*arguments)


@lru_cache(maxsize=1)
def _compiled(source: str) -> CodeType:
    return compile(source, "<instead>", "exec", dont_inherit=True)


def _in_words(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, Tensor):
        return "a tensor on the device meta" if value.is_meta else f"a tensor with the layout {value.layout}"
    names = {"ndarray": "a NumPy array", "int": "an int", "function": "a function"}
    name = type(value).__name__[:60]
    if isinstance(value, list | tuple):
        return f"a {name} of {len(value)}"
    return names.get(name, f"a {name}")


def _source(function: Any) -> str:
    """The text of a student's own function, of moderate length, within whatever is wrapped around it."""
    try:
        function = inspect.unwrap(function)
        if type(function) is not FunctionType or function.__code__.co_filename.startswith(LIBRARIES):
            return ""
        source = textwrap.dedent(inspect.getsource(function.__code__))
    except KeyboardInterrupt:
        raise
    except BaseException:  # no source, or a hostile thing that looks like a function
        return ""
    return source if len(source) <= LONGEST_SOURCE else ""


def message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # a student's exception class may be broken, too
        text = ""
    name = type(error).__name__
    return f"{name}: {text}"[:LONGEST_TEXT] if text else name


def _place(error: BaseException) -> tuple[str, str, str]:
    """Where in the student's own code it was raised, "line 3: x = images.view(4)"; in which function, if that is one
    which the called function calls; and what the names on that line stood for."""
    own = [
        (frame, place)
        for (frame, _), place in zip(
            traceback.walk_tb(error.__traceback__), traceback.extract_tb(error.__traceback__), strict=True
        )
        if not place.filename.startswith((*LIBRARIES, "<frozen", "<__array"))
    ]
    if not own:
        return "", "", ""
    (_, first), (frame, last) = own[0], own[-1]
    number = last.lineno or 0
    lines = [linecache.getline(last.filename, n) for n in range(number, (last.end_lineno or number) + 1)]
    code = " ".join(filter(None, (line.strip() for line in lines)))
    place = f"line {number}: {code}"[:LONGEST_TEXT] if code else f"line {number}"
    return place, last.name[:60] if last.name != first.name else "", _stood_for("".join(lines), frame.f_locals)


NAMED = re.compile(r"""(?<![\w.'"])([^\W\d]\w*)(?:\[(?:"(\w+)"|'(\w+)'|(\d+))\])?""")  # x, p["W_Q"], features[0]


def _stood_for(code: str, variables: Mapping[str, Any]) -> str:
    """The tensors' shapes and the whole numbers that a piece of code names, in words; at most five."""
    found: dict[str, Tensor | int] = {}
    for match in NAMED.finditer(code[:LONGEST_TEXT]):
        name, *keys = match.groups()
        key, value = next(filter(None, keys), ""), variables.get(name)
        if key:
            name, value = match.group(), _element(value, key)
        if type(value) in (Tensor, nn.Parameter, int) and len(found) < 5:
            found[name] = value
    mixed = len({x.dtype for x in found.values() if isinstance(x, Tensor) and x.is_floating_point()}) > 1

    def said(name: str, value: Tensor | int) -> str:
        if isinstance(value, int):
            return f"{name} = {value}"
        return f"{name} has the shape {tuple(value.shape)}{f' and {value.dtype}' if mixed else ''}"

    return ", ".join(said(name, value) for name, value in found.items())


def _element(value: Any, key: str) -> Any:
    """What stands in a dict, list or tuple under the key or number in a text, or None."""
    if type(value) is dict:
        return value.get(key)
    if type(value) in (list, tuple) and key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    return None


class _Clipped(io.StringIO):
    """Keeps the beginning of what is written, and drops the rest."""

    def write(self, text: str) -> int:
        super().write(text[: LONGEST_TEXT - self.tell()])
        return len(text)

    def close(self) -> None:
        """Stays open: who closes sys.stdout closes this."""


class _Heard:
    def __init__(self, caught: list[warnings.WarningMessage]):
        self.printed = _Clipped()
        self._caught = caught

    def warned(self) -> str:
        messages = (str(warning.message).partition(" (Triggered internally at")[0] for warning in self._caught)
        return "\n".join(dict.fromkeys(messages))[:LONGEST_TEXT]


@contextlib.contextmanager
def _listening() -> Iterator[_Heard]:
    """Catch prints and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        heard = _Heard(caught)
        with contextlib.redirect_stdout(heard.printed), contextlib.redirect_stderr(heard.printed):
            yield heard
