"""What OutlierScorer takes: scaled scalars, columns in another order, lists, texts."""

import numpy as np
import pandas as pd
import pytest
from conftest import NARROW
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from icecore_sk import AutoEncoder, LabelShiftCorrection, OutlierScorer, ResNet18Classifier
from icecore_sk.datasets import make_particles

AREA, INTENSITY = "Area (ABD)", "Intensity"


def network():
    return AutoEncoder(2, max_epochs=1, random_state=0, **NARROW)


@pytest.fixture(scope="module")
def particles():
    return make_particles(120, image_size=16, random_state=0)[0][["image", AREA, INTENSITY]]


def test_standardised_sizes_are_scored_as_well(particles):
    """Half of them are below 0, where a size has no logarithm."""
    X = particles.copy()
    X[AREA] = (X[AREA] - X[AREA].median() - X[AREA].std()) / X[AREA].std()
    scorer = OutlierScorer(network(), components=["size"]).fit(X)
    scores = scorer.score_samples(X)
    assert np.isfinite(scores).all()
    assert (scorer.predict(X) == -1).any()
    assert scores.argmin() == X[AREA].argmax()
    assert len(np.unique(scores[X[AREA].argsort()][60:])) > 40


def test_scalars_are_not_taken_from_other_columns(particles):
    X = particles
    scorer = OutlierScorer(network()).fit(X)
    for other in (X[X.columns[::-1]], X.assign(more=1.0)):
        with pytest.raises(ValueError, match="feature names"):
            scorer.score_samples(other)
    assert scorer.feature_names_in_.tolist() == list(X.columns)


def test_images_may_come_as_a_list(digits):
    X = digits[0][:60]
    scorer = OutlierScorer(network(), random_state=0).fit(list(X))
    np.testing.assert_array_equal(scorer.score_samples(list(X)), scorer.score_samples(X))


def test_texts_are_left_to_the_embedder(particles):
    table = particles.assign(kind=["a", "b"] * 60)
    for X, pick in ((table, ["image"]), (table.drop(columns="image"), [INTENSITY])):
        by = network() if pick == ["image"] else StandardScaler()
        columns = make_column_transformer(
            (by, pick), (OneHotEncoder(sparse_output=False), ["kind"])
        )
        scorer = OutlierScorer(columns, scalars=[AREA]).fit(X)
        assert scorer.scalars_ == [AREA]
        assert np.isfinite(scorer.score_samples(X)).all()
        with pytest.raises(ValueError, match=r"scalars=.*'kind'.* must be numeric columns"):
            OutlierScorer(columns, scalars=[AREA, "kind"]).fit(X)


def test_a_fitted_scorer_keeps_its_metric():
    rng = np.random.RandomState(0)
    X, new = rng.normal(size=(100, 3)), rng.normal(size=(50, 3))
    scorer = OutlierScorer(metric="cosine").fit(X)
    expected = scorer.score_samples(new)
    np.testing.assert_array_equal(
        scorer.set_params(metric="euclidean").score_samples(new), expected
    )


def test_rows_are_scored_by_what_was_fitted_on_a_table(particles, recwarn):
    scorer = OutlierScorer(network()).fit(particles)
    images = particles["image"].array.__arrow_array__().combine_chunks().to_numpy_ndarray()
    rows = np.hstack([images.reshape(120, -1) / 255.0, particles[[AREA, INTENSITY]]])
    found = scorer.score_samples(rows), scorer.score_samples(particles)
    assert np.corrcoef(*found)[0, 1] > 0.99  # a pixel may round to the other side of what is drawn
    assert not [w for w in recwarn if "feature names" in str(w.message)]


@pytest.mark.parametrize("no_label", [-1, None, np.nan])
def test_a_classifier_learns_no_class_of_what_has_no_label(digits, no_label):
    X, y = digits[0][:80], (digits[1][:80] % 2).astype(object)
    y[::3] = no_label
    classifier = ResNet18Classifier(max_epochs=1, random_state=0, **NARROW)
    for embedder in (classifier, make_pipeline(classifier, PCA(2)), make_union(classifier)):
        scorer = OutlierScorer(embedder, random_state=0).fit(X, y)
        assert scorer.classes_.tolist() == [0, 1]
    scorer = OutlierScorer(classifier).fit(X, y)
    assert scorer.embedder_.classes_.tolist() == [0, 1]
    known = y != no_label if no_label == -1 else ~pd.isna(y)
    alone = clone(classifier).fit(X[known], y[known].astype(int))
    np.testing.assert_array_equal(scorer.embedder_.transform(X), alone.transform(X))
    with pytest.raises(ValueError, match="y has no label"):
        OutlierScorer(classifier).fit(X, np.full(80, no_label, object))


def test_y_must_name_classes():
    X = np.random.RandomState(0).normal(size=(60, 2))
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        OutlierScorer().fit(X, X[:, 0])


def test_nothing_is_left_of_an_earlier_fit(particles):
    scorer = OutlierScorer(PCA(2)).fit(np.random.RandomState(0).normal(size=(60, 9)))
    scorer.set_params(embedder=network()).fit(particles)
    assert not hasattr(scorer, "n_features_in_")
    assert scorer.feature_names_in_.tolist() == list(particles.columns)


def test_a_constant_that_was_computed_is_constant():
    value = 314.22280559783445
    X = pd.DataFrame(np.random.RandomState(0).normal(size=(300, 2)), columns=["a", "b"])
    X["scale"] = np.where(np.arange(300) % 3 == 0, np.nextafter(value, 3000), value)
    X.loc[7, ["a", "b"]] = 50.0
    scorer = OutlierScorer(scalars=["scale", "b"]).fit(X)
    assert scorer.scalars_ == ["b"]
    assert scorer.score_samples(X).argmin() == 7


def test_a_wrapped_network_tells_pixels_from_scalars(digits):
    X = digits[0][:80].reshape(80, -1)
    table = pd.DataFrame(X).add_prefix("p").assign(area=np.arange(80.0), length=X.sum(axis=1))
    network = ResNet18Classifier(image_shape=(1, 8, 8), max_epochs=1, random_state=0, **NARROW)
    wrapped = LabelShiftCorrection(network).fit(table, digits[1][:80] % 2)
    assert wrapped.image_shape_ == (1, 8, 8)
    assert wrapped.history_ is wrapped.classifier_.history_
    scorer = OutlierScorer(FrozenEstimator(wrapped)).fit(table)
    assert scorer.scalars_ == ["area", "length"]
