"""How well clusters match classes, and whether classes never seen in training show."""

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import roc_auc_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.utils import check_array, check_consistent_length, column_or_1d


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
    y_true, labels = _check_labels(y_true, labels)
    clustered = labels >= 0
    if not clustered.any():
        return 0.0
    table = contingency_matrix(y_true[clustered], labels[clustered])
    classes, clusters = linear_sum_assignment(table, maximize=True)
    return float(table[classes, clusters].sum() / len(y_true))


def novel_class_report(y_true, labels, novel_classes, scores=None):
    """Say for each class left out of training whether it forms a cluster of its own.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Classes of all rows, known and novel.
    labels : array-like of shape (n,)
        Clusters; negative integers are noise.
    novel_classes : sequence of labels
        The classes left out of training.
    scores : array-like of shape (n,) or None, default=None
        Normality of each row (`score_samples`: the higher, the more normal).

    Returns
    -------
    report : DataFrame
        A row per novel class: n (rows), cluster (the one that holds most of them, -1 where all
        are noise), recall (its share of the class), purity (the class's share of it), and, with
        scores, auroc (novelty of the class against all known rows; 0.5 is chance).

    Examples
    --------
    >>> from icecore_sk.metrics import novel_class_report
    >>> report = novel_class_report([0, 0, 7, 7], [0, 0, 1, 0], novel_classes=[7])
    >>> report["recall"].tolist(), report["purity"].tolist()
    ([0.5], [1.0])
    """
    y_true, labels = _check_labels(y_true, labels)
    novel = np.isin(y_true, novel_classes)
    missing = [c for c in novel_classes if not (y_true == c).any()]
    if missing:
        raise ValueError(f"novel_classes={list(novel_classes)} holds {missing}, not in y_true.")
    if scores is not None:
        scores = check_array(scores, ensure_2d=False, input_name="scores")
        check_consistent_length(y_true, scores)
        if novel.all():
            raise ValueError("scores cannot be ranked: every row of y_true is a novel class.")
    rows = []
    for name in novel_classes:
        mine = y_true == name
        row = {"class": name, "n": int(mine.sum()), **_best_cluster(labels, mine)}
        if scores is not None:
            subset = mine | ~novel
            row["auroc"] = float(roc_auc_score(mine[subset], -scores[subset]))
        rows.append(row)
    return pd.DataFrame(rows).set_index("class")


def _best_cluster(labels: np.ndarray, mine: np.ndarray) -> dict:
    clusters, counts = np.unique(labels[mine & (labels >= 0)], return_counts=True)
    if not len(clusters):
        return {"cluster": -1, "recall": 0.0, "purity": 0.0}
    sizes = np.array([(labels == cluster).sum() for cluster in clusters])
    # Of two clusters that hold as many, the purer one.
    first = np.lexsort((sizes, -counts))[0]
    best, inside = clusters[first], int(counts[first])
    return {
        "cluster": int(best),
        "recall": inside / int(mine.sum()),
        "purity": inside / int((labels == best).sum()),
    }


def _check_labels(y_true, labels) -> tuple[np.ndarray, np.ndarray]:
    y_true, labels = np.asarray(column_or_1d(y_true)), column_or_1d(labels)
    check_consistent_length(y_true, labels)
    if not len(labels):
        raise ValueError("labels is empty; at least one row is needed.")
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels has dtype {labels.dtype}; expected integers, negative for noise.")
    return y_true, labels
