"""Classes and clusters, checked for all metrics that compare them."""

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length, column_or_1d

NOISE = -1


def check_labels(y_true, labels) -> tuple[np.ndarray, np.ndarray]:
    y_true, labels = np.asarray(column_or_1d(y_true)), column_or_1d(labels)
    check_consistent_length(y_true, labels)
    if not len(labels):
        raise ValueError("labels is empty; at least one row is needed.")
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels has dtype {labels.dtype}; expected integers, negative for noise.")
    return y_true, labels


def encode_labels(labels, n_rows: int, name: str) -> np.ndarray:
    """Number labels of any type from 0; noise (negative integers) is -1, missing labels are -2."""
    labels = pd.Series(np.asarray(labels, dtype=object)) if np.ndim(labels) == 1 else labels
    if not isinstance(labels, pd.Series):
        raise ValueError(f"{name} has {np.ndim(labels)} dimensions; expected one label per row.")
    if len(labels) != n_rows:
        raise ValueError(
            f"{name} has {len(labels)} labels for {n_rows} rows; expected one label per row."
        )
    codes, names = pd.factorize(labels, use_na_sentinel=True)
    codes[codes < 0] = -2
    for code, label in enumerate(names):
        if isinstance(label, int | np.integer) and label < 0:
            codes[codes == code] = NOISE
    return codes


def encode_complete_labels(labels, n_rows: int, name: str) -> np.ndarray:
    """`encode_labels` where none may be missing."""
    codes = encode_labels(labels, n_rows, name)
    n_missing = int((codes == -2).sum())
    if n_missing:
        raise ValueError(
            f"{name} has {n_missing} missing labels among {n_rows}. Leave these rows out, or give "
            "them a label of their own."
        )
    return codes
