"""Maps that are the same, unrelated, or partly moved, and the display of an area's fate."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy.stats import ortho_group
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.metrics import adjusted_mutual_info_score

from icecore_sk.metrics import area_consistency, map_consistency
from icecore_sk.plotting import ConsistencyDisplay

mpl.use("Agg")


def turned(A, scale=3.0, shift=5.0, seed=0):
    """Return A turned, mirrored perhaps, scaled and moved, in its own dtype."""
    rotation = ortho_group.rvs(A.shape[1], random_state=seed)
    return (A @ rotation.astype(A.dtype)) * A.dtype.type(scale) + A.dtype.type(shift)


@pytest.fixture(scope="module")
def cloud():
    return np.random.RandomState(0).normal(size=(400, 2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [2, 3, 20])
def test_a_turned_copy_is_the_same_map(width, dtype):
    A = np.random.RandomState(width).normal(size=(500, width)).astype(dtype)
    A[:40] = A[0]  # more particles in one place than there are neighbours
    consistency = map_consistency(A, turned(A))
    assert consistency.overlap == 1.0
    assert consistency.trustworthiness_ab == consistency.trustworthiness_ba == 1.0
    assert consistency.procrustes < 1e-9
    assert len(consistency.moved) == 0


def test_ties_of_a_grid_survive_a_rotation():
    A = np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0)), axis=-1).reshape(-1, 2)
    assert map_consistency(A, turned(A)).overlap == 1.0


@pytest.mark.parametrize("n_neighbors", [5, 15])
def test_unrelated_maps_overlap_by_chance(n_neighbors):
    overlaps, trust = [], []
    for seed in range(20):
        rng = np.random.RandomState(seed)
        A, B = rng.normal(size=(300, 2)), rng.normal(size=(300, 3))
        consistency = map_consistency(A, B, n_neighbors)
        overlaps.append(consistency.overlap)
        trust.append(consistency.trustworthiness_ab)
    n, k = 300, n_neighbors
    assert consistency.chance == k / (n - 1)
    # Ranks are even from 1 to n - 1; those above k count by how much they are above.
    chance_trust = 1 - (n - 1 - k) * (n - k) / ((n - 1) * (2 * n - 3 * k - 1))
    for values, expected in ((overlaps, consistency.chance), (trust, chance_trust)):
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        assert abs(np.mean(values) - expected) < 3 * error
    # Most particles have no more than their share of luck.
    assert len(consistency.moved) > 100


def test_a_map_that_collapsed_gains_nothing_by_its_ties(cloud):
    B = np.zeros((400, 2))
    B[0] = 1
    assert map_consistency(cloud, B).overlap < 2 * map_consistency(cloud, B).chance


def test_trustworthiness_is_scikit_learns(cloud):
    B = cloud[:, :1] ** 2
    consistency = map_consistency(cloud, B, 10)
    assert consistency.trustworthiness_ab == pytest.approx(
        trustworthiness(cloud, B, n_neighbors=10)
    )
    assert consistency.trustworthiness_ba == pytest.approx(
        trustworthiness(B, cloud, n_neighbors=10)
    )
    drawn = map_consistency(cloud, B, 10, max_samples=200, random_state=0)
    assert drawn.trustworthiness_ab == pytest.approx(consistency.trustworthiness_ab, abs=0.03)
    assert drawn.trustworthiness_ab != consistency.trustworthiness_ab
    again = map_consistency(cloud, B, 10, max_samples=200, random_state=0)
    assert again.trustworthiness_ab == drawn.trustworthiness_ab
    np.testing.assert_array_equal(drawn.per_particle, consistency.per_particle)


def test_overlap_is_the_share_of_common_neighbours(cloud):
    B = cloud + np.random.RandomState(1).normal(scale=0.2, size=cloud.shape)
    near = [
        np.argsort(np.linalg.norm(X[:, None] - X, axis=2) + np.diag(np.full(400, np.inf)))[:, :7]
        for X in (cloud, B)
    ]
    expected = [len(set(a) & set(b)) / 7 for a, b in zip(*near, strict=True)]
    np.testing.assert_allclose(map_consistency(cloud, B, 7).per_particle, expected)


def test_the_most_moved_come_first(cloud):
    B = cloud.copy()
    B[17] += 50
    B[8] += 500
    assert map_consistency(cloud, B).moved.tolist() == [8, 17]


def test_procrustes_pads_the_narrower_map(cloud):
    flat = np.column_stack([cloud, np.zeros(400)])
    assert map_consistency(cloud, turned(flat)).procrustes < 1e-9
    assert map_consistency(cloud, cloud[:, :1]).procrustes == pytest.approx(
        map_consistency(cloud, np.column_stack([cloud[:, 0], np.zeros(400)])).procrustes
    )


def test_clusters_agree_with_noise_as_a_cluster(cloud):
    labels_a = np.arange(400) % 3 - 1
    labels_b = np.where(labels_a < 0, -2, labels_a)
    assert np.isnan(map_consistency(cloud, cloud).cluster_agreement)
    agreement = map_consistency(cloud, cloud, labels_a=labels_a, labels_b=labels_b)
    assert agreement.cluster_agreement == pytest.approx(1.0)
    other = (np.arange(400) % 4).astype(str)
    agreement = map_consistency(cloud, cloud, labels_a=labels_a, labels_b=list(other))
    assert agreement.cluster_agreement == pytest.approx(adjusted_mutual_info_score(labels_a, other))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"B": np.zeros((399, 2))}, "A has 400 rows and B has 399"),
        ({"B": np.ones((400, 2))}, "All 400 rows of B are the same"),
        ({"B": np.full((400, 2), np.nan)}, "Input B contains NaN"),
        ({"n_neighbors": 200}, "n_neighbors=200 is too many for 400 rows.*at most 199"),
        ({"n_neighbors": 0}, "n_neighbors"),
        ({"labels_a": [0] * 400}, "labels_a is given, but labels_b is None"),
        ({"labels_b": [0] * 400}, "labels_b is given, but labels_a is None"),
        ({"labels_a": [0] * 9, "labels_b": [0] * 400}, "labels_a has 9 rows; expected 400"),
        ({"labels_a": [0] * 400, "labels_b": [None] * 400}, "labels_b has 400 missing labels"),
    ],
)
def test_map_consistency_refuses_nonsense(cloud, change, message):
    with pytest.raises(ValueError, match=message):
        map_consistency(**{"A": cloud, "B": cloud, **change})


def test_lists_are_maps_too(cloud):
    assert map_consistency(cloud.tolist(), cloud.tolist()).overlap == 1.0


def test_map_consistency_refuses_another_order(cloud):
    A = pd.DataFrame(cloud, index=[f"p{i}" for i in range(400)])
    with pytest.raises(ValueError, match=r"Pass B.loc\[A.index\]"):
        map_consistency(A, A[::-1])
    assert map_consistency(A, A).overlap == 1.0


def test_an_area_stays_splits_or_scatters():
    rng = np.random.RandomState(0)
    A = rng.uniform(size=(2000, 2))
    area = (A < 0.4).all(axis=1)
    same = area_consistency(A, turned(A), area, random_state=0)
    assert same.share == same.share_on_a == 1.0
    assert same.chance < 0.05
    B = A.copy()
    right = area & (A[:, 0] > 0.3)
    B[right] += 9
    split = area_consistency(A, B, area, random_state=0)
    assert split.n_groups == 2
    assert split.share == pytest.approx(1 - right.sum() / area.sum())
    assert set(split.group[right]) == {1}
    assert (split.group[~area] == -1).all()
    scattered = area_consistency(A, rng.uniform(size=(2000, 2)), area, random_state=0)
    assert scattered.share < 0.05


def test_an_area_scattered_on_both_maps_is_told_by_chance():
    rng = np.random.RandomState(0)
    A, area = rng.uniform(size=(2000, 2)), rng.permutation(2000) < 300
    consistency = area_consistency(A, turned(A), area, random_state=0)
    assert consistency.share == consistency.share_on_a
    assert consistency.share < 3 * consistency.chance


def test_area_consistency_refuses_nonsense(cloud):
    with pytest.raises(ValueError, match=r"area has dtype int64 and shape \(3,\); expected a mask"):
        area_consistency(cloud, cloud, [0, 1, 2])
    with pytest.raises(ValueError, match="area holds 400 of 400 particles"):
        area_consistency(cloud, cloud, np.ones(400, bool))
    with pytest.raises(ValueError, match="n_neighbors=400 is too many"):
        area_consistency(cloud, cloud, np.arange(400) < 9, n_neighbors=400)


AREA = np.array([[0.0, 0.0], [3.0, 3.0]])


@pytest.fixture
def close_figures():
    yield
    mpl.pyplot.close("all")


@pytest.mark.usefixtures("close_figures")
@pytest.mark.parametrize("form", ["box", "polygon", "mask", "rows", "index", "names"])
def test_an_area_of_any_form_is_carried_over(cloud, form):
    A = pd.DataFrame(cloud, index=[f"p{i}" for i in range(400)])
    inside = ((cloud >= 0) & (cloud <= 3)).all(axis=1)
    area = {
        "box": AREA,
        "polygon": [[0, 0], [3, 0], [3, 3], [0, 3]],
        "mask": inside,
        "rows": np.flatnonzero(inside),
        "index": A.index[inside],
        "names": A.index[inside].tolist(),
    }[form]
    display = ConsistencyDisplay.from_predictions(A, turned(cloud), area, names=("one", "two"))
    np.testing.assert_array_equal(display.area, inside)
    assert display.consistency.share == 1.0
    left, right = display.axes_
    assert display.ax_ is left
    assert left.get_title() == f"one: an area of {inside.sum()} of 400 particles"
    assert right.get_title() == "two: 100% stay together (under 1% by chance)"
    assert len(left.patches) == (form in ("box", "polygon"))
    for axes, points in ((left, cloud), (right, turned(cloud))):
        rest, together, *_ = (one.get_offsets() for one in axes.collections)
        np.testing.assert_array_equal(rest, points[~inside])
        np.testing.assert_array_equal(together, points[inside])


@pytest.mark.usefixtures("close_figures")
def test_without_an_area_particles_are_coloured_by_overlap(cloud):
    B = cloud + np.random.RandomState(0).normal(scale=0.1, size=cloud.shape)
    _, ax = mpl.pyplot.subplots(1, 2)
    display = ConsistencyDisplay.from_predictions(cloud, B, ax=ax, title="two maps")
    assert display.axes_.tolist() == ax.tolist()
    assert display.figure_._suptitle.get_text() == "two maps"
    overlap = {tuple(p): v for p, v in zip(cloud, display.consistency.per_particle, strict=True)}
    (points,) = display.axes_[0].collections
    drawn = dict(zip(map(tuple, points.get_offsets().data), points.get_array(), strict=True))
    assert drawn == overlap


@pytest.mark.usefixtures("close_figures")
def test_from_estimator_knows_the_ids_of_a_table():
    X = pd.DataFrame(np.random.RandomState(0).normal(size=(60, 4)))
    X.index = pd.MultiIndex.from_product([["run"], range(60)], names=["run", "id"])
    pca = PCA(2).fit(X)
    display = ConsistencyDisplay.from_estimator(pca, pca, X, X.index[5:30])
    assert np.flatnonzero(display.area).tolist() == [*range(5, 30)]


@pytest.mark.parametrize(
    ("area", "message"),
    [
        ([[5.0, 5.0], [6.0, 6.0]], "area has no particle in it. The map reaches from"),
        ([400], "row numbers from 400 to 400; expected 0 to 399"),
        (["p1"], "area holds ids, but the map has none"),
        (np.zeros((3, 3)), r"area has dtype float64 and shape \(3, 3\); expected a mask"),
    ],
)
def test_display_refuses_areas_that_are_none(cloud, area, message):
    with pytest.raises(ValueError, match=message):
        ConsistencyDisplay.from_predictions(cloud, cloud, area)


@pytest.mark.usefixtures("close_figures")
def test_display_refuses_nonsense(cloud):
    with pytest.raises(ValueError, match="B has 3 columns; expected 2"):
        ConsistencyDisplay.from_predictions(cloud, np.zeros((400, 3)) + cloud[:, :1], AREA)
    with pytest.raises(ValueError, match="ax holds 1 Axes; expected two"):
        ConsistencyDisplay.from_predictions(cloud, cloud, AREA, ax=mpl.pyplot.gca())
    A = pd.DataFrame(cloud, index=[f"p{i}" for i in range(400)])
    with pytest.raises(ValueError, match="area holds 1 ids that the map does not have"):
        ConsistencyDisplay.from_predictions(A, cloud, ["p1", "q7"])
