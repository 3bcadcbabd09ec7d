"""No more threads than this process's share of the cores."""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import ModuleType
from typing import TypeVar

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

# How many passes over data have set torch to one thread for now, in whatever thread they are.
_passes = 0
_passes_lock = threading.Lock()

Item = TypeVar("Item")


def settle_threads() -> None:
    """Give torch the threads that are its own, before every fit and every pass over data."""
    global _own
    now = torch.get_num_threads()
    # A thread that begins during another's pass is given the one thread that is for the pass only.
    if not _passes and not set_by_numba(now):
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


def side_by_side(work: Callable[[Iterator[Item]], None], items: Sequence[Item]) -> None:
    """Share items among as many threads as torch has, each of which is torch's only one for them.

    `work` is called in each thread with an iterator over what it gets. Several threads that share
    the sums of one item divide them by their number, so that its last digits depend on the
    machine and on the settings; one thread per item gives the same everywhere, and seldom waits.
    An error in one thread ends the others after the item at hand, and is raised.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        work(iter(items))
        return
    shared = _Shared(items)

    def alone() -> None:
        torch.set_num_threads(1)
        try:
            work(shared)
        finally:
            shared.close()

    n_workers = min(threads, len(items))
    with _a_pass(threads), ThreadPoolExecutor(n_workers) as pool:
        try:
            for future in [pool.submit(alone) for _ in range(n_workers)]:
                future.result()
        finally:
            shared.close()


@contextmanager
def _a_pass(threads: int) -> Iterator[None]:
    """Give torch its threads back after the last pass: some of its settings are the process's."""
    global _passes
    with _passes_lock:
        _passes += 1
    try:
        yield
    finally:
        with _passes_lock:
            _passes -= 1
            if not _passes:
                torch.set_num_threads(threads)


class _Shared(Iterator[Item]):
    """An iterator that several threads may take from, until one of them closes it."""

    def __init__(self, items: Iterable[Item]):
        self.items, self.lock = iter(items), threading.Lock()

    def __next__(self) -> Item:
        with self.lock:
            return next(self.items)

    def close(self) -> None:
        with self.lock:
            self.items = iter(())
