"""Features in which the members of every class spread alike in all directions."""

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from icecore_sk._input import known_classes
from icecore_sk._outliers.classes import class_means, in_blocks, whitening
from icecore_sk._wrapping import unchanged_on_error


class WithinClassWhitening(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Scales features so that the members of each class differ alike in every direction.

    The covariance within the classes, shared by all of them and shrunk after Ledoit and Wolf,
    becomes the identity [1]_ [2]_: directions in which particles of one class differ count less,
    and those that tell classes apart count more. Behind a classifier it makes better maps: a class
    with two forms stays together, and classes that nobody has labelled lie apart.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes in y, sorted.
    mean_ : ndarray of shape (n_features,)
        Mean of the labelled rows, which becomes the origin.
    whitening_ : ndarray of shape (n_features, n_features)
        ``transform(X)`` is ``(X - mean_) @ whitening_``. Its columns are orthogonal; the last one
        is the direction in which the classes' members differed most.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of str
        Column names, where X was a DataFrame.

    See Also
    --------
    OutlierScorer : Its ``class_distance`` is the distance to the nearest class in this space.
    sklearn.discriminant_analysis.LinearDiscriminantAnalysis : Whitens too, but keeps only the
        directions between the classes that it knows, in which a new class may not show.

    Notes
    -----
    Distances afterwards are Mahalanobis distances, in standard deviations within a class. With 3
    and 4, or 3 and 7, left out of MNIST's training images, clusters of a map of all ten digits
    agreed with them by .99 instead of .88 to .99 (ACC); with a class left out of a FlowCam run,
    three clusters of a map of another run by .59 to .85 instead of .45 to .59
    (``benchmarks/README.md``).

    References
    ----------
    .. [1] Fukunaga (1990). Introduction to Statistical Pattern Recognition, section 10.2.
    .. [2] Hatch, Kajarekar and Stolcke (2006). Within-class covariance normalization for SVM-based
       speaker recognition. Interspeech.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from icecore_sk import WithinClassWhitening
    >>> X, y = load_iris(return_X_y=True)
    >>> whitening = WithinClassWhitening().fit(X, y)
    >>> Z = whitening.transform(X)
    >>> np.mean([Z[y == c].var(axis=0) for c in (0, 1, 2)], axis=0).round(1).tolist()
    [0.8, 0.9, 1.0, 1.0]
    """

    _parameter_constraints: dict = {}

    def fit(self, X, y):
        """Learn how the members of a class differ.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features, such as a network's `transform` gives.
        y : array-like of shape (n,)
            Classes. -1, None and NaN mean unlabelled: such rows teach nothing.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            Where y is None, or no class has two rows; where X is no finite matrix.
        """
        with unchanged_on_error(self):
            self._fit(X, y)
        return self

    def _fit(self, X, y) -> None:
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        known, labels = known_classes(X, y)
        n_classes = len(np.unique(labels))
        if len(labels) == n_classes:
            raise ValueError(
                f"y labels {len(labels)} of n_samples = {len(X)} rows with {n_classes} "
                "classes; expected a class with two rows at least, since what is learned is how "
                "the members of a class differ. Label more rows, or scale with StandardScaler."
            )
        rows = X[known]
        self.mean_ = rows.mean(axis=0, dtype=np.float64)
        self.classes_, _, within = class_means(rows, labels)
        self.whitening_ = whitening(within)

    def transform(self, X):
        """Centre and scale the features.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        Xt : ndarray of shape (n, n_features)
            float32 where X is, else float64. A row's are the same whatever its company.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        Xt = np.empty(X.shape, X.dtype)
        for block, white in in_blocks(X, self.whitening_, self.mean_):
            Xt[block] = white
        return Xt

    @property
    def _n_features_out(self) -> int:
        return self.whitening_.shape[1]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
