"""Any clusterer as the last or a middle step of a Pipeline, able to label new rows."""

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
    clone,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.validation import check_is_fitted, validate_data

from icecore_sk._wrapping import unchanged_on_error


class ClusterTransformer(
    ClusterMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Gives any clusterer `transform` and `predict`.

    Density clusterers such as DBSCAN and HDBSCAN cannot label rows that they were not fitted on.
    Here a new row takes the label of its nearest training row, noise included, so that
    ``predict`` on the training rows returns the very labels that the clusterer gave them.

    Parameters
    ----------
    clusterer : estimator with fit_predict
        For example ``sklearn.cluster.HDBSCAN()``. It is cloned; the parameter stays unfitted.

    Attributes
    ----------
    clusterer_ : estimator
        The fitted clone.
    labels_ : ndarray of shape (n,)
        Cluster of each training row; negative labels are noise.
    n_clusters_ : int
        Clusters found, noise not counted.
    n_noise_ : int
        Training rows that are noise.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of str
        Column names, where X was a DataFrame.

    Notes
    -----
    A clusterer with a `predict` of its own that reproduces its training labels, such as KMeans,
    is asked instead of the nearest neighbour. Neighbours are found with the clusterer's own
    `metric` where it has one; those of a Pipeline are found after the steps before its last, which
    then need a `transform`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.cluster import DBSCAN
    >>> from icecore_sk import ClusterTransformer
    >>> X = np.array([[0.0], [0.1], [0.2], [9.0], [9.1], [9.2]])
    >>> model = ClusterTransformer(DBSCAN(eps=0.5, min_samples=2)).fit(X)
    >>> model.predict([[0.3], [8.8]])
    array([0, 1])
    >>> model.transform([[0.3], [8.8]]).shape
    (2, 1)
    >>> model.fit_predict(X)
    array([0, 0, 0, 1, 1, 1])
    """

    _parameter_constraints: dict = {"clusterer": [HasMethods(["fit_predict"])]}

    def __init__(self, clusterer):
        self.clusterer = clusterer

    def fit(self, X, y=None):
        """Cluster the rows of X.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        y : ignored

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            Where the clusterer's metric is "precomputed", or X is no finite matrix
            of at least two rows.
        """
        with unchanged_on_error(self):
            self._fit(X)
        return self

    def _fit(self, X) -> None:
        self._validate_params()
        last = self.clusterer[-1] if isinstance(self.clusterer, Pipeline) else self.clusterer
        metric = getattr(last, "metric", "euclidean")
        if metric == "precomputed":
            raise ValueError(
                f"clusterer={self.clusterer!r} has metric='precomputed'; new rows cannot be "
                "placed by distances among the old. Pass features and a named metric."
            )
        X = validate_data(self, X, ensure_min_samples=2)
        self.clusterer_ = clone(self.clusterer)
        self.labels_ = np.asarray(self.clusterer_.fit_predict(X))
        self.n_clusters_ = len(set(self.labels_[self.labels_ >= 0].tolist()))
        self.n_noise_ = int((self.labels_ < 0).sum())
        self._neighbours = None
        if not self._predicts_itself(X):
            self._neighbours = KNeighborsClassifier(
                1,
                metric=metric,
                p=getattr(last, "p", None) or 2,
                metric_params=getattr(last, "metric_params", None),
            ).fit(self._space(X), self.labels_)

    def _space(self, X):
        """Return X as the clusterer itself sees it, after the steps of a Pipeline before it."""
        if not isinstance(self.clusterer_, Pipeline) or len(self.clusterer_) == 1:
            return X
        before = self.clusterer_[:-1]
        if not hasattr(before, "transform"):
            raise ValueError(
                f"clusterer={self.clusterer!r} cannot place new rows: a step before its last has "
                "no transform. Put a step that has one there, such as UMAP for TSNE."
            )
        return before.transform(X)

    def _predicts_itself(self, X) -> bool:
        if not hasattr(self.clusterer_, "predict"):
            return False
        return np.array_equal(self.clusterer_.predict(X), self.labels_)

    def fit_predict(self, X, y=None):
        """Cluster the rows of X and return their labels.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        y : ignored

        Returns
        -------
        labels : ndarray of shape (n,)
        """
        return self.fit(X).labels_

    def predict(self, X):
        """Return the cluster of each row.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        labels : ndarray of shape (n,)
            Negative for noise.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        if self._neighbours is None:
            return self.clusterer_.predict(X)
        return self._neighbours.predict(self._space(X))

    def transform(self, X):
        """Return the cluster of each row as one column.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        labels : ndarray of shape (n, 1)
        """
        return self.predict(X).reshape(-1, 1)

    @property
    def _n_features_out(self) -> int:
        return 1

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = False
        tags.non_deterministic = get_tags(self.clusterer).non_deterministic
        return tags
