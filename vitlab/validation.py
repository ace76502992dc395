"""What comes from a file or a caller is looked at here, before anything is made of it: names, types, ranges.

A range stands beside the field that it is about, in its type: `depth: Count`. `validated` holds values against such
types, by pydantic, and says in one sentence what is wrong. pydantic is imported where it is used, because
`import vitlab` needs torch alone.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from difflib import get_close_matches
from inspect import signature
from numbers import Integral
from pathlib import Path
from typing import Annotated, Any, get_args

import torch
from torch import Tensor


class Limits:
    """What a value keeps to beside its type, in `Annotated`: bounds, or a test of its own.

    Args:
        test: returns the value, or raises ValueError with what would be right.
        bounds: ge, gt, le and lt of a number; min_length and max_length of a text or a list.
    """

    def __init__(self, test: Callable[[Any], Any] | None = None, **bounds: float):
        self.test, self.bounds = test, bounds

    def __get_pydantic_core_schema__(self, kind: Any, handler: Callable) -> dict[str, Any]:
        from pydantic_core.core_schema import no_info_after_validator_function

        schema = handler(kind) | self.bounds
        return no_info_after_validator_function(self.test, schema) if self.test else schema


def _line(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("a line that can be printed")
    return text


def _file_name(text: str) -> str:
    if text.startswith(".") or any(sign in _line(text) for sign in '/\\:*?"<>|'):
        raise ValueError("the name of a folder, without / and \\, and not beginning with a dot")
    return text


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("a range, the lower number first")
    return pair


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a list that names nothing twice")
    return names


Count = Annotated[int, Limits(ge=1, le=1000)]  # of blocks and the like
Size = Annotated[int, Limits(ge=1, le=2**15)]  # a dimension or a side: the product of four still fits 64 bits
Counts = Annotated[tuple[Count, ...], Limits(min_length=1, max_length=100)]
Sizes = Annotated[tuple[Size, ...], Limits(min_length=1, max_length=100)]
Levels = Annotated[int, Limits(ge=1, le=12)]  # each with twice the width of the one before
Outputs = Annotated[int, Limits(ge=0, le=10**6)]
Classes = Annotated[int, Limits(ge=1, le=10**6)]
Whole = Annotated[int, Limits(ge=0, le=10**9)]
Many = Annotated[int, Limits(ge=1, le=10**9)]
Seed = Annotated[int, Limits(ge=0, lt=2**63)]
Positive = Annotated[float, Limits(gt=0, le=1e6)]
NotNegative = Annotated[float, Limits(ge=0, le=1e6)]
Share = Annotated[float, Limits(ge=0, le=1)]
Rate = Annotated[float, Limits(ge=0, lt=1)]  # a share that is never all
_Scale = Annotated[float, Limits(ge=0.01, le=100)]
Scales = Annotated[tuple[_Scale, _Scale], Limits(_rising)]
Byte = Annotated[int, Limits(ge=0, le=255)]
Colour = tuple[Byte, Byte, Byte]
Line = Annotated[str, Limits(_line, max_length=200)]
FileName = Annotated[str, Limits(_file_name, max_length=100)]
Names = Annotated[tuple[Line, ...], Limits(_distinct, min_length=1, max_length=255)]  # of classes: 255 is no class

_OUR_WORDS = {
    r"^\w+ should ": "must ",
    r"^Value error, ": "must be ",
    r" after validation, not \d+": "",
    "Field required": "must have more entries",
    r"greater than or equal to (\S+)": r"\1 or more",
    r"less than or equal to (\S+)": r"\1 or less",
    "greater than": "above",
    "less than": "below",
    "a valid integer": "a whole number",
    "a valid boolean": "true or false",
    "a valid string": "a text",
    "a valid (array|list|tuple)": "a list",
    "an object|a valid dictionary": "a table",
    "a valid ": "a ",
}


def validated(
    what: Callable,
    content: Any,
    where: str,
    error: type[Exception] = ValueError,
    names: Mapping[str, str] | None = None,
) -> Any:
    """`what(**content)`, once all names, types and ranges have been found to be those that `what` declares.

    Args:
        what: a dataclass, or a function whose parameters have types.
        content: what JSON can hold. Its lists become tuples, its tables dataclasses, where `what` says so.
        where: what holds the content, as the sentence shall call it.
        error: what is raised.
        names: what the sentence shall call a field, where the file has another name for it.

    Raises:
        error: in one sentence, if an entry is unknown, missing, of another type, no finite number or out of range.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    strict = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    one = is_dataclass(what)  # in a list, because a dataclass by itself takes no settings
    try:
        text = json.dumps([content] if one else content, default=_plain)
        made = TypeAdapter(list[what] if one else what, config=strict).validate_json(text)
    except ValidationError as fault:
        faults = [each | {"loc": each["loc"][one:]} for each in fault.errors(include_url=False)]
        raise error(_sentence(what, content, where, faults, names or {})) from None
    return made[0] if one else made


