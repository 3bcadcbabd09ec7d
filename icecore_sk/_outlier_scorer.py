"""Outliers with their reasons, from any representation of particles."""

from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_array, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import (
    _check_feature_names,
    check_is_fitted,
    validate_data,
)

from icecore_sk import _images
from icecore_sk._input import known_classes, labelled_rows
from icecore_sk._outliers.choice import choose
from icecore_sk._outliers.classes import ClassDistances
from icecore_sk._outliers.drawn import FEATURES, UsualLoss
from icecore_sk._outliers.embedding import learns_classes
from icecore_sk._outliers.neighbours import ALGORITHMS, Neighbours
from icecore_sk._outliers.reading import METRICS, Reading
from icecore_sk._outliers.reasons import reason
from icecore_sk._outliers.scalars import Disagreement, size_scalar
from icecore_sk._outliers.surprise import Surprise, combine
from icecore_sk._random import draw_seed, seeded
from icecore_sk._wrapping import unchanged_on_error

POSITIVE = {"distance", "sparsity", "detail_distance", "class_distance", "size", "disagreement"}


class OutlierScorer(OutlierMixin, BaseEstimator):
    r"""Scores rows by everything that can make a particle unusual, and says what it was.

    An embedder, such as a `VAE` or a Pipeline that ends in one, maps X to a space; without one the
    columns of X are the space. Up to eight component scores are taken:

    - reconstruction: the loss of the embedder's reconstruction. Of networks side by side in a
      FeatureUnion, the mean of their losses.
    - corrected_reconstruction: how far the loss lies above what is usual for as much ink, contrast
      and size. The loss itself ranks how much is drawn.
    - distance: mean distance to the nearest rows [1]_; far from everything.
    - sparsity: that distance as a multiple of the neighbours' own (in the manner of [2]_); beside a
      dense group.
    - detail_distance: mean distance to the nearest rows in the third of the four stages of the
      embedder's network; made of other parts, which its last layer may have forgotten. Of networks
      side by side, in the stages of all of them.
    - class_distance: Mahalanobis distance to the nearest known class [5]_.
    - size: the largest particles.
    - disagreement: the scalar that departs most from that of the row's neighbours, itself left
      out, in robust standard deviations.

    Each becomes its surprise, minus the log of the share of training rows that reach it (as in
    [3]_), continued beyond them by a fitted tail. Their combination is the surprise of the harmonic
    mean of these shares [4]_, and the score is minus that.

    Parameters
    ----------
    embedder : estimator with transform, or None, default=None
        Cloned and fitted on (X, y); ``FrozenEstimator(fitted)`` is used as it is. None compares the
        columns of X.
    n_neighbors : int, default=20
        Neighbours of each row; at most the training rows less one are used.
    components : "auto" or list of str, default="auto"
        Components of the score, among those above. "auto" takes all that X, y and the embedder
        allow, the loss only where it can be corrected, details only where the embedder reconstructs
        no images, and size only where a scalar tells it.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance between rows of the space. "cosine" is the Euclidean distance of rows scaled to
        length 1, which ranks neighbours alike. It was better on most digits, not on FlowCam
        particles.
    scalars : "auto", list or None, default="auto"
        Columns to compare with the neighbours', by name, or by number where X is an array. "auto"
        takes those beside the image and, of a DataFrame without images, all; without an embedder,
        none, as they are the space. Those listed are then no part of the space. Columns whose name
        contains "Angle" are orientations in degrees, of period 180.
    contamination : float, default=0.05
        Share of the training rows that `predict` calls outliers; in (0, 0.5].
    algorithm : {"auto", "exact", "approximate"}, default="auto"
        Search for neighbours. "auto" is approximate above 50,000 training rows (pynndescent).
    random_state : int, RandomState instance or None, default=None
        Governs the approximate search, and the embedder where its own `random_state` is None.

    Attributes
    ----------
    embedder_ : estimator or None
        The fitted embedder.
    components_ : list of str
        Components in use.
    scalars_ : list
        Scalars that are compared. Those that are constant in the training rows are left out.
    size_name_ : str or None
        What is taken for the size.
    classes_ : ndarray
        Known classes, where y had labels.
    offset_ : float
        Scores below are outliers.
    n_neighbors_ : int
        Neighbours used.
    n_features_in_ : int
        Columns of X, where it has columns.
    feature_names_in_ : ndarray of str
        Column names, where X was a DataFrame.

    Notes
    -----
    With the surprises :math:`s_1, ..., s_m` of the m components of a row, each
    :math:`s_c = -\log p_c` with the share :math:`p_c` of training rows that reach its value, the
    score is

    .. math::

        -\log \frac{1}{m} \sum_{c=1}^{m} e^{s_c}

    One component that is extreme outranks several that are a little unusual.

    A row that equals a training row takes it for itself and leaves it out, so training rows have
    the same scores whether they are scored in `fit` or later, and a new row's score does not
    depend on the rows beside it.

    The tails are fitted to quantiles (90 % to 97.5 %), because the outliers are among the training
    rows. Beyond the tail a surprise grows with the logarithm of a distance, size or z.

    References
    ----------
    .. [1] Angiulli and Pizzuti (2002). Fast outlier detection in high dimensional spaces. PKDD.
    .. [2] Breunig, Kriegel, Ng and Sander (2000). LOF: identifying density-based local outliers.
           SIGMOD.
    .. [3] Li, Zhao, Hu, Botta, Ionescu and Chen (2022). ECOD: unsupervised outlier detection
           using empirical cumulative distribution functions. IEEE TKDE.
    .. [4] Wilson (2019). The harmonic mean p-value for combining dependent tests. PNAS 116(4).
    .. [5] Lee, Lee, Lee and Shin (2018). A simple unified framework for detecting
           out-of-distribution samples and adversarial attacks. NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> from icecore_sk import OutlierScorer
    >>> X = np.random.RandomState(0).normal(size=(200, 2))
    >>> scorer = OutlierScorer().fit(X)
    >>> scorer.predict([[0.0, 0.0], [9.0, 9.0]])
    array([ 1, -1])
    >>> scorer.decision_function([[0.0, 0.0], [9.0, 9.0]]) < 0
    array([False,  True])
    >>> near, far = scorer.score_samples([[0.0, 0.0], [9.0, 9.0]])
    >>> bool(near > far)
    True
    >>> print(scorer.explain([[9.0, 9.0]])["reason"][0][:19])
    far from everything
    """

    _parameter_constraints: dict = {
        "embedder": [HasMethods(["fit", "transform"]), None],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "components": [StrOptions({"auto"}), list, tuple],
        "metric": [StrOptions(set(METRICS))],
        "scalars": [StrOptions({"auto"}), list, tuple, None],
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
        "algorithm": [StrOptions(set(ALGORITHMS))],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        embedder=None,
        *,
        n_neighbors=20,
        components="auto",
        metric="euclidean",
        scalars="auto",
        contamination=0.05,
        algorithm="auto",
        random_state=None,
    ):
        self.embedder = embedder
        self.n_neighbors = n_neighbors
        self.components = components
        self.metric = metric
        self.scalars = scalars
        self.contamination = contamination
        self.algorithm = algorithm
        self.random_state = random_state

    def fit(self, X, y=None):
        """Fit the embedder and learn what is usual for each component.

        Parameters
        ----------
        X : array-like of shape (n, n_features), or what the embedder takes
        y : array-like of shape (n,) or None
            Labels, where some are known; -1, None and NaN mean unlabelled. They go to the embedder,
            one that learns classes with the labelled rows alone, and `class_distance` is measured
            from them.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            Where a parameter, X or y is unusable, or a component that is asked for is not possible;
            the message names it and the way out.
        """
        with unchanged_on_error(self):
            self._fit(X, y)
        return self

    def _fit(self, X, y) -> None:
        self._validate_params()
        X = self._check_X(X, reset=True)
        seed = draw_seed(self.random_state)
        self.embedder_ = self._fit_embedder(X, y, seed)
        self._metric = self.metric
        # "auto" takes them wherever one pass gives them.
        closely = isinstance(self.components, str) or "detail_distance" in self.components
        reading = Reading(X, self.embedder_, self.scalars, self._metric, closely=closely)
        self._learn(reading, y, seed)
        details = None if self._details is None else self._details.distance
        table = self._measure(reading, self._neighbours.index, self._neighbours.distance, details)
        self._scales = {
            name: Surprise(self._scaled(table, name), name in POSITIVE) for name in self.components_
        }
        self._typical.update({name: scale.median for name, scale in self._scales.items()})
        if "size" in self.components_:
            self._typical["size"] = float(np.quantile(table["size"], 0.99))
        scores = self._score(self._surprises(table))
        self.offset_ = float(np.percentile(scores, 100.0 * self.contamination))

    def score_samples(self, X):
        """Return the score of each row; the higher, the more normal.

        Parameters
        ----------
        X : array-like or table, as in `fit`

        Returns
        -------
        scores : ndarray of shape (n,)
            Minus the combined surprise in nats, 0 for a row that is most normal in every way.
            Beyond every training row it goes on falling, so that two far rows are still ranked.
        """
        return self._score(self._surprises(self._table(X)))

    def decision_function(self, X):
        """Return ``score_samples(X) - offset_``: negative for outliers.

        Parameters
        ----------
        X : array-like or table, as in `fit`

        Returns
        -------
        decision : ndarray of shape (n,)
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """Return +1 for inliers and -1 for outliers.

        Parameters
        ----------
        X : array-like or table, as in `fit`

        Returns
        -------
        labels : ndarray of shape (n,) of int
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def explain(self, X):
        """Return score, components and a reason in words for each row.

        Parameters
        ----------
        X : array-like or table, as in `fit`

        Returns
        -------
        table : DataFrame of n rows
            - score: as `score_samples` returns it; outlier: whether it is below `offset_`.
            - One column per component, the higher the more unusual: loss in nats or mean squared
              error, distance in units of the space, sparsity as a ratio, detail_distance in units
              of the network's third stage, class_distance in standard
              deviations, size in its own unit, corrected_reconstruction and disagreement in robust
              standard deviations.
            - scalar: which one disagrees most, where scalars are compared.
            - reason: the most surprising component in words, and a second one that is nearly as
              surprising; empty for inliers.

            The index is that of X where X is a DataFrame.
        """
        table = self._table(X)
        surprises = self._surprises(table)
        score = self._score(surprises)
        outlier = score < self.offset_
        reasons = np.full(len(table), "", dtype=object)
        for i in np.flatnonzero(outlier):
            own = {name: float(values[i]) for name, values in surprises.items()}
            reasons[i] = reason(table.iloc[i], own, self._typical, self.n_neighbors_)
        columns = [*self.components_, *(["scalar"] if "scalar" in table else [])]
        result = table[columns].copy()
        result.insert(0, "score", score)
        result.insert(1, "outlier", outlier)
        result["reason"] = reasons.astype(str) if len(reasons) else reasons
        if isinstance(X, pd.DataFrame):
            result.index = X.index
        return result

    # ---------------------------------------------------------------- reading X

    def _check_X(self, X, reset: bool):
        """Check what has columns; images are left to the embedder."""
        images, table = _images.image_columns(X), isinstance(X, pd.DataFrame)
        alone = self.embedder is None
        ndim = np.ndim(X) if isinstance(X, list | tuple) else getattr(X, "ndim", 2)
        if images or ndim in (3, 4):
            if alone:
                what = f"the image column {images[0]!r}" if images else f"shape {np.shape(X)}"
                raise ValueError(
                    f"X has {what}, but embedder=None compares columns of numbers. Pass "
                    "embedder=VAE() or, with a fitted one, embedder=FrozenEstimator(vae)."
                )
            if reset and hasattr(self, "n_features_in_"):
                del self.n_features_in_  # of an earlier fit, on rows
            if reset or (table and hasattr(self, "feature_names_in_")):
                # Scalars are read by their places.
                _check_feature_names(self, X, reset=reset)
            return X if table else np.asarray(X)
        lets_nan = not alone and get_tags(self.embedder).input_tags.allow_nan
        options = {
            # A table may have texts that the embedder reads.
            "dtype": [np.float64, np.float32] if alone else None if table else "numeric",
            "ensure_min_samples": 2 if reset else 1,
            "ensure_all_finite": "allow-nan" if lets_nan else True,
        }
        if reset or table or hasattr(self, "n_features_in_"):
            checked = validate_data(self, X, reset=reset, **options)
        else:  # rows, after a fit on a table with images, whose names they have not
            checked = check_array(X, estimator=self, input_name="X", **options)
        # Names are what an embedder and `scalars` select columns by.
        return X if table else checked

    def _fit_embedder(self, X, y, seed: int):
        if self.embedder is None:
            return None
        if y is not None and learns_classes(self.embedder):
            X, y = labelled_rows(X, y)
        return seeded(self.embedder, seed).fit(X, y)

    # ---------------------------------------------------------------- fitting

    def _learn(self, reading: Reading, y, seed: int) -> None:
        """Learn the parts of every component in use."""
        if len(reading) < 2:
            raise ValueError(
                f"X has {len(reading)} row(s); what is unusual is told by a row's neighbours, so "
                "at least 2 are needed, and some hundred to tell it well."
            )
        self.n_neighbors_ = min(self.n_neighbors, len(reading) - 1)
        self._neighbours = Neighbours(reading.space, self.n_neighbors_, self.algorithm, seed)
        self._disagreement = None
        if reading.scalars is not None:
            self._disagreement = Disagreement(
                reading.scalars, reading.names, self._neighbours.index
            )
        self.scalars_ = self._disagreement.names if self._disagreement else []
        self._read_labels(y, reading.space)
        self._picked = reading.picked
        name = size_scalar(reading.names)
        self._size_column = None if name is None else reading.names.index(name)
        self.size_name_ = name or (reading.pictures and "number of drawn pixels")
        self._choose_components(reading)
        self._details = None
        if "detail_distance" in self.components_:
            self._details = Neighbours(
                reading.intermediate, self.n_neighbors_, self.algorithm, seed
            )
        self._typical: dict = {"size name": self.size_name_}
        if reading.has_loss:
            self._typical["loss unit"] = reading.loss_unit
        self._grey_range = 1.0 if reading.pictures is None else reading.grey_range
        self._usual_loss = None
        if "corrected_reconstruction" in self.components_:
            self._usual_loss = UsualLoss(reading.drawn(self._grey_range), reading.loss)

    def _read_labels(self, y, rows) -> None:
        self._classes = None
        if hasattr(self, "classes_"):
            del self.classes_
        if y is None:
            return
        known, labels = known_classes(rows, y)
        if known.any():
            classes = ClassDistances(rows[known], labels, rows)
            self._classes = classes
            self.classes_: np.ndarray = classes.classes

    def _choose_components(self, reading: Reading) -> None:
        """Set `components_`, after saying what those that are asked for lack."""
        missing: dict[str, str | bool] = {
            "reconstruction": not reading.has_loss
            and "an embedder with reconstruct or inverse_transform, such as VAE()",
            "corrected_reconstruction": not (reading.reconstructs and reading.pictures)
            and "an embedder with reconstruct, such as VAE(), and images in X",
            "distance": False,
            "sparsity": False,
            "detail_distance": not reading.has_intermediate
            and "an embedder with intermediate_features, such as ResNet18Classifier()",
            "class_distance": self._classes is None
            and "labels: pass y to fit, with -1, None or NaN for the rows without one",
            "size": self.size_name_ is None
            and "a scalar named as an area, diameter, volume or size (see scalars), or images",
            "disagreement": not self._disagreement
            and "scalars that vary: pass a particle table, or name columns with scalars=[...]",
        }
        # The raw loss ranks what is drawn, and pixels tell no size once crops are resized.
        skipped = {"reconstruction", *(["size"] if self._size_column is None else [])}
        # An autoencoder forgets no more details than it reconstructs badly. With stars and
        # springs among drawn particles AUROC was .791 with them, .810 without.
        if reading.reconstructs:
            skipped.add("detail_distance")
        self.components_ = choose(self.components, missing, skipped)

    # ---------------------------------------------------------------- scoring

    def _table(self, X) -> pd.DataFrame:
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        closely = self._details is not None
        reading = Reading(X, self.embedder_, self.scalars, self._metric, self._picked, closely)
        details = None if self._details is None else self._details.find(reading.intermediate)[1]
        return self._measure(reading, *self._neighbours.find(reading.space), details)

    def _measure(self, reading: Reading, near, distance, details) -> pd.DataFrame:
        """Return all components in their units, and what reasons are made of."""
        wanted = set(self.components_)
        table = {"distance": distance, "sparsity": self._neighbours.sparsity(near, distance)}
        if details is not None:
            table["detail_distance"] = details
        by_pixels = "size" in wanted and self._size_column is None
        if by_pixels or "corrected_reconstruction" in wanted:
            drawn = reading.drawn(self._grey_range)
        if wanted & {"reconstruction", "corrected_reconstruction"}:
            table["loss"] = table["reconstruction"] = reading.loss
        if self._usual_loss is not None:
            table["usual loss"] = self._usual_loss.usual(drawn)
            table["corrected_reconstruction"] = self._usual_loss.departure(drawn, reading.loss)
        if "class_distance" in wanted:
            assert self._classes is not None
            table["class_distance"], nearest = self._classes.nearest(reading.space)
            table["nearest class"] = self.classes_[nearest]
        if by_pixels:
            table["size"] = drawn[:, FEATURES.index("size")]
        elif "size" in wanted:
            assert reading.scalars is not None
            table["size"] = reading.scalars[:, self._size_column]
        if "disagreement" in wanted:
            assert self._disagreement is not None
            assert reading.scalars is not None
            found = self._disagreement.largest(reading.scalars, near)
            table["disagreement"], table["scalar"] = found["z"], self._names[found["number"]]
            table |= {name: found[name] for name in ("relative", "own", "theirs")}
        return pd.DataFrame(table)

    @property
    def _names(self) -> np.ndarray:
        names = np.empty(len(self.scalars_), dtype=object)
        names[:] = self.scalars_
        return names

    @staticmethod
    def _scaled(table: pd.DataFrame, name: str) -> np.ndarray:
        """The column that a component's surprise is taken from."""
        return table["relative" if name == "disagreement" else name].to_numpy()

    def _surprises(self, table: pd.DataFrame) -> dict[str, np.ndarray]:
        return {name: scale(self._scaled(table, name)) for name, scale in self._scales.items()}

    @staticmethod
    def _score(surprises: dict[str, np.ndarray]) -> np.ndarray:
        # Not minus zero.
        return 0.0 - combine(list(surprises.values()))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if self.embedder is not None:
            inner = get_tags(self.embedder)
            tags.input_tags.three_d_array = inner.input_tags.three_d_array
            tags.input_tags.allow_nan = inner.input_tags.allow_nan
            tags.non_deterministic = inner.non_deterministic
            tags.target_tags.required = inner.target_tags.required
        return tags
