"""Where a figure comes from (machine, versions, commit, memory), and where it is kept."""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import sklearn
import torch

import icecore_sk

# What a row may rest on besides, by the name that is imported and the name that is installed.
OTHERS = {
    "torchvision": "torchvision",
    "umap": "umap-learn",
    "pynndescent": "pynndescent",
    "pyod": "pyod",
    "pythae": "pythae",
}


def provenance() -> dict:
    """Say on what, with what, and from which commit a row was measured."""
    return {
        "commit": commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {cpu_name()}",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "icecore_sk": icecore_sk.__version__,
            "torch": torch.__version__,
            "scikit-learn": sklearn.__version__,
            "numpy": np.__version__,
            **{name: version(name) for key, name in OTHERS.items() if key in sys.modules},
        },
    }


def commit() -> str:
    """Name the commit of the code; "-dirty" where the code is not as it was committed.

    Results are no code: a second row must not say that the first one changed something.
    """
    head = git("rev-parse", "--short", "HEAD")
    changed = git("status", "--porcelain", "--", ":/", ":(top,exclude)benchmarks/results")
    return head + ("-dirty" if changed else "") if head else "unknown"


def git(*words: str) -> str:
    """Return what git prints in this folder, nothing where it fails."""
    done = subprocess.run(
        ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def cpu_name() -> str:
    """Name the processor where the system tells.

    A machine that is rented often says no more than who made it; the numbers tell which it is.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if "model name" not in said:
        return platform.processor()
    return f"{said['model name']} (family {said['cpu family']}, model {said['model']})"


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in units of 10^6 bytes."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    # `ru_maxrss` would do everywhere, but a process starts with the figure of the one that started
    # it, so that a small one started by a large one would seem large.
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def kept(path: Path, force: bool, measure) -> dict:
    """Read a result, or measure and write it."""
    if force or not path.exists():
        print(f"measuring {path.stem}", flush=True)
        # The code is the one at the start: a commit made while it runs measured nothing. So are the
        # threads: where numba shares torch's OpenMP, the first map ends with as many as cores.
        at_start = {"commit": commit(), "threads": torch.get_num_threads()}
        started = time.perf_counter()
        result = {**measure(), **provenance(), **at_start}
        result["took_seconds"] = time.perf_counter() - started
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(result, indent=1) + "\n")
        part.replace(path)
    return json.loads(path.read_text())
