"""ClusterTransformer and OutlierScorer."""

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import DBSCAN, HDBSCAN, AgglomerativeClustering, KMeans, MeanShift
from sklearn.datasets import make_blobs
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from icecore_sk import ClusterTransformer, OutlierScorer


@pytest.fixture(scope="module")
def blobs():
    X, _ = make_blobs(400, centers=4, cluster_std=1.5, random_state=3)
    return X


@pytest.mark.parametrize(
    "clusterer",
    [
        DBSCAN(eps=0.8),
        DBSCAN(eps=0.05, metric="cosine"),
        HDBSCAN(min_cluster_size=15, copy=True),
        AgglomerativeClustering(4),
        KMeans(4, n_init=1, random_state=0),
        MeanShift(bandwidth=2.5, cluster_all=False),
    ],
)
def test_fitted_rows_keep_their_labels_exactly(clusterer, blobs):
    model = ClusterTransformer(clusterer).fit(blobs)
    expected = clusterer.fit_predict(blobs)
    np.testing.assert_array_equal(model.labels_, expected)
    np.testing.assert_array_equal(model.predict(blobs), expected)
    np.testing.assert_array_equal(model.transform(blobs)[:, 0], expected)
    np.testing.assert_array_equal(ClusterTransformer(clusterer).fit_predict(blobs), expected)


def test_border_points_and_noise_of_dbscan(blobs):
    model = ClusterTransformer(DBSCAN(eps=0.6, min_samples=8)).fit(blobs)
    core = np.zeros(len(blobs), bool)
    core[model.clusterer_.core_sample_indices_] = True
    assert (~core & (model.labels_ >= 0)).any()
    assert model.n_noise_ == (model.labels_ < 0).sum() > 0
    assert model.n_clusters_ == model.labels_.max() + 1


def test_new_rows_take_the_label_of_their_nearest(blobs):
    model = ClusterTransformer(HDBSCAN(min_cluster_size=15, copy=True)).fit(blobs[:300])
    new = blobs[300:]
    nearest = ((new[:, None] - blobs[None, :300]) ** 2).sum(-1).argmin(1)
    np.testing.assert_array_equal(model.predict(new), model.labels_[nearest])


def test_a_clusterer_with_predict_is_asked_itself(blobs):
    model = ClusterTransformer(KMeans(4, n_init=1, random_state=0)).fit(blobs[:300])
    np.testing.assert_array_equal(model.predict(blobs), model.clusterer_.predict(blobs))


def test_neighbours_are_near_by_the_last_step_of_a_pipeline():
    random = np.random.RandomState(0)
    of = np.repeat([0, 1], 60)
    # What tells the clusters apart is a thousandth of what is noise.
    X = np.c_[of + random.normal(0, 0.01, 120), random.normal(0, 1000, 120)]
    model = ClusterTransformer(make_pipeline(MinMaxScaler(), DBSCAN(eps=0.4))).fit(X)
    assert model.n_clusters_ == 2
    new = np.c_[of + random.normal(0, 0.01, 120), random.normal(0, 1000, 120)]
    np.testing.assert_array_equal(model.predict(new), of)


def test_neighbours_are_near_by_the_metric_with_its_power():
    X = np.array([[5.0, 0.0], [5.1, 0.0], [-3.0, 3.0], [-3.1, 3.0]])
    # The origin is 5 or 6 away by sides, 5 or 4.2 as the crow flies.
    for p, label in ((1, 0), (2, 1)):
        model = ClusterTransformer(DBSCAN(metric="minkowski", p=p, eps=1, min_samples=2)).fit(X)
        assert model.predict([[0.0, 0.0]]) == [label]


def test_the_parameter_stays_unfitted(blobs):
    clusterer = DBSCAN()
    ClusterTransformer(clusterer).fit(blobs)
    assert not hasattr(clusterer, "labels_")


def test_what_is_no_clusterer_is_refused(blobs):
    with pytest.raises(ValueError, match="'clusterer' parameter of ClusterTransformer"):
        ClusterTransformer("hdbscan").fit(blobs)
    with pytest.raises(ValueError, match="metric='precomputed'"):
        ClusterTransformer(DBSCAN(metric="precomputed")).fit(blobs)


