"""Where a figure comes from: machine, versions, commit, memory."""

import os
import platform
import resource
import subprocess
from pathlib import Path

import numpy as np
import sklearn
import torch

import icecore_sk


def provenance() -> dict:
    """Say on what, with what, and from which commit a row was measured."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "commit": commit or "unknown",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {cpu_name()}",
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "icecore_sk": icecore_sk.__version__,
            "torch": torch.__version__,
            "scikit-learn": sklearn.__version__,
            "numpy": np.__version__,
        },
    }


def cpu_name() -> str:
    """Name the processor where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    wanted = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return wanted[0] if wanted else platform.processor()


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in units of 10^6 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
