"""scikit-learn's compiled trees, checked: they follow indices without looking where they point."""

from typing import Any

import numpy as np
from sklearn.ensemble._hist_gradient_boosting.predictor import (
    PREDICTOR_RECORD_DTYPE,
    TreePredictor,
)
from sklearn.neighbors import BallTree, KDTree
from sklearn.neighbors._base import NeighborsBase
from sklearn.tree._tree import Tree

from icecore_sk._files.container import ModelFileError

TREE, PREDICTOR = "tree", "predictor"
SEARCH_TREES = {"KDTree": KDTree, "BallTree": BallTree}


def tree_state(value) -> tuple[str, dict[str, Any]] | None:
    """Return kind and content of a decision tree, None of anything else."""
    if type(value) is Tree:
        _, sizes, state = value.__reduce__()
        return TREE, {"sizes": list(sizes), **state}
    if type(value) is TreePredictor:
        return PREDICTOR, dict(value.__dict__)
    return None


def make_tree(kind: str, state: dict[str, Any]):
    """Return a decision tree whose indices all point into it."""
    nodes = state["nodes"]
    if kind == PREDICTOR:
        predictor = TreePredictor(**state)
        _check_dtype(nodes, PREDICTOR_RECORD_DTYPE)
        inner = nodes["is_leaf"] == 0
        _check_children(inner, nodes["left"], nodes["right"])
        sets = state["raw_left_cat_bitsets"]
        for bits in (sets, state["binned_left_cat_bitsets"]):
            if bits.dtype != np.uint32 or bits.ndim != 2 or bits.shape != (len(sets), 8):
                raise ModelFileError("a decision tree in it has sets of categories of another form")
        by_set = nodes[inner & (nodes["is_categorical"] != 0)]
        _check_range(by_set["bitset_idx"], len(sets))
        return predictor
    n_features, n_classes, n_outputs = state["sizes"]
    sizes = (len(nodes), n_outputs, int(np.max(n_classes)))
    if (
        np.shape(n_classes) != (n_outputs,)
        or state["values"].shape != sizes
        or state["node_count"] != len(nodes)
    ):
        raise ModelFileError("a decision tree in it is not of the size it says")
    tree = Tree(int(n_features), np.asarray(n_classes, np.intp), int(n_outputs))
    expected = tree.__getstate__()["nodes"].dtype
    _check_dtype(nodes, expected)
    inner = nodes["left_child"] != -1
    _check_children(inner, nodes["left_child"], nodes["right_child"])
    _check_range(nodes["feature"][inner], int(n_features))
    tree.__setstate__({name: entry for name, entry in state.items() if name != "sizes"})
    return tree


def _check_dtype(nodes: np.ndarray, dtype: np.dtype) -> None:
    if nodes.dtype != dtype or nodes.ndim != 1 or not len(nodes):
        raise ModelFileError("a decision tree in it is of another version of scikit-learn")


def _check_children(inner: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    here = np.arange(len(inner))[inner]
    for child in (left[inner].astype(np.int64), right[inner].astype(np.int64)):
        # Children come after their parent, so a walk down also ends.
        if (child <= here).any() or (child >= len(inner)).any():
            raise ModelFileError("a decision tree in it points outside itself")


def _check_range(index: np.ndarray, n: int) -> None:
    if len(index) and not (index.min() >= 0 and index.max() < n):
        raise ModelFileError("a decision tree in it points outside its data")


def check_trees_fit(estimator) -> None:
    """Raise where a tree looks at columns that its estimator does not ask for."""
    n = getattr(estimator, "n_features_in_", 0)
    tree = getattr(estimator, "tree_", None)
    if isinstance(tree, Tree) and tree.n_features != n:
        raise ModelFileError("a decision tree in it has another number of features")
    members = getattr(estimator, "estimators_", None)
    if type(estimator).__module__.startswith(("sklearn.ensemble._forest", "sklearn.ensemble._gb")):
        for member in np.ravel(np.array(members if members is not None else [], dtype=object)):
            if member.tree_.n_features != n:
                raise ModelFileError("a decision tree in it has another number of features")
    for predictor in np.ravel(np.array(getattr(estimator, "_predictors", []), dtype=object)):
        nodes = predictor.nodes
        _check_range(nodes["feature_idx"][nodes["is_leaf"] == 0], n)


def without_search(estimator, state: dict[str, Any]) -> dict[str, Any]:
    """Replace the tree of a search for neighbours by its name: it can be grown again."""
    if not isinstance(estimator, NeighborsBase) or state.get("_tree") is None:
        return state
    return {**state, "_tree": type(state["_tree"]).__name__}


def with_search(estimator) -> None:
    """Grow the tree again, from the rows and with what scikit-learn grew it with."""
    if isinstance(estimator, NeighborsBase) and getattr(estimator, "_tree", None) is not None:
        grow = SEARCH_TREES[estimator._tree]
        estimator._tree = grow(
            estimator._fit_X,
            estimator.leaf_size,
            metric=estimator.effective_metric_,
            **estimator.effective_metric_params_,
        )
