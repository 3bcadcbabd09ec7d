"""Clusters that are there, that come back, and that one clusterer finds and another does not."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import DBSCAN, HDBSCAN, KMeans
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score
from sklearn.pipeline import make_pipeline

from icecore_sk.metrics import (
    cluster_stability,
    clustering_accuracy,
    compare_clusterers,
    propose_eps,
)

CORNERS = np.array([(0, 0), (10, 0), (0, 10), (10, 10)])


def blobs(scale=1.0, sizes=(150,) * 4, std=(1.0,) * 4, n_noise=0, far=None, seed=0):
    """Return blobs, uniform noise round them labelled -1, and far-off rows."""
    X, y = make_blobs(sizes, centers=CORNERS[: len(sizes)], cluster_std=std, random_state=seed)
    noise = np.random.RandomState(seed).uniform(-10, 20, size=(n_noise, 2))
    X = np.vstack([X, noise, *([] if far is None else [np.full((3, 2), far)])]) * scale
    return X, np.append(y, np.full(len(X) - len(y), -1))


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"scale": 1e-4},
        {"scale": 1e5},
        {"sizes": (400,) * 3, "std": (0.3, 0.6, 1.2)},
        {"sizes": (60,) * 4, "std": (0.3,) * 4},
        {"n_noise": 60},
        {"far": 1e6},
        {"n_noise": 60, "far": 1e6},
        {"sizes": (400,) * 3, "std": (0.3, 0.6, 1.2), "n_noise": 100, "far": 1e6},
    ],
    ids=str,
)
def test_dbscan_finds_the_blobs_with_the_proposed_eps(case):
    X, y = blobs(**case)
    labels = DBSCAN(eps=propose_eps(X)).fit_predict(X)
    blob = y >= 0
    assert labels.max() + 1 == y.max() + 1
    assert adjusted_rand_score(y[blob], labels[blob]) > 0.9
    if case.get("n_noise"):
        # Noise stays noise but where it lies in the blobs themselves.
        assert (labels[~blob] < 0).mean() > 0.5


def test_eps_is_on_the_curve_and_scales_with_x():
    X, _ = blobs()
    found = propose_eps(X, min_samples=7, return_curve=True)
    assert found.distances.shape == (600,)
    assert (np.diff(found.distances) >= 0).all()
    assert found.distances[found.knee] == found.eps == propose_eps(X, min_samples=7)
    assert propose_eps(X * 1000, min_samples=7) == pytest.approx(1000 * found.eps)
    # A ball of this radius round a row holds min_samples rows, the row itself included.
    row = np.sort(np.linalg.norm(X - X[0], axis=1))
    assert row[6] in found.distances


def test_eps_of_rows_with_copies_and_of_a_grid():
    X, _ = blobs()
    copied = np.vstack([X, np.repeat(X[:1], 500, axis=0)])
    labels = DBSCAN(eps=propose_eps(copied)).fit_predict(copied)
    assert labels.max() + 1 == 4
    grid = np.stack(np.meshgrid(np.arange(30), np.arange(30)), axis=-1).reshape(-1, 2) * 0.1
    labels = DBSCAN(eps=propose_eps(grid)).fit_predict(grid)
    assert labels.max() == 0
    # A corner has two neighbours, neither of them a core.
    assert np.flatnonzero(labels < 0).tolist() == [0, 29, 870, 899]


def test_propose_eps_refuses_nonsense():
    with pytest.raises(ValueError, match="min_samples=5 is more than the 4 rows of X"):
        propose_eps(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="Every row of X has 4 or more copies"):
        propose_eps(np.zeros((40, 2)))
    with pytest.raises(ValueError, match="Input X contains NaN"):
        propose_eps(np.full((40, 2), np.nan))
    with pytest.raises(ValueError, match="min_samples"):
        propose_eps(np.zeros((40, 2)), min_samples=1)


@pytest.fixture(scope="module")
def stable():
    X, _ = blobs(n_noise=40)
    return cluster_stability(
        HDBSCAN(min_cluster_size=20, copy=True), X, n_subsamples=4, random_state=0
    )


def test_clusters_that_are_there_come_back(stable):
    assert stable.random_parameters == []
    assert stable.runs["kind"].tolist() == ["reference"] + ["subsample"] * 4
    assert (stable.runs["n_clusters"] == 4).all()
    clusters = stable.clusters.drop(index=-1)
    assert (clusters["jaccard_subsample"] > 0.85).all()
    assert (clusters["dissolved_subsample"] == 0).all()
    assert clusters["jaccard_seed"].isna().all()
    assert clusters["dissolved_seed"].isna().all()


def test_noise_is_counted_everywhere(stable):
    noise = int((stable.labels < 0).sum())
    assert noise > 0
    reference = stable.runs.iloc[0]
    assert reference["n_noise"] == stable.clusters.loc[-1, "size"] == noise
    assert reference["noise_share"] == noise / 640
    assert stable.clusters["size"].sum() == 640
    pairs = stable.pairs
    assert len(pairs) == 10
    assert (pairs.loc[0, "n_shared"] == 512).all()
    assert (pairs["n_clustered"] < pairs["n_shared"]).all()


def test_clusters_that_are_not_there_dissolve():
    X = np.random.RandomState(0).uniform(size=(300, 2))
    stability = cluster_stability(KMeans(9, n_init=1), X, n_seeds=4, n_subsamples=4, random_state=0)
    assert stability.random_parameters == ["random_state"]
    assert stability.clusters["jaccard_seed"].mean() < 0.75
    assert stability.clusters["dissolved_seed"].sum() > 0
    assert -1 not in stability.clusters.index


class Recorder(ClusterMixin, BaseEstimator):
    """Labels rows by their first column, and remembers nothing of the others."""

    def __init__(self, labels=None, random_state=None):
        self.labels = labels
        self.random_state = random_state

    def fit_predict(self, X, y=None):
        return self.labels[self.random_state % len(self.labels)][X[:, 0].astype(int)]


def test_jaccard_against_known_answers():
    # Whatever the seeds, the second labelling splits cluster 1 and loses two rows to noise.
    first = np.array([0] * 4 + [1] * 6)
    second = np.array([0] * 3 + [-1] + [1] * 3 + [2] * 2 + [-1])
    X = np.arange(10.0).reshape(-1, 1)
    for seed in range(20):
        stability = cluster_stability(
            Recorder([first, second]), X, n_seeds=1, n_subsamples=0, random_state=seed
        )
        if stability.runs["seed"].mod(2).tolist() == [0, 1]:
            break
    else:
        pytest.fail("no seed gave the labelling wanted")
    assert stability.clusters["jaccard_seed"].tolist() == [3 / 4, 3 / 6]
    assert stability.clusters["dissolved_seed"].tolist() == [0, 1]
    pair = stability.pairs.loc[(0, 1)]
    assert pair["ari"] == adjusted_rand_score(first, second)
    assert pair["ami"] == adjusted_mutual_info_score(first, second)
    assert pair["n_clustered"] == 8


def test_every_nested_random_state_is_seeded_and_nothing_is_fitted():
    X, _ = blobs()
    pipeline = make_pipeline(PCA(2), KMeans(4, n_init=1))
    stability = cluster_stability(
        pipeline, pd.DataFrame(X), n_seeds=2, n_subsamples=2, max_samples=100, random_state=3
    )
    assert stability.random_parameters == ["kmeans__random_state", "pca__random_state"]
    assert not hasattr(pipeline[0], "components_")
    assert pipeline[1].random_state is None
    runs = stability.runs
    assert runs["n_rows"].tolist() == [600, 600, 600, 100, 100]
    assert runs.loc[runs["kind"] != "seed", "seed"].nunique() == 1
    assert runs.loc[runs["kind"] != "subsample", "seed"].nunique() == 3
    again = cluster_stability(
        pipeline, pd.DataFrame(X), n_seeds=2, n_subsamples=2, max_samples=100, random_state=3
    )
    pd.testing.assert_frame_equal(again.pairs, stability.pairs)
    pd.testing.assert_frame_equal(again.clusters, stability.clusters)


def test_cluster_stability_refuses_nonsense():
    X, _ = blobs()
    with pytest.raises(ValueError, match="n_subsamples=0 leaves nothing to compare: DBSCAN"):
        cluster_stability(DBSCAN(), X, n_subsamples=0)
    with pytest.raises(ValueError, match="max_samples=600 makes subsamples of 600 of the 600 rows"):
        cluster_stability(DBSCAN(), X, max_samples=600)
    with pytest.raises(ValueError, match="clusterer"):
        cluster_stability(PCA(), X)
    with pytest.raises(ValueError, match="Recorder gave labels of dtype float64"):
        cluster_stability(Recorder([np.zeros(600)]), np.arange(600.0).reshape(-1, 1))


@pytest.fixture(scope="module")
def comparison():
    X, y = blobs(n_noise=40)
    X = pd.DataFrame(X, index=[f"p{i}" for i in range(640)])
    # Noise has no label: in this row the truth is not known.
    return compare_clusterers(X, labels=y, n_clusters=4, n_subsamples=2, random_state=0), X, y


def test_the_defaults_are_compared(comparison):
    found, X, y = comparison
    table = found.table
    assert table.index.tolist() == ["KMeans", "DBSCAN", "HDBSCAN"]
    assert (table["n_clusters"] == 4).all()
    assert table.loc["KMeans", "n_noise"] == 0
    assert (table.loc[["DBSCAN", "HDBSCAN"], "n_noise"] > 0).all()
    assert (table["n_labelled"] == 600).all()
    assert (table[["ami", "ari", "accuracy", "purity", "stability"]] > 0.85).all(axis=None)
    assert (table["silhouette"] > 0.5).all()
    assert found.eps == found.clusterers["DBSCAN"].eps == propose_eps(X, 10)
    pd.testing.assert_index_equal(found.labels.index, X.index)
    labels = found.labels["HDBSCAN"].to_numpy()
    assert table.loc["HDBSCAN", "noise_share"] == (labels < 0).mean()
    assert table.loc["HDBSCAN", "accuracy"] == clustering_accuracy(y[y >= 0], labels[y >= 0])


def test_agreement_counts_noise_and_leaves_out_missing_labels():
    labels = np.array([0, 0, 1, 1, 2, -1, -1, 0])
    X = np.arange(8.0).reshape(-1, 1)
    truth = ["dust", "dust", "dust", "pollen", "pollen", "pollen", "dust", None]
    found = compare_clusterers(
        X, {"given": Recorder([labels])}, {"truth": truth, "predicted": [0] * 8}, random_state=0
    ).table.loc["given"]
    known = slice(0, 7)
    assert found["truth_n_labelled"] == 7
    assert found["predicted_n_labelled"] == 8
    assert found["truth_ari"] == adjusted_rand_score(truth[known], labels[known])
    assert found["truth_purity"] == pytest.approx(4 / 7)
    assert found["truth_accuracy"] == pytest.approx(3 / 7)
    assert found["n_noise"] == 2
    assert compare_clusterers(X.tolist(), [Recorder([labels])]).labels.shape == (8, 1)
    assert "stability" not in found


def test_silhouette_is_not_a_number_of_one_cluster():
    X = np.arange(8.0).reshape(-1, 1)
    found = compare_clusterers(X, [Recorder([np.array([0, 0, 0, 0, 0, -1, -1, -1])])])
    assert np.isnan(found.table.loc["Recorder", "silhouette"])
    found = compare_clusterers(X, [Recorder([np.full(8, -1)])], [0, 1] * 4, n_subsamples=1)
    assert found.table.loc["Recorder", ["n_clusters", "purity", "accuracy"]].tolist() == [0, 0, 0]
    assert np.isnan(found.table.loc["Recorder", "stability"])


def test_silhouette_of_drawn_rows_is_seeded():
    X, _ = blobs()
    whole, drawn, again = (
        compare_clusterers(X, [KMeans(4)], max_samples=m, random_state=0).table["silhouette"].item()
        for m in (600, 200, 200)
    )
    assert drawn == again != whole
    assert drawn == pytest.approx(whole, abs=0.05)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"clusterers": []}, ValueError, "clusterers is empty"),
        ({"clusterers": [KMeans(2), KMeans(3)]}, ValueError, r"holds \['KMeans'\] more than once"),
        ({"clusterers": [PCA()]}, TypeError, "PCA without fit_predict"),
        ({"labels": [0, 1]}, ValueError, "labels has 2 rows; expected 600"),
        ({"labels": {"truth": [0, 1]}}, ValueError, r"labels\['truth'\] has 2 rows"),
        ({"labels": [None] * 600}, ValueError, "labels has no label among 600 rows"),
        ({"n_clusters": 601}, ValueError, "n_clusters=601 is more than the 600 rows"),
        ({"X": np.full((600, 2), np.nan)}, ValueError, "Input X contains NaN"),
    ],
)
def test_compare_clusterers_refuses_nonsense(change, error, message):
    X, _ = blobs()
    with pytest.raises(error, match=message):
        compare_clusterers(**{"X": X, **change})
