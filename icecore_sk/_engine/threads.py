"""No more threads than this process's share of the cores."""

import multiprocessing
import os

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
