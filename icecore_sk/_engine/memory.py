"""Keep freed memory at hand while a network runs, instead of asking the system for it anew."""

import ctypes
import os
import threading
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager

# Options of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
MEBIBYTE = 2**20
KEEP = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 64 * MEBIBYTE}
# Every block that may be a map of a batch apart from the heap, and given back when it is freed.
APART = {M_MMAP_MAX: 65536, M_MMAP_THRESHOLD: 128 * 1024}
# What glibc's own thresholds settle at in a process that has freed a block of 32 MiB, which is
# the largest that they adapt to; and the names by which the environment sets others.
USUAL = {
    M_MMAP_MAX: (65536, "mmap_max"),
    M_MMAP_THRESHOLD: (32 * MEBIBYTE, "mmap_threshold"),
    M_TRIM_THRESHOLD: (64 * MEBIBYTE, "trim_threshold"),
    M_TOP_PAD: (128 * 1024, "top_pad"),
}

_lock = threading.Lock()
_users = 0
_kernels_made: set[Hashable] = {None}


def _glibc():
    """Return the C library if it is glibc, else None."""
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version, library.mallopt, library.malloc_trim  # noqa: B018
    except (AttributeError, OSError, TypeError):  # musl, macOS and Windows, in this order
        return None
    return library


@contextmanager
def kept_memory(kernels: Hashable = None) -> Iterator[None]:
    """Let malloc keep what is freed until the end of the block, then give it all back.

    glibc maps every block above 32 MiB anew and unmaps it when it is freed, so each feature map
    of a batch is paid for page by page, in every step: measured, a quarter of the time of an
    autoencoder at 128 pixels. The settings are those of the process; blocks may be nested and
    entered from several threads, and the last to leave sets them to what the environment asks for
    (``MALLOC_TRIM_THRESHOLD_`` and the like, ``GLIBC_TUNABLES``) or, where it asks for nothing, to
    what they usually are: they cannot be read. Other C libraries are left alone.

    Parameters
    ----------
    kernels : hashable, optional
        What the block will compute, where that may be new to the process: a step of training, by
        the shapes of batch and weights. In the first such step oneDNN makes its kernels, which
        stay; small as they are, on the heap they come to lie between the maps and splinter what
        those leave, so that later steps fill 100 MB more with the same maps (ResNet18, 128 pixels,
        128 images). Memory is then kept from `keep` on, which is called after that step.
    """
    global _users
    library = _glibc()
    if library is None:
        yield
        return
    with _lock:
        _users += 1
        if _users == 1:
            _apply(library, KEEP if kernels in _kernels_made else APART)
            _kernels_made.add(kernels)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _apply(library, usual(os.environ))
                library.malloc_trim(ctypes.c_size_t(0))


def usual(environment: Mapping[str, str]) -> dict[int, int]:
    """Return the options as they are outside of `kept_memory`.

    Parameters
    ----------
    environment : mapping
        Its ``MALLOC_..._`` and ``GLIBC_TUNABLES`` count, as glibc reads them.
    """
    settings = environment.get("GLIBC_TUNABLES", "").split(":")
    tunables = dict(setting.partition("=")[::2] for setting in settings)
    options = {}
    for option, (value, name) in USUAL.items():
        asked = tunables.get(f"glibc.malloc.{name}", environment.get(f"MALLOC_{name.upper()}_"))
        try:
            # mallopt takes a C int.
            options[option] = min(int(asked, 0), 2**31 - 1) if asked else value
        except ValueError:
            options[option] = value
    return options


def keep() -> None:
    """Within `kept_memory`, keep what is freed from now on."""
    library = _glibc()
    with _lock:
        if library is not None and _users:
            _apply(library, KEEP)


def _apply(library, options: dict[int, int]) -> None:
    for option, value in options.items():
        library.mallopt(option, value)
