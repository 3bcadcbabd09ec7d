"""Several clusterers of the same rows beside each other."""

from collections.abc import Mapping
from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.cluster import DBSCAN, KMeans
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    silhouette_score,
)
from sklearn.metrics.cluster import contingency_matrix
from sklearn.utils import Bunch, check_array
from sklearn.utils._param_validation import Interval, validate_params

from icecore_sk._random import draw_seed
from icecore_sk.metrics._labels import NOISE, check_lengths, encode_labels
from icecore_sk.metrics.clustering import clustering_accuracy
from icecore_sk.metrics.density import propose_eps
from icecore_sk.metrics.stability import cluster_stability, count_clusters, fit_labels, seeded_clone


@validate_params(
    {
        "n_clusters": [Interval(Integral, 2, None, closed="left")],
        "min_samples": [Interval(Integral, 2, None, closed="left")],
        "n_subsamples": [Interval(Integral, 0, None, closed="left")],
        "max_samples": [Interval(Integral, 2, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def compare_clusterers(
    X,
    clusterers=None,
    labels=None,
    *,
    n_clusters=7,
    min_samples=10,
    n_subsamples=0,
    max_samples=5000,
    n_jobs=None,
    random_state=None,
):
    """Cluster the same rows with several clusterers and compare what they find.

    Parameters
    ----------
    X : array-like of shape (n, n_features)
        The rows to cluster, a 2-d map for example.
    clusterers : dict of str to estimator, list of estimators or None, default=None
        Anything with `fit_predict`; a list is named after the classes. None compares
        ``KMeans(n_clusters, n_init=10)``, `DBSCAN` with the `eps` of `propose_eps`, and `HDBSCAN`,
        the two with `min_samples`, HDBSCAN with a `min_cluster_size` of half a percent of n, at
        least `min_samples`. All are cloned and seeded.
    labels : array-like of shape (n,), dict of str to array-like, or None, default=None
        What to compare with: the truth, or a classifier's predictions, of any type. Rows whose
        label is missing (None, NaN, NA or a negative integer) are left out of the agreement and
        counted. A dict compares with several; its keys then stand before the columns' names.
    n_clusters : int, default=7
        For KMeans. 7 as there are classes in FlowCam's training data for ice cores.
    min_samples : int, default=10
        For DBSCAN and HDBSCAN, the rows in a dense neighbourhood. At 5, DBSCAN's own
        default, the edges of large clusters fall apart.
    n_subsamples : int, default=0
        Subsamples on which each clusterer runs again for its stability; 0 leaves it out.
    max_samples : int, default=5000
        Rows drawn for the silhouette, which is quadratic in them.
    n_jobs : int or None, default=None
        Subsamples to cluster at the same time.
    random_state : int, RandomState instance or None, default=None
        Governs the clusterers, subsamples and rows drawn.

    Returns
    -------
    comparison : Bunch
        - table: DataFrame, a row per clusterer.

          - n_rows, n_clusters (noise not counted), n_noise, noise_share, seconds;
          - silhouette: of the rows in clusters, noise left out, so that it has to be read beside
            noise_share; NaN for fewer than two clusters;
          - n_labelled: rows with a label, of which alone the next four are;
          - ami and ari [1]_: adjusted mutual information and adjusted Rand index, noise counted as
            a cluster of its own;
          - accuracy: `clustering_accuracy`, where noise is never right and each label has one
            cluster;
          - purity [2]_: share of rows whose label is the most frequent of their cluster; noise is
            never right, but any number of clusters may share a label, and more clusters are
            always purer;
          - stability: mean Jaccard coefficient of the clusters on subsamples, weighted by their
            sizes, as `cluster_stability` finds it.

        - labels: DataFrame of shape (n, n_clusterers), the clusters found, negative for noise, with
          the index of X.
        - clusterers: dict of str to fitted estimator.
        - eps: float, proposed for DBSCAN; None where clusterers were given.

    Raises
    ------
    ValueError
        Where X is no finite matrix, `clusterers` is empty or names one twice, labels are not one
        per row or all missing, or X has too few rows for the defaults.
    TypeError
        Where a clusterer has no `fit_predict`.

    See Also
    --------
    cluster_stability : All that is known of one clusterer's stability.
    propose_eps : How DBSCAN's `eps` is found.

    References
    ----------
    .. [1] Vinh, Epps and Bailey (2010). Information theoretic measures for clusterings comparison.
           Journal of Machine Learning Research 11.
    .. [2] Manning, Raghavan and Schuetze (2008). Introduction to Information Retrieval, 16.3.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from icecore_sk.metrics import compare_clusterers
    >>> X, y = make_blobs([100, 100], centers=[[0, 0], [10, 10]], random_state=0)
    >>> comparison = compare_clusterers(X, labels=y, n_clusters=2, random_state=0)
    >>> comparison.table["n_clusters"].to_dict()
    {'KMeans': 2, 'DBSCAN': 2, 'HDBSCAN': 2}
    """
    index = X.index if isinstance(X, pd.DataFrame) else None
    X = check_array(X, dtype=[np.float64, np.float32], ensure_min_samples=2, input_name="X")
    truths = _check_truths(labels, len(X))
    eps = None
    if clusterers is None:
        eps = propose_eps(X, min_samples)
        clusterers = _default_clusterers(len(X), n_clusters, min_samples, eps)
    clusterers = _named(clusterers)
    seed = draw_seed(random_state)
    found, fitted, rows = {}, {}, []
    for name, clusterer in clusterers.items():
        fitted[name] = seeded_clone(clusterer, seed)
        found[name], seconds = fit_labels(fitted[name], X)
        row = {
            **count_clusters(found[name]),
            "silhouette": _silhouette(X, found[name], max_samples, seed),
        }
        for key, truth in truths.items():
            row |= {key + column: value for column, value in _agreement(truth, found[name]).items()}
        if n_subsamples:
            row["stability"] = _stability(clusterer, X, n_subsamples, n_jobs, seed)
        rows.append({**row, "seconds": seconds})
    return Bunch(
        table=pd.DataFrame(rows, index=pd.Index(clusterers, name="clusterer")),
        labels=pd.DataFrame(found, index=index),
        clusterers=fitted,
        eps=eps,
    )


def _default_clusterers(n: int, n_clusters: int, min_samples: int, eps: float) -> dict:
    if n < n_clusters:
        raise ValueError(
            f"n_clusters={n_clusters} is more than the {n} rows of X. Pass fewer clusters, or more "
            "rows."
        )
    from hdbscan import HDBSCAN

    # A share of n, so that the clusters of a large map are few enough to look at.
    min_cluster_size = max(min_samples, round(n / 200))
    return {
        "KMeans": KMeans(n_clusters, n_init=10),
        "DBSCAN": DBSCAN(eps=eps, min_samples=min_samples),
        "HDBSCAN": HDBSCAN(min_cluster_size=min_cluster_size, min_samples=min_samples),
    }


def _named(clusterers) -> dict:
    if not isinstance(clusterers, Mapping):
        names = [type(clusterer).__name__ for clusterer in clusterers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"clusterers holds {twice} more than once. Pass a dict, with a name for each."
            )
        clusterers = dict(zip(names, clusterers, strict=True))
    if not clusterers:
        raise ValueError("clusterers is empty; expected at least one, or None for the defaults.")
    for name, clusterer in clusterers.items():
        if not hasattr(clusterer, "fit_predict"):
            raise TypeError(
                f"clusterers[{name!r}] is a {type(clusterer).__name__} without fit_predict; "
                "expected a clusterer, or a Pipeline that ends in one."
            )
    return dict(clusterers)


def _check_truths(labels, n: int) -> dict[str, np.ndarray]:
    """Return labels by the prefix of their columns, negative where a row has none."""
    if labels is None:
        return {}
    several = isinstance(labels, Mapping)
    truths = {}
    for key, given in labels.items() if several else [("", labels)]:
        name = f"labels[{key!r}]" if several else "labels"
        check_lengths(n, **{name: given})
        codes, _ = encode_labels(given)
        if not (codes >= 0).any():
            raise ValueError(
                f"{name} has no label among {n} rows: all are missing or negative. Pass "
                "labels=None to compare clusters alone."
            )
        truths[f"{key}_" if several else ""] = codes
    return truths


def _silhouette(X: np.ndarray, labels: np.ndarray, max_samples: int, seed: int) -> float:
    rows = np.flatnonzero(labels >= 0)
    if len(rows) > max_samples:
        rows = np.random.default_rng(seed).choice(rows, max_samples, replace=False)
    n_clusters = len(np.unique(labels[rows]))
    if not 2 <= n_clusters < len(rows):
        return float("nan")
    return float(silhouette_score(X[rows], labels[rows]))


def _agreement(truth: np.ndarray, labels: np.ndarray) -> dict:
    labelled = truth >= 0
    truth, labels = truth[labelled], np.maximum(labels[labelled], NOISE)
    return {
        "n_labelled": len(truth),
        "ami": float(adjusted_mutual_info_score(truth, labels)),
        "ari": float(adjusted_rand_score(truth, labels)),
        "accuracy": clustering_accuracy(truth, labels),
        "purity": _purity(truth, labels),
    }


def _purity(truth: np.ndarray, labels: np.ndarray) -> float:
    clustered = labels >= 0
    if not clustered.any():
        return 0.0
    table = contingency_matrix(truth[clustered], labels[clustered])
    return float(table.max(axis=0).sum() / len(truth))


def _stability(clusterer, X: np.ndarray, n_subsamples: int, n_jobs, seed: int) -> float:
    clusters = cluster_stability(
        clusterer, X, n_seeds=0, n_subsamples=n_subsamples, n_jobs=n_jobs, random_state=seed
    ).clusters.drop(index=NOISE, errors="ignore")
    seen = clusters["jaccard_subsample"].notna()
    if not seen.any():
        return float("nan")
    return float(np.average(clusters["jaccard_subsample"][seen], weights=clusters["size"][seen]))
