"""What estimators share: a fit that fails undoes itself; those around a classifier pass it on."""

from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted


@contextmanager
def unchanged_on_error(estimator):
    """Leave an estimator whose fit fails as it was, fitted or not: no mixture of two fits."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        raise


def classifier_has(name: str):
    """Make a method available where the classifier, the fitted one if there is one, has it too."""

    def check(self) -> bool:
        return hasattr(getattr(self, "classifier_", self.classifier), name)

    return available_if(check)


class WrapsClassifier:
    """Tells the columns and the input of `classifier`, fitted as `classifier_`, as its own."""

    classifier: Any
    classifier_: Any

    # Absent, as in a Pipeline, where the fitted classifier has none.
    @property
    def n_features_in_(self) -> int:
        return self.classifier_.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        return self.classifier_.feature_names_in_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.classifier)
        tags.input_tags = inner.input_tags
        tags.non_deterministic = inner.non_deterministic
        return tags


class PassesOnFeatures(WrapsClassifier):
    """Also has the features and the familiarity of the classifier, where that has them."""

    @property
    def history_(self):
        return self.classifier_.history_

    @property
    def image_shape_(self) -> tuple[int, int, int]:
        return self.classifier_.image_shape_

    @classifier_has("transform")
    def transform(self, X):
        """Return the classifier's features.

        Parameters
        ----------
        X : whatever `classifier` takes

        Returns
        -------
        features : ndarray of shape (n, n_features)
        """
        check_is_fitted(self, "classifier_")
        return self.classifier_.transform(X)

    @classifier_has("get_feature_names_out")
    def get_feature_names_out(self, input_features=None):
        """Return the names of the classifier's features.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self, "classifier_")
        return self.classifier_.get_feature_names_out(input_features)

    @classifier_has("set_output")
    def set_output(self, *, transform=None):
        """Say what `transform` returns, as scikit-learn's transformers do.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            None changes nothing.

        Returns
        -------
        self : object
        """
        for name in ("classifier", "classifier_"):
            if hasattr(self, name):
                getattr(self, name).set_output(transform=transform)
        return self

    @classifier_has("score_samples")
    def score_samples(self, X):
        """Return how familiar each row looks: the classifier's `score_samples`.

        Parameters
        ----------
        X : whatever `classifier` takes

        Returns
        -------
        scores : ndarray of shape (n,)
            Higher is more normal.
        """
        check_is_fitted(self, "classifier_")
        return self.classifier_.score_samples(X)

    @classifier_has("intermediate_features")
    def intermediate_features(self, X):
        """Return what the third stage of the classifier's network sees.

        Parameters
        ----------
        X : whatever `classifier` takes

        Returns
        -------
        features : ndarray of shape (n, n_features)
        """
        check_is_fitted(self, "classifier_")
        return self.classifier_.intermediate_features(X)

    @classifier_has("_transform_both")
    def _transform_both(self, X):
        check_is_fitted(self, "classifier_")
        return self.classifier_._transform_both(X)
