"""MNIST from its four IDX files: found in a folder or fetched, always verified."""

import gzip
import hashlib
import os
import struct
import tempfile
import zlib
from pathlib import Path
from urllib.error import URLError

import numpy as np
from sklearn.datasets import get_data_home
from sklearn.utils import Bunch

# Name of each file, the MD5 of its uncompressed content, and its shape. The sums are those of
# the files as LeCun, Cortes and Burges published them.
FILES = {
    ("train", "data"): (
        "train-images-idx3-ubyte",
        "6bbc9ace898e44ae57da46a324031adb",
        (60000, 28, 28),
    ),
    ("train", "target"): ("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624", (60000,)),
    ("test", "data"): (
        "t10k-images-idx3-ubyte",
        "2646ac647ad5339dbf082846283269ea",
        (10000, 28, 28),
    ),
    ("test", "target"): ("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637", (10000,)),
}


def fetch_mnist(*, data_home=None, subset="train", download_if_missing=True, return_X_y=False):
    """Load MNIST, from a folder where it lies there, else from torchvision's mirrors.

    Parameters
    ----------
    data_home : str, path or None, default=None
        Folder with the four IDX files, gzipped or not, in itself or in ``mnist`` below it. None
        looks in the folder that the environment variable ``ICECORE_DATA`` names, then in
        scikit-learn's data home, where downloads go too.
    subset : {"train", "test", "all"}, default="train"
        60,000 images, 10,000 images, or both, training first.
    download_if_missing : bool, default=True
        Fetch what is in none of these folders.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    bunch : Bunch
        ``data``: ndarray (n, 28, 28) of uint8; ``target``: ndarray (n,) of int64, 0 to 9;
        ``target_names``; ``DESCR``.
    (data, target) : tuple of ndarray
        With ``return_X_y=True``.

    Raises
    ------
    ValueError
        Where a file is not what was published: the message names it, and nothing of it is used.
    FileNotFoundError
        Where a file is missing and not to be downloaded.
    OSError
        Where no mirror delivers.

    References
    ----------
    .. [1] LeCun, Bottou, Bengio and Haffner (1998). Gradient-based learning applied to document
           recognition. Proceedings of the IEEE 86(11).

    Examples
    --------
    >>> from icecore_sk.datasets import fetch_mnist
    >>> X, y = fetch_mnist(subset="test", return_X_y=True)  # doctest: +SKIP
    >>> X.shape, X.dtype.name  # doctest: +SKIP
    ((10000, 28, 28), 'uint8')
    """
    if subset not in ("train", "test", "all"):
        raise ValueError(f"subset={subset!r} must be 'train', 'test' or 'all'.")
    folders = _folders(data_home)
    parts = ["train", "test"] if subset == "all" else [subset]
    data, target = (
        np.concatenate([_load(part, kind, folders, download_if_missing) for part in parts])
        for kind in ("data", "target")
    )
    target = target.astype(np.int64)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=[str(digit) for digit in range(10)],
        DESCR="MNIST handwritten digits, 28x28 grey levels (LeCun, Cortes and Burges).",
    )


def _folders(data_home) -> list[Path]:
    """Folders to look in; the last one takes downloads."""
    if data_home is not None:
        home = Path(data_home)
        return [home / "mnist", home]
    folders = []
    if os.environ.get("ICECORE_DATA"):
        folders = [Path(os.environ["ICECORE_DATA"]) / "mnist", Path(os.environ["ICECORE_DATA"])]
    return [*folders, Path(get_data_home()) / "mnist"]


def _load(part: str, kind: str, folders: list[Path], download: bool) -> np.ndarray:
    name, md5, shape = FILES[part, kind]
    for folder in folders:
        for path in (folder / f"{name}.gz", folder / name):
            if path.is_file():
                return read_idx(path, md5, shape)
    if not download:
        raise FileNotFoundError(
            f"{name}.gz is in none of {', '.join(map(str, folders))}. Put MNIST's four files "
            "there, name their folder with data_home, or pass download_if_missing=True."
        )
    path = folders[-1] / f"{name}.gz"
    _download(path, md5, shape)
    return read_idx(path, md5, shape)


def read_idx(path: Path, md5: str, shape: tuple[int, ...]) -> np.ndarray:
    """Read one IDX file, plain or gzipped, after checking every byte of it.

    Parameters
    ----------
    path : Path
    md5 : str
        Sum of the uncompressed content.
    shape : tuple of int
        What the header must say.

    Raises
    ------
    ValueError
        Where the content is not what was published.
    """
    size = 4 + 4 * len(shape) + int(np.prod(shape))
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            # One byte more than allowed is enough to know; a bomb is never unpacked.
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, PermissionError):
            raise
        raise ValueError(_corrupt(path, f"it cannot be unpacked ({error})")) from error
    if len(content) != size:
        has = "more" if len(content) > size else len(content)
        raise ValueError(_corrupt(path, f"it has {has} bytes where {size} are expected"))
    header = struct.unpack(f">4B{len(shape)}I", content[: 4 + 4 * len(shape)])
    if header != (0, 0, 8, len(shape), *shape):
        raise ValueError(_corrupt(path, f"its header says {header[3:]}"))
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise ValueError(_corrupt(path, "its checksum is not the published one"))
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape).copy()


def _corrupt(path: Path, why: str) -> str:
    return f"{path} is corrupt: {why}. Delete it and fetch it again; nothing of it was used."


def _download(path: Path, md5: str, shape: tuple[int, ...]) -> None:
    """Fetch one file from the first mirror that delivers it whole, and only then name it."""
    from torchvision.datasets import MNIST
    from torchvision.datasets.utils import download_url

    path.parent.mkdir(parents=True, exist_ok=True)
    problems = []
    for mirror in MNIST.mirrors:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            try:
                download_url(f"{mirror}{path.name}", folder, path.name)
                fetched = Path(folder) / path.name
                read_idx(fetched, md5, shape)
            except (URLError, OSError, ValueError, RuntimeError) as error:
                problems.append(f"{mirror}: {error}")
                continue
            os.replace(fetched, path)
            return
    raise OSError(
        f"{path.name} could not be fetched ({'; '.join(problems)}). Download MNIST's four files "
        "elsewhere and pass their folder as data_home."
    )
