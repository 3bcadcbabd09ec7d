"""Which scalars a fitted estimator needs, one by one and in groups that say the same."""

import math
from numbers import Integral, Real

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.inspection import permutation_importance
from sklearn.metrics import check_scoring
from sklearn.utils import Bunch, check_consistent_length, check_random_state, get_tags
from sklearn.utils._param_validation import Interval, RealNotInt, validate_params
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from icecore_sk._images import image_columns

_CONSTRAINTS: dict = {
    "scoring": [str, callable, None],
    "n_repeats": [Interval(Integral, 1, None, closed="left")],
    "max_samples": [
        Interval(Integral, 1, None, closed="left"),
        Interval(RealNotInt, 0, 1, closed="right"),
    ],
    "n_jobs": [Integral, None],
    "random_state": ["random_state"],
}


@validate_params(
    {
        **_CONSTRAINTS,
        "scalars": ["array-like", None],
        "correlated": [Interval(Real, 0, 1, closed="right"), None],
    },
    prefer_skip_nested_validation=True,
)
def scalar_importance(
    estimator,
    X,
    y,
    *,
    scalars=None,
    scoring=None,
    correlated=0.9,
    n_repeats=10,
    max_samples=1.0,
    n_jobs=None,
    random_state=None,
):
    """Measure how much the score drops when a scalar, or a group of alike ones, is shuffled.

    scikit-learn's `permutation_importance`, of the scalars alone: images stay where they are. Each
    scalar is shuffled by itself, and scalars that are correlated also together.

    Parameters
    ----------
    estimator : fitted estimator or Pipeline
        Anything with a score that takes X.
    X : particle table or DataFrame of shape (n, n_columns)
        Rows that the estimator was not fitted on. On training rows the importance is that of what
        was learnt by heart.
    y : array-like of shape (n,) or None
        Targets; None where the score needs none.
    scalars : sequence of column names or None, default=None
        The scalars to shuffle, all other columns staying as they are; None takes every column but
        the image.
    scoring : str, callable or None, default=None
        The score, a name or ``scorer(estimator, X, y)``; None takes the estimator's own `score`.
    correlated : float or None, default=0.9
        Least absolute Spearman correlation between any two scalars of a group; None forms no
        groups.
    n_repeats : int, default=10
        Shufflings of each scalar and of each group.
    max_samples : int or float, default=1.0
        Number, or share, of the rows to use, drawn once.
    n_jobs : int or None, default=None
        Scalars to shuffle at the same time; every process gets a copy of the table.
    random_state : int, RandomState instance or None, default=None
        Governs the rows drawn and the shufflings.

    Returns
    -------
    importance : DataFrame
        A row per scalar, the most important group first and, in it, the most important scalar.

        - mean, std: drop of the score when this scalar is shuffled, over the repeats, in the unit
          of the score. Positive: the estimator uses it; about zero: it does without.
        - group: number of the scalar's group, 0 for the most important.
        - group_mean, group_std: the drop when the whole group is shuffled together.

    Raises
    ------
    TypeError
        Where X is no DataFrame.
    ValueError
        Where X has no scalars, none that varies, or columns that are not numeric; where y is
        missing, the score is unknown or not a finite number, or max_samples does not fit.
    NotFittedError
        Where the estimator is not fitted.

    See Also
    --------
    sufficient_scalars : The few scalars that keep the score.

    Notes
    -----
    Why groups: when one of two scalars that say the same is shuffled, the estimator reads the other
    one, and both look needless [2]_. The opposite happens as well. Shuffling one scalar makes
    particles that cannot exist, such as a large area with a small diameter, and what the estimator
    answers there can lend importance to a scalar that has none of its own [1]_. A group moves as a
    whole, so its scalars go on fitting each other. Groups come from complete linkage on one minus
    the absolute Spearman correlation, which sees monotone relations only.

    The std is that of the shuffling. It says nothing of what other particles would give.

    Every shuffling is a pass over all rows: (scalars + groups of several) x n_repeats of them, and
    each runs the images through the network again. `max_samples` makes that affordable; networks
    fill batches of 16 to 256 rows, so that fewer rows than a batch save nothing. The score before
    shuffling is taken on the same rows, and the drop of an unused scalar is exactly 0. Scalars
    that are constant in these rows have importance 0 without a pass.

    References
    ----------
    .. [1] Strobl, Boulesteix, Kneib, Augustin and Zeileis (2008). Conditional variable importance
           for random forests. BMC Bioinformatics 9:307.
    .. [2] scikit-learn user guide, Permutation feature importance, on strongly correlated features.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from icecore_sk.metrics import scalar_importance
    >>> X = pd.DataFrame(np.random.RandomState(0).normal(size=(200, 2)), columns=["area", "grey"])
    >>> X["diameter"] = np.cbrt(X["area"])
    >>> y = X["area"] > 0
    >>> tree = DecisionTreeClassifier(random_state=0).fit(X[:100], y[:100])
    >>> importance = scalar_importance(tree, X[100:], y[100:], random_state=0)
    >>> importance["group"].sort_index().to_dict()
    {'area': 0, 'diameter': 0, 'grey': 1}
    """
    rng = check_random_state(random_state)
    X, y, scorer, scalars = _check(estimator, X, y, scalars, scoring, max_samples, rng)
    varying = _varying(X, scalars)
    labels = pd.Series(np.arange(len(scalars)) + len(scalars), index=scalars)
    labels.loc[varying] = _correlated_groups(X[varying], correlated)
    alike = [list(group.index) for _, group in labels.groupby(labels, sort=False)]
    units = [[name] for name in varying] + [names for names in alike if len(names) > 1]
    result = permutation_importance(
        estimator,
        np.tile(np.arange(len(X))[:, None], len(units)),
        y,
        scoring=_ShuffledScore(scorer, X, units),
        n_repeats=n_repeats,
        n_jobs=n_jobs,
        random_state=rng,
    )
    columns = ["mean", "std", "group_mean", "group_std"]
    table = pd.DataFrame(0.0, index=pd.Index(scalars, name="scalar"), columns=columns)
    # Single scalars come first: the groups of several then replace what stands for groups of one.
    for names, mean, std in zip(
        units, result.importances_mean, result.importances_std, strict=True
    ):
        if len(names) == 1:
            table.loc[names, ["mean", "std"]] = mean, std
        table.loc[names, ["group_mean", "group_std"]] = mean, std
    table.insert(2, "group", labels)
    table = table.sort_values(["group_mean", "group", "mean"], ascending=[False, True, False])
    table["group"] = pd.factorize(table["group"])[0]
    return table


