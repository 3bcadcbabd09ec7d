"""Arrays that are views of mapped files: where they lie, and how their pages are let go."""

import ctypes
import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Bytes of mapped files that may become resident before all are let go.
MAPPED_BYTES = 64 * 2**20
# What Linux may map along with a page that is read, where it has it cached: 64 KiB, or a huge page.
AROUND = 2 * 2**20
MAPS = Path("/proc/self/maps")  # of Linux; other systems do not say


@dataclass(frozen=True)
class Mapping:
    """A file, or a part of one, that lies in this process's memory from `start` on."""

    start: int
    offset: int  # in the file
    inode: int
    path: str


def read_maps() -> list[str]:
    """Return what the system says of this process's memory, nothing where it says nothing."""
    try:
        return MAPS.read_text().splitlines()
    except OSError:
        return []


def mapping_of(low: int, high: int, maps: list[str]) -> Mapping | None:
    """Return the file mapping in `maps` that these addresses are in.

    None where it is of no file, where it may hold changes that no file has (copy-on-write maps),
    and on systems that do not say.
    """
    for line in maps:
        bounds, access, offset, _, inode, *path = line.split(maxsplit=5)
        start, stop = (int(bound, 16) for bound in bounds.split("-"))
        if start <= low and high <= stop:
            as_in_the_file = "s" in access or "w" not in access
            if not as_in_the_file or not path or not int(inode):
                return None
            return Mapping(start, int(offset, 16), int(inode), path[0])
    return None


def mapped_place(array: np.ndarray) -> tuple[str, int] | None:
    """Return the file that an array is a view of and where in it the first element lies.

    None where there is none, see `mapping_of`, or where its path leads to another file now.
    """
    mapping = mapping_of(*np.lib.array_utils.byte_bounds(array), read_maps())
    if mapping is None:
        return None
    try:
        if os.stat(mapping.path).st_ino != mapping.inode:
            return None
    except OSError:
        return None
    first = array.__array_interface__["data"][0]
    return mapping.path, first - mapping.start + mapping.offset


def view_of_file(path, offset, dtype, shape, strides) -> np.ndarray:
    """Return the array that lies at a place from `mapped_place`."""
    content = np.memmap(path, np.uint8, "r")
    return np.ndarray(shape, dtype, content, offset, strides)


class FilePages:
    """Keeps the pages of mapped files from piling up in resident memory.

    Every page that is read stays resident until the system runs short of memory, so a pass over a
    file looks like a copy of it. Pages let go stay in the system's cache and come back cheaply.

    Parameters
    ----------
    arrays : list of ndarray
        Those that are views of files, by numpy or by Arrow, are looked after.
    """

    def __init__(self, arrays: list[np.ndarray]):
        self.arrays = arrays
        self.n_bytes = 0
        self.ranges: list[tuple[int, int]] | None = None

    def read(self, index: np.ndarray, row_bytes: int) -> None:
        """Take note of rows that are about to be read, and let the pages go where it is time."""
        together = len(index) and index[-1] - index[0] == len(index) - 1
        self.n_bytes += len(index) * (row_bytes if together else row_bytes + AROUND)
        if self.n_bytes <= MAPPED_BYTES:
            return
        self.n_bytes = 0
        if self.ranges is None:  # little that is read needs none
            maps = read_maps()
            bounds = [np.lib.array_utils.byte_bounds(array) for array in self.arrays if array.size]
            self.ranges = [whole_pages(*both) for both in bounds if mapping_of(*both, maps)]
        for start, size in self.ranges:
            let_go(start, size)


def whole_pages(low: int, high: int) -> tuple[int, int]:
    """Return start and size of the pages that lie between two addresses in whole."""
    start, stop = -(-low // mmap.PAGESIZE) * mmap.PAGESIZE, high // mmap.PAGESIZE * mmap.PAGESIZE
    return start, max(0, stop - start)


def let_go(start: int, size: int) -> None:
    """Tell the system that these pages of a file, which has all they hold, need not be resident."""
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    madvise(start, size, mmap.MADV_DONTNEED)
