"""How it is measured: time, memory and operations, and what the machine itself can do."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vitlab.fast import linear

DTYPES = {"cpu": torch.float32, "cuda": torch.bfloat16}  # of the products; weights are in float32 everywhere


def device() -> str:
    """What is measured: the GPU, else the processor."""
    return "cuda" if torch.cuda.is_available() else "cpu"


class MeasurementError(Exception):
    """Something could not be measured; the sentence says what, and why."""


def alone(function: Callable, *arguments: Any, **environment: str) -> Any:
    """What a function gives in a fresh process, where no other model has run before.

    That matters: the C library's allocator remembers the largest tensors it has seen, and serves later ones faster.

    Args:
        function: of a module, by whose name the process finds it.
        arguments: its arguments; they and the result are what JSON can hold.
        environment: variables that the process shall have besides this one's.

    Raises:
        MeasurementError: if the process fails.
    """
    program = (
        "import json, sys; from importlib import import_module; module, name, arguments = json.loads(sys.argv[1]); "
        "print(json.dumps(getattr(import_module(module), name)(*arguments)))"
    )
    call = json.dumps([function.__module__, function.__name__, arguments])
    command, variables = [sys.executable, "-c", program, call], os.environ | environment
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        what = f"{function.__name__}({', '.join(map(repr, arguments))})"
        why = done.stderr.strip() or f"its process ended with {done.returncode}"
        raise MeasurementError(f"{what} could not be measured: {why.splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    if device() == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def machine_rates() -> dict[str, float]:
    """Operations a second in a large matrix product, by whichever of two libraries is faster here, and bytes a second
    in a copy (read and written)."""
    where = device()
    n, numbers = (2048, 2**26) if where == "cpu" else (8192, 2**28)
    A, B = torch.randn(2, n, n, device=where, dtype=DTYPES[where])
    source = torch.zeros(numbers, device=where)
    target = torch.zeros_like(source)
    with torch.no_grad():
        product = min(min(seconds(lambda: A @ B), seconds(lambda: linear(A, B))) for _ in range(10))
    copy = min(seconds(lambda: target.copy_(source)) for _ in range(10))
    return {"matrix_flop_per_s": 2 * n**3 / product, "copy_bytes_per_s": 2 * 4 * numbers / copy}


def resident(entry: str) -> int:
    """Bytes of this process in memory: now (VmRSS) or at most so far (VmHWM).

    Not resource.getrusage: its maximum starts at what the process had that started this one.
    """
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(entry))
