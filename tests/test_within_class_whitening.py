"""WithinClassWhitening: the members of every class spread alike in all directions."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.covariance import LedoitWolf
from sklearn.pipeline import make_pipeline

from icecore_sk import OutlierScorer, ResNet18Classifier, WithinClassWhitening, load, save
from icecore_sk.metrics import clustering_accuracy


@pytest.fixture(scope="module")
def blobs():
    """Three classes of one elongated, turned shape: 900 rows of 4 features."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    y = np.repeat([0, 1, 2], 300)
    spread = rng.normal(size=(900, 4)) * [3.0, 2.0, 1.0, 0.5] @ turn
    return 6.0 * rng.normal(size=(3, 4))[y] + spread, y


def within(X, y):
    return X - np.stack([X[y == c].mean(axis=0) for c in np.unique(y)])[y]


def test_the_covariance_within_classes_becomes_the_identity(blobs):
    X, y = blobs
    whitening = WithinClassWhitening().fit(X, y)
    Z = whitening.transform(X)
    found = within(Z, y).T @ within(Z, y) / len(X)
    np.testing.assert_allclose(found, np.diag(np.diag(found)), atol=1e-9)
    np.testing.assert_allclose(np.diag(found), 1.0, atol=0.1)  # but for the shrinkage
    np.testing.assert_allclose(Z.mean(axis=0), 0, atol=1e-9)
    # Columns are orthogonal, and the last one shrinks most.
    product = whitening.whitening_.T @ whitening.whitening_
    np.testing.assert_allclose(product, np.diag(np.diag(product)), atol=1e-12)
    assert (np.diff(np.diag(product)) < 0).all()


def test_distances_are_those_of_mahalanobis(blobs):
    X, y = blobs
    Z = WithinClassWhitening().fit_transform(X, y)
    covariance = LedoitWolf(assume_centered=True).fit(within(X, y)).covariance_
    expected = cdist(X[:50], X[50:100], "mahalanobis", VI=np.linalg.inv(covariance))
    np.testing.assert_allclose(cdist(Z[:50], Z[50:100]), expected, rtol=1e-6)


def test_class_distance_is_the_distance_to_the_nearest_mean(blobs):
    X, y = blobs
    Z = WithinClassWhitening().fit_transform(X, y)
    nearest = cdist(Z, np.stack([Z[y == c].mean(axis=0) for c in range(3)])).min(axis=1)
    scorer = OutlierScorer(components=["class_distance"]).fit(X, y)
    np.testing.assert_allclose(scorer.explain(X)["class_distance"], nearest, rtol=1e-6)


def test_a_class_of_two_forms_stays_whole_and_a_new_one_lies_apart():
    rng = np.random.default_rng(0)
    # Every class has two forms, far apart along the first feature; the third class, without
    # labels, differs from the others along the second, by less.
    y = np.repeat([0, 1, 2], 200)
    form = rng.integers(2, size=600) * 2 - 1
    X = np.column_stack([5.0 * form, 3.0 * y]) + 0.3 * rng.normal(size=(600, 2))
    labels = np.where(y == 2, -1, y)
    kmeans = KMeans(3, n_init=10, random_state=0)
    assert clustering_accuracy(y, kmeans.fit_predict(X)) < 0.8
    Z = WithinClassWhitening().fit(X, labels).transform(X)
    assert clustering_accuracy(y, kmeans.fit_predict(Z)) == 1.0


@pytest.mark.parametrize("unlabelled", [-1, None, np.nan])
def test_rows_without_a_label_teach_nothing(blobs, unlabelled):
    X, y = blobs
    labels = np.where(np.arange(len(y)) % 3 == 0, unlabelled, y.astype(object))
    part = WithinClassWhitening().fit(X, labels)
    alone = WithinClassWhitening().fit(X[np.arange(len(y)) % 3 > 0], y[np.arange(len(y)) % 3 > 0])
    assert part.classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(part.transform(X), alone.transform(X))


