"""What machine this is, asked here and only once; and where a result comes from, for whoever reads it later.

torch is imported where it is used: `vitlab --help` does without.
"""

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _cpuinfo() -> dict[str, str]:
    """What Linux says about the first processor, by the names it uses there; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    first, _, _ = path.read_text(encoding="utf-8").partition("\n\n") if path.exists() else ("", "", "")
    entries = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in entries}


def processor() -> str:
    """The name of the processor, for whoever reads a result."""
    return _cpuinfo().get("model name") or platform.processor()


@cache
def is_intel() -> bool:
    """Whether Intel made the processor."""
    return "Intel" in (_cpuinfo().get("vendor_id") or platform.processor())


def provenance(device: Any = "cpu") -> dict[str, Any]:
    """The device of PyTorch that computed a result, the versions, the commit of this package and the date."""
    import torch

    repository = Path(__file__).parent
    git = ["git", "-C", str(repository), "describe", "--always", "--dirty", "--exclude", "*"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "device": torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit or "unknown",
        "date": datetime.now(UTC).date().isoformat(),
    }


def memory() -> float:
    """How many bytes of memory there are; no limit is known on systems that do not say."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else float("inf")


def is_out_of_memory(error: Exception) -> bool:
    """Whether this is one of the ways in which Python and torch say that there is too little of it."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error)
