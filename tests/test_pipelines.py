"""Pipelines, searches and inspection, as users write them."""

import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import NARROW, SMALL, make_table
from sklearn import config_context
from sklearn.base import clone
from sklearn.cluster import DBSCAN, HDBSCAN, KMeans
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score, learning_curve
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler
from umap import UMAP

from icecore_sk import (
    VAE,
    AutoEncoder,
    ClusterTransformer,
    FlowVAE,
    ImageMinMaxScaler,
    LabelShiftCorrection,
    MeanCorrection,
    OutlierScorer,
    ResNet18Classifier,
    SelfLabelledClassifier,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:n_jobs value"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def vae(**params):
    return VAE(**{"latent_dim": 4, "max_epochs": 2, "random_state": 0, **params})


def reducer():
    return UMAP(n_neighbors=10, n_epochs=50, random_state=0)


def make_pipelines():
    """Every Pipeline that the documentation promises, by name."""
    return {
        "hdbscan": make_pipeline(
            vae(), StandardScaler(), reducer(), ClusterTransformer(HDBSCAN(copy=True))
        ),
        "kmeans": make_pipeline(
            vae(), StandardScaler(), reducer(), KMeans(7, n_init=1, random_state=0)
        ),
        "dbscan": make_pipeline(
            vae(), StandardScaler(), reducer(), ClusterTransformer(DBSCAN(eps=0.5))
        ),
        "outliers": make_pipeline(
            AutoEncoder(4, max_epochs=2, random_state=0), StandardScaler(), OutlierScorer()
        ),
        "scaled": make_pipeline(
            ImageMinMaxScaler(),
            FlowVAE(4, max_epochs=2, random_state=0),
            StandardScaler(),
            ClusterTransformer(KMeans(5, n_init=1, random_state=0)),
        ),
        "union": make_pipeline(
            FeatureUnion([("vae", vae()), ("ae", AutoEncoder(3, max_epochs=2, random_state=0))]),
            StandardScaler(),
            OutlierScorer(),
        ),
        "classifier": make_pipeline(ImageMinMaxScaler(), ResNet18Classifier(max_epochs=2)),
    }


@pytest.fixture(scope="module", params=list(make_pipelines()))
def pipeline(request, digits):
    return request.param, make_pipelines()[request.param].fit(*digits)


def test_pipelines_work_as_written(pipeline, digits):
    name, fitted = pipeline
    X, _ = digits
    if name in ("hdbscan", "dbscan", "kmeans", "scaled"):
        labels = fitted.predict(X)
        assert labels.shape == (300,)
        assert len(np.unique(labels)) > 1
        if name != "kmeans":
            assert fitted.transform(X).shape == (300, 1)
            np.testing.assert_array_equal(fitted.transform(X)[:, 0], fitted[-1].labels_)
            np.testing.assert_array_equal(labels, fitted[-1].labels_)
    elif name == "classifier":
        assert fitted.score(X, digits[1]) > 0.3
    else:
        assert set(fitted.predict(X)) == {-1, 1}
        assert (fitted.predict(X) == -1).mean() == pytest.approx(0.05, abs=0.01)


def test_pipelines_clone_and_fit_again_to_the_same(pipeline, digits):
    name, fitted = pipeline
    if name == "classifier":
        fitted = clone(fitted).set_params(resnet18classifier__random_state=0).fit(*digits)
    again = clone(fitted).fit(*digits)
    np.testing.assert_array_equal(again.predict(digits[0]), fitted.predict(digits[0]))


def test_pandas_output_has_names_and_the_index(digits):
    table = make_table(digits[0])
    encoder = make_pipeline(vae(), StandardScaler()).set_output(transform="pandas").fit(table)
    Z = encoder.transform(table)
    assert Z.columns.tolist() == ["vae0", "vae1", "vae2", "vae3"]
    assert Z.index.equals(table.index)
    clusters = make_pipeline(vae(), ClusterTransformer(KMeans(3, n_init=1)))
    clusters.set_output(transform="pandas").fit(table)
    assert clusters.transform(table).columns.tolist() == ["clustertransformer0"]
    union = FeatureUnion([("a", vae()), ("b", AutoEncoder(2, max_epochs=1))])
    assert union.set_output(transform="pandas").fit_transform(table).shape == (300, 6)


def test_column_transformer_on_a_particle_table(digits):
    X, y = digits
    table = make_table(X, area=100.0 * y + 5, angle=np.linspace(0, 360, 300))
    scale = ColumnTransformer(
        [("scalars", RobustScaler(), make_column_selector(dtype_include="number"))],
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    model = make_pipeline(scale, ResNet18Classifier(max_epochs=2, random_state=0)).fit(table, y)
    assert model[-1].n_scalars_ == 2
    assert model[0].transform(table)["image"].dtype == table["image"].dtype
    assert model.score(table, y) > 0.3


def test_columns_of_pixels_by_name(digits):
    X, _ = digits
    table = make_table(X, area=np.ones(300))
    parts = ColumnTransformer([("latent", vae(), ["image"]), ("rest", "passthrough", ["area"])])
    assert parts.fit_transform(table).shape == (300, 5)


def test_pipeline_memory_reuses_the_encoder(digits, tmp_path):
    X, _ = digits
    for n_neighbors in (5, 6):
        steps = [("vae", vae()), ("outliers", OutlierScorer(n_neighbors=n_neighbors))]
        model = Pipeline(steps, memory=str(tmp_path)).fit(X)
    plain = Pipeline([("vae", vae()), ("outliers", OutlierScorer(n_neighbors=6))]).fit(X)
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    assert len(list(tmp_path.rglob("output.pkl"))) == 1  # the second fit found the first's encoder


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search_over_latent_dim(n_jobs, digits):
    X, y = digits
    direct = GridSearchCV(
        AutoEncoder(max_epochs=8, batch_size=32, random_state=0, **SMALL),
        {"latent_dim": [1, 8]},
        cv=2,
        n_jobs=n_jobs,
    ).fit(X)
    assert direct.best_params_ == {"latent_dim": 8}
    assert direct.best_estimator_.transform(X).shape == (300, 8)
    assert direct.score(X) == direct.best_estimator_.score(X)
    pipe = Pipeline([("vae", vae()), ("classify", KMeans(3, n_init=1, random_state=0))])
    search = GridSearchCV(pipe, {"vae__latent_dim": [2, 3]}, cv=2, n_jobs=n_jobs).fit(X, y)
    assert search.predict(X).shape == (300,)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_grid_search_is_the_same_in_one_job_and_two(digits):
    scores = [
        GridSearchCV(vae(), {"latent_dim": [2, 4]}, cv=2, n_jobs=n, refit=False)
        .fit(digits[0])
        .cv_results_["mean_test_score"]
        for n in (1, 2)
    ]
    # Workers run on one thread each, and sums over threads round in another order.
    np.testing.assert_allclose(scores[0], scores[1], rtol=0.05)


def test_cross_validation_and_learning_curve(digits):
    X, y = digits
    table = make_table(X, area=1.0 * y)
    model = ResNet18Classifier(max_epochs=4, random_state=0)
    assert cross_val_score(model, table, y, cv=2).min() > 0.5
    sizes, train, test = learning_curve(model, X, y, cv=2, train_sizes=[0.5, 1.0])
    assert sizes.tolist() == [75, 150]
    assert np.isfinite(train).all()
    assert np.isfinite(test).all()


def test_permutation_importance_of_scalars(digits):
    rng = np.random.RandomState(0)
    y = rng.randint(2, size=300)
    # Blank images say nothing; one scalar says all, another nothing.
    blank = np.zeros_like(digits[0])
    table = make_table(blank, useful=y + 0.1 * rng.normal(size=300), noise=rng.normal(size=300))
    model = ResNet18Classifier(max_epochs=8, lr=2e-3, random_state=0).fit(table[:200], y[:200])
    result = permutation_importance(model, table[200:], y[200:], n_repeats=3, random_state=0)
    importance = pd.Series(result.importances_mean, table.columns)
    assert importance["useful"] > 0.3
    assert abs(importance["noise"]) < 0.1


def test_no_warning_where_nothing_is_wrong(digits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        make_pipeline(vae(), StandardScaler(), OutlierScorer()).fit(digits[0]).predict(digits[0])
        ResNet18Classifier(max_epochs=1).fit(make_table(digits[0]), digits[1])


@pytest.mark.parametrize("correct", [ImageMinMaxScaler, MeanCorrection])
def test_images_stay_images_where_dataframes_are_asked_for(correct, digits):
    X = digits[0][:60]
    model = make_pipeline(correct(), vae()).set_output(transform="pandas")
    assert list(model.fit_transform(X)) == [f"vae{i}" for i in range(4)]
    with config_context(transform_output="pandas"):
        assert isinstance(correct().fit_transform(X), np.ndarray)


def test_wrappers_pass_on_the_names_of_features(digits):
    X, y = digits
    network = ResNet18Classifier(max_epochs=1, random_state=0, **NARROW)
    kmeans = make_pipeline(vae(), KMeans(3, n_init=1, random_state=0))
    union = FeatureUnion(
        [("own", SelfLabelledClassifier(kmeans, network)), ("known", LabelShiftCorrection(network))]
    ).fit(X, y)
    names = [f"{part}__resnet18classifier{i}" for part in ("own", "known") for i in range(64)]
    assert union.get_feature_names_out().tolist() == names
    plain = union.transform(X)
    table = union.set_output(transform="pandas").transform(X)
    assert list(table) == names
    np.testing.assert_array_equal(table, plain)