@validate_params(
    {
        **_CONSTRAINTS,
        "importance": [pd.DataFrame, None],
        "tolerance": [Interval(Real, 0, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def sufficient_scalars(
    estimator,
    X,
    y,
    *,
    importance=None,
    scoring=None,
    tolerance=0.01,
    n_repeats=10,
    max_samples=1.0,
    n_jobs=None,
    random_state=None,
):
    """Find a short list of scalars that keeps the score, without fitting anything again.

    All scalars are shuffled. Then, step by step, the group of correlated scalars that raises the
    score most is put back in order, until the score is within `tolerance` of the full one. The list
    holds one scalar of each of these groups.

    Parameters
    ----------
    estimator : fitted estimator or Pipeline
        Anything with a score that takes X.
    X : particle table or DataFrame of shape (n, n_columns)
        Rows that the estimator was not fitted on.
    y : array-like of shape (n,) or None
        Targets; None where the score needs none.
    importance : DataFrame or None, default=None
        What `scalar_importance` said of this estimator: its scalars, groups and, for each group,
        the scalar to list, the most important by itself. None measures it first, with default
        groups.
    scoring : str, callable or None, default=None
        The score, as in `scalar_importance`.
    tolerance : float, default=0.01
        How far below the full score is near enough, in the unit of the score.
    n_repeats : int, default=10
        Shufflings that each score is the mean of.
    max_samples : int or float, default=1.0
        Number, or share, of the rows to use, drawn once.
    n_jobs : int or None, default=None
        Scores to compute at the same time; every process gets a copy of the table.
    random_state : int, RandomState instance or None, default=None
        Governs the rows drawn and the shufflings.

    Returns
    -------
    result : Bunch
        - scalars: the list, the most useful first.
        - curve: DataFrame, a row per length of the list (n_scalars, from 0): scalar, the one that
          came in (missing at 0), score and std, mean and standard deviation over the repeats.
        - score: float, the score on the same rows with nothing shuffled.

    Raises
    ------
    TypeError, ValueError, NotFittedError
        As `scalar_importance`, and where `importance` is not what that returns for X.

    See Also
    --------
    scalar_importance : The importance of every scalar and of every group.

    Notes
    -----
    The list is a proposal. While it is made, a group that is kept is kept whole, and the
    estimator still expects the shuffled scalars to mean something. Fit a new estimator on the
    list alone and score it on new rows: that is the check. A new estimator also learns to make up
    for what it never sees, so that the first few scalars of the list are often enough for it.

    With g groups the first step costs g x n_repeats passes over the rows, and each further step one
    group less. Groups that only help together, as in an exclusive or, do not raise the score one
    by one; the list may then be longer than it need be.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from icecore_sk.metrics import sufficient_scalars
    >>> X = pd.DataFrame(np.random.RandomState(0).normal(size=(200, 2)), columns=["area", "grey"])
    >>> y = X["area"] > 0
    >>> tree = DecisionTreeClassifier(random_state=0).fit(X[:100], y[:100])
    >>> sufficient_scalars(tree, X[100:], y[100:], random_state=0).scalars
    ['area']
    """
    if importance is None:
        importance = scalar_importance(
            estimator,
            X,
            y,
            scoring=scoring,
            n_repeats=n_repeats,
            max_samples=max_samples,
            n_jobs=n_jobs,
            random_state=random_state,
        )
    elif not {"mean", "group"} <= set(importance.columns):
        raise ValueError(
            f"importance has the columns {list(importance.columns)}; expected 'mean' and 'group' "
            "among them. Pass what scalar_importance returns, or None."
        )
    rng = check_random_state(random_state)
    X, y, scorer, scalars = _check(estimator, X, y, importance.index, scoring, max_samples, rng)
    groups = [group["mean"] for _, group in importance.loc[_varying(X, scalars)].groupby("group")]
    score = _ShuffledScore(scorer, X, [list(group.index) for group in groups])
    seeds = rng.randint(np.iinfo(np.int32).max, size=n_repeats)

    def scores_with(candidates: list[list[int]]) -> np.ndarray:
        """Scores with only the groups of each candidate in order, (n_candidates, n_repeats)."""
        scores = Parallel(n_jobs=n_jobs)(
            delayed(score)(estimator, _shuffled_but(kept, len(groups), len(X), seed), y)
            for kept in candidates
            for seed in seeds
        )
        return np.reshape(scores, (len(candidates), n_repeats))

    everything = list(range(len(groups)))
    full = score(estimator, _shuffled_but(everything, len(groups), len(X), 0), y)
    kept = []
    (best,) = scores_with([kept])
    curve = [{"scalar": None, "score": best.mean(), "std": best.std()}]
    while len(kept) < len(groups) and best.mean() < full - tolerance:
        candidates = [[*kept, k] for k in everything if k not in kept]
        scores = scores_with(candidates)
        first = scores.mean(axis=1).argmax()
        kept, best = candidates[first], scores[first]
        name = groups[kept[-1]].idxmax()
        curve.append({"scalar": name, "score": best.mean(), "std": best.std()})
    frame = pd.DataFrame(curve).rename_axis("n_scalars")
    return Bunch(scalars=frame["scalar"].tolist()[1:], curve=frame, score=full)


class _ShuffledScore:
    """Score of X after units of scalars have moved to other rows; a scorer of row numbers.

    Column j of `positions` says from which row each particle takes the scalars of ``units[j]``.
    Passed to scikit-learn as the features, these numbers are all that it can shuffle: units move as
    a whole, and images never.
    """

    def __init__(self, scorer, X: pd.DataFrame, units: list[list]):
        self.scorer = scorer
        self.X = X
        self.units = units

    def __call__(self, estimator, positions: np.ndarray, y) -> float:
        in_order = np.arange(len(self.X))
        # Shallow: the images, most of the table, are shared and not copied.
        table = self.X.copy(deep=False)
        for names, rows in zip(self.units, positions.T, strict=True):
            if not np.array_equal(rows, in_order):
                for name in names:
                    table[name] = self.X[name].array.take(rows)
        score = self.scorer(estimator, table, y)
        if not isinstance(score, Real) or not math.isfinite(score):
            raise ValueError(
                f"The score of X is {score!r}; expected one finite number. Pass another scoring, "
                "or rows on which it is defined."
            )
        return float(score)


def _shuffled_but(kept: list[int], n_units: int, n_rows: int, seed: int) -> np.ndarray:
    """Row numbers, each unit's shuffled by itself save for those kept; alike for all `kept`."""
    rng = np.random.RandomState(seed)
    positions = np.column_stack([rng.permutation(n_rows) for _ in range(n_units)])
    positions[:, kept] = np.arange(n_rows)[:, None]
    return positions


def _check(estimator, X, y, scalars, scoring, max_samples, rng):
    """Return the rows to use of X and y, the scorer, and the names of the scalars."""
    check_is_fitted(estimator)
    if not isinstance(X, pd.DataFrame):
        raise TypeError(
            f"X is a {type(X).__name__}; expected a particle table or another DataFrame, whose "
            "columns name the scalars. Pass pd.DataFrame(X, columns=names)."
        )
    scorer = check_scoring(estimator, scoring=scoring)
    if y is None and not callable(scoring) and get_tags(estimator).target_tags.required:
        raise ValueError(
            f"y is None, but the score of {type(estimator).__name__} needs the targets. Pass y, or "
            "a scorer that does without."
        )
    names = _scalar_names(X, scalars)
    n_rows = max_samples if isinstance(max_samples, Integral) else int(max_samples * len(X))
    if not 2 <= n_rows <= len(X):
        raise ValueError(
            f"max_samples={max_samples} makes {n_rows} of the {len(X)} rows of X; expected at "
            "least 2 and at most all of them."
        )
    if y is not None:
        y = np.asarray(y)
        check_consistent_length(X, y)
    if n_rows < len(X):
        rows = np.sort(rng.permutation(len(X))[:n_rows])
        X, y = X.iloc[rows], None if y is None else y[rows]
    return X, y, scorer, names


def _scalar_names(X: pd.DataFrame, scalars) -> list:
    images = image_columns(X)
    names = [name for name in X.columns if name not in images] if scalars is None else list(scalars)
    missing = [name for name in names if name not in X.columns]
    if missing:
        raise ValueError(f"X has no column {missing}; its columns are {list(X.columns)}.")
    for what, columns in (("X", X.columns), ("scalars", pd.Index(names))):
        if not columns.is_unique:
            twice = columns[columns.duplicated()].unique().tolist()
            raise ValueError(f"{what} names {twice} more than once; expected each name once.")
    if not names:
        raise ValueError(
            f"There are no scalars to shuffle: X has the columns {list(X.columns)}, and images are "
            "never shuffled."
        )
    for name in names:
        if not pd.api.types.is_numeric_dtype(X[name].dtype):
            raise ValueError(
                f"Column {name!r} of X has dtype {X[name].dtype}; scalars must be numeric. Pass "
                "scalars=[...], the columns to shuffle."
            )
    return names


def _varying(X: pd.DataFrame, scalars: list) -> list:
    varying = [name for name in scalars if X[name].nunique(dropna=False) > 1]
    if not varying:
        raise ValueError(f"None of the {len(scalars)} scalars of X varies: shuffling changes none.")
    return varying


def _correlated_groups(scalars: pd.DataFrame, correlated: float | None) -> np.ndarray:
    """Number the groups in which any two scalars are correlated at least so much."""
    if correlated is None or scalars.shape[1] == 1:
        return np.arange(scalars.shape[1])
    # Where a scalar is too often missing to have a correlation, it stands for itself.
    alike = scalars.corr(method="spearman").abs().fillna(0.0).to_numpy()
    distance = squareform(np.clip(1.0 - alike, 0.0, None), checks=False)
    # A little more, so that copies are copies however their correlation is rounded.
    return fcluster(linkage(distance, "complete"), 1.0 - correlated + 1e-9, "distance")
