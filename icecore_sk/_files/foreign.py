"""Values of scikit-learn, scipy and numpy that are neither estimators nor arrays, by skops."""

import io
import zipfile

import numpy as np

from icecore_sk._files.container import MissingPackageError, ModelFileError, strict_json

# What scikit-learn's estimators hold beside arrays: sparse and masked arrays, dtypes, functions of
# numpy and scipy, losses. Estimators have entries of their own, and its compiled trees are left
# out, because they follow the indices in a file wherever these point.
MODULES = ("builtins", "numpy", "scipy.sparse", "scipy.special", "sklearn._loss", "sklearn.utils")


def require_skops():
    """Return the package, or say how to get it."""
    try:
        import skops.io
    except ImportError as error:
        raise MissingPackageError(
            "This model holds values for which icecore_sk.save and icecore_sk.load need the "
            "package skops. Install it with: pip install 'icecore_sk[safe]'"
        ) from error
    return skops.io


def pack(value) -> np.ndarray:
    """Return a value as bytes, or raise where a file may not hold it."""
    library = require_skops()
    try:
        data = library.dumps(value)
        _check(data)
        library.loads(data)
    except Exception as error:
        cls = type(value)
        raise ModelFileError(
            f"it is a {cls.__name__} of {cls.__module__.split('.')[0]}, which no safe file can hold"
        ) from error
    return np.frombuffer(data, np.uint8)


def unpack(packed: np.ndarray):
    """Return the value. Of types that skops does not trust by itself none is made."""
    data = packed.tobytes()
    _check(data)
    return require_skops().loads(data)


def _check(data: bytes) -> None:
    """Raise where unpacking would allocate more than there is, or make what is not in MODULES."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > len(data):
                raise ModelFileError(f"its part {entry.filename[:40]!r} would unpack to more")
            if entry.filename.endswith(".npy"):
                _check_array(archive, entry)
        _check_modules(strict_json(archive.read("schema.json")))


def _check_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    with archive.open(entry) as file:
        major, _ = np.lib.format.read_magic(file)
        read = {
            1: np.lib.format.read_array_header_1_0,
            2: np.lib.format.read_array_header_2_0,
        }.get(major)
        if read is None:
            raise ModelFileError(f"its array {entry.filename[:40]!r} has an unknown header")
        shape, _, dtype = read(file)
        # With Python's integers, which do not overflow.
        n_bytes = int(dtype.itemsize)
        for side in shape:
            n_bytes *= int(side)
        if dtype.hasobject or n_bytes != entry.file_size - file.tell():
            raise ModelFileError(f"its array {entry.filename[:40]!r} is not of the size it says")


def _check_modules(node) -> None:
    if isinstance(node, list):
        for entry in node:
            _check_modules(entry)
    if isinstance(node, dict):
        for key, entry in node.items():
            if key in ("__module__", "module_path") and not _allowed(entry):
                raise ModelFileError(f"it asks for {str(entry)[:80]!r}, which no file may hold")
            _check_modules(entry)


def _allowed(module) -> bool:
    return isinstance(module, str) and any(
        module == allowed or module.startswith(f"{allowed}.") for allowed in MODULES
    )
