"""What the third stage of a network sees, and the outliers found by it."""

import numpy as np
import pytest
import torch
from conftest import NARROW
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from icecore_sk import (
    AutoEncoder,
    ImageMinMaxScaler,
    LabelShiftCorrection,
    OutlierScorer,
    ResNet18Classifier,
)
from icecore_sk.nn.intermediate import intermediate_features, signs
from icecore_sk.nn.resnet import ResNet18Body


@pytest.fixture(scope="module")
def textures():
    """Smooth discs and squares; the last one has a fine pattern, and is as bright as the others."""
    rng = np.random.RandomState(0)
    rows, columns = np.mgrid[:16, :16]
    X, y = np.zeros((160, 16, 16), np.uint8), np.tile([0, 1], 80)
    for i in range(160):
        a, b = rows - 7.5 - rng.uniform(-2, 2), columns - 7.5 - rng.uniform(-2, 2)
        size = rng.uniform(3.5, 5)
        inside = (a**2 + b**2 < size**2) if y[i] else (np.maximum(abs(a), abs(b)) < size)
        X[i][inside] = rng.randint(110, 150)
    X[-1][(rows + columns) % 2 == 0] = 0
    X[-1] = np.minimum(X[-1], 127) * 2
    return X, y


@pytest.fixture(scope="module")
def classifier(textures):
    return ResNet18Classifier(max_epochs=3, random_state=0, **NARROW).fit(*textures)


def test_shape_and_dtype(classifier, textures):
    features = classifier.intermediate_features(textures[0][:7])
    assert features.shape == (7, 256)
    assert features.dtype == np.float32


def test_the_projection_keeps_distances():
    maps = torch.rand(40, 64, 2, 2, generator=torch.Generator().manual_seed(0)) ** 3
    ratio = torch.pdist(intermediate_features(maps)) / torch.pdist(maps.flatten(1))
    assert 0.98 < ratio.mean() < 1.02
    assert ratio.min() > 0.8
    assert ratio.max() < 1.2


def test_the_projection_never_changes():
    # Features of training rows are saved in scorers, to be compared with those of later versions.
    assert (signs(6)[:, 0] > 0).tolist() == [False, True, True, False, True, True]
    assert set(abs(signs(6)).unique().tolist()) == {1 / 16}


def test_large_maps_are_pooled(textures):
    X = np.kron(textures[0][:20], np.ones((4, 4), np.uint8))
    model = ResNet18Classifier(max_epochs=1, random_state=0, **NARROW).fit(X, textures[1][:20])
    assert model.intermediate_features(X).shape == (20, 256)
    wide = X[:, :32]
    model = ResNet18Classifier(max_epochs=1, random_state=0, **NARROW).fit(wide, textures[1][:20])
    assert model.intermediate_features(wide[:3]).shape == (3, 256)


def test_a_strange_texture_is_found_by_its_details_and_told(classifier, textures):
    X, y = textures
    scorer = OutlierScorer(
        FrozenEstimator(classifier), components=["detail_distance"], random_state=0
    ).fit(X, y)
    table = scorer.explain(X)
    assert table["score"].argmin() == 159
    reason = table["reason"][159]
    assert reason.startswith("made of unusual parts: edges and textures at a mean distance of ")
    typical = table["detail_distance"].median()
    assert table["detail_distance"][159] > 1.2 * typical
    np.testing.assert_array_equal(scorer.score_samples(X[[5]]), scorer.score_samples(X)[[5]])


def test_auto_takes_details_where_a_step_of_the_embedder_has_them(classifier, textures):
    X, y = textures
    scorer = OutlierScorer(FrozenEstimator(classifier)).fit(X, y)
    assert "detail_distance" in scorer.components_
    pipe = make_pipeline(ImageMinMaxScaler(), ResNet18Classifier(max_epochs=1, **NARROW), PCA(2))
    inside = OutlierScorer(pipe, components=["detail_distance"], random_state=0).fit(X, y)
    # The network sees what the steps before it make of X.
    scaler, network, _ = (step for _, step in inside.embedder_.steps)
    rows = network.intermediate_features(scaler.transform(X))
    by_rows = OutlierScorer(components=["distance"]).fit(rows)
    np.testing.assert_allclose(inside.score_samples(X), by_rows.score_samples(rows), rtol=1e-6)


