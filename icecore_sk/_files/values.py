"""Estimators and values as a JSON document and arrays, and back."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from icecore_sk._files import foreign, trees
from icecore_sk._files.container import ModelFileError
from icecore_sk._files.fitted import check_fitted, check_neighbours
from icecore_sk._files.types import ESTIMATORS, FUNCTIONS, PARTS, class_of, name_of
from icecore_sk._outliers.neighbours import Neighbours

# Places of the machine that wrote the file: whoever reads it decides where files are written.
PLACES = ("checkpoint_dir", "memory")
# As numpy keeps them, without references to objects.
NUMBERS, OTHERS = "biuf", "UScmMV"
MOST_CODE_POINT = 0x10FFFF
# What `set_output` leaves.
OUTPUT, OUTPUTS = "_sklearn_output_config", ("default", "pandas", "polars")


class Writer:
    """Takes estimators and values apart.

    Attributes
    ----------
    arrays : dict of ndarray
        By the path of attributes that leads to each.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no id is given to a second object

    def write(self, value, path: str = "") -> Any:
        """Return what stands for `value` in the document."""
        if value is None or type(value) in (bool, str, int):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if type(value) is list:
            return self._each(value, path)
        if type(value) in (tuple, set, frozenset):
            return {type(value).__name__: self._each(list(value), path)}
        if type(value) is slice:
            return {"slice": self._each([value.start, value.stop, value.step], path)}
        if type(value) is dict:
            return {
                "dict": [
                    [self.write(key, path), self.write(entry, f"{path}/{key}")]
                    for key, entry in value.items()
                ]
            }
        if isinstance(value, np.generic):
            return {"scalar": self._array(np.asarray(value), path)}
        if type(value) is np.ndarray and value.dtype.kind in NUMBERS + OTHERS + "O":
            return {"array": self._array(value, path)}
        return self._object(value, path)

    def _each(self, values: list, path: str) -> list:
        return [self.write(entry, f"{path}/{i}") for i, entry in enumerate(values)]

    def _array(self, array: np.ndarray, path: str) -> dict[str, Any]:
        if array.dtype.kind == "O":
            items = self._each(list(array.ravel()), path)
            return {"items": items, "shape": list(array.shape)}
        note: dict[str, Any] = {}
        # Products of matrices round by the order in memory, so it is kept.
        if array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous:
            note["order"] = "F"
            array = array.T
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)
        if array.dtype.kind in OTHERS or array.dtype.itemsize > 8:
            note["dtype"] = np.lib.format.dtype_to_descr(array.dtype)
            itemsize = array.dtype.itemsize
            array = np.frombuffer(array.tobytes(), np.uint8).reshape(*array.shape, itemsize)
        name = path.lstrip("/").encode("utf-8", "replace").decode()
        while name in self.arrays or not name:
            name += "+"
        self.arrays[name] = array
        return {"name": name, **note}

    def _object(self, value, path: str) -> dict[str, Any]:
        if id(value) in self._numbers:
            return {"same": self._numbers[id(value)]}
        node = self._made(value, path)
        # After its parts, as the reader counts.
        self._numbers[id(value)] = len(self._kept)
        self._kept.append(value)
        return node

    def _made(self, value, path: str) -> dict[str, Any]:
        if isinstance(value, np.random.RandomState):
            return {"random_state": self.write(value.get_state(legacy=False), path)}
        for name, function in FUNCTIONS.items():
            if value is function:
                return {"function": name}
        for name, part in PARTS.items():
            if type(value) is part:
                skip = {"_search"} if part is Neighbours else set()
                state = {key: own for key, own in vars(value).items() if key not in skip}
                return {"part": name, "state": self.write(state, path)}
        tree = trees.tree_state(value)
        if tree is not None:
            return {"decision_tree": tree[0], "state": self.write(tree[1], path)}
        known_as = name_of(type(value))
        if known_as is not None:
            if hasattr(type(value), "_parameter_constraints"):
                value._validate_params()
            state = trees.without_search(value, _state_of(value))
            state |= {key: None for key in PLACES if key in state}
            # What no reader would take must not be written.
            try:
                _check_state(type(value), state)
            except ModelFileError as error:
                raise ModelFileError(
                    f"{_where(path)} cannot be saved: {error}. Delete the attribute with delattr, "
                    "or use joblib.dump for files that only you will load."
                ) from error
            return {"estimator": known_as, "state": self.write(state, path)}
        try:
            return {"skops": self._array(foreign.pack(value), path)}
        except ModelFileError as error:
            where = _where(path)
            raise ModelFileError(f"{where} cannot be saved: {error}. {_way_out(where)}") from error


def _where(path: str) -> str:
    return path.strip("/").replace("/", ".") or "estimator"


def _way_out(where: str) -> str:
    if "callbacks" in where:
        return (
            "Pass a copy without: sklearn.base.clone keeps parameters, set_params(callbacks=None)."
        )
    if where == "scorer_":
        return "Save what was found: save(search.best_estimator_, path)."
    return (
        "Save the other steps of the Pipeline by themselves, such as pipeline[:1], take a "
        "counterpart of scikit-learn, or use joblib.dump for files that only you will load."
    )


def _state_of(value) -> dict[str, Any]:
    state = value.__getstate__() if isinstance(value, BaseEstimator) else vars(value)
    return {
        key: os.fspath(entry) if isinstance(entry, Path) else entry for key, entry in state.items()
    }


