"""A check's own switches: what a notebook sets up for itself changes no result, and is given back as it was."""

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.utils._device
from torch.overrides import _get_current_function_mode_stack, _pop_mode, _push_mode

AUTOCAST = {"cpu": torch.bfloat16, "cuda": torch.float16}  # the devices on which it may be on, and PyTorch's choice
MEMORY = 4 * 2**30  # bytes that a worker of `quietly` may take
PRINTING = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None}


def _autocast(device: str) -> tuple[Callable, Callable, Any]:
    def read() -> tuple[bool, torch.dtype]:
        return torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)

    def write(value: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(device, value[0])
        torch.set_autocast_dtype(device, value[1])

    return read, write, (False, AUTOCAST[device])


SWITCHES = (  # how each is read, how it is set, and how a check wants it; None: as it is
    (torch.is_grad_enabled, torch.set_grad_enabled, True),
    (lambda: torch.empty(0).type(), torch.set_default_tensor_type, "torch.FloatTensor"),  # the default dtype, too
    _autocast("cpu"),
    _autocast("cuda"),
    (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled, True),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
    (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
        (False, False),
    ),
    (
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda value: torch.set_anomaly_enabled(*value),
        (False, True),
    ),
    (torch.is_warn_always_enabled, torch.set_warn_always, True),  # not only once in a process: every run hears the same
    (torch._tensor_str.get_printoptions, lambda value: torch.set_printoptions(**value), PRINTING),
    (torch.get_num_threads, torch.set_num_threads, None),
)


@contextlib.contextmanager
def own() -> Iterator[None]:
    """Inside, PyTorch, NumPy and the warnings are as in a new process; afterwards all is as it was before.

    That is: gradients are on and inference mode is off; default device and dtype, autocast, matrix products' precision,
    deterministic algorithms, anomaly mode, number of threads and printing of PyTorch; errors and printing of NumPy;
    filters of warnings.
    """
    with (
        warnings.catch_warnings(),
        torch.inference_mode(False),
        np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"),
        np.printoptions(),
        _no_modes(),
    ):
        warnings.simplefilter("ignore")
        before = [read() for read, _, _ in SWITCHES]
        try:
            for (_, write, wanted), value in zip(SWITCHES, before, strict=True):
                if wanted is not None and wanted != value:
                    write(wanted)
            yield
        finally:
            for (read, write, _), value in zip(SWITCHES, before, strict=True):
                if read() != value:
                    write(value)


def quietly() -> None:
    """For good, in a worker of many: one thread, little memory, since a wrong version with a border of 768 pixels would
    take all, and no warnings, since what it warns of is no news."""
    import resource  # which not every system has

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


@contextlib.contextmanager
def random_streams_kept() -> Iterator[None]:
    """Whatever is drawn inside, the next numbers of `torch`, `numpy.random` and `random` are those that were due."""
    of_numpy, of_python = np.random.get_state(), random.getstate()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            np.random.set_state(of_numpy)
            random.setstate(of_python)


@contextlib.contextmanager
def _no_modes() -> Iterator[None]:
    """Without a default device and whatever else changes how PyTorch's functions work.

    A default device, set for good or by `with torch.device(...)`, is a mode on a stack which PyTorch has no public way
    to put back exactly: setting it again inside of `with` breaks the stack.
    """
    modes, device = _get_current_function_mode_stack(), torch.utils._device.CURRENT_DEVICE
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    _replace_modes([])
    torch._GLOBAL_DEVICE_CONTEXT.device_context = torch.utils._device.CURRENT_DEVICE = None
    try:
        yield
    finally:
        _replace_modes(modes)
        torch._GLOBAL_DEVICE_CONTEXT.device_context, torch.utils._device.CURRENT_DEVICE = context, device


def _replace_modes(modes: list) -> None:
    for _ in _get_current_function_mode_stack():
        _pop_mode()
    for mode in modes:
        _push_mode(mode)
