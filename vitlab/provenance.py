"""Where a result comes from: the machine, the versions and the commit, for whoever reads it later."""

import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from vitlab.machine import processor


def provenance(device: torch.device | str = "cpu") -> dict[str, Any]:
    """The device that computed a result, the versions, the commit of this package and the date."""
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
