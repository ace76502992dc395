"""What passes between a check and a student's code: tensors and numbers, alone or in lists, tuples and dicts of them.

Arguments come as a tuple. A path says where in them a tensor stands: (1, "blocks", 0) is arguments[1]["blocks"][0].
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

Value = Tensor | int | float | list["Value"] | tuple["Value", ...] | dict[str, "Value"]
Path = tuple[int | str, ...]

DTYPES = {  # of the tensors that may pass, by the names that they have on the way
    str(dtype): dtype
    for dtype in (
        torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex32, torch.complex64, torch.complex128,
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    )
}  # fmt: skip


def copy(value: Any, requires_grad: bool = False) -> Any:
    """The same numbers in tensors, lists and dicts of their own; floating tensors become leaves if asked for."""
    if isinstance(value, Tensor):
        own = value.detach().clone(memory_format=torch.contiguous_format)  # as it comes to a process elsewhere
        return own.requires_grad_(requires_grad and own.is_floating_point())
    if isinstance(value, dict):
        return {key: copy(item, requires_grad) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copy(item, requires_grad) for item in value)
    return value


def tensors(value: Any, path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """All tensors in a value, each with its path, always in the same order."""
    if isinstance(value, Tensor):
        yield path, value
    else:
        for key, item in _items(value):
            yield from tensors(item, (*path, key))


def difference(given: Any, now: Any, path: Path = ()) -> Path | None:
    """Where `now` first differs from `given`, in a number, a dtype, a size, a key; None if they are the same."""
    if isinstance(given, Tensor):
        return None if isinstance(now, Tensor) and _same(given, now) else path
    if not isinstance(given, dict | list | tuple):
        return None if type(given) is type(now) and given == now else path
    if type(given) is not type(now):
        return path
    if isinstance(given, list) and len(given) != len(now):
        return path
    items, items_now = dict(_items(given)), dict(_items(now))
    for key in [*items, *items_now]:
        if (key in items) != (key in items_now):
            return (*path, key)
        if found := difference(items[key], items_now[key], (*path, key)):
            return found
    return None


def name_of(path: Path, arguments: tuple[str, ...]) -> str:
    """A path in Python's words, such as blocks[0]['gamma_1']; `arguments` are the names of the arguments."""
    return arguments[path[0]] + "".join(f"[{key!r}]" for key in path[1:])


def as_tensor(value: Tensor | int | float) -> Tensor:
    """A number as a tensor without axes, int64, float64 or bool; a tensor as it is."""
    if isinstance(value, float):
        return torch.tensor(value, dtype=torch.float64)
    return value if isinstance(value, Tensor) else torch.tensor(value)


def _items(value: Any) -> Iterator[tuple[int | str, Any]]:
    if isinstance(value, dict):
        return iter(value.items())
    return enumerate(value) if isinstance(value, list | tuple) else iter(())


def _same(x: Tensor, y: Tensor) -> bool:
    """Equal in dtype, shape and every number; NaN is the same as NaN."""
    if (x.dtype, x.shape, x.layout, x.device) != (y.dtype, y.shape, y.layout, y.device):
        return False
    return torch.equal(x, y) or bool(((x == y) | (x != x) & (y != y)).all())
