"""The rows that stand for a group: its medoid, and others from the middle outwards."""

from numbers import Integral, Real

import numpy as np
from sklearn.metrics import euclidean_distances
from sklearn.utils import check_array, check_random_state, gen_batches
from sklearn.utils._param_validation import Interval, validate_params

from icecore_sk.metrics._labels import group_masks

# Rows of a group that every row of it is compared with; all, in groups as small as this.
SAMPLE = 1000
BATCH = 4096


@validate_params(
    {
        "n_rows": [Interval(Integral, 1, None, closed="left")],
        "coverage": [Interval(Real, 0, 1, closed="right")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def typical_rows(Z, groups, n_rows=20, *, coverage=0.8, random_state=0):
    """Choose rows that show what a group looks like.

    The nearest rows to the middle would all look alike, and the farthest are exceptions: taken are
    rows at even steps from the one to the other, and the exceptions left out.

    Parameters
    ----------
    Z : array-like of shape (n, n_features)
        Latent vectors, or a map.
    groups : array-like of shape (n,), or dict
        Label of each row (negative numbers are noise, None and NaN missing: no group), or masks
        of shape (n,) by name, which may overlap.
    n_rows : int, default=20
        Rows of each group; all of a smaller one.
    coverage : float, default=0.8
        Share of a group, nearest to its medoid, from which the rows are taken; in (0, 1].
    random_state : int, RandomState instance or None, default=0
        Draws the 1,000 rows with which the rows of a larger group are compared.

    Returns
    -------
    rows : dict
        For each group, row numbers of Z: the medoid (least mean Euclidean distance to the rows of
        the group) first, then others at even steps of their rank by distance from it.

    Raises
    ------
    ValueError
        Where lengths differ, Z has NaN, or no group has a row.

    Examples
    --------
    >>> from icecore_sk.metrics import typical_rows
    >>> Z = [[0.0], [1.0], [2.0], [3.0], [9.0], [50.0]]
    >>> typical_rows(Z, ["a", "a", "a", "a", "a", "b"], n_rows=3)["a"].tolist()
    [2, 3, 0]
    """
    Z = check_array(Z, dtype=[np.float64, np.float32], input_name="Z")
    rng = check_random_state(random_state)
    chosen = {}
    for name, mask in group_masks(groups, len(Z)).items():
        members = np.flatnonzero(mask)
        from_medoid = members[_rank_from_medoid(Z[members], rng)]
        reach = max(min(n_rows, len(members)), int(np.ceil(coverage * len(members))))
        steps = np.linspace(0, reach - 1, min(n_rows, len(members))).round().astype(int)
        chosen[name] = from_medoid[steps]
    return chosen


def _rank_from_medoid(Z: np.ndarray, rng) -> np.ndarray:
    """Return the order of rows by distance from their medoid, itself the first."""
    sample = Z if len(Z) <= SAMPLE else Z[rng.choice(len(Z), SAMPLE, replace=False)]
    total = np.concatenate(
        [euclidean_distances(Z[part], sample).sum(axis=1) for part in gen_batches(len(Z), BATCH)]
    )
    medoid = int(total.argmin())
    distance = euclidean_distances(Z, Z[medoid : medoid + 1])[:, 0]
    distance[medoid] = -1.0  # before its own copies
    return np.argsort(distance, kind="stable")
