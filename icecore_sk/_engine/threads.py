"""No more threads than this process's share of the cores."""

import multiprocessing
import os
import sys
from types import ModuleType

import torch

# What joblib sets in each of its workers to the worker's share of the cores, unless the user has
# set it already.
VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)

# How many threads torch ran before numba had a say, and whether numba has had it.
_own = torch.get_num_threads()
_numba_spoke = False


def settle_threads() -> None:
    """Give torch the threads that are its own, before every fit and every pass over data."""
    global _own
    now = torch.get_num_threads()
    if not set_by_numba(now):
        _own = now
    _own = min(_own, share_of_cores(_own))
    if _own != now:
        torch.set_num_threads(_own)


def set_by_numba(threads: int) -> bool:
    """Whether it was numba that set torch's threads since this was last asked.

    Where both share one OpenMP, the first parallel function of numba, in UMAP for instance, sets
    the number of threads for torch as well: to all logical cores, whatever OMP_NUM_THREADS says.
    Sums are then divided in another way, and a second fit of the same seed gave other numbers than
    the first. It does so once in a process: any later change, to whatever number, is the user's.
    """
    global _numba_spoke
    numba = sys.modules.get("numba")
    if _numba_spoke or numba is None or not runs_openmp(numba):
        return False
    _numba_spoke = True
    return bool(threads == numba.config.NUMBA_NUM_THREADS)


def runs_openmp(numba: ModuleType) -> bool:
    """Whether numba has started threads, and those of OpenMP."""
    try:
        return bool(numba.threading_layer() == "omp")
    except ValueError:  # It has not started any.
        return False


def share_of_cores(otherwise: int) -> int:
    """Return the share of the cores that joblib gave this worker process.

    A worker inherits OMP_NUM_THREADS where the user has set it, so that two workers on two cores
    would run four threads, which is several times slower than two. The other variables then still
    tell the share. Outside such a worker there is none, and `otherwise` is returned.
    """
    if not type(multiprocessing.current_process()).__name__.startswith("Loky"):
        return otherwise
    told = [os.environ.get(name, "") for name in VARIABLES]
    return min(
        (int(value) for value in told if value.isdecimal() and int(value)), default=otherwise
    )
