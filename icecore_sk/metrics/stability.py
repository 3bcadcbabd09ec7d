"""Whether clusters come back with another seed, and without some of the rows."""

import time
from itertools import combinations
from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score
from sklearn.utils import Bunch, _safe_indexing
from sklearn.utils._param_validation import HasMethods, Interval, RealNotInt, validate_params
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples

from icecore_sk._random import draw_seed, random_parameters
from icecore_sk.metrics._labels import NOISE

_MAX_SEED = 2**31 - 1


@validate_params(
    {
        "clusterer": [HasMethods(["fit_predict", "get_params"])],
        "n_seeds": [Interval(Integral, 0, None, closed="left")],
        "n_subsamples": [Interval(Integral, 0, None, closed="left")],
        "max_samples": [
            Interval(Integral, 2, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
        ],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def cluster_stability(
    clusterer,
    X,
    *,
    n_seeds=5,
    n_subsamples=10,
    max_samples=0.8,
    n_jobs=None,
    random_state=None,
):
    """Cluster again with other seeds and on subsamples, and count what comes back.

    A reference clustering of all rows is compared with runs of two kinds: *seed* runs on all rows
    with another `random_state`, and *subsample* runs on some of the rows with the reference's own.
    The first show what the algorithm leaves to chance, the second what hangs on a few particles.

    Parameters
    ----------
    clusterer : estimator or Pipeline with fit_predict
        For example ``make_pipeline(UMAP(), HDBSCAN())``. It is cloned for each run, and every
        parameter named `random_state`, nested ones too, is set; the reference's as well.
    X : array-like, DataFrame or particle table of n rows
        What the clusterer takes.
    n_seeds : int, default=5
        Seed runs. Clusterers without a `random_state`, such as DBSCAN, get none: they would repeat
        the reference.
    n_subsamples : int, default=10
        Subsample runs.
    max_samples : int or float, default=0.8
        Number, or share, of the rows in a subsample, drawn without replacement.
    n_jobs : int or None, default=None
        Runs at the same time; every process gets a copy of X.
    random_state : int, RandomState instance or None, default=None
        Governs all seeds and subsamples.

    Returns
    -------
    stability : Bunch
        - labels: ndarray of shape (n,), the reference clustering as the clusterer gave it.
        - runs: DataFrame, a row per run, the reference first: kind ("reference", "seed" or
          "subsample"), seed (of `random_state`), n_rows, n_clusters, n_noise, noise_share, seconds.
        - pairs: DataFrame, a row per pair of runs (index: first, second): n_shared, the rows that
          both have; ari and ami [2]_ over these, noise counted as a cluster of its own;
          n_clustered, the rows that are noise in neither, and ari_clustered over those alone. NaN
          where there are fewer than 2 such rows.
        - clusters: DataFrame, a row per reference cluster (index: label; noise, where there is
          any, is the row -1): size; for either kind of run jaccard_seed and jaccard_subsample, the
          mean over the runs of the best Jaccard coefficient that any cluster of the run has with
          it on the shared rows [1]_; dissolved_seed and dissolved_subsample, in how many runs it
          was at most 0.5. NaN where there was no run. Noise is matched with noise only.
        - random_parameters: list of str, the parameters that were seeded.

    Raises
    ------
    ValueError
        Where there is nothing to run, `max_samples` leaves fewer than 2 rows or all of them, or the
        clusterer returns labels that are no integers or not one per row.

    See Also
    --------
    compare_clusterers : Several clusterers beside each other.

    Notes
    -----
    Hennig [1]_ reads a mean Jaccard coefficient of 0.75 or more as a stable cluster, of 0.6 to 0.75
    as a pattern whose limits are in doubt, and of 0.5 or less as a cluster that dissolves. A
    cluster can be stable and without meaning: half of an even cloud may come back every time.

    Clusters of a subsample hold fewer rows than those of the reference. Parameters that count rows,
    such as `min_cluster_size`, are stricter there, and small clusters dissolve for it.

    References
    ----------
    .. [1] Hennig (2007). Cluster-wise assessment of cluster stability. Computational Statistics and
           Data Analysis 52(1).
    .. [2] Hubert and Arabie (1985). Comparing partitions. Journal of Classification 2; Vinh, Epps
           and Bailey (2010). Information theoretic measures for clusterings comparison. Journal of
           Machine Learning Research 11.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import make_blobs
    >>> from icecore_sk.metrics import cluster_stability
    >>> X, _ = make_blobs([50, 50], centers=[[0, 0], [9, 9]], random_state=0)
    >>> stability = cluster_stability(KMeans(2), X, n_seeds=2, n_subsamples=2, random_state=0)
    >>> stability.clusters[["size", "jaccard_subsample"]].values.tolist()
    [[50.0, 1.0], [50.0, 1.0]]
    """
    n = _num_samples(X)
    names = random_parameters(clusterer)
    n_seeds = n_seeds if names else 0
    if not n_seeds + n_subsamples:
        raise ValueError(
            f"n_subsamples=0 leaves nothing to compare: {type(clusterer).__name__} makes no seed "
            f"runs (random parameters: {names}). Pass n_subsamples of at least 1."
        )
    n_drawn = _n_drawn(max_samples, n)
    rng = np.random.RandomState(draw_seed(random_state))
    seed, *others = (int(s) for s in rng.randint(_MAX_SEED, size=1 + n_seeds))
    plan = [("reference", seed, np.arange(n))]
    plan += [("seed", other, np.arange(n)) for other in others]
    for _ in range(n_subsamples):
        plan.append(("subsample", seed, np.sort(rng.permutation(n)[:n_drawn])))
    results = Parallel(n_jobs=n_jobs)(
        delayed(_run)(clusterer, X if len(rows) == n else _safe_indexing(X, rows), seed)
        for _, seed, rows in plan
    )
    runs = pd.DataFrame(
        [
            {"kind": kind, "seed": seed, **count_clusters(labels), "seconds": seconds}
            for (kind, seed, _), (labels, seconds) in zip(plan, results, strict=True)
        ]
    ).rename_axis("run")
    # One column per run; rows that a run did not see are masked.
    codes = np.full((n, len(plan)), NOISE)
    seen = np.zeros((n, len(plan)), bool)
    for run, ((_, _, rows), (labels, _)) in enumerate(zip(plan, results, strict=True)):
        codes[rows, run], seen[rows, run] = np.maximum(labels, NOISE), True
    return Bunch(
        labels=results[0][0],
        runs=runs,
        pairs=_compare_pairs(codes, seen),
        clusters=_compare_clusters(codes, seen, runs["kind"].to_numpy()),
        random_parameters=names,
    )


def fit_labels(clusterer, X) -> tuple[np.ndarray, float]:
    """Return the labels of the rows of X, checked, and the seconds that they took."""
    start = time.perf_counter()
    labels = np.asarray(clusterer.fit_predict(X))
    seconds = time.perf_counter() - start
    if labels.dtype.kind not in "iu" or labels.shape != (_num_samples(X),):
        raise ValueError(
            f"{type(clusterer).__name__} gave labels of dtype {labels.dtype} and shape "
            f"{labels.shape}; expected an integer for each of {_num_samples(X)} rows, negative for "
            "noise."
        )
    return labels.astype(np.int64), seconds


def count_clusters(labels: np.ndarray) -> dict:
    """Return the numbers of rows, of clusters, and of rows that are noise."""
    noise = labels < 0
    return {
        "n_rows": len(labels),
        "n_clusters": len(np.unique(labels[~noise])),
        "n_noise": int(noise.sum()),
        "noise_share": float(noise.mean()),
    }


def _run(clusterer, X, seed: int) -> tuple[np.ndarray, float]:
    return fit_labels(seeded_clone(clusterer, seed), X)


def seeded_clone(estimator, seed: int):
    """Return an unfitted copy with `seed` in each of its random parameters."""
    estimator = clone(estimator)
    return estimator.set_params(**dict.fromkeys(random_parameters(estimator), seed))


def _n_drawn(max_samples, n: int) -> int:
    whole = isinstance(max_samples, Integral)
    n_drawn = int(max_samples if whole else round(max_samples * n))
    if not 2 <= n_drawn < n:
        raise ValueError(
            f"max_samples={max_samples} makes subsamples of {n_drawn} of the {n} rows; expected at "
            "least 2, and fewer than all."
        )
    return n_drawn


def _compare_pairs(codes: np.ndarray, seen: np.ndarray) -> pd.DataFrame:
    pairs = []
    for first, second in combinations(range(codes.shape[1]), 2):
        shared = seen[:, first] & seen[:, second]
        a, b = codes[shared, first], codes[shared, second]
        clustered = (a >= 0) & (b >= 0)
        pairs.append(
            {
                "first": first,
                "second": second,
                "n_shared": len(a),
                "ari": _agreement(adjusted_rand_score, a, b),
                "ami": _agreement(adjusted_mutual_info_score, a, b),
                "n_clustered": int(clustered.sum()),
                "ari_clustered": _agreement(adjusted_rand_score, a[clustered], b[clustered]),
            }
        )
    return pd.DataFrame(pairs).set_index(["first", "second"])


def _agreement(score, a: np.ndarray, b: np.ndarray) -> float:
    # scikit-learn calls no rows, and one row, a perfect match.
    return float(score(a, b)) if len(a) > 1 else float("nan")


def _compare_clusters(codes: np.ndarray, seen: np.ndarray, kinds: np.ndarray) -> pd.DataFrame:
    """Return the best Jaccard coefficients of the clusters in column 0 with those of the others."""
    names, sizes = np.unique(codes[:, 0], return_counts=True)
    table = pd.DataFrame({"size": sizes}, index=pd.Index(names, name="cluster"))
    best = np.column_stack(
        [_best_jaccard(names, codes[rows, 0], codes[rows, k]) for k, rows in enumerate(seen.T)]
    )  # (n_clusters, n_runs)
    for kind in ("seed", "subsample"):
        values = pd.DataFrame(best[:, kinds == kind], index=table.index)
        table[f"jaccard_{kind}"] = values.mean(axis=1)
        dissolved = (values <= 0.5).sum(axis=1)
        table[f"dissolved_{kind}"] = dissolved.where(values.notna().any(axis=1)).astype("Int64")
    return table


def _best_jaccard(names: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return for each cluster of `a` its best match in `b`; NaN for clusters that `a` has lost."""
    both = pd.crosstab(a, b).reindex(names, fill_value=0)
    size_a, size_b = both.sum(axis=1), both.sum(axis=0)
    union = size_a.to_numpy()[:, None] + size_b.to_numpy() - both.to_numpy()
    jaccard = both / np.maximum(union, 1)
    # Noise is no cluster: it may match noise, and nothing else may.
    noise_a, noise_b = names == NOISE, both.columns.to_numpy() == NOISE
    jaccard = jaccard.where(noise_a[:, None] == noise_b, 0.0)
    return jaccard.max(axis=1).where(size_a > 0).to_numpy()
