"""Whether classes never seen in training show."""

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_array, check_consistent_length

from icecore_sk.metrics._labels import check_labels


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
    y_true, labels = check_labels(y_true, labels)
    known = ~pd.isna(y_true)
    y_true, labels = y_true[known], labels[known]
    novel_classes = list(novel_classes)  # numpy takes a set for one object
    novel = np.isin(y_true, novel_classes)
    missing = [c for c in novel_classes if not (y_true == c).any()]
    if missing:
        raise ValueError(f"novel_classes={novel_classes} holds {missing}, not in y_true.")
    if scores is not None:
        scores = check_array(scores, ensure_2d=False, input_name="scores")
        check_consistent_length(known, scores)
        scores = scores[known]
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
