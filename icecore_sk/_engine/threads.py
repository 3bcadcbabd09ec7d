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
    undo_numba()
    share_cores()


def undo_numba() -> None:
    """Take back what numba did to torch's threads.

    Where both share one OpenMP, the first parallel function of numba, in UMAP for instance, sets
    the number of threads for torch as well: to all logical cores, whatever OMP_NUM_THREADS says.
    Sums are then divided in another way, and a second fit of the same seed gave other numbers than
    the first. Any other number than numba's is what the user has set, and stays.
    """
    global _own
    now = torch.get_num_threads()
    numba = sys.modules.get("numba")
    if numba is not None and now == numba.config.NUMBA_NUM_THREADS != _own:
        torch.set_num_threads(_own)
    else:
        _own = now


def share_cores() -> None:
    """In a worker process of joblib, lower torch's threads to the worker's share of the cores.

    A worker inherits OMP_NUM_THREADS where the user has set it, so that two workers on two cores
    would run four threads, which is several times slower than two. The other variables then still
    tell the share. Outside such a worker nothing changes.
    """
    if not type(multiprocessing.current_process()).__name__.startswith("Loky"):
        return
    told = [os.environ.get(name, "") for name in VARIABLES]
    share = min((int(value) for value in told if value.isdecimal()), default=0)
    if 0 < share < torch.get_num_threads():
        torch.set_num_threads(share)
