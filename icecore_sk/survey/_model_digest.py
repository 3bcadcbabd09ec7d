"""A digest of a fitted model by what it holds, whichever process made or loaded it."""

import hashlib
import struct
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

# What does not change a number that a fitted model gives.
IGNORED = {"verbose", "checkpoint_dir", "callbacks", "device", "memory", "_sklearn_version"}
# Made anew from the rest of what a `Neighbours` holds, wherever it is loaded.
IGNORED_IN = {"Neighbours": {"_search"}}


def model_digest(model) -> str:
    """Return a digest that two models share where they hold the same parameters and arrays.

    A digest of the pickle would not do: it tells apart what is stored once and what is stored
    twice, so a model that was saved and loaded would be another.
    """
    digest = hashlib.blake2b(digest_size=16)
    _add(digest, model, set())
    return digest.hexdigest()


def _add(digest, value: Any, within: set[int]) -> None:
    """Add a value and all that it holds; `within` are the ids of what it is in."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        text = value if isinstance(value, bytes) else repr(value).encode()
        _mark(digest, f"{type(value).__name__}:{len(text)}")
        digest.update(text)
    elif isinstance(value, np.ndarray) and value.dtype.hasobject is False:
        _mark(digest, f"array {value.dtype.str} {value.shape}")
        digest.update(np.ascontiguousarray(value).tobytes())
    elif id(value) in within:
        _mark(digest, "itself")
    else:
        _add_parts(digest, value, within | {id(value)})


def _add_parts(digest, value: Any, within: set[int]) -> None:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        _mark(digest, f"list {len(value)}")
        parts = list(value)
    elif isinstance(value, dict):
        _mark(digest, f"dict {len(value)}")
        parts = [part for item in sorted(value.items(), key=_by_name) for part in item]
    elif isinstance(value, set | frozenset):
        _mark(digest, f"set {len(value)}")
        parts = sorted(value, key=repr)
    else:
        parts = _parts_of_object(digest, value)
    for part in parts:
        _add(digest, part, within)


def _parts_of_object(digest, value: Any) -> list:
    """Return what an object is made of, by the way it would be pickled."""
    # numba's compiled functions pickle with a number that every process draws anew.
    value = getattr(value, "py_func", value)
    if hasattr(value, "__qualname__"):
        _mark(digest, f"{value.__module__}.{value.__qualname__}")
        return []
    _mark(digest, f"{type(value).__module__}.{type(value).__qualname__}")
    if isinstance(value, BaseEstimator):
        state = value.__getstate__()
        return [{name: part for name, part in state.items() if name not in IGNORED}]
    ignored = IGNORED_IN.get(type(value).__name__)
    if ignored is not None:
        return [{name: part for name, part in vars(value).items() if name not in ignored}]
    reduced = value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return [reduced]
    make, arguments, *more = reduced
    state, items, pairs = (*more, None, None, None)[:3]
    return [make, arguments, state, list(items or ()), list(pairs or ())]


def _by_name(item: tuple) -> str:
    return repr(item[0])


def _mark(digest, text: str) -> None:
    """Add a text with its length, so that no two sequences of them read the same."""
    digest.update(struct.pack("<q", len(text)) + text.encode())
