"""Removes one class, such as dust, at a stated risk for the others, and says of each row why."""

import math
import warnings
from numbers import Integral, Real

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, check_cv
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _num_samples, check_is_fitted

from icecore_sk._input import check_target
from icecore_sk._outliers.classes import ClassDistances
from icecore_sk._random import draw_seed, seeded
from icecore_sk._wrapping import WrapsClassifier, unchanged_on_error

RESCUE = 0.01
FROZEN_FOLDS = 5
RUN = "run"


def runs_of(X) -> np.ndarray | None:
    """Return the runs of a particle table, where its index tells several apart."""
    if not isinstance(X, pd.DataFrame) or RUN not in X.index.names:
        return None
    runs = X.index.get_level_values(RUN)
    return runs.to_numpy() if runs.nunique() > 1 else None


class ClassFilter(WrapsClassifier, MetaEstimatorMixin, BaseEstimator):
    """Says which rows to keep when one class, such as dust, is to be removed.

    A row is removed where the probability that `classifier` gives to the class `remove` lies above
    a threshold. The threshold comes from labelled rows that the classifier was not fitted on: of a
    new row of any other class it removes at most the share `max_miss` [1]_. What lies
    farther from all classes that the classifier knows than nearly all of `remove` does is kept,
    however sure the classifier is. Of a class that nobody has labelled rows may be lost all the
    same: `max_miss` is a promise about the labelled ones.

    Parameters
    ----------
    classifier : estimator with predict_proba
        It is cloned, fitted for each fold, and in the end on all rows. ``FrozenEstimator(fitted)``
        is used as it is, and then every row passed to `fit` counts as held out: pass rows that it
        was not fitted on.
    remove : label
        The class to remove, one of the labels in y.
    max_miss : float, default=0.01
        Largest share of the other classes' rows that may be removed; in (0, 1).
    rescue : float, "auto" or None, default="auto"
        Largest share of the rows of `remove` that may be kept because they look like no known
        class (see Notes); in (0, 1). None keeps none. "auto" is 0.01, or None where the classifier
        has neither `transform` nor `score_samples`.
    cv : int, splitter or iterable of (train, test), default=5
        Folds. An integer holds out rows of every class in each fold or, with groups, whole groups.
    random_state : int, RandomState instance or None, default=None
        Governs the folds and, where its own is None, the classifier.

    Attributes
    ----------
    classifier_ : estimator
        Fitted on all rows.
    classes_ : ndarray
        Labels in y, sorted.
    threshold_ : float
        Rows whose probability of `remove` is greater are removed.
    rescue_threshold_ : float or None
        Of these, rows are kept that look less familiar. Familiarity is minus the distance to the
        nearest class, in standard deviations, or the classifier's `score_samples`.
    miss_rate_ : float
        Share of the held-out rows of other classes that is removed.
    removed_rate_ : float
        Share of the held-out rows of `remove` that is removed.
    n_calibration_ : int
        Held-out rows of other classes, on which the threshold rests.
    n_groups_ : int or None
        Groups of which each was held out as a whole; None where rows were split.
    n_features_in_ : int
        Columns of X, where the classifier counts them.
    feature_names_in_ : ndarray of str
        Column names, where the classifier keeps them.

    Warns
    -----
    UserWarning
        Where there are too few held-out rows for `max_miss`, or nothing would be removed.

    Notes
    -----
    With n held-out rows of other classes sorted by probability, the threshold is the k-th highest,
    ``k = floor((n + 1) * max_miss)``: a new row that resembles them exceeds it with a probability
    of at most ``k / (n + 1)``. This needs ``n >= 1 / max_miss - 1``. Probabilities are compared as
    log-odds, which tell apart what rounds to 1.

    Across runs probabilities shift, and a rate that holds for held-out rows of one run need not
    hold for the next. Therefore, where X is a particle table whose index has a level "run" of
    several runs, or where `groups` is passed, an integer `cv` holds out whole runs, so that the
    threshold knows of the shift; labels of one run alone cannot tell of it. To split by rows all
    the same, pass a splitter such as ``StratifiedKFold(5)``.

    The rescue threshold is found in the same way from those held-out rows of `remove` that lie
    above `threshold_`; where these are fewer than ``1 / rescue - 1``, only what looks less familiar
    than all of them is kept.

    How familiar a row looks is minus its Mahalanobis distance to the nearest class among the rows
    that the classifier was fitted on, in the space of ``classifier.transform`` [2]_. A class that
    a network never saw is told by it better than by `score_samples`, the energy of its logits:
    where a network is sure of dust, the energy is high as well. Only a classifier without
    `transform` is asked for its `score_samples`.

    References
    ----------
    .. [1] Vovk, Gammerman and Shafer (2005). Algorithmic learning in a random world. Springer.
    .. [2] Lee, Lee, Lee and Shin (2018). A simple unified framework for detecting
           out-of-distribution samples and adversarial attacks. NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from icecore_sk import ClassFilter
    >>> rng = np.random.RandomState(0)
    >>> y = np.repeat(["dust", "pollen"], 200)
    >>> X = rng.normal(size=(400, 2)) + 3 * (y == "pollen")[:, None]
    >>> keep = ClassFilter(LogisticRegression(), remove="dust", random_state=0).fit(X, y)
    >>> keep.predict([[0, 0], [3, 3]])
    array([False,  True])
    >>> print(keep.explain([[1, 1]])["reason"][0])
    removed: P(dust) 0.88 > 0.5926
    """

    _parameter_constraints: dict = {
        "max_miss": [Interval(Real, 0, 1, closed="neither")],
        "rescue": [Interval(Real, 0, 1, closed="neither"), StrOptions({"auto"}), None],
        "cv": [Interval(Integral, 2, None, closed="left"), HasMethods(["split"]), "cv_object"],
        "random_state": ["random_state"],
    }

    def __init__(
        self, classifier, *, remove, max_miss=0.01, rescue="auto", cv=5, random_state=None
    ):
        self.classifier = classifier
        self.remove = remove
        self.max_miss = max_miss
        self.rescue = rescue
        self.cv = cv
        self.random_state = random_state

    def fit(self, X, y, groups=None):
        """Calibrate the thresholds on held-out rows and fit the classifier on all.

        Parameters
        ----------
        X : whatever `classifier` takes
            Images in any of the three forms, or features.
        y : array-like of shape (n,)
            Labels of any type, none missing.
        groups : array-like of shape (n,) or None, default=None
            Run of each row. By default the index level "run" of a particle table.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            Where a parameter or y is unusable, or the folds leave nothing to learn or to
            calibrate; the message names it and the way out.
        """
        with unchanged_on_error(self):
            self._fit(X, y, groups)
        return self

    def _fit(self, X, y, groups) -> None:
        self._validate_params()
        self._check_classifier()
        X, y, groups = indexable(X, y, runs_of(X) if groups is None else groups)
        y = self._check_target(y)
        seed = draw_seed(self.random_state)
        removed = y == self.remove
        held, log_odds, familiar = self._held_out(X, y, removed, groups, seed)
        self._calibrate(log_odds, familiar, removed[held])
        self.classes_ = np.unique(y)
        self.classifier_ = self._fitted(X, y, seed)
        self._known = self._known_places(self.classifier_, X, y)

    def predict(self, X):
        """Return which rows to keep.

        Parameters
        ----------
        X : whatever `classifier` takes

        Returns
        -------
        keep : ndarray of shape (n,) of bool
            True keeps the row: ``X[model.predict(X)]`` is what is left.
        """
        check_is_fitted(self, "classifier_")
        removed, _, _ = self._decide(X)
        return ~removed

    def explain(self, X):
        """Return the decision on each row with a reason in words, and how many were dropped.

        Parameters
        ----------
        X : whatever `classifier` takes

        Returns
        -------
        table : DataFrame of n rows
            Columns probability (of the class `remove`), score (the same as log-odds in nats), kept,
            rescued, and reason. The index is that of X where X is a DataFrame. ``table.attrs``
            counts "rows", "removed", "kept" and, among the kept, "rescued".
        """
        check_is_fitted(self, "classifier_")
        removed, log_odds, familiar = self._decide(X)
        rescued = (log_odds > self._offset) & ~removed
        table = pd.DataFrame(
            {
                "probability": expit(log_odds),
                "score": log_odds,
                "kept": ~removed,
                "rescued": rescued,
                "reason": [
                    self._reason(*row) for row in zip(removed, log_odds, familiar, strict=True)
                ],
            },
            index=X.index if isinstance(X, pd.DataFrame) else None,
        )
        table.attrs = {
            "rows": len(table),
            "removed": int(removed.sum()),
            "kept": int((~removed).sum()),
            "rescued": int(rescued.sum()),
        }
        return table

    # ---------------------------------------------------------------- input

    def _check_classifier(self) -> None:
        name = type(self.classifier).__name__
        if not hasattr(self.classifier, "predict_proba"):
            raise ValueError(
                f"classifier={self.classifier!r} has no predict_proba, from which the threshold is "
                "taken. Pass a classifier that has, such as ResNet18Classifier(), or wrap this one "
                "in sklearn.calibration.CalibratedClassifierCV."
            )
        if self._rescue_share is not None and not self._tells_familiar:
            raise ValueError(
                f"rescue={self.rescue!r} needs a classifier with transform or score_samples, and "
                f"{name} has neither. Pass rescue=None, or a ResNet18Classifier."
            )

    @property
    def _tells_familiar(self) -> bool:
        return hasattr(self.classifier, "transform") or hasattr(self.classifier, "score_samples")

    @property
    def _rescue_share(self) -> float | None:
        if self.rescue != "auto":
            return self.rescue
        return RESCUE if self._tells_familiar else None

    def _check_target(self, y) -> np.ndarray:
        y = check_target(self, y, "Drop these rows: keep = ~pandas.isna(y); fit(X[keep], y[keep]).")
        classes = np.unique(y).tolist()
        if self.remove not in classes:
            raise ValueError(f"remove={self.remove!r} is no class of y; expected one of {classes}.")
        return y

    # ---------------------------------------------------------------- held-out rows

    def _held_out(self, X, y, removed, groups, seed: int):
        """Return the numbers of the held-out rows, their log-odds and how familiar they look."""
        self.n_groups_: int | None = None
        if isinstance(self.classifier, FrozenEstimator):
            return np.arange(len(y)), *self._score_frozen(X, y, seed)
        parts = []
        for train, test in self._folds(y, removed, groups, seed):
            if removed[train].all() or not removed[train].any():
                only = "only" if removed[train].any() else "no"
                raise ValueError(
                    f"A fold of cv={self.cv!r} leaves {only} rows of {self.remove!r} to fit on"
                    f"{' (runs are held out as a whole)' if groups is not None else ''}. Pass a "
                    "splitter that leaves some of each, such as StratifiedKFold(5)."
                )
            X_train = _safe_indexing(X, train)
            model = self._fitted(X_train, y[train], seed)
            known = self._known_places(model, X_train, y[train])
            X_test = _safe_indexing(X, test)
            parts.append(
                (test, self._log_odds(model, X_test), self._familiar(model, known, X_test))
            )
        held, log_odds, familiar = (np.concatenate(part) for part in zip(*parts, strict=True))
        if len(np.unique(held)) < len(held):
            raise ValueError(
                f"cv={self.cv!r} holds out some rows more than once, so that they are fewer than "
                "they seem. Pass KFold or StratifiedKFold, or ShuffleSplit(1)."
            )
        if removed[held].all() or not removed[held].any():
            only = "only" if removed[held].any() else "no"
            raise ValueError(
                f"cv={self.cv!r} holds out {only} rows of {self.remove!r}; some of each kind are "
                "needed. Pass a splitter that holds out both."
            )
        return held, log_odds, familiar

    def _folds(self, y, removed, groups, seed: int):
        rows = np.zeros(len(y))
        if not isinstance(self.cv, Integral):
            with warnings.catch_warnings():
                # Splitting by rows where runs are known is how it is asked for.
                warnings.filterwarnings("ignore", "The groups parameter is ignored")
                return list(check_cv(self.cv).split(rows, y, groups))
        cv = int(self.cv)
        if groups is not None:
            n_groups = len(pd.unique(np.asarray(groups)))
            if n_groups < 2:
                raise ValueError("groups holds 1 group; pass two or more, or groups=None.")
            self.n_groups_ = n_groups
            return GroupKFold(min(cv, n_groups)).split(rows, y, groups)
        n_removed = int(removed.sum())
        n_others = len(y) - n_removed
        if min(n_removed, n_others) < cv:
            raise ValueError(
                f"cv={cv} needs as many rows of {self.remove!r} and of the other classes, but "
                f"there are {n_removed} and {n_others}. Label more, lower cv, or pass "
                "FrozenEstimator(fitted classifier)."
            )
        splitter = StratifiedKFold(cv, shuffle=True, random_state=seed)
        return splitter.split(rows, self._strata(y, removed))

    def _strata(self, y, removed) -> np.ndarray:
        """Return the classes, those too rare for every fold joined to the largest other one."""
        _, strata, counts = np.unique(y, return_inverse=True, return_counts=True)
        others = np.unique(strata[~removed])
        rare = others[counts[others] < self.cv]
        strata[np.isin(strata, rare)] = others[counts[others].argmax()]
        return strata

    def _fitted(self, X, y, seed: int):
        # Fitting a FrozenEstimator leaves it as it is.
        return seeded(self.classifier, seed).fit(X, y)

    # ---------------------------------------------------------------- scores and thresholds

    def _log_odds(self, model, X) -> np.ndarray:
        classes = model.classes_.tolist()
        if self.remove not in classes:
            raise ValueError(
                f"remove={self.remove!r} is no class of the classifier; it knows {classes}."
            )
        column = classes.index(self.remove)
        probabilities = np.asarray(model.predict_proba(X), dtype=np.float64)
        others = np.delete(probabilities, column, axis=1).sum(axis=1)
        with np.errstate(divide="ignore"):
            # From the other columns, because 1 - p has no digits left where p is near 1.
            return np.log(probabilities[:, column]) - np.log(others)

    def _known_places(self, model, X, y) -> ClassDistances | None:
        """Remember where the classes lie among the rows that the classifier was fitted on."""
        if self._rescue_share is None or not hasattr(model, "transform"):
            return None
        return ClassDistances(np.asarray(model.transform(X)), y)

    def _familiar(self, model, known: ClassDistances | None, X) -> np.ndarray:
        """Return how familiar each row looks, for the rescue; the higher, the more."""
        if known is not None:
            return -known.nearest(np.asarray(model.transform(X)))[0]
        if self._rescue_share is not None:
            return np.asarray(model.score_samples(X))
        return np.full(_num_samples(X), np.inf)

    def _score_frozen(self, X, y, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return log-odds and familiarity of rows that the classifier was not fitted on.

        Its own training rows are not at hand: a row is compared with the others of these.
        """
        model = self.classifier
        log_odds = self._log_odds(model, X)
        if self._rescue_share is None or not hasattr(model, "transform"):
            return log_odds, self._familiar(model, None, X)
        features = np.asarray(model.transform(X))
        familiar = np.empty(len(y))
        folds = KFold(min(FROZEN_FOLDS, len(y)), shuffle=True, random_state=seed)
        for train, test in folds.split(features):
            known = ClassDistances(features[train], y[train])
            familiar[test] = -known.nearest(features[test])[0]
        return log_odds, familiar

    def _calibrate(self, log_odds, familiar, removed) -> None:
        """Set thresholds and rates from held-out rows."""
        n = int((~removed).sum())
        k = n_allowed(n, self.max_miss)
        if k == 0:
            warnings.warn(
                f"max_miss={self.max_miss} needs {math.ceil(1 / self.max_miss - 1 - 1e-9)} "
                f"held-out rows of other classes than {self.remove!r}, but there are {n}. The "
                f"threshold lies above all of them, which promises only {1 / (n + 1):.2g}. Label "
                "more rows, or raise max_miss.",
                UserWarning,
                stacklevel=3,
            )
        self._offset = float(np.sort(log_odds[~removed])[-max(k, 1)])
        beyond = log_odds > self._offset
        self.rescue_threshold_ = None
        if self._rescue_share is not None:
            unfamiliar = np.sort(familiar[removed & beyond])
            k = n_allowed(len(unfamiliar), self._rescue_share)
            self.rescue_threshold_ = (
                float(unfamiliar[max(k, 1) - 1]) if len(unfamiliar) else -np.inf
            )
            beyond &= familiar >= self.rescue_threshold_
        self.threshold_ = float(expit(self._offset))
        self.n_calibration_ = n
        self.miss_rate_ = float(beyond[~removed].mean())
        self.removed_rate_ = float(beyond[removed].mean())
        if not self.removed_rate_:
            warnings.warn(
                f"No held-out row of {self.remove!r} is removed at max_miss={self.max_miss}: the "
                "classifier is as sure of rows of other classes. Raise max_miss, or train it "
                "longer.",
                UserWarning,
                stacklevel=3,
            )

    def _decide(self, X) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return which rows are removed, their log-odds, and their familiarity where it counts."""
        log_odds = self._log_odds(self.classifier_, X)
        removed = log_odds > self._offset
        familiar = np.full(len(log_odds), np.inf)
        beyond = np.flatnonzero(removed)
        # Only these rows are scored: for a network it is a second pass.
        if self.rescue_threshold_ is not None and len(beyond):
            some = _safe_indexing(X, beyond)
            familiar[beyond] = self._familiar(self.classifier_, self._known, some)
            removed &= familiar >= self.rescue_threshold_
        return removed, log_odds, familiar

    def _reason(self, removed: bool, log_odds: float, familiar: float) -> str:
        sign = ">" if log_odds > self._offset else "<="
        odds = f"P({self.remove}) {in_digits(log_odds)} {sign} {in_digits(self._offset)}"
        if removed:
            return f"removed: {odds}"
        if sign == "<=":
            return f"kept: {odds}"
        threshold = self.rescue_threshold_
        assert threshold is not None  # else no row would be rescued
        if self._known is None:
            why = f"score_samples {familiar:.3g} < {threshold:.3g}"
        else:
            why = f"{-familiar:.3g} sd from the nearest > {-threshold:.3g}"
        return f"rescued: {odds}, but it looks like no known class ({why})"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def n_allowed(n: int, share: float) -> int:
    """Largest k for which a new row ranks among the top k of n others with probability `share`."""
    return math.floor(round((n + 1) * share, 9))


def in_digits(log_odds: float) -> str:
    """Write the probability with digits enough to tell it from 1."""
    p, rest = expit(log_odds), expit(-log_odds)
    return f"1 - {rest:.1g}" if 0 < rest < 0.0005 else f"{p:.4g}"
