"""SelfLabelledClassifier: features learned from clusters instead of labels."""

import joblib
import numpy as np
import pytest
from conftest import SMALL
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from icecore_sk import OutlierScorer, ResNet18Classifier, SelfLabelledClassifier
from icecore_sk.datasets import load_digit_images, make_particles


@pytest.fixture(scope="module")
def digits():
    X, y = load_digit_images(return_X_y=True)
    return X.reshape(len(X), -1).astype(np.float32), y


@pytest.fixture(scope="module")
def fitted(digits):
    """Learned without labels from all digits but 4."""
    X, y = digits
    network = ResNet18Classifier(image_shape=(1, 8, 8), max_epochs=5, batch_size=64, **SMALL)
    model = SelfLabelledClassifier(make_pipeline(PCA(20), KMeans(40)), network, random_state=0)
    return model.fit(X[rows_without_4(y)])


def rows_without_4(y):
    return (y != 4) & (np.arange(len(y)) % 2 == 0)


def test_a_digit_left_out_shows(digits, fitted):
    X, y = digits
    train, test = X[rows_without_4(y)], np.arange(len(y)) % 2 == 1
    scorer = OutlierScorer(n_neighbors=5, components=["distance"], metric="cosine")
    normal = scorer.fit(fitted.transform(train)).score_samples(fitted.transform(X[test]))
    assert roc_auc_score(y[test] != 4, normal) > 0.75


def test_the_classifier_learns_the_clusters(digits, fitted):
    X, y = digits
    train = X[rows_without_4(y)]
    assert fitted.n_clusters_ == 40
    assert fitted.n_noise_ == 0
    np.testing.assert_array_equal(fitted.clusterer_.predict(train), fitted.labels_)
    assert (fitted.predict(train) == fitted.labels_).mean() > 0.6
    p = fitted.predict_proba(train)
    assert p.shape == (len(train), 40)
    assert (fitted.classes_[p.argmax(axis=1)] == fitted.predict(train)).all()
    assert fitted.score_samples(train).shape == (len(train),)
    assert fitted.image_shape_ == (1, 8, 8)


def test_noise_is_left_out_and_counted():
    X = np.concatenate([np.random.RandomState(0).normal(c, 0.1, (20, 2)) for c in (0, 3, 6)])
    X = np.concatenate([X, [[50.0, 50.0]]])
    model = SelfLabelledClassifier(DBSCAN(eps=0.5), LinearDiscriminantAnalysis()).fit(X)
    assert (model.n_noise_, model.n_clusters_) == (1, 3)
    assert model.labels_[-1] == -1
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.classifier_.priors_ == pytest.approx(1 / 3)


def test_methods_are_those_of_the_classifier():
    model = SelfLabelledClassifier(KMeans(2), LinearDiscriminantAnalysis())
    assert hasattr(model, "predict_proba")
    assert not hasattr(model, "score_samples")


def test_one_seed_governs_all(digits):
    X = digits[0][:200]
    model = SelfLabelledClassifier(KMeans(10), LinearDiscriminantAnalysis(), random_state=3)
    np.testing.assert_array_equal(model.fit(X).labels_, model.fit(X).labels_)
    assert model.clusterer_.random_state == model.fit(X).clusterer_.random_state
    other = SelfLabelledClassifier(KMeans(10), LinearDiscriminantAnalysis(), random_state=4)
    assert (other.fit(X).labels_ != model.labels_).any()


@pytest.mark.parametrize(
    ("clusterer", "classifier", "message"),
    [
        (PCA(2), LinearDiscriminantAnalysis(), "'clusterer' parameter"),
        (KMeans(2), LogisticRegression(), "'classifier' parameter"),
        (DBSCAN(eps=1e-9), LinearDiscriminantAnalysis(), r"finds 0 cluster\(s\), and 30 of 30"),
        (KMeans(1), LinearDiscriminantAnalysis(), r"finds 1 cluster\(s\)"),
    ],
)
def test_bad_input(clusterer, classifier, message):
    X = np.random.RandomState(0).normal(size=(30, 2))
    with pytest.raises(ValueError, match=message):
        SelfLabelledClassifier(clusterer, classifier).fit(X)


def test_a_fit_that_fails_leaves_it_as_it_was(digits):
    model = SelfLabelledClassifier(KMeans(3, random_state=0), LinearDiscriminantAnalysis())
    X = digits[0][:200]
    with pytest.raises(ValueError, match="finds 1 cluster"):
        model.fit(np.zeros((50, 64)))
    with pytest.raises(NotFittedError):
        model.predict(X)
    before = model.fit(X).predict(X)
    with pytest.raises(ValueError, match="finds 1 cluster"):
        model.fit(np.zeros((50, 64)))
    assert model.n_clusters_ == 3
    np.testing.assert_array_equal(model.predict(X), before)


def test_particle_tables_and_files(tmp_path):
    X, _ = make_particles(80, classes=2, image_size=16, random_state=0)
    scalars = make_column_transformer(("drop", ["image"]), remainder=StandardScaler())
    network = ResNet18Classifier(max_epochs=1)
    model = SelfLabelledClassifier(make_pipeline(scalars, KMeans(4)), network, random_state=0)
    model.fit(X)
    assert model.n_clusters_ == 4
    features = model.transform(X)
    joblib.dump(model, tmp_path / "model.joblib")
    np.testing.assert_array_equal(joblib.load(tmp_path / "model.joblib").transform(X), features)
