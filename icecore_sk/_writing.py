"""Files that are there whole or not at all, also where a process is killed or the power fails."""

import errno
import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[str]:
    """Give a temporary name beside `path`, which becomes `path` when all went well.

    Whoever is killed while writing leaves an older file as it was, not half of a new one. What was
    written is on the disk before it takes the name, so that a power cut leaves one or the other.
    """
    # A name of its own for each, also in the threads of one process.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield str(temporary)
        _sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def rewriting(path: Path) -> Iterator[str]:
    """As `replacing`, for a file of one writer: what killed ones have left of it goes first."""
    tidy(path)
    with replacing(path) as temporary:
        yield temporary


def tidy(path: Path) -> None:
    """Remove what processes that were killed have left of `path` while they replaced it."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}"):
        left.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename itself survive a power cut, where the system lets a folder be synced."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        _fsync(handle)
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    # Windows syncs only what is open for writing.
    with open(path, "r+b") as file:
        _fsync(file.fileno())


def _fsync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems sync nothing. A full disk may show here for the first time.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
