"""Calls and outcomes as bytes, for a candidate in another process: JSON and raw numbers, nothing that can be executed.

A message is 8 bytes with the length of its JSON part, that part, and the numbers of its tensors one after the other.
In the JSON part a tensor is {"tensor": [dtype, shape]}, a dict {"dict": [[key, value], ...]}, a tuple {"tuple": [...]}.
"""

import json
import math
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from vitlab.checks.engine.candidate import Outcome
from vitlab.checks.engine.values import DTYPES, Value

KINDS = ("returned", "other", "raised", "late", "missing")


def encode_call(
    name: str,
    arguments: tuple[Value, ...],
    cotangent: Tensor | None = None,
    seconds: float | None = None,
    largest: bool = False,
    instead: str = "",
) -> bytes:
    return _encode([name, list(arguments), cotangent, seconds, largest, instead])


def decode_call(message: bytes) -> tuple[str, tuple[Value, ...], Tensor | None, float | None, bool, str]:
    """The call in a message.

    Raises:
        ValueError: if the message is no call.
    """
    match _decode(message):
        case [
            str(name),
            list(arguments),
            Tensor() | None as cotangent,
            float() | int() | None as seconds,
            bool(largest),
            str(instead),
        ]:
            return name, tuple(arguments), cotangent, seconds, largest, instead
    raise ValueError("the message is not a call.")


def encode_outcome(outcome: Outcome) -> bytes:
    lists = {"gradients": list(outcome.gradients), "changed": [list(path) for path in outcome.changed]}
    lists["largest"] = list(outcome.largest)
    return _encode([lists.get(field.name, getattr(outcome, field.name)) for field in fields(Outcome)])


def decode_outcome(message: bytes) -> Outcome:
    """The outcome in a message. Whoever wrote it, every field is of its type.

    Raises:
        ValueError: if the message is no outcome.
    """
    match _decode(message):
        case [
            str(kind),
            Tensor() | bool() | int() | float() | None as output,
            str(text),
            str(line),
            str(inside),
            str(there),
            list(gradients),
            list(changed),
            bool(overwrites),
            str(printed),
            str(warned),
            float(seconds),
            list(largest),
            str(source),
        ] if (  # fmt: skip
            kind in KINDS
            and math.isfinite(seconds)
            and (kind == "returned") == (output is not None)
            and all(gradient is None or isinstance(gradient, Tensor) for gradient in gradients)
            and all(isinstance(path, list) and all(type(key) in (int, str) for key in path) for path in changed)
            and all(type(side) is int and side >= 0 for side in largest)
        ):
            seen = (tuple(gradients), tuple(map(tuple, changed)), overwrites, printed, warned, seconds, tuple(largest))
            return Outcome(kind, output, text, line, inside, there, *seen, source)
    raise ValueError("the message is not an outcome.")


def _encode(value: list) -> bytes:
    numbers: list[bytes] = []

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            if str(value.dtype) not in DTYPES:
                raise ValueError(f"tensors of {value.dtype} cannot be sent; send one of {', '.join(DTYPES)}.")
            # a copy: of one number alone, contiguous() keeps the step to the next, and no bytes can be seen through it
            dense = value.detach().clone(memory_format=torch.contiguous_format)
            numbers.append(dense.reshape(-1).view(torch.uint8).numpy().tobytes())
            return {"tensor": [str(value.dtype), list(value.shape)]}
        if isinstance(value, dict):
            return {"dict": [[key, plain(item)] for key, item in value.items()]}
        if isinstance(value, list | tuple):
            items = [plain(item) for item in value]
            return {"tuple": items} if isinstance(value, tuple) else items
        return value

    head = json.dumps(plain(value)).encode()
    return len(head).to_bytes(8, "big") + head + b"".join(numbers)


def _decode(message: bytes) -> Any:
    length = int.from_bytes(message[:8], "big")
    rest = memoryview(message)[8 + length :]

    def tensor(name: str, shape: list[int]) -> Tensor:
        nonlocal rest
        if any(type(side) is not int or side < 0 for side in shape):
            raise ValueError(f"{shape} is no shape.")
        size = math.prod(shape) * DTYPES[name].itemsize
        if size > len(rest):
            raise ValueError(f"a tensor of {size} bytes was announced, but {len(rest)} bytes are left.")
        numbers, rest = bytearray(rest[:size]), rest[size:]
        if not size:
            return torch.empty(shape, dtype=DTYPES[name])
        flat = torch.frombuffer(numbers, dtype=torch.uint8)
        # a boolean is the byte 0 or 1 and nothing else, whatever came
        return (flat != 0 if DTYPES[name] == torch.bool else flat.view(DTYPES[name])).reshape(shape)

    def revive(value: Any) -> Any:
        if isinstance(value, dict):
            ((kind, content),) = value.items()
            if kind == "tuple":
                return tuple(revive(item) for item in content)
            return tensor(*content) if kind == "tensor" else {key: revive(item) for key, item in value["dict"]}
        if isinstance(value, list):
            return [revive(item) for item in value]
        return value

    try:
        value = revive(json.loads(bytes(message[8 : 8 + length])))
    except (KeyError, TypeError, ValueError, RuntimeError, RecursionError) as error:
        raise ValueError(f"the message is not one of ours: {error!r}") from None
    if len(rest):
        raise ValueError(f"{len(rest)} bytes are left over.")
    return value
