"""What OutlierScorer takes: scaled scalars, columns in another order, lists, texts."""

import numpy as np
import pytest
from conftest import NARROW
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from icecore_sk import AutoEncoder, OutlierScorer
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
