"""Calls and outcomes as bytes, for a candidate in another process: JSON and raw numbers, nothing that can be executed.

A message is 8 bytes with the length of its JSON part, that part, and the numbers of its tensors one after the other.
"""

import json
import math
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from vitlab.checks.engine.candidate import Outcome

DTYPES = {
    str(dtype): dtype
    for dtype in (
        torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex32, torch.complex64, torch.complex128,
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    )
}  # fmt: skip


def encode_call(name: str, arguments: tuple[Tensor | int, ...], cotangent: Tensor | None) -> bytes:
    return _encode({"name": name, "arguments": arguments, "cotangent": cotangent})


def decode_call(message: bytes) -> tuple[str, tuple[Tensor | int, ...], Tensor | None]:
    call = _decode(message)
    return call["name"], tuple(call["arguments"]), call["cotangent"]


def encode_outcome(outcome: Outcome) -> bytes:
    return _encode({field.name: getattr(outcome, field.name) for field in fields(Outcome)})


def decode_outcome(message: bytes) -> Outcome:
    """The outcome in a message.

    Raises:
        ValueError: if the message is no outcome.
    """
    values = _decode(message)
    try:
        return Outcome(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except TypeError as error:
        raise ValueError(f"the message is not an outcome: {error}") from None


def _encode(value: dict) -> bytes:
    numbers: list[bytes] = []

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            if str(value.dtype) not in DTYPES:
                raise ValueError(f"tensors of {value.dtype} cannot be sent; send one of {', '.join(DTYPES)}.")
            numbers.append(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
            return {"tensor": [str(value.dtype), list(value.shape)]}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    head = json.dumps({key: plain(item) for key, item in value.items()}).encode()
    return len(head).to_bytes(8, "big") + head + b"".join(numbers)


def _decode(message: bytes) -> dict:
    length = int.from_bytes(message[:8], "big")
    rest = memoryview(message)[8 + length :]

    def revive(value: Any) -> Any:
        nonlocal rest
        if isinstance(value, dict):
            name, shape = value["tensor"]
            size = math.prod(shape) * DTYPES[name].itemsize
            if size > len(rest) or any(side < 0 for side in shape):
                raise ValueError(f"a tensor of {size} bytes was announced, but {len(rest)} bytes are left.")
            numbers, rest = rest[:size], rest[size:]
            flat = (
                torch.frombuffer(bytearray(numbers), dtype=DTYPES[name]) if size else torch.empty(0, dtype=DTYPES[name])
            )
            return flat.reshape(shape)
        if isinstance(value, list):
            return [revive(item) for item in value]
        return value

    try:
        return {key: revive(item) for key, item in json.loads(bytes(message[8 : 8 + length])).items()}
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the message is not one of ours: {error!r}") from None
