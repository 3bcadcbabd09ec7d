"""How well clusters match classes."""

import pandas as pd
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix

from icecore_sk.metrics._labels import check_labels


def clustering_accuracy(y_true, labels):
    """Share of rows in the right cluster under the best one-to-one match of clusters to classes.

    Known as ACC. Noise (negative labels) is never right, and of more clusters than classes the
    surplus ones are wrong: a solution with the right number of clusters is not beaten by
    splitting hairs.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Classes, of any label type.
    labels : array-like of shape (n,)
        Clusters; negative integers are noise.

    Returns
    -------
    accuracy : float
        Between 0 and 1.

    References
    ----------
    .. [1] Yang, Xu, Nie, Yan and Zhuang (2010). Image clustering using local discriminant models
           and global integration. IEEE Transactions on Image Processing 19(10).

    Examples
    --------
    >>> from icecore_sk.metrics import clustering_accuracy
    >>> clustering_accuracy(["a", "a", "b", "b"], [1, 1, 0, -1])
    0.75
    """
    y_true, labels = check_labels(y_true, labels)
    known = ~pd.isna(y_true)
    if not known.any():
        raise ValueError("y_true has no label: all are missing. Pass those of some rows.")
    y_true, labels = y_true[known], labels[known]
    clustered = labels >= 0
    if not clustered.any():
        return 0.0
    table = contingency_matrix(y_true[clustered], labels[clustered])
    classes, clusters = linear_sum_assignment(table, maximize=True)
    return float(table[classes, clusters].sum() / len(y_true))