def test_auto_takes_no_details_where_images_are_reconstructed(textures):
    X = textures[0][:40]
    frozen = FrozenEstimator(AutoEncoder(2, max_epochs=1, random_state=0, **NARROW).fit(X))
    assert "detail_distance" not in OutlierScorer(frozen).fit(X).components_
    asked = OutlierScorer(frozen, components=["detail_distance"]).fit(X)
    assert asked.components_ == ["detail_distance"]


def test_networks_side_by_side_are_looked_at_together(classifier, textures):
    X, y = textures
    inside = make_pipeline(ImageMinMaxScaler(), ResNet18Classifier(max_epochs=1, **NARROW))
    union = FeatureUnion([("a", FrozenEstimator(classifier)), ("no", "drop"), ("b", inside)])
    scorer = OutlierScorer(union, components=["detail_distance"], random_state=0).fit(X, y)
    scaler, network = (step for _, step in scorer.embedder_.transformer_list[2][1].steps)
    rows = np.hstack(
        [
            classifier.intermediate_features(X),
            network.intermediate_features(scaler.transform(X)),
        ]
    )
    by_rows = OutlierScorer(components=["distance"]).fit(rows)
    np.testing.assert_allclose(scorer.score_samples(X), by_rows.score_samples(rows), rtol=1e-6)
    assert "detail_distance" in OutlierScorer(FrozenEstimator(union.fit(X, y))).fit(X).components_


def rows_of(X):
    return X.reshape(len(X), -1)


def test_a_union_has_details_where_all_its_members_have(classifier, textures):
    X = textures[0][:40]
    frozen = FrozenEstimator(classifier)
    mixed = FrozenEstimator(make_union(frozen, FunctionTransformer(rows_of)).fit(X))
    with pytest.raises(ValueError, match="'detail_distance', which needs an embedder with"):
        OutlierScorer(mixed, components=["detail_distance"]).fit(X)
    of_rows = ResNet18Classifier(image_shape=(1, 16, 16), max_epochs=1, random_state=0, **NARROW)
    beside_pixels = FeatureUnion([("network", of_rows), ("pixels", "passthrough")])
    scorer = OutlierScorer(beside_pixels).fit(rows_of(X), textures[1][:40])
    assert "detail_distance" not in scorer.components_
    reconstructs = FrozenEstimator(AutoEncoder(2, max_epochs=1, random_state=0, **NARROW).fit(X))
    both = FrozenEstimator(make_union(frozen, reconstructs).fit(X))
    # Where one of them reconstructs, its loss is told.
    expected = ["corrected_reconstruction", "distance", "sparsity"]
    assert OutlierScorer(both).fit(X).components_ == expected
    asked = OutlierScorer(both, components=["detail_distance"]).fit(X)
    assert asked.components_ == ["detail_distance"]


def test_a_wrapper_passes_them_on(classifier, textures):
    model = LabelShiftCorrection(FrozenEstimator(classifier)).fit(*textures)
    features = model.intermediate_features(textures[0][:5])
    np.testing.assert_array_equal(features, classifier.intermediate_features(textures[0][:5]))
    assert not hasattr(LabelShiftCorrection(LogisticRegression()), "intermediate_features")


def assert_both(model, X):
    features, intermediate = model._transform_both(X)
    np.testing.assert_array_equal(features, model.transform(X))
    np.testing.assert_array_equal(intermediate, model.intermediate_features(X))
    # Rows that lie apart in memory would be summed in another order.
    assert features.flags.c_contiguous
    assert intermediate.flags.c_contiguous


def test_one_pass_gives_both(classifier, textures):
    X, y = textures
    assert_both(classifier, X[:40])
    assert_both(LabelShiftCorrection(FrozenEstimator(classifier)).fit(X, y), X[:40])
    views = {"augmentation": {"shift": 0.1}, "average_views": True}
    rows = np.hstack([rows_of(X), rows_of(X).mean(axis=1, keepdims=True)]).astype(np.float32)
    with_scalars = ResNet18Classifier(
        image_shape=(1, 16, 16), max_epochs=1, random_state=0, **views, **NARROW
    )
    assert_both(with_scalars.fit(rows, y), rows[:40])


