"""No more threads than this process's share of the cores."""

import multiprocessing
import os
import sys

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

# How many threads torch ran before numba had a say.
_own = torch.get_num_threads()


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
    """Whether it was numba that set torch's threads.

    Where both share one OpenMP, the first parallel function of numba, in UMAP for instance, sets
    the number of threads for torch as well: to all logical cores, whatever OMP_NUM_THREADS says.
    Sums are then divided in another way, and a second fit of the same seed gave other numbers than
    the first. Any other number than numba's is what the user has set, and stays.
    """
    numba = sys.modules.get("numba")
    return numba is not None and threads == numba.config.NUMBA_NUM_THREADS != _own


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
