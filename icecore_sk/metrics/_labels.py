"""Classes and clusters, checked for all metrics that compare them."""

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d


def check_labels(y_true, labels) -> tuple[np.ndarray, np.ndarray]:
    y_true, labels = np.asarray(column_or_1d(y_true)), column_or_1d(labels)
    check_consistent_length(y_true, labels)
    if not len(labels):
        raise ValueError("labels is empty; at least one row is needed.")
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels has dtype {labels.dtype}; expected integers, negative for noise.")
    return y_true, labels
