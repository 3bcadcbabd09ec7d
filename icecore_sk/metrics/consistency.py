"""Whether two maps of the same particles tell the same story."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import procrustes
from scipy.spatial.distance import cdist
from sklearn.metrics import adjusted_mutual_info_score
from sklearn.utils import Bunch, check_array, gen_batches
from sklearn.utils._param_validation import Interval, validate_params

from icecore_sk._random import draw_seed
from icecore_sk.metrics._labels import MISSING, check_lengths, encode_labels
from icecore_sk.metrics._neighbours import check_n_neighbors, nearest

# Numbers held at once while distances are taken: 32 MB.
_BLOCK = 2**22
_N_CHANCE_DRAWS = 10


@validate_params(
    {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def map_consistency(
    A,
    B,
    n_neighbors=15,
    labels_a=None,
    labels_b=None,
    *,
    max_samples=2000,
    random_state=None,
):
    """Measure how alike two maps of the same particles are.

    Neighbours are compared particle by particle, so that turned, mirrored, moved and scaled copies
    of a map are the same map, and latent spaces of any width can be compared as well.

    Parameters
    ----------
    A, B : array-like of shape (n, n_dimensions_a) and (n, n_dimensions_b)
        The maps, or latent spaces, the same particle in the same row. Two DataFrames must have the
        same index.
    n_neighbors : int, default=15
        Size of a neighbourhood, the particle itself not counted; less than half of n.
    labels_a, labels_b : array-like of shape (n,) or None, default=None
        Clusters found on each map, of any type. All negative integers are noise, which is compared
        as a cluster of its own.
    max_samples : int or None, default=2000
        Particles drawn for the trustworthiness, each ranked against all n; None takes all. With
        2,000 its standard error is about 0.001. Everything else is of all particles.
    random_state : int, RandomState instance or None, default=None
        Governs which particles are drawn; without effect where n is at most `max_samples`.

    Returns
    -------
    consistency : Bunch
        - per_particle: ndarray of shape (n,), the share of a particle's neighbours that are its
          neighbours on both maps, in [0, 1].
        - overlap: float, its mean. 1 for the same map.
        - chance: float, the expected overlap of unrelated maps, ``n_neighbors / (n - 1)``.
        - trustworthiness_ab: float in [0, 1], of B as a picture of A [1]_: falls where B shows
          particles side by side that are far from each other in A.
        - trustworthiness_ba: float in [0, 1], of A as a picture of B.
        - procrustes: float in [0, 1], the share of variance that remains after B is best moved,
          turned, mirrored and scaled onto A [2]_. The narrower map is padded with zeros.
        - cluster_agreement: float, adjusted mutual information of the labels [3]_, 0 for chance and
          1 for the same clusters; NaN without labels.
        - moved: ndarray of row numbers, the particles whose overlap is no more than chance, the
          most moved first.

    Raises
    ------
    ValueError
        Where the maps differ in length or index, hold NaN or infinite values, or have all particles
        in one place; where `n_neighbors` is too large; where labels are missing, of another length,
        or given for one map only.

    See Also
    --------
    area_consistency : Whether one area of a map stays together on another.

    Notes
    -----
    Chance is exact: with B unrelated, each of the k neighbours in A is among the k in B with
    probability k / (n - 1). The overlap falls with n for maps that are alike but for small shifts,
    as the same k neighbours span an ever smaller place. Compare overlaps of equal n and k.

    A particle's neighbours as far off as the last of them, to within the rounding of the coarser
    map's dtype, count as neighbours; the lower of the counts in both directions is taken. So a
    copy that was turned keeps an overlap of exactly 1, and a map in which many particles lie in one
    place gains nothing.

    A particle that moved has lost its neighbours. A group that moved as one has not moved in this
    sense. Particles of the same overlap are in the order of how far their former neighbours are
    now, on the map where they are farther, in units of the map's extent.

    References
    ----------
    .. [1] Venna and Kaski (2001). Neighborhood preservation in nonlinear projection methods: an
           experimental study. ICANN 2001.
    .. [2] Gower (1975). Generalized Procrustes analysis. Psychometrika 40.
    .. [3] Vinh, Epps and Bailey (2010). Information theoretic measures for clusterings comparison.
           Journal of Machine Learning Research 11.

    Examples
    --------
    >>> import numpy as np
    >>> from icecore_sk.metrics import map_consistency
    >>> A = np.random.RandomState(0).normal(size=(100, 2))
    >>> B = A[:, ::-1] * 3
    >>> B[7] += 100
    >>> consistency = map_consistency(A, B, n_neighbors=5)
    >>> round(consistency.overlap, 2), consistency.moved
    (0.98, array([7]))
    """
    A, B = _check_maps(A, B)
    check_n_neighbors(
        n_neighbors,
        len(A),
        (len(A) - 1) // 2,
        "trustworthiness is defined for neighbourhoods of less than half of the rows.",
    )
    agreement = _cluster_agreement(labels_a, labels_b, len(A))
    # What a turned copy differs by, where one of the maps went through float32.
    rounding = max(np.finfo(A.dtype).eps, np.finfo(B.dtype).eps)
    a, b = _Map.of(A, n_neighbors, rounding), _Map.of(B, n_neighbors, rounding)
    shared_in_a, distance_in_a = a.compare(b.neighbours)
    shared_in_b, distance_in_b = b.compare(a.neighbours)
    per_particle = np.minimum(shared_in_a, shared_in_b) / n_neighbors
    chance = n_neighbors / (len(A) - 1)
    moved = np.flatnonzero(per_particle <= chance)
    distance = np.maximum(distance_in_a, distance_in_b)[moved]
    rows = _draw_rows(len(A), max_samples, random_state)
    return Bunch(
        per_particle=per_particle,
        overlap=float(per_particle.mean()),
        chance=chance,
        trustworthiness_ab=_trustworthiness(a, b.neighbours, rows),
        trustworthiness_ba=_trustworthiness(b, a.neighbours, rows),
        procrustes=_procrustes_residual(a.points, b.points),
        cluster_agreement=agreement,
        moved=moved[np.lexsort((-distance, per_particle[moved]))],
    )


@validate_params(
    {
        "area": ["array-like"],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def area_consistency(A, B, area, n_neighbors=15, *, random_state=None):
    """Measure whether particles that were chosen on one map lie together on another.

    Parameters
    ----------
    A, B : array-like of shape (n, n_dimensions_a) and (n, n_dimensions_b)
        The map on which the area was chosen and the one onto which it is carried, as in
        `map_consistency`.
    area : array-like of bool of shape (n,)
        The particles chosen; at least two, and not all.
    n_neighbors : int, default=15
        Size of a neighbourhood, the particle itself not counted. For areas of fewer particles it
        is one less than they are.
    random_state : int, RandomState instance or None, default=None
        Governs the random areas that tell what chance gives.

    Returns
    -------
    consistency : Bunch
        - share: float in [0, 1], the share of the area in its largest group on B.
        - share_on_a: float in [0, 1], the same on A: less than 1 where the area was in several
          places, or scattered, from the beginning.
        - chance: float, the mean share of random sets of as many particles. It is near 0 for small
          areas and grows to 1 for one that holds nearly all particles.
        - group: ndarray of int of shape (n,), the group of each particle of the area, 0 the
          largest; -1 for those that lie apart and for all particles outside the area.
        - n_groups: int.

    Raises
    ------
    ValueError
        Where `area` is no mask of the rows or holds fewer than two or all of them; where the maps
        do not fit, as in `map_consistency`, or `n_neighbors` is too large.

    See Also
    --------
    map_consistency : How alike two maps are as a whole.

    Notes
    -----
    A group is a place where the area prevails, found as DBSCAN finds clusters. A particle of the
    area is at the core of a group where the area's share of its neighbours is nearer to what
    it is on A, in the mean over the area, than to the area's share of all particles. Cores that are
    neighbours belong together, and a particle of the area that has a core among its neighbours is
    at the group's edge. So an area that is thin, and has few neighbours of its own even on A, need
    not have more on B.

    Examples
    --------
    >>> import numpy as np
    >>> from icecore_sk.metrics import area_consistency
    >>> A = np.arange(200.0).reshape(-1, 1)
    >>> B = np.where((A >= 30) & (A < 40), A + 1000, A)
    >>> consistency = area_consistency(A, B, A[:, 0] < 40, n_neighbors=5, random_state=0)
    >>> consistency.share, consistency.n_groups
    (0.75, 2)
    """
    A, B = _check_maps(A, B)
    area = np.asarray(area)
    if area.dtype != bool or area.shape != (len(A),):
        raise ValueError(
            f"area has dtype {area.dtype} and shape {area.shape}; expected a mask, bool of shape "
            f"({len(A)},), a value per row of A."
        )
    size = int(area.sum())
    if not 2 <= size < len(A):
        raise ValueError(
            f"area holds {size} of {len(A)} particles; expected at least 2, and not all of them."
        )
    check_n_neighbors(n_neighbors, len(A), len(A) - 1, "a row is no neighbour of its own.")
    n_neighbors = min(n_neighbors, size - 1)
    (_, near_in_a), (_, near_in_b) = nearest(A, n_neighbors), nearest(B, n_neighbors)
    least = (area[near_in_a[area]].mean() + area.mean()) / 2
    group, sizes = _groups(near_in_b, area, least)
    _, sizes_on_a = _groups(near_in_a, area, least)
    rng = np.random.default_rng(draw_seed(random_state))
    largest = [
        _groups(near_in_b, rng.permutation(area), least)[1][:1].sum()
        for _ in range(_N_CHANCE_DRAWS)
    ]
    return Bunch(
        share=float(sizes[:1].sum() / size),
        share_on_a=float(sizes_on_a[:1].sum() / size),
        chance=float(np.mean(largest) / size),
        group=group,
        n_groups=len(sizes),
    )


@dataclass(frozen=True)
class _Map:
    """A map with the neighbours of each particle on it."""

    points: np.ndarray  # (n, d), float64, centred
    neighbours: np.ndarray  # (n, k)
    radius: np.ndarray  # (n,): distance of the last neighbour
    rounding: float  # by how much a distance can be off
    extent: float  # root mean square distance from the centre

    @classmethod
    def of(cls, X: np.ndarray, n_neighbors: int, rounding: float) -> "_Map":
        largest = float(np.linalg.norm(X.astype(np.float64), axis=1).max())
        points = X - X.mean(axis=0, dtype=np.float64)
        _, neighbours = nearest(points, n_neighbors)
        radius = np.empty(len(points))
        for rows in _batches(len(points), neighbours.shape[1] * points.shape[1]):
            # Measured anew: the matrix product that found them cancels leading digits.
            radius[rows] = _distances(points, rows, neighbours[rows]).max(axis=1)
        # A rotation sums d products, each of a coordinate that is rounded.
        rounding = 4 * np.sqrt(points.shape[1]) * rounding * largest
        return cls(points, neighbours, radius, rounding, np.sqrt((points**2).sum(axis=1).mean()))

    def compare(self, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Say of each row's `others`, (n, k), how many are near here, and their mean distance."""
        n_near, distance = np.empty(len(others)), np.empty(len(others))
        for rows in _batches(len(others), others.shape[1] * self.points.shape[1]):
            distances = _distances(self.points, rows, others[rows])
            limit = self.radius[rows, None] + self.rounding
            n_near[rows] = (distances <= limit).sum(axis=1)
            distance[rows] = distances.mean(axis=1) / self.extent
        return n_near, distance


