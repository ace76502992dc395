"""What machine this is: asked here, and only once."""

import platform
from functools import cache
from pathlib import Path


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