def test_labels_may_be_text_and_one_class_is_enough(blobs):
    X, y = blobs
    text = WithinClassWhitening().fit(X, np.array(["dust", "grain", "pollen"])[y])
    assert text.classes_.tolist() == ["dust", "grain", "pollen"]
    np.testing.assert_array_equal(text.transform(X), WithinClassWhitening().fit(X, y).transform(X))
    one = WithinClassWhitening().fit(X, np.where(y == 0, 0, -1))
    covariance = np.cov(one.transform(X)[y == 0], rowvar=False, bias=True)
    np.testing.assert_allclose(np.diag(covariance)[1:], 1.0, atol=0.05)


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (None, "requires y to be passed"),
        ([-1] * 6, "y labels 0 of n_samples = 6 rows with 0 classes"),
        ([0, 1, 2, None, None, None], "y labels 3 of n_samples = 6 rows with 3 classes"),
        ([0, 0, 0, 1, 1, "grain"], "text and numbers"),
        ([0.1, 0.1, 0.2, 0.2, 0.3, 0.3], "Unknown label type"),
        ([0, 0, 1], "inconsistent numbers of samples"),
    ],
)
def test_rubbish_in_y_is_named(y, said):
    whitening = WithinClassWhitening()
    with pytest.raises(ValueError, match=said):
        whitening.fit(np.eye(6), y)
    assert not vars(whitening)


def test_rows_that_do_not_differ_stay_finite():
    X = np.repeat([[1.0, 2.0], [3.0, 4.0]], 5, axis=0)
    Z = WithinClassWhitening().fit_transform(X, np.repeat([0, 1], 5))
    np.testing.assert_allclose(np.linalg.norm(Z[0] - Z[-1]), np.sqrt(8.0))


def test_a_row_is_the_same_in_any_company_and_in_float32(blobs):
    X, y = blobs
    whitening = WithinClassWhitening().fit(X, y)
    Z = whitening.transform(X)
    parts = [whitening.transform(X[:1]), whitening.transform(X[1:7]), whitening.transform(X[7:])]
    np.testing.assert_array_equal(np.vstack(parts), Z)
    half = whitening.transform(X.astype(np.float32))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, Z, rtol=1e-3, atol=1e-2)


def test_behind_a_classifier_in_a_pipeline(digits, tmp_path):
    X, y = digits
    network = ResNet18Classifier(max_epochs=1, random_state=0, net_params={"encoder_width": 8})
    pipe = make_pipeline(network, WithinClassWhitening()).set_output(transform="pandas")
    Z = pipe.fit_transform(X, y)
    assert list(Z)[:2] == ["withinclasswhitening0", "withinclasswhitening1"]
    again = load(save(pipe, tmp_path / "pipe.safetensors"))
    np.testing.assert_array_equal(again.transform(X), Z)


def test_a_file_whose_shapes_do_not_fit_is_refused(blobs, tmp_path):
    whitening = WithinClassWhitening().fit(*blobs)
    whitening.mean_ = whitening.mean_[:-1]
    with pytest.raises(ValueError, match=r"'mean_' and 'whitening_' of shapes \(3,\)"):
        load(save(whitening, tmp_path / "bad.safetensors"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_is_no_spread(dtype):
    """Means of equal rows are not quite equal to them."""
    rng = np.random.default_rng(0)
    rows, y = np.repeat(rng.normal(size=(3, 5)).astype(dtype), 7, axis=0), np.repeat([0, 1, 2], 7)
    distances = cdist(rows, rows)
    Z = WithinClassWhitening().fit(rows, y).transform(rows)
    np.testing.assert_allclose(cdist(Z, Z), distances, atol=1e-6)
    others = rng.normal(size=(100, 5)).astype(dtype)
    labels = np.concatenate([y, np.full(100, -1)])
    scorer = OutlierScorer(components=["class_distance"]).fit(np.vstack([rows, others]), labels)
    assert 1 < scorer.explain(others)["class_distance"].median() < 5