@pytest.fixture(scope="module")
def crowd():
    """A dense and a wide group; one row far from both, one just beside the dense group."""
    rng = np.random.RandomState(0)
    dense, wide = rng.normal(0, 0.1, (300, 3)), rng.normal(8, 1.5, (300, 3))
    return np.vstack([dense, wide, [[40, 40, 40]], [[1.2, 0, 0]]])


def test_planted_outliers_come_first_with_their_reason(crowd):
    scorer = OutlierScorer(n_neighbors=10, contamination=0.05).fit(crowd)
    order = scorer.score_samples(crowd).argsort()
    assert order[0] == 600
    table = scorer.explain(crowd)
    assert table["outlier"][[600, 601]].all()
    assert table["reason"][600].startswith("far from everything: mean distance")
    assert table["reason"][601].startswith("apart from a dense group")
    assert (table["reason"] != "").sum() == table["outlier"].sum() == 31


def test_each_component_alone(crowd):
    far = OutlierScorer(n_neighbors=10, components=["distance"]).fit(crowd).score_samples(crowd)
    local = OutlierScorer(n_neighbors=10, components=["sparsity"]).fit(crowd).score_samples(crowd)
    assert far.argmin() == 600
    # By distance alone a member of the wide group is as unusual as the row beside the dense one.
    assert (far[300:600] < far[601]).any()
    assert (local[300:600] > local[601]).all()


def test_training_rows_score_the_same_again_and_alone(crowd):
    scorer = OutlierScorer().fit(crowd)
    whole = scorer.score_samples(crowd)
    np.testing.assert_array_equal(whole[[5]], scorer.score_samples(crowd[[5]]))
    np.testing.assert_array_equal(whole[::-1], scorer.score_samples(crowd[::-1]))
    np.testing.assert_array_equal(scorer.fit_predict(crowd), scorer.predict(crowd))
    np.testing.assert_allclose(scorer.decision_function(crowd), whole - scorer.offset_)


@pytest.mark.parametrize("contamination", [0.01, 0.1, 0.5])
def test_contamination_is_the_share_of_training_rows(contamination, crowd):
    labels = OutlierScorer(contamination=contamination).fit_predict(crowd)
    assert (labels == -1).mean() == pytest.approx(contamination, abs=0.005)


def test_far_rows_are_still_ranked(crowd):
    scorer = OutlierScorer().fit(crowd)
    scores = scorer.score_samples([[100.0] * 3, [1000.0] * 3, [10_000.0] * 3])
    assert (np.diff(scores) < 0).all()


def test_novel_group_is_told_from_known_rows():
    rng = np.random.RandomState(0)
    known, more, novel = (rng.normal(m, 1, (500, 5)) for m in (0, 0, 4))
    scores = OutlierScorer().fit(known).score_samples(np.vstack([more, novel]))
    assert roc_auc_score(np.repeat([1, 0], 500), scores) > 0.99


def test_cosine_ignores_length():
    rng = np.random.RandomState(0)
    X = rng.normal((5, 0), 0.3, (200, 2))
    scorer = OutlierScorer(metric="cosine").fit(X)
    np.testing.assert_allclose(scorer.score_samples(X * 4), scorer.score_samples(X))
    assert scorer.predict([[0.0, 5.0], [50.0, 0.0]]).tolist() == [-1, 1]


def test_copies_and_tiny_sets_do_no_harm():
    same = OutlierScorer().fit(np.ones((50, 2)))
    assert np.isfinite(same.score_samples(np.ones((3, 2)))).all()
    assert same.predict([[1, 1], [5, 5]]).tolist() == [1, -1]
    two = OutlierScorer().fit([[0.0], [1.0]])
    assert two.n_neighbors_ == 1
    assert np.isfinite(two.score_samples([[0.0], [3.0]])).all()


def test_explain_keeps_the_index_of_a_dataframe(crowd):
    frame = pd.DataFrame(crowd, columns=list("abc")).set_index(pd.Index(range(1000, 1602)))
    table = OutlierScorer().fit(frame).explain(frame)
    assert table.index.equals(frame.index)
    assert table.columns.tolist() == ["score", "outlier", "distance", "sparsity", "reason"]
