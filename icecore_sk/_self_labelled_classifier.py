"""A classifier that learns from clusters instead of labels."""

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, TransformerMixin
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.validation import check_is_fitted

from icecore_sk._random import draw_seed, seeded
from icecore_sk._wrapping import PassesOnFeatures, classifier_has, unchanged_on_error


class SelfLabelledClassifier(PassesOnFeatures, TransformerMixin, MetaEstimatorMixin, BaseEstimator):
    """Learns, without labels, features that tell particles apart: a classifier of clusters.

    An autoencoder spends its latent space on whatever takes many pixels. A classifier spends its
    features on what tells its classes apart, and shows what belongs to none of them; but it needs
    labels. Here `clusterer` makes them: it divides the images into many small groups, and
    `classifier` learns to tell these. Groups may be as impure as they are many, because a network
    learns what most of each have in common [1]_.

    Parameters
    ----------
    clusterer : estimator with fit_predict
        Labels the rows of X, for example ``make_pipeline(VAE(16), UMAP(30), KMeans(100))``.
        Negative labels are noise. It is cloned.
    classifier : classifier with transform
        Learns the clusters from X, for example ``ResNet18Classifier(max_epochs=2)``. It is cloned.
    random_state : int, RandomState instance or None, default=None
        Governs clusterer and classifier where theirs are None.

    Attributes
    ----------
    clusterer_, classifier_ : estimator
        The fitted clones.
    labels_ : ndarray of shape (n,)
        Cluster of each training row by the clusterer. `predict` asks the classifier, which may
        know better.
    n_clusters_ : int
        Clusters found, noise not counted.
    n_noise_ : int
        Training rows in no cluster; the classifier is fitted without them.
    classes_ : ndarray of shape (n_clusters,)
        The clusters, as the columns of `predict_proba`.
    n_features_in_ : int
        Columns of X, where the classifier counts them.
    feature_names_in_ : ndarray of str
        Column names, where the classifier keeps them.
    history_ : DataFrame
        Training of the classifier, where it keeps one.

    See Also
    --------
    ResNet18Classifier : The network that learns from images and labels.
    ClusterTransformer : A clusterer as a step of a Pipeline.

    Notes
    -----
    Divide into many more groups than there are kinds, a hundred for ten. With as many groups as
    kinds, two kinds that share a group are never told apart.

    To cluster once more what was learned, pass a Pipeline that begins with another
    SelfLabelledClassifier as `clusterer`.

    References
    ----------
    .. [1] Caron, Bojanowski, Joulin and Douze (2018). Deep clustering for unsupervised learning of
       visual features. ECCV.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from icecore_sk import ResNet18Classifier, SelfLabelledClassifier
    >>> from icecore_sk.datasets import load_digit_images
    >>> X = load_digit_images(return_X_y=True)[0][:300].reshape(300, 64)
    >>> network = ResNet18Classifier(image_shape=(1, 8, 8), max_epochs=1)
    >>> clusterer = make_pipeline(PCA(10), KMeans(20))
    >>> model = SelfLabelledClassifier(clusterer, network, random_state=0).fit(X)
    >>> model.n_clusters_, model.transform(X).shape, model.score_samples(X).shape
    (20, (300, 512), (300,))
    >>> model.predict(X[:3]).shape
    (3,)
    """

    _parameter_constraints: dict = {
        "clusterer": [HasMethods(["fit_predict"])],
        "classifier": [HasMethods(["fit", "predict", "transform"])],
        "random_state": ["random_state"],
    }

    def __init__(self, clusterer, classifier, *, random_state=None):
        self.clusterer = clusterer
        self.classifier = classifier
        self.random_state = random_state

    def fit(self, X, y=None):
        """Cluster the rows of X and learn the clusters.

        Parameters
        ----------
        X : whatever clusterer and classifier take
            Images in any of the three forms, or features.
        y : ignored

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            Where a parameter is unusable, or fewer than two clusters are found.
        """
        with unchanged_on_error(self):
            self._fit(X)
        return self

    def _fit(self, X) -> None:
        self._validate_params()
        (X,) = indexable(X)
        seed = draw_seed(self.random_state)
        self.clusterer_ = seeded(self.clusterer, seed)
        self.labels_ = np.asarray(self.clusterer_.fit_predict(X))
        known = np.flatnonzero(self.labels_ >= 0)
        self.n_noise_ = len(self.labels_) - len(known)
        self.n_clusters_ = len(np.unique(self.labels_[known]))
        if self.n_clusters_ < 2:
            raise ValueError(
                f"clusterer={self.clusterer!r} finds {self.n_clusters_} cluster(s), and "
                f"{self.n_noise_} of {len(self.labels_)} rows in none; 2 or more are needed to "
                "learn a difference. Ask it for more and smaller clusters, such as KMeans(100)."
            )
        # All rows are passed as they came where all are in a cluster: no copy.
        rows = _safe_indexing(X, known) if self.n_noise_ else X
        self.classifier_ = seeded(self.classifier, seed).fit(rows, self.labels_[known])
        self.classes_ = self.classifier_.classes_

    def predict(self, X):
        """Return the cluster of each row.

        Parameters
        ----------
        X : whatever `classifier` takes

        Returns
        -------
        labels : ndarray of shape (n,)
            Never negative: the classifier knows no noise; `score_samples` tells what is unlike all.
        """
        check_is_fitted(self)
        return self.classifier_.predict(X)

    @classifier_has("predict_proba")
    def predict_proba(self, X):
        """Return the probability of each cluster.

        Parameters
        ----------
        X : whatever `classifier` takes

        Returns
        -------
        probabilities : ndarray of shape (n, n_clusters)
        """
        check_is_fitted(self)
        return self.classifier_.predict_proba(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.non_deterministic |= get_tags(self.clusterer).non_deterministic
        return tags
