"""How near is near: the neighbourhood size that DBSCAN asks for."""

from numbers import Integral

import numpy as np
from sklearn.utils import Bunch, check_array
from sklearn.utils._param_validation import Interval, validate_params

from icecore_sk.metrics._neighbours import nearest

# How far the curve may have left the knee, as a share of its distance from the line there.
_AT_KNEE = 0.9


@validate_params(
    {
        "min_samples": [Interval(Integral, 2, None, closed="left")],
        "return_curve": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def propose_eps(X, min_samples=5, *, return_curve=False):
    """Propose DBSCAN's `eps` from the knee of the k-distance curve.

    Each row's distance to its k-th nearest is taken, with k such that a ball of this radius holds
    `min_samples` rows, itself included as DBSCAN counts. Sorted, these distances are low and flat
    for rows in clusters and rise steeply for noise; `eps` is where the curve turns [1]_.

    Parameters
    ----------
    X : array-like of shape (n, n_features)
        The rows to cluster, a 2-d map for example.
    min_samples : int, default=5
        DBSCAN's parameter of this name; at least 2 and at most n.
    return_curve : bool, default=False
        Return the curve as well.

    Returns
    -------
    eps : float or Bunch
        In the unit of X. With `return_curve` a Bunch: eps, distances (ndarray of shape (n,), the
        curve, ascending) and knee (the position of `eps` on it).

    Raises
    ------
    ValueError
        Where X has fewer rows than `min_samples`, holds NaN or infinite values, or where every row
        has so many copies that all distances are 0.

    Notes
    -----
    The knee is the point of the curve farthest below the straight line between its ends, both axes
    scaled to [0, 1], which is Kneedle for a convex curve [2]_. Round it the curve stays at nearly
    this distance from the line, and the largest `eps` is taken at which it is still 90 % of it: an
    `eps` that is too small tears clusters apart, where one that is somewhat too large takes in a
    little noise.

    A knee depends on where the curve ends: one far-off row would set the scale for all. Distances
    far out, above the upper quartile by more than three interquartile ranges of their logarithms,
    are therefore left out before, as are rows with so many copies that their distance is 0. Both
    are on the returned curve. Logarithms are taken so that a sparse cluster beside a dense one is
    not far out.

    One `eps` serves one density. Of clusters of different density the sparsest that holds a fair
    share of the rows decides. The thin edges of large clusters, and dense noise, may form small
    clusters of little more than `min_samples` rows; a larger `min_samples` avoids them.

    References
    ----------
    .. [1] Ester, Kriegel, Sander and Xu (1996). A density-based algorithm for discovering clusters
           in large spatial databases with noise. KDD-96.
    .. [2] Satopaa, Albrecht, Irwin and Raghavan (2011). Finding a "kneedle" in a haystack:
           detecting knee points in system behavior. ICDCS Workshops.

    Examples
    --------
    >>> from sklearn.cluster import DBSCAN
    >>> from sklearn.datasets import make_blobs
    >>> from icecore_sk.metrics import propose_eps
    >>> X, _ = make_blobs([100, 100], centers=[[0, 0], [10, 10]], random_state=0)
    >>> labels = DBSCAN(eps=propose_eps(X)).fit_predict(X)
    >>> int(labels.max()) + 1
    2
    """
    X = check_array(X, dtype=[np.float64, np.float32], input_name="X")
    if len(X) < min_samples:
        raise ValueError(
            f"min_samples={min_samples} is more than the {len(X)} rows of X: none could be at the "
            "core of a cluster. Pass a smaller min_samples, or more rows."
        )
    distances = np.sort(nearest(X, min_samples - 1)[0][:, -1].astype(np.float64))
    first = int(np.searchsorted(distances, 0.0, side="right"))
    if first == len(distances):
        raise ValueError(
            f"Every row of X has {min_samples - 1} or more copies: all distances are 0, and no eps "
            "follows from them. Pass a larger min_samples, or np.unique(X, axis=0)."
        )
    knee = first + _knee(distances[first : _far_out(distances, first)])
    eps = float(distances[knee])
    return Bunch(eps=eps, distances=distances, knee=knee) if return_curve else eps


def _far_out(distances: np.ndarray, first: int) -> int:
    """Return where the ascending distances, positive from `first`, begin to be far out."""
    low, high = np.quantile(np.log(distances[first:]), [0.25, 0.75])
    # Rounded up: where all distances are the same they are all to be kept.
    limit = np.exp(high + 3 * (high - low)) * (1 + 1e-9)
    return int(np.searchsorted(distances, limit, side="right"))


def _knee(curve: np.ndarray) -> int:
    """Return the position of the knee of an ascending, convex curve."""
    rise = curve[-1] - curve[0]
    if rise <= 1e-9 * curve[-1]:
        return len(curve) - 1  # flat but for rounding: no row is noise
    below = np.linspace(0, 1, len(curve)) - (curve - curve[0]) / rise
    return int(np.flatnonzero(below >= _AT_KNEE * below.max())[-1])
