"""One file: a JSON document and arrays in the safetensors format, under one checksum."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from icecore_sk._writing import replacing

DOCUMENT, CHECKSUM = "icecore_sk", "sha256"
BLANK = "0" * 64
# JSON takes up to thirty times its bytes in memory. A network has a hundredth of this.
MOST_HEADER_BYTES = 2**24
BLOCK = 2**20


class ModelFileError(ValueError):
    """A file that cannot be trusted to be whole, or a model that no such file can hold."""


class MissingPackageError(ImportError):
    """A package of the extra `safe` is not installed."""


def require_safetensors():
    """Return the package, or say how to get it."""
    try:
        import safetensors.numpy
    except ImportError as error:
        raise MissingPackageError(
            "icecore_sk.save and icecore_sk.load need the package safetensors. "
            "Install it with: pip install 'icecore_sk[safe]'"
        ) from error
    return safetensors


def write_container(path: Path, document: dict, arrays: dict[str, np.ndarray]) -> None:
    """Write document and arrays; the file appears under its name only when it is whole.

    Parameters
    ----------
    path : Path
    document : dict
        What JSON can hold, without NaN and infinity.
    arrays : dict of ndarray
        Numbers or booleans, contiguous.
    """
    library = require_safetensors()
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    data = library.numpy.save(arrays, metadata={DOCUMENT: text, CHECKSUM: BLANK})
    if int.from_bytes(data[:8], "little") > MOST_HEADER_BYTES:
        raise ModelFileError(
            f"The model holds more names and texts than a file may ({MOST_HEADER_BYTES:,} bytes). "
            "Keep texts in arrays of strings, or use joblib.dump."
        )
    start = _checksum_at(data[: 8 + int.from_bytes(data[:8], "little")], path)
    checksum = hashlib.sha256(data).hexdigest().encode()
    # The inner is closed before the outer syncs and renames it.
    with replacing(path) as part, open(part, "xb") as file:
        for piece in (data[:start], checksum, data[start + len(checksum) :]):
            file.write(piece)


def read_container(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return document and arrays of a file, after checking every byte of it.

    Sizes are checked before anything is read: nothing larger than the file is allocated.

    Raises
    ------
    ModelFileError
        Where the file is damaged, or another kind of file.
    """
    library = require_safetensors()
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, MOST_HEADER_BYTES):
            raise ModelFileError("it is cut short, or no file that icecore_sk.save wrote")
        header = file.read(length)
        entries = strict_json(header)
        notes = entries.get("__metadata__") if isinstance(entries, dict) else None
        if not isinstance(notes, dict) or set(notes) != {DOCUMENT, CHECKSUM}:
            raise ModelFileError("it is no file that icecore_sk.save wrote")
        head = length.to_bytes(8, "little") + header
        start = _checksum_at(head, path)
        found = hashlib.sha256(head[:start] + BLANK.encode() + head[start + len(BLANK) :])
        while block := file.read(BLOCK):
            found.update(block)
    if found.hexdigest() != notes[CHECKSUM]:
        raise ModelFileError("its checksum is another: it was changed or cut after it was written")
    # The library checks that the sizes of all arrays add up to that of the file.
    with library.safe_open(path, framework="numpy") as content:
        arrays = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    return strict_json(notes[DOCUMENT]), arrays


def _checksum_at(head: bytes, path: Path) -> int:
    """Return where the checksum stands; quotes within the document are escaped, so only once."""
    key = f'"{CHECKSUM}":"'.encode()
    if head.count(key) != 1:
        raise ModelFileError("its header has no checksum where icecore_sk.save writes it")
    return head.index(key) + len(key)


def strict_json(text: bytes | str) -> Any:
    """Read JSON that says nothing twice and holds no NaN."""
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ModelFileError(f"its header has the entry {twice[:40]!r} twice")
    return found


def _refuse(text: str):
    raise ModelFileError(f"its header has {text} where a number is expected")