def _batches(n_rows: int, numbers_per_row: int):
    return gen_batches(n_rows, max(_BLOCK // numbers_per_row, 1))


def _distances(points: np.ndarray, rows: slice, others: np.ndarray) -> np.ndarray:
    return np.sqrt(((points[others] - points[rows, None]) ** 2).sum(axis=2))  # (rows, k)


def _check_maps(A, B) -> tuple[np.ndarray, np.ndarray]:
    tables = isinstance(A, pd.DataFrame) and isinstance(B, pd.DataFrame)
    if tables and len(A) == len(B) and not A.index.equals(B.index):
        raise ValueError(
            "The indexes of A and B differ; expected the same particle in the same row. Pass "
            "B.loc[A.index], or arrays where the order is the same."
        )
    A, B = (
        check_array(X, dtype=[np.float64, np.float32], ensure_min_samples=3, input_name=name)
        for X, name in ((A, "A"), (B, "B"))
    )
    if len(A) != len(B):
        raise ValueError(
            f"A has {len(A)} rows and B has {len(B)}; expected the same particle in the same row."
        )
    for X, name in ((A, "A"), (B, "B")):
        if not np.ptp(X, axis=0).any():
            raise ValueError(
                f"All {len(X)} rows of {name} are the same: a map in one point has no neighbours."
            )
    return A, B


def _cluster_agreement(labels_a, labels_b, n_rows: int) -> float:
    if labels_a is None and labels_b is None:
        return float("nan")
    if labels_a is None or labels_b is None:
        given, missing = ("a", "b") if labels_b is None else ("b", "a")
        raise ValueError(
            f"labels_{given} is given, but labels_{missing} is None. Pass the clusters of both "
            "maps, or of none."
        )
    check_lengths(n_rows, labels_a=labels_a, labels_b=labels_b)
    (codes_a, _), (codes_b, _) = encode_labels(labels_a), encode_labels(labels_b)
    for codes, name in ((codes_a, "labels_a"), (codes_b, "labels_b")):
        n_missing = int((codes == MISSING).sum())
        if n_missing:
            raise ValueError(
                f"{name} has {n_missing} missing labels among {n_rows}. Leave these particles out, "
                "or give them a label of their own."
            )
    return float(adjusted_mutual_info_score(codes_a, codes_b))


def _draw_rows(n_rows: int, max_samples: int | None, random_state) -> np.ndarray:
    if max_samples is None or max_samples >= n_rows:
        return np.arange(n_rows)
    rng = np.random.default_rng(draw_seed(random_state))
    return np.sort(rng.choice(n_rows, max_samples, replace=False))


def _trustworthiness(original: _Map, neighbours: np.ndarray, rows: np.ndarray) -> float:
    """Trustworthiness of a map with these neighbours, from the rows given ranked against all."""
    n, k = neighbours.shape
    excess = 0.0
    for batch in _batches(len(rows), n):
        mine = rows[batch]
        distances = cdist(original.points[mine], original.points)  # (rows, n)
        limits = np.take_along_axis(distances, neighbours[mine], axis=1) - original.rounding
        distances[np.arange(len(mine)), mine] = np.inf
        for limit in limits.T:
            rank = 1 + np.count_nonzero(distances < limit[:, None], axis=1)
            excess += np.maximum(rank - k, 0).sum()
    return float(1 - 2 * excess / (len(rows) * k * (2 * n - 3 * k - 1)))


def _procrustes_residual(A: np.ndarray, B: np.ndarray) -> float:
    width = max(A.shape[1], B.shape[1])
    A, B = (np.pad(X, ((0, 0), (0, width - X.shape[1]))) for X in (A, B))
    _, _, residual = procrustes(A, B)
    return float(np.clip(residual, 0, 1))


def _groups(neighbours: np.ndarray, area: np.ndarray, least: float):
    """Return the group of each particle, -1 for none, and the sizes, the largest first."""
    core = area & (area[neighbours].mean(axis=1) > least)  # (n,)
    beside_core = core[neighbours]
    rows, place = np.nonzero(beside_core & core[:, None])
    links = coo_array((np.ones(len(rows), bool), (rows, neighbours[rows, place])), (len(area),) * 2)
    _, component = connected_components(links, directed=False)
    component = np.where(core, component, -1)
    edge = np.flatnonzero(area & ~core & beside_core.any(axis=1))
    component[edge] = component[neighbours[edge, beside_core[edge].argmax(axis=1)]]
    names, sizes = np.unique(component[component >= 0], return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    group = np.full(component.max(initial=-1) + 2, -1)
    group[names[order]] = np.arange(len(names))
    return group[component], sizes[order]