@pytest.fixture
def passes(monkeypatch):
    """A list that grows by each batch that goes through a network."""
    seen, stem = [], ResNet18Body.stem
    monkeypatch.setattr(ResNet18Body, "stem", lambda body, x: seen.append(len(x)) or stem(body, x))
    return seen


@pytest.mark.parametrize("after", [[], [StandardScaler(), PCA(3)]])
@pytest.mark.parametrize("n_networks", [1, 2])
def test_scoring_sends_images_through_each_network_once(
    classifier, textures, passes, after, n_networks
):
    X, y = textures
    embedder = make_union(*[FrozenEstimator(classifier)] * n_networks)
    embedder = make_pipeline(embedder if n_networks > 1 else FrozenEstimator(classifier), *after)
    embedder.fit(X, y)
    passes.clear()
    features = embedder.transform(X)
    once = len(passes)
    scorer = OutlierScorer(FrozenEstimator(embedder)).fit(X, y)
    assert len(passes) == 2 * once
    table = scorer.explain(X)
    assert len(passes) == 3 * once
    details = np.hstack([classifier.intermediate_features(X)] * n_networks)
    for name, rows in {"distance": features, "detail_distance": details}.items():
        alone = OutlierScorer(components=["distance"]).fit(rows).explain(rows)
        np.testing.assert_array_equal(table[name], alone["distance"])


@pytest.mark.filterwarnings("error:X does not have valid feature names")
def test_a_step_that_knows_names_gets_them(textures):
    X, y = textures
    network = ResNet18Classifier(max_epochs=1, random_state=0, **NARROW)
    embedder = make_pipeline(network.set_output(transform="pandas"), PCA(2)).fit(X, y)
    scorer = OutlierScorer(FrozenEstimator(embedder), components=["distance", "detail_distance"])
    table = scorer.fit(X).explain(X)
    alone = OutlierScorer(components=["distance"]).fit(embedder.transform(X))
    np.testing.assert_array_equal(
        table["distance"], alone.explain(embedder.transform(X))["distance"]
    )


class Unit(ResNet18Classifier):
    """Features of its own."""

    def transform(self, X):
        features = super().transform(X)
        return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.mark.parametrize("wrap", [FrozenEstimator, LabelShiftCorrection])
def test_a_subclass_with_its_own_transform_is_asked_by_it(textures, wrap):
    model = Unit(max_epochs=1, random_state=0, **NARROW).fit(*textures)
    embedder = wrap(FrozenEstimator(model)).fit(*textures)
    scorer = OutlierScorer(FrozenEstimator(embedder), components=["distance", "detail_distance"])
    found = scorer.fit(*textures).explain(textures[0])["distance"]
    alone = OutlierScorer(components=["distance"]).fit(model.transform(textures[0]))
    np.testing.assert_array_equal(found, alone.explain(model.transform(textures[0]))["distance"])


class FirstColumns(TransformerMixin, BaseEstimator):
    """Needs a table, and does not say so."""

    def fit(self, X, y=None):
        self.n_ = len(X.columns)
        return self

    def transform(self, X):
        return X[list(X.columns[:5])]


def test_a_step_that_needs_a_table_gets_one(textures):
    network = ResNet18Classifier(max_epochs=1, random_state=0, **NARROW)
    embedder = make_pipeline(network.set_output(transform="pandas"), FirstColumns()).fit(*textures)
    scorer = OutlierScorer(FrozenEstimator(embedder)).fit(*textures)
    assert "detail_distance" in scorer.components_


def test_weights_of_networks_side_by_side_count(classifier, textures):
    X = textures[0]
    networks = [("a", FrozenEstimator(classifier)), ("b", FrozenEstimator(classifier))]
    union = FeatureUnion(networks, transformer_weights={"b": 3.0}).fit(X)
    scorer = OutlierScorer(FrozenEstimator(union), components=["distance", "detail_distance"])
    table = scorer.fit(X).explain(X)
    alone = OutlierScorer(components=["distance"]).fit(union.transform(X))
    np.testing.assert_array_equal(table["distance"], alone.explain(union.transform(X))["distance"])


def test_an_embedder_without_a_network_is_refused(textures):
    rows = textures[0].reshape(160, -1)
    with pytest.raises(ValueError, match="needs an embedder with intermediate_features"):
        OutlierScorer(PCA(2), components=["detail_distance"]).fit(rows)