def _plain(value: Any) -> Any:
    """What JSON does not know: an array as a list, everything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _sentence(what: Callable, content: Any, where: str, faults: list[dict], names: Mapping[str, str]) -> str:
    """What is wrong first of all, and what would be right."""
    first = min(faults, key=lambda fault: "unexpected" not in fault["type"])
    path, value = [], content
    for part in first["loc"]:  # as far as the content goes: behind that pydantic names the types it has tried
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            break
        path.append(part)
    if "unexpected" in first["type"]:
        *way, name = first["loc"]
        for part in way:  # numbers of a list, and the types that pydantic has tried, are no fields
            if part in signature(what).parameters:
                what = _dataclass_in(signature(what).parameters[part].annotation) or what
        return f"{where} has an entry {name!r} that nobody reads: {_hint(name, signature(what).parameters)}"
    called = [part if isinstance(part, int) else names.get(part, part) for part in first["loc"]]
    if first["type"].startswith("missing") and isinstance(called[-1], str):
        return f"{where} has no {called[-1]!r}."
    entry = ".".join(f"[{part}]" if isinstance(part, int) else part for part in called[: len(path)] if part != "")
    told = dict.fromkeys(_our_words(fault["msg"]) for fault in faults if fault["loc"][: len(path)] == tuple(path))
    shown = repr(value) if len(repr(value)) < 80 else f"{repr(value)[:80]} ..."
    return f"{where}{': ' * bool(entry)}{entry.replace('.[', '[')} is {shown}, but it {' or '.join(told)}."


def _dataclass_in(kind: Any) -> type | None:
    """What a field's type is, holds, or is among others."""
    return kind if is_dataclass(kind) else next(filter(None, map(_dataclass_in, get_args(kind))), None)


def _hint(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"these exist: {', '.join(known)}."


def _our_words(message: str) -> str:
    for theirs, ours in _OUR_WORDS.items():
        message = re.sub(theirs, ours, message)
    return message


def path_of(value: Any, error: type[Exception] = ValueError) -> Path:
    """A path that a caller gave, as one or as text.

    Raises:
        error: if it is neither.
    """
    if not isinstance(value, str | os.PathLike):
        raise error(f"{value!r} is no path of a file or folder: give it as text or as a Path.")
    return Path(value)


def read_table(path: Path, error: type[Exception], parse: Callable[[str], Any] = json.loads) -> dict[str, Any]:
    """What a text file in UTF-8 holds, with or without the byte order mark that some editors put first.

    Args:
        path: of the file.
        error: what is raised.
        parse: `json.loads` or `tomllib.loads`.

    Raises:
        error: if the file holds no text of this kind, or not a table.
        OSError: if it cannot be read.
    """
    try:
        content = parse(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as fault:
        raise error(f"{path} is no {path.suffix[1:].upper()} file, or a damaged one: {fault}.") from fault
    if not isinstance(content, dict):
        raise error(f"{path} holds {str(content)[:40]}, but it must hold a table of names and values.")
    return content


def checked_size(size: Any) -> tuple[int, int]:
    """(H, W), as they are.

    Raises:
        ValueError: if they are not two whole numbers from 1 on.
    """
    right = isinstance(size, tuple | list) and len(size) == 2
    if not right or not all(isinstance(side, Integral) and side >= 1 for side in size):
        raise ValueError(f"the size is {size!r}, but it must be (H, W), two whole numbers from 1 on.")
    return tuple(size)


def batch_of_images(images: Tensor) -> Tensor:
    """Images, as they are.

    Raises:
        ValueError: if they have not four axes.
    """
    if images.ndim != 4:
        raise ValueError(f"images must be (B, C, H, W), but these have the shape {tuple(images.shape)}.")
    return images


def checked_channels(images: Tensor, channels: int) -> Tensor:
    """Images, as they are.

    Raises:
        ValueError: if they have not four axes, or another number of channels.
    """
    if batch_of_images(images).shape[1] != channels:
        raise ValueError(f"the images have {images.shape[1]} channels, but this model was made for {channels}.")
    return images


def finite(scores: Tensor) -> Tensor:
    """The scores of classes, as they are: without this a class would be made of what is not a number.

    Raises:
        FloatingPointError: if one is infinite or not a number.
    """
    if not torch.compiler.is_compiling() and scores.numel() and not torch.stack(scores.aminmax()).isfinite().all():
        raise FloatingPointError("the scores of the classes are not finite: weights or images hold too large numbers.")
    return scores


def checked_labels(labels: Tensor, logits: Tensor, ignore_index: int) -> Tensor:
    """Labels of pixels in int64, of whatever integers they are: the masks of data sets are bytes.

    Args:
        labels: (B, H, W).
        logits: (B, N_classes, h, w).
        ignore_index: the label of pixels that do not count.

    Raises:
        ValueError: if they do not belong together. Whether a label is a class is seen only in a processor's memory,
            because a GPU would have to wait.
    """
    if not isinstance(labels, Tensor):
        raise ValueError(f"the labels are a {type(labels).__name__}, but they must be a tensor.")
    if logits.ndim != 4 or labels.ndim != 3 or len(labels) != len(logits):
        raise ValueError(
            f"the logits are {tuple(logits.shape)} and the labels {tuple(labels.shape)}, but they must be (B, N, h, w) "
            f"and (B, H, W), with the same B."
        )
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"the labels are {labels.dtype}, but classes are whole numbers.")
    labels = labels.long()
    if labels.device.type == "cpu" and not torch.compiler.is_compiling():
        wrong = labels[(labels != ignore_index) & ((labels < 0) | (labels >= logits.shape[1]))]
        if wrong.numel():
            raise ValueError(
                f"the labels hold {wrong[0].item()}, but classes are 0 ... {logits.shape[1] - 1}, and only the label "
                f"{ignore_index} is ignored."
            )
    return labels
