"""Estimators and Pipelines in files that are safe to open."""

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.base import BaseEstimator

from icecore_sk._files.container import (
    MissingPackageError,
    ModelFileError,
    read_container,
    write_container,
)
from icecore_sk._files.migrations import MIGRATIONS
from icecore_sk._files.values import Reader, Writer

MAJOR = 1


def save(estimator, path):
    """Write an estimator or a Pipeline into a file that is safe to open.

    The file holds JSON and arrays in the safetensors format [1]_, no code and no pickle, under one
    checksum. It appears under its name only when it is whole.

    Parameters
    ----------
    estimator : estimator
        Fitted or not; of icecore_sk or scikit-learn, and what it holds as well: the steps of a
        Pipeline, the clusterer of a ClusterTransformer.
    path : str or path
        By custom with the ending ``.safetensors``. An existing file is replaced.

    Returns
    -------
    path : Path

    Raises
    ------
    FileNotFoundError
        Where the folder of `path` does not exist.
    ImportError
        Where safetensors or skops is not installed; both come with the extra ``safe``.
    TypeError
        Where `estimator` is no estimator.
    ValueError
        Where it holds an object of another package, such as a UMAP or a callback; the message
        says where, and the way out. Also where a parameter is invalid.

    See Also
    --------
    load : Reads the file.

    Notes
    -----
    `checkpoint_dir` and `memory` are saved as None: they are places on the machine that wrote the
    file, and whoever loads it decides where files are written and read.

    Weights and other arrays have the names of the attributes that lead to them, for other readers
    of safetensors.

    References
    ----------
    .. [1] Safetensors, the format: https://huggingface.co/docs/safetensors

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.cluster import KMeans
    >>> from icecore_sk import ClusterTransformer, load, save
    >>> model = ClusterTransformer(KMeans(2, random_state=0)).fit([[0.0], [1.0], [9.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(model, f"{folder}/clusters.safetensors")
    ...     load(path).predict([[8.0]])
    array([1], dtype=int32)
    """
    path = Path(path)
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(
            f"estimator is a {type(estimator).__name__}; expected an estimator or a Pipeline, "
            "such as VAE().fit(X)."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path={str(path)!r} is in a folder that does not exist.")
    if path.is_dir():
        raise ValueError(f"path={str(path)!r} is a folder; expected the name of a file.")
    writer = Writer()
    document = {
        "format": [MAJOR, len(MIGRATIONS)],
        "versions": _versions(),
        "model": writer.write(estimator),
    }
    write_container(path, document, writer.arrays)
    return path


def load(path):
    """Read an estimator or a Pipeline from a file that `save` wrote.

    Nothing in the file is executed, whoever wrote it. Only estimators of icecore_sk and
    scikit-learn are made, with the parameters and attributes that they can have, and no more memory
    is taken than the file's size accounts for. A file that was cut or changed is refused as a
    whole.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    estimator : estimator
        It gives the same numbers as the one that was saved, on the device that is here.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ImportError
        Where safetensors or skops is not installed; both come with the extra ``safe``.
    ValueError
        Where the file is damaged, of another kind, of a newer format, or asks for anything that no
        file may hold; the message names the file and the fault.

    See Also
    --------
    save : Writes the file.

    Notes
    -----
    A checksum tells damage, not who wrote the file: a model of a stranger may still be a bad model.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from icecore_sk import MeanCorrection, load, save
    >>> model = MeanCorrection().fit(np.full((3, 8, 8), 100, np.uint8))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load(save(model, f"{folder}/model.safetensors")).mean_
    100.0
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no model file {str(path)!r}.")
    written = ""
    try:
        # Damage shows in many ways, and all of them mean that the file is of no use.
        document, arrays = read_container(path)
        written = _written_by(document)
        document = _of_this_format(document)
        reader = Reader(arrays)
        estimator = reader.read(document["model"])
        reader.check_all_used()
        if not isinstance(estimator, BaseEstimator):
            raise ModelFileError(f"it holds a {type(estimator).__name__}, no estimator")
    except (MissingPackageError, OSError):
        raise
    except Exception as error:
        why = str(error) if isinstance(error, ModelFileError) else _described(error)
        raise ModelFileError(
            f"{str(path)!r} cannot be loaded: {why}.{written} Nothing of it was used; fetch the "
            "file again, or write it anew with icecore_sk.save."
        ) from error
    return estimator


def _versions() -> dict[str, str]:
    return {
        "icecore_sk": metadata.version("icecore_sk"),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "scikit-learn": sklearn.__version__,
        "torch": torch.__version__,
    }


def _of_this_format(document: dict[str, Any]) -> dict[str, Any]:
    major, minor = document["format"]
    if type(major) is not int or type(minor) is not int or minor < 0:
        raise ModelFileError(f"its format is {str(document['format'])[:40]}, which is no version")
    if major != MAJOR:
        raise ModelFileError(
            f"its format is {major}.{minor}, and this version of icecore_sk reads {MAJOR}.x. "
            "Install the version that wrote it"
        )
    for migrate in MIGRATIONS[minor:]:
        document = migrate(document)
    return document


def _written_by(document: dict[str, Any]) -> str:
    theirs = document["versions"]
    differ = [
        f"{name} {str(theirs.get(name))[:20]} (here {here})"
        for name, here in _versions().items()
        if theirs.get(name) != here
    ]
    return f" It was written with {', '.join(differ)}." if differ else ""


def _described(error: Exception) -> str:
    text = " ".join(str(error).split())[:300].rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
