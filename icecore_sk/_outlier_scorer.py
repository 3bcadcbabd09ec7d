"""Outliers in any representation: how far a row lies, and how empty its surroundings are."""

from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.neighbors import NearestNeighbors
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

COMPONENTS = ("distance", "sparsity")


class OutlierScorer(OutlierMixin, BaseEstimator):
    """Scores rows by their nearest neighbours in a latent space, a map, or any features.

    Two components see two kinds of outlier. `distance`, the mean distance to the `n_neighbors`
    nearest training rows [1]_, finds what is far from everything. `sparsity`, that distance
    divided by the same distance of those neighbours (a local outlier factor in the manner of
    [2]_), finds what lies beside a dense group. Each is turned into its surprise, minus the log of
    the share of training rows that reach it (tail probabilities as in [3]_), and the score is minus
    their mean: a row that is extreme in one way outranks one that is a little unusual in both.

    Parameters
    ----------
    n_neighbors : int, default=20
        Neighbours of each row; at most the training rows less one are used.
    components : {"all", "distance", "sparsity"}, default="all"
        Components of the score.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance between rows. "cosine" is the Euclidean distance of rows scaled to length 1: it
        ranks neighbours alike and suits the features of a classifier.
    contamination : float, default=0.05
        Share of the training rows that `predict` calls outliers; in (0, 0.5].

    Attributes
    ----------
    offset_ : float
        Scores below are outliers.
    n_neighbors_ : int
        Neighbours used.
    n_features_in_ : int
        Columns of X.

    Notes
    -----
    A row that equals a training row takes it for itself and leaves it out, so training rows have
    the same scores whether they are scored in `fit` or later, and a new row's score does not
    depend on the rows beside it.

    References
    ----------
    .. [1] Angiulli and Pizzuti (2002). Fast outlier detection in high dimensional spaces. PKDD.
    .. [2] Breunig, Kriegel, Ng and Sander (2000). LOF: identifying density-based local outliers.
           SIGMOD.
    .. [3] Li, Zhao, Hu, Botta, Ionescu and Chen (2022). ECOD: unsupervised outlier detection
           using empirical cumulative distribution functions. IEEE TKDE.

    Examples
    --------
    >>> import numpy as np
    >>> from icecore_sk import OutlierScorer
    >>> X = np.random.RandomState(0).normal(size=(200, 2))
    >>> scorer = OutlierScorer().fit(X)
    >>> scorer.predict([[0.0, 0.0], [9.0, 9.0]])
    array([ 1, -1])
    """

    _parameter_constraints: dict = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "components": [StrOptions({"all", *COMPONENTS})],
        "metric": [StrOptions({"euclidean", "cosine"})],
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
    }

    def __init__(self, n_neighbors=20, *, components="all", metric="euclidean", contamination=0.05):
        self.n_neighbors = n_neighbors
        self.components = components
        self.metric = metric
        self.contamination = contamination

    def fit(self, X, y=None):
        """Learn the neighbourhoods of the training rows and the threshold.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        y : ignored

        Returns
        -------
        self : object
        """
        self._validate_params()
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        rows = self._rows(X)
        self.n_neighbors_ = min(self.n_neighbors, len(rows) - 1)
        self._index = NearestNeighbors(n_neighbors=self.n_neighbors_ + 1).fit(rows)
        self._fit_rows = rows
        self._fit_distance, neighbours = self._mean_distance(rows)
        sparsity = self._sparsity(self._fit_distance, neighbours)
        self._reference = {
            "distance": np.sort(self._fit_distance),
            "sparsity": np.sort(sparsity),
        }
        scores = -self._combine({"distance": self._fit_distance, "sparsity": sparsity})
        self.offset_ = float(np.percentile(scores, 100.0 * self.contamination))
        return self

    def score_samples(self, X):
        """Return the score of each row; the higher, the more normal.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        scores : ndarray of shape (n,)
            Minus the mean surprise in nats, 0 for a row more normal than all training rows. Beyond
            every training row it goes on falling, so that two far rows are still ranked.
        """
        return -self._combine(self._components(X))

    def decision_function(self, X):
        """Return ``score_samples(X) - offset_``: negative for outliers.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        decision : ndarray of shape (n,)
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """Return +1 for inliers and -1 for outliers.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        labels : ndarray of shape (n,) of int
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def explain(self, X):
        """Return score, components and a reason in words for each row.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)

        Returns
        -------
        table : DataFrame of n rows
            Columns score, outlier, distance (units of X), sparsity (ratio), and reason, which is
            empty for inliers. The index is that of X where X is a DataFrame.
        """
        index = X.index if isinstance(X, pd.DataFrame) else None
        parts = self._components(X)
        score = -self._combine(parts)
        table = pd.DataFrame({"score": score, "outlier": score < self.offset_, **parts}, index)
        typical = np.median(self._reference["distance"])
        table["reason"] = [
            self._reason(row.distance, row.sparsity, typical) if row.outlier else ""
            for row in table.itertuples()
        ]
        return table

    def _reason(self, distance: float, sparsity: float, typical: float) -> str:
        k = self.n_neighbors_
        far, empty = self._surprise("distance", distance), self._surprise("sparsity", sparsity)
        if self.components == "distance" or (self.components == "all" and far >= empty):
            return (
                f"far from everything: mean distance {distance:.3g} to its {k} nearest, "
                f"where {typical:.3g} is typical"
            )
        return (
            f"apart from a dense group: its {k} nearest lie {sparsity:.3g} times as far from it "
            "as from their own neighbours"
        )

    # ---------------------------------------------------------------- components

    def _rows(self, X: np.ndarray) -> np.ndarray:
        if self.metric == "euclidean":
            return X
        length = np.linalg.norm(X, axis=1, keepdims=True)
        return X / np.where(length > 0, length, 1.0)

    def _components(self, X) -> dict[str, np.ndarray]:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        distance, neighbours = self._mean_distance(self._rows(X))
        return {"distance": distance, "sparsity": self._sparsity(distance, neighbours)}

    def _mean_distance(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean distance to the k nearest training rows other than the row itself, and who."""
        k = self.n_neighbors_
        near = self._index.kneighbors(rows, return_distance=False)  # (n, k + 1)
        rows = rows.astype(np.float64)
        distances = np.empty(near.shape)
        for j in range(k + 1):
            # Computed anew as differences: the search may round through products, after which a
            # row is not at distance zero from itself.
            gap = rows - self._fit_rows[near[:, j]]
            distances[:, j] = np.sqrt(np.einsum("ij,ij->i", gap, gap))
        order = np.argsort(distances, axis=1, kind="stable")
        distances = np.take_along_axis(distances, order, axis=1)
        near = np.take_along_axis(near, order, axis=1)
        itself = distances[:, :1] == 0
        distances = np.where(itself, distances[:, 1:], distances[:, :-1])
        near = np.where(itself, near[:, 1:], near[:, :-1])
        return distances.mean(axis=1), near

    def _sparsity(self, distance: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
        around = self._fit_distance[neighbours].mean(axis=1)
        # Among copies of one row both are zero, and nothing is sparse there.
        tiny = np.finfo(np.float64).tiny
        return (distance + tiny) / (around + tiny)

    def _surprise(self, name: str, values):
        """Minus log of the share of training rows that reach each value, in nats."""
        reference = self._reference[name]
        reached = len(reference) - np.searchsorted(reference, values, side="left")
        share = (reached + 1) / (len(reference) + 1)
        top = max(reference[-1], np.finfo(np.float64).tiny)
        return -np.log(share) + np.log(np.maximum(np.asarray(values) / top, 1.0))

    def _combine(self, parts: dict[str, np.ndarray]) -> np.ndarray:
        names = COMPONENTS if self.components == "all" else (self.components,)
        return np.mean([self._surprise(name, parts[name]) for name in names], axis=0)
