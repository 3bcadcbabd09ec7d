"""Classes of another run, where each has another share than among the labelled rows."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import StratifiedKFold, check_cv
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.validation import check_is_fitted

from icecore_sk._input import check_target
from icecore_sk._random import draw_seed, seeded
from icecore_sk._wrapping import PassesOnFeatures, unchanged_on_error

MAX_ITER, TOLERANCE = 10_000, 1e-7


class LabelShiftCorrection(PassesOnFeatures, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Corrects a classifier for the shares that the classes have in another run.

    A classifier that learned from a run with one protist in five expects one in five, or as many of
    each class where it was balanced, and finds too many where there is one in fifty. `fit` learns
    how far its probabilities can be trusted, from rows that it was not fitted on; `adapt` then
    finds the shares of the classes in a run without labels, and `predict` reckons with them. The
    classes must look alike in both runs: only their shares may differ.

    Parameters
    ----------
    classifier : estimator with predict_proba
        It is cloned, fitted for each fold, and in the end on all rows. ``FrozenEstimator(fitted)``
        is used as it is, and then every row passed to `fit` counts as held out: pass rows that it
        was not fitted on.
    cv : int, splitter or iterable of (train, test), default=3
        Folds; an integer holds out rows of every class in each.
    random_state : int, RandomState instance or None, default=None
        Governs the folds and, where its own is None, the classifier.

    Attributes
    ----------
    classifier_ : estimator
        Fitted on all rows.
    classes_ : ndarray of shape (k,)
        Labels in y, sorted.
    prior_ : ndarray of shape (k,)
        Share of each class among the labelled rows.
    shares_ : ndarray of shape (k,)
        Share of each class that `predict` reckons with: after `fit` those of `prior_`, after
        `adapt` those of the run it was given.
    temperature_ : float
        By how much the classifier's log-probabilities are divided; above 1 where it is too sure.
    bias_ : ndarray of shape (k,)
        What is then added to them, in nats; it takes back what balancing the classes did.
    history_ : DataFrame
        How the classifier's training went, where it tells.
    image_shape_ : tuple of (int, int, int)
        Channels, height and width, where the classifier takes images.
    n_features_in_ : int
        Columns of X, where the classifier counts them.
    feature_names_in_ : ndarray of str
        Column names, where the classifier keeps them.

    See Also
    --------
    ClassFilter : Removes one class at a stated risk for the others.

    Notes
    -----
    Held-out log-probabilities ``l`` become ``softmax(l / temperature + bias)`` of greatest
    likelihood [1]_, so that they hold for classes of shares ``prior``. In another run they are then
    ``p * shares / prior``, normalised, and the shares of greatest likelihood are the fixed point of
    "shares = mean of these", found by expectation maximisation [2]_. That a network is too sure
    would drive the shares of rare classes to nothing; hence the temperature.

    The larger the run, the better its shares are known; of a handful of rows they are chance. Where
    a class looks otherwise in the other run it does harm: between two labelled FlowCam runs the
    macro-F1 of a ResNet18 went from .82 to .61 one way, and from .625 to .633 the other
    (``benchmarks/results/particles``). Compare both on some labelled rows of the other run.

    References
    ----------
    .. [1] Alexandari, Kundaje and Shrikumar (2020). Maximum likelihood with bias-corrected
       calibration is hard-to-beat at label shift adaptation. ICML.
    .. [2] Saerens, Latinne and Decaestecker (2002). Adjusting the outputs of a classifier to new a
       priori probabilities: a simple procedure. Neural Computation 14 (1).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from icecore_sk import LabelShiftCorrection
    >>> rng = np.random.RandomState(0)
    >>> def run(n_dust, n_pollen):
    ...     y = np.repeat(["dust", "pollen"], [n_dust, n_pollen])
    ...     return rng.normal(size=(len(y), 1)) + 2 * (y == "pollen")[:, None], y
    >>> model = LabelShiftCorrection(LogisticRegression(), random_state=0).fit(*run(300, 300))
    >>> X, y = run(950, 50)
    >>> print(f"{model.score(X, y):.2f} -> {model.adapt(X).score(X, y):.2f}")
    0.84 -> 0.96
    >>> model.shares_.round(2)
    array([0.95, 0.05])
    >>> model.predict([[1.0], [3.0]]), model.predict_proba([[1.0]]).round(2)
    (array(['dust', 'pollen'], dtype='<U6'), array([[0.95, 0.05]]))
    """

    _parameter_constraints: dict = {
        "classifier": [HasMethods(["fit", "predict_proba"])],
        "cv": ["cv_object"],
        "random_state": ["random_state"],
    }

    def __init__(self, classifier, *, cv=3, random_state=None):
        self.classifier = classifier
        self.cv = cv
        self.random_state = random_state

    def fit(self, X, y):
        """Fit the classifier, and calibrate its probabilities on rows that it has not seen.

        Parameters
        ----------
        X : whatever `classifier` takes
            Images in any of the three forms, or features.
        y : array-like of shape (n,)
            Labels of any type, none missing.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            Where a parameter or y is unusable, or a class has too few rows for the folds; the
            message names it and the way out.
        """
        with unchanged_on_error(self):
            self._fit(X, y)
        return self

    def _fit(self, X, y) -> None:
        self._validate_params()
        X, y = indexable(X, y)
        y = check_target(
            self,
            y,
            "Fit on the other rows, keep = ~pandas.isna(y); fit(X[keep], y[keep]), then "
            "adapt(X[~keep]).",
        )
        self.classes_ = np.unique(y)
        seed = draw_seed(self.random_state)
        log_p, labels = self._held_out(X, y, seed)
        # Fitting a FrozenEstimator leaves it as it is.
        self.classifier_ = seeded(self.classifier, seed).fit(X, y)
        of = np.searchsorted(self.classes_, labels)
        self.prior_ = np.bincount(of, minlength=len(self.classes_)) / len(of)
        if not self.prior_.all():
            raise ValueError(
                f"cv={self.cv!r} holds out no row of "
                f"{self.classes_.tolist()[self.prior_.argmin()]!r}; some "
                "of each class are needed. Pass an integer, or a splitter that holds out all rows."
            )
        self.temperature_, self.bias_ = calibrate(log_p, of)
        self.shares_ = self.prior_

    def adapt(self, X):
        """Find the shares of the classes in a run, with which `predict` reckons from now on.

        Parameters
        ----------
        X : whatever `classifier` takes
            All particles of the run; labels are not needed.

        Returns
        -------
        self : object
        """
        check_is_fitted(self, "classifier_")
        self.shares_ = find_shares(self._calibrated(self.classifier_, X), self.prior_)
        return self

    def predict_proba(self, X):
        """Return the probability of each class, of shares `shares_`.

        Parameters
        ----------
        X : whatever `classifier` takes

        Returns
        -------
        probabilities : ndarray of shape (n, k)
        """
        check_is_fitted(self, "classifier_")
        return softmax(self._log_joint(X), axis=1)

    def predict(self, X):
        """Return the most probable class.

        Parameters
        ----------
        X : whatever `classifier` takes

        Returns
        -------
        labels : ndarray of shape (n,)
        """
        check_is_fitted(self, "classifier_")
        return self.classes_[self._log_joint(X).argmax(axis=1)]

    # ---------------------------------------------------------------- parts of fit

    def _held_out(self, X, y, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return log-probabilities of rows that the classifier was not fitted on, and labels."""
        if isinstance(self.classifier, FrozenEstimator):
            return self._log_probabilities(self.classifier, X), y
        cv = check_cv(self.cv, y, classifier=True)
        if isinstance(cv, StratifiedKFold):
            self._check_counts(y, cv.n_splits)
            if not cv.shuffle:
                cv = StratifiedKFold(cv.n_splits, shuffle=True, random_state=seed)
        parts = []
        for train, test in cv.split(np.zeros(len(y)), y):
            model = seeded(self.classifier, seed).fit(_safe_indexing(X, train), y[train])
            parts.append((self._log_probabilities(model, _safe_indexing(X, test)), y[test]))
        log_p, labels = zip(*parts, strict=True)
        return np.concatenate(log_p), np.concatenate(labels)

    def _check_counts(self, y, n_splits: int) -> None:
        labels, counts = np.unique(y, return_counts=True)
        if counts.min() < n_splits:
            raise ValueError(
                f"cv={n_splits} needs as many rows of each class, but there are {counts.min()} of "
                f"{labels.tolist()[counts.argmin()]!r}. Label more, lower cv, or pass "
                "FrozenEstimator(fitted classifier) and rows that it has not seen."
            )

    # ---------------------------------------------------------------- probabilities

    def _log_probabilities(self, model, X) -> np.ndarray:
        """Return the log-probabilities of `classes_` by a fitted classifier."""
        if not np.array_equal(model.classes_, self.classes_):
            raise ValueError(
                f"The classifier knows the classes {model.classes_.tolist()}, but y holds "
                f"{self.classes_.tolist()}. Pass rows of the same classes"
                + (
                    "."
                    if isinstance(self.classifier, FrozenEstimator)
                    else f", and a cv that leaves some of each to fit on; it is {self.cv!r}."
                )
            )
        p = np.asarray(model.predict_proba(X), dtype=np.float64)
        return np.log(np.maximum(p, np.finfo(np.float32).tiny))

    def _calibrated(self, model, X) -> np.ndarray:
        """Return log-probabilities that hold for classes of shares `prior_`."""
        log_p = self._log_probabilities(model, X)
        return log_softmax(log_p / self.temperature_ + self.bias_, axis=1)

    def _log_joint(self, X) -> np.ndarray:
        log_p = self._calibrated(self.classifier_, X)
        return reweighted(log_p, self.prior_, self.shares_)


def calibrate(log_p: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Return temperature and biases under which held-out labels are most likely.

    Parameters
    ----------
    log_p : ndarray of shape (n, k)
    labels : ndarray of shape (n,) of int
        Columns of the true classes.
    """
    n, k = log_p.shape
    truth = np.eye(k)[labels]

    def loss(parameters):
        slope = np.exp(parameters[0])
        error = log_softmax(slope * log_p + parameters[1:], axis=1)
        # One more, invented row's worth of belief in "as it is": where held-out rows are told
        # apart without an error, the likelihood alone has no maximum.
        belief = 0.5 * (parameters**2).sum()
        residual = np.exp(error) - truth
        gradient = np.concatenate([[slope * (residual * log_p).sum()], residual.sum(axis=0)])
        return (belief - (truth * error).sum()) / n, (parameters + gradient) / n

    found = minimize(loss, np.zeros(k + 1), jac=True, method="BFGS").x
    return float(np.exp(-found[0])), found[1:]


def reweighted(log_p: np.ndarray, prior: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return log-probabilities for other shares than `prior`, but for a constant of each row."""
    with np.errstate(divide="ignore"):  # of a class that the run has not
        return log_p + np.log(shares / prior)


def find_shares(log_p: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return the shares of the classes under which unlabelled rows are most likely.

    Parameters
    ----------
    log_p : ndarray of shape (n, k)
        Log-probabilities that hold for classes of shares `prior`.
    prior : ndarray of shape (k,)
    """
    shares = prior
    for _ in range(MAX_ITER):
        new = softmax(reweighted(log_p, prior, shares), axis=1).mean(axis=0)
        done = np.abs(new - shares).max() < TOLERANCE
        shares = new
        if done:
            break
    return shares