class Reader:
    """Puts together what a `Writer` took apart, and makes nothing else.

    Parameters
    ----------
    arrays : dict of ndarray
    """

    def __init__(self, arrays: dict[str, np.ndarray]):
        self._arrays = dict(arrays)
        self._made: list[Any] = []
        # Each with what makes a value of it; the second kind may be referred to again.
        self._plain: dict[Any, Callable[[Any], Any]] = {
            "float": lambda text: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[text],
            "tuple": lambda entries: tuple(map(self.read, entries)),
            "set": lambda entries: set(map(self.read, entries)),
            "frozenset": lambda entries: frozenset(map(self.read, entries)),
            "slice": lambda entries: slice(*map(self.read, entries)),
            "dict": self._dict,
            "array": self._array,
            "scalar": lambda note: self._array(note)[()],
            "same": self._made.__getitem__,
        }
        self._objects: dict[Any, Callable[..., Any]] = {
            "random_state": self._random_state,
            "function": FUNCTIONS.__getitem__,
            "part": self._part,
            "decision_tree": trees.make_tree,
            "estimator": self._estimator,
            "skops": lambda note: foreign.unpack(self._array(note)),
        }

    def read(self, node) -> Any:
        """Return the value that `node` stands for."""
        if isinstance(node, list):
            return [self.read(entry) for entry in node]
        if not isinstance(node, dict):
            return node
        kind = next(iter(node), None)
        if kind in self._plain and len(node) == 1:
            return self._plain[kind](node[kind])
        if kind not in self._objects or not {kind} <= set(node) <= {kind, "state"}:
            raise ModelFileError(f"it has an entry of the unknown kind {str(kind)[:40]!r}")
        make = self._objects[kind]
        made = make(node[kind], self.read(node["state"])) if "state" in node else make(node[kind])
        self._made.append(made)
        return made

    def check_all_used(self) -> None:
        if self._arrays:
            raise ModelFileError(f"it has arrays that nothing asks for: {list(self._arrays)[:3]}")

    def _dict(self, entries: list) -> dict:
        found = {self.read(key): self.read(entry) for key, entry in entries}
        if len(found) < len(entries):
            raise ModelFileError("a dictionary in it has one key twice")
        return found

    def _array(self, note: dict[str, Any]) -> np.ndarray:
        if "items" in note:
            array = np.empty(len(note["items"]), dtype=object)
            # One by one: lists among them would be taken for further dimensions.
            for i, entry in enumerate(note["items"]):
                array[i] = self.read(entry)
            return array.reshape(note["shape"])
        array = self._arrays.pop(note["name"])
        if "dtype" in note:
            dtype = np.lib.format.descr_to_dtype(_tuples(note["dtype"]))
            if dtype.hasobject or array.dtype != np.uint8 or array.shape[-1:] != (dtype.itemsize,):
                raise ModelFileError(f"its array {note['name'][:80]!r} is not of the type it says")
            shape = array.shape[:-1]
            array = np.frombuffer(array.tobytes(), dtype).reshape(shape).copy()
            if dtype.kind == "U" and array.size and not _are_texts(array):
                raise ModelFileError(f"its array {note['name'][:80]!r} holds no texts")
        return array.T if note.get("order") == "F" else array

    def _random_state(self, node) -> np.random.RandomState:
        generator = np.random.RandomState(0)
        generator.set_state(self.read(node))
        return generator

    def _part(self, name: str, state: dict[str, Any]):
        cls = PARTS[name]
        check_fitted(name, state)
        if cls is Neighbours:
            check_neighbours(state)
        part = cls.__new__(cls)
        part.__dict__.update(state)
        if isinstance(part, Neighbours):
            part.restore_search()
        return part

    def _estimator(self, name: str, state: dict[str, Any]):
        cls = class_of(name)
        estimator = cls.__new__(cls)
        _check_state(cls, state)
        if isinstance(estimator, BaseEstimator):
            estimator.__setstate__(state)
            if hasattr(cls, "_parameter_constraints"):
                estimator._validate_params()
        else:
            estimator.__dict__.update(state)
        trees.with_search(estimator)
        trees.check_trees_fit(estimator)
        return estimator


def _check_state(cls: Any, state: dict[str, Any]) -> None:
    """Raise where a state has not all parameters, or what would hide a method."""
    parameters = set(cls._get_param_names()) if issubclass(cls, BaseEstimator) else set()
    missing = parameters - set(state)
    if missing:
        raise ModelFileError(f"its {cls.__name__} lacks the parameters {sorted(missing)}")
    for name in set(state) - parameters:
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("__"):
            raise ModelFileError(f"its {cls.__name__} has the attribute {str(name)[:40]!r}")
        theirs = getattr(cls, name, None)
        if callable(theirs) or hasattr(theirs, "__get__"):
            raise ModelFileError(f"its {cls.__name__} has {name[:40]!r} in place of a method")
    output = state.get(OUTPUT, {})
    known = isinstance(output, dict) and set(output) <= {"transform"}
    if not known or not all(isinstance(v, str) and v in OUTPUTS for v in output.values()):
        raise ModelFileError(f"its {cls.__name__} has the set_output {str(output)[:40]!r}")
    parameters.add(OUTPUT)
    if cls in ESTIMATORS.values():
        learned = {key: entry for key, entry in state.items() if key not in parameters}
        check_fitted(cls.__name__, learned)


def _tuples(descr):
    """Turn the lists that JSON made of a dtype's tuples back."""
    if isinstance(descr, str):
        return descr
    return [
        tuple(tuple(part) if isinstance(part, list) else part for part in field) for field in descr
    ]


def _are_texts(array: np.ndarray) -> bool:
    codes = np.frombuffer(array.tobytes(), np.uint32)
    return int(codes.max()) <= MOST_CODE_POINT
