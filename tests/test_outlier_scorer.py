"""OutlierScorer around an embedder: components, reasons, and what is planted among particles."""

import joblib
import numpy as np
import pandas as pd
import pytest
from conftest import make_table
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from icecore_sk import VAE, AutoEncoder, OutlierScorer, scalar_preprocessor
from icecore_sk._images import read_table
from icecore_sk._outliers import reasons
from icecore_sk._outliers.drawn import UsualLoss, drawn_features
from icecore_sk._outliers.surprise import Surprise
from icecore_sk.datasets import make_particles

COMPONENTS = (
    "reconstruction",
    "corrected_reconstruction",
    "distance",
    "sparsity",
    "class_distance",
    "size",
    "disagreement",
)
CIRCULARITY, AREA = "Circularity (Hu)", "Area (ABD)"


class LinearImages(TransformerMixin, BaseEstimator):
    """The quickest embedder that reconstructs images: principal components of the pixels."""

    def __init__(self, n_components=6):
        self.n_components = n_components

    def fit(self, X, y=None):
        rows = self._flat(X)
        self.image_shape_ = (1, 16, 16)
        self.pca_ = PCA(self.n_components, svd_solver="full").fit(rows)
        return self

    def transform(self, X):
        return self.pca_.transform(self._flat(X))

    def reconstruct(self, X):
        return self.pca_.inverse_transform(self.transform(X)).reshape(-1, 16, 16)

    @staticmethod
    def _flat(X):
        rows = read_table(X)
        return rows.gather(np.arange(len(rows))).reshape(len(rows), -1) / 255.0


@pytest.fixture(scope="module")
def particles():
    """300 particles, mostly round, in which four are planted; their rows by kind."""
    X, family = make_particles(
        300,
        classes=["pollen", "bubble", "fibre"],
        weights=[0.5, 0.3, 0.2],
        image_size=16,
        random_state=0,
    )
    images = read_table(X).gather(np.arange(300))[:, 0].copy()
    scalars = X.drop(columns="image").reset_index(drop=True)
    pollen = np.flatnonzero(family == "pollen")
    angular, large, far, strange = pollen[:4]
    scalars.loc[angular, CIRCULARITY] = 0.21
    scalars.loc[large, AREA] = 4 * scalars[AREA].max()
    images[far] = 255 - images[far]
    images[strange, ::2, ::2] //= 2  # a fine pattern, of which no component holds anything
    table = make_table(images, **{name: scalars[name].to_numpy() for name in scalars})
    return table, family.to_numpy(), (angular, large, far, strange)


@pytest.fixture(scope="module")
def scorer(particles):
    X, family, _ = particles
    return OutlierScorer(LinearImages(), contamination=0.05, random_state=0).fit(X, family)


def test_auto_takes_all_that_is_possible(scorer, particles):
    assert scorer.components_ == [name for name in COMPONENTS if name != "reconstruction"]
    assert scorer.size_name_ == AREA
    assert scorer.classes_.tolist() == ["bubble", "fibre", "pollen"]
    assert set(scorer.scalars_) < set(particles[0].columns)
    images = OutlierScorer(LinearImages()).fit(particles[0][["image"]])
    assert images.components_ == ["corrected_reconstruction", "distance", "sparsity"]
    assert OutlierScorer().fit(np.eye(5)).components_ == ["distance", "sparsity"]


def test_an_angular_particle_among_round_ones_is_first_with_its_reason(particles):
    X, family, (angular, *others) = particles
    X, family = X.drop(index=X.index[others]), np.delete(family, others)
    assert angular < min(others)
    scorer = OutlierScorer(LinearImages()).fit(X)
    table = scorer.explain(X)
    assert table["score"].argmin() == angular
    row = table.iloc[angular]
    assert row["outlier"]
    assert row["scalar"] == CIRCULARITY
    assert row["reason"].startswith(f"{CIRCULARITY} 0.21 where its 20 nearest have 0.9")
    assert row["reason"].endswith(f"({row['disagreement']:.3g} robust sd)")
    assert row["disagreement"] > 5


def test_planted_particles_are_found_with_their_reasons(scorer, particles):
    X, _, planted = particles
    table = scorer.explain(X)
    found = table.iloc[list(planted)]
    assert found["outlier"].all(), found
    angular, large, far, strange = found["reason"]
    assert CIRCULARITY in angular
    assert f"largest: {AREA} " in large
    assert "where 99 % are below" in large
    assert "far from everything" in far or "apart from a dense group" in far
    assert strange.startswith("badly reconstructed: loss ")
    assert "is typical for as much ink" in strange
    assert (table["reason"] != "").equals(table["outlier"])


@pytest.mark.parametrize("name", COMPONENTS)
def test_each_component_alone_finds_its_own(name, particles):
    X, family, (angular, large, far, strange) = particles
    truth = {
        "reconstruction": strange,
        "corrected_reconstruction": strange,
        "distance": far,
        "sparsity": far,
        "class_distance": far,
        "size": large,
        "disagreement": angular,
    }
    scorer = OutlierScorer(LinearImages(), components=[name]).fit(X, family)
    assert scorer.components_ == [name]
    table = scorer.explain(X)
    assert truth[name] in table["score"].to_numpy().argsort()[:3]
    assert name in table
    # The higher the component, the lower the score; disagreement is judged scalar by scalar.
    if name != "disagreement":
        order = table[name].to_numpy().argsort()
        assert (np.diff(table["score"].to_numpy()[order]) <= 1e-12).all()


def test_rows_score_the_same_again_alone_and_in_any_order(scorer, particles):
    X = particles[0]
    whole = scorer.score_samples(X)
    np.testing.assert_allclose(scorer.score_samples(X.iloc[[7]]), whole[[7]], rtol=1e-9)
    np.testing.assert_allclose(scorer.score_samples(X.iloc[::-1]), whole[::-1], rtol=1e-9)
    share = (scorer.predict(X) == -1).mean()
    assert share == pytest.approx(0.05, abs=0.005)


def test_joblib_keeps_scores_and_reasons(scorer, particles, tmp_path):
    joblib.dump(scorer, tmp_path / "scorer.joblib")
    again = joblib.load(tmp_path / "scorer.joblib")
    pd.testing.assert_frame_equal(again.explain(particles[0]), scorer.explain(particles[0]))


def test_an_embedder_is_cloned_and_a_frozen_one_used_as_it_is(particles):
    X = particles[0]
    embedder = LinearImages()
    scorer = OutlierScorer(embedder, components=["distance"]).fit(X)
    assert not hasattr(embedder, "pca_")
    embedder.fit(X.iloc[:100])
    frozen = OutlierScorer(FrozenEstimator(embedder), components=["distance"]).fit(X)
    assert frozen.embedder_.estimator is embedder
    latent = embedder.transform(X)
    by_latent = OutlierScorer(components=["distance"]).fit(latent).score_samples(latent)
    np.testing.assert_array_equal(frozen.score_samples(X), by_latent)
    assert not np.array_equal(frozen.score_samples(X), scorer.score_samples(X))


@pytest.fixture(scope="module")
def networks():
    X = make_particles(100, classes=3, image_size=8, random_state=0)[0]
    X = X[["image", AREA, CIRCULARITY]]
    vae = make_pipeline(scalar_preprocessor(), VAE(4, max_epochs=1))
    return X, OutlierScorer(vae, random_state=3).fit(X)


def test_a_pipeline_of_preprocessor_and_vae(networks):
    X, scorer = networks
    assert scorer.components_ == [
        "corrected_reconstruction",
        "distance",
        "sparsity",
        "size",
        "disagreement",
    ]
    table = scorer.explain(X)
    # Scalars are told in the units of X, not in those of the preprocessor.
    np.testing.assert_array_equal(table["size"], X[AREA])
    again = OutlierScorer(scorer.embedder, random_state=3).fit(X)
    np.testing.assert_array_equal(again.score_samples(X), scorer.score_samples(X))
    np.testing.assert_array_equal(scorer.score_samples(X.iloc[[4]]), scorer.score_samples(X)[[4]])


def test_losses_are_nats_where_the_network_tells(networks):
    X, scorer = networks
    frozen = FrozenEstimator(scorer.embedder_)
    table = OutlierScorer(frozen, components=["reconstruction"]).fit(X).explain(X)
    step, inputs = scorer.embedder_[-1], scorer.embedder_[:-1].transform(X)
    np.testing.assert_array_equal(table["reconstruction"], -step.score_samples(inputs))
    assert table["reason"].str.contains(" nats where ").sum() == table["outlier"].sum()


def side_by_side(X, **networks):
    fitted = [(name, FrozenEstimator(network.fit(X))) for name, network in networks.items()]
    return FrozenEstimator(FeatureUnion(fitted).fit(X))


def test_networks_side_by_side_lose_the_mean_of_their_losses(particles):
    X = particles[0]
    one, other = (AutoEncoder(2, max_epochs=1, random_state=seed) for seed in (0, 1))
    inside = make_pipeline(FunctionTransformer(), other)
    pixels = FunctionTransformer(LinearImages._flat)
    # Squared errors have no mean with nats.
    mixed = side_by_side(X, one=one, squares=LinearImages(), pixels=pixels, other=inside)
    scorer = OutlierScorer(mixed, scalars=None).fit(X)
    assert scorer.components_ == ["corrected_reconstruction", "distance", "sparsity"]
    table = OutlierScorer(mixed, components=["reconstruction"]).fit(X).explain(X)
    losses = -one.score_samples(X), -other.score_samples(X)
    np.testing.assert_allclose(table["reconstruction"], np.mean(losses, axis=0), rtol=1e-6)
    assert table["reason"].str.contains(" nats where ").sum() == table["outlier"].sum() > 0


def test_squared_errors_side_by_side_are_averaged_too(particles):
    X = particles[0]
    few, many = LinearImages(2), LinearImages(9)
    both = side_by_side(X, few=few, many=many)
    columns = [
        OutlierScorer(embedder, components=["corrected_reconstruction", "reconstruction"])
        .fit(X)
        .explain(X)["reconstruction"]
        for embedder in (both, FrozenEstimator(few), FrozenEstimator(many))
    ]
    np.testing.assert_allclose(columns[0], (columns[1] + columns[2]) / 2, rtol=1e-6)
    alone = OutlierScorer(FrozenEstimator(many), scalars=None).fit(X)
    both = OutlierScorer(both, scalars=None).fit(X)
    assert both.components_ == alone.components_


def test_three_forms_of_x_score_alike(digits):
    X = (digits[0][:120] / 255).astype(np.float32)
    area = np.arange(120.0)[::-1] ** 2
    table = make_table(X, area=area)
    rows = np.hstack([X.reshape(120, -1), area[:, None]])
    network = AutoEncoder(3, image_shape=(1, 8, 8), max_epochs=1)
    scorer = OutlierScorer(network, random_state=0).fit(table)
    assert "size" in scorer.components_
    expected = scorer.score_samples(table)
    np.testing.assert_allclose(scorer.score_samples(rows), expected)
    named = OutlierScorer(network, scalars=["area"], random_state=0).fit(table)
    np.testing.assert_allclose(named.score_samples(rows), expected)
    with pytest.raises(ValueError, match="are compared, but X has only images"):
        named.score_samples(X)
    by_rows = OutlierScorer(network, scalars=[64], random_state=0).fit(rows)
    assert by_rows.scalars_ == [64]


def test_scalars_beside_a_map_without_an_embedder():
    rng = np.random.RandomState(0)
    X = pd.DataFrame(rng.normal(size=(200, 2)), columns=["x", "y"])
    X["roundness"] = X["x"] + rng.normal(0, 0.05, 200)
    X.loc[11, "roundness"] += 4
    scorer = OutlierScorer(scalars=["roundness"]).fit(X)
    assert scorer.explain(X)["score"].argmin() == 11
    # The scalar has no part in who is whose neighbour.
    plain = OutlierScorer().fit(X[["x", "y"]])
    np.testing.assert_array_equal(
        scorer.explain(X)["distance"], plain.explain(X[["x", "y"]])["distance"]
    )


def test_ties_constant_scalars_and_copies():
    X = pd.DataFrame({"x": np.zeros(60), "same": np.ones(60), "count": np.repeat([1.0, 2.0], 30)})
    X.loc[59, "count"] = 40.0
    scorer = OutlierScorer(scalars=["same", "count"]).fit(X)
    assert scorer.scalars_ == ["count"]
    table = scorer.explain(X)
    assert np.isfinite(table.drop(columns=["scalar", "reason"]).to_numpy(float)).all()
    assert table["score"].argmin() == 59


def test_agreeing_neighbours_do_not_make_infinite_z():
    X = pd.DataFrame({"x": np.r_[np.zeros(30), np.ones(30)], "s": np.r_[np.zeros(30), np.ones(30)]})
    X.loc[0, "s"] = 1.0
    table = OutlierScorer(n_neighbors=5, scalars=["s"]).fit(X).explain(X)
    assert np.isfinite(table["disagreement"]).all()


def test_angles_go_the_short_way_round():
    rng = np.random.RandomState(0)
    angle = (rng.normal(90, 3, 100) + 90) % 180 - 90
    X = pd.DataFrame({"x": rng.normal(size=100), "Feret Angle Max": angle})
    assert (angle < 0).any()
    assert (angle > 0).any()
    table = OutlierScorer(scalars=["Feret Angle Max"]).fit(X).explain(X)
    assert table["disagreement"].max() < 6


def test_approximate_neighbours_agree_with_exact():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(600, 8)).astype(np.float32)
    exact = OutlierScorer(algorithm="exact").fit(X)
    near = OutlierScorer(algorithm="approximate", random_state=0).fit(X)
    shared = [
        np.isin(a, b).mean()
        for a, b in zip(exact._neighbours.index, near._neighbours.index, strict=True)
    ]
    assert np.mean(shared) > 0.98
    whole = near.score_samples(X)
    np.testing.assert_array_equal(near.score_samples(X[::-1]), whole[::-1])
    np.testing.assert_array_equal(near.score_samples(X[[5]]), whole[[5]])
    again = OutlierScorer(algorithm="approximate", random_state=0).fit(X)
    np.testing.assert_array_equal(again.score_samples(X), whole)
    assert np.corrcoef(whole, exact.score_samples(X))[0, 1] > 0.99


def test_surprise_is_calibrated_and_goes_on_beyond_the_training_rows():
    rng = np.random.RandomState(0)
    heavy, normal = 1 + rng.pareto(3, 5000), rng.normal(size=5000)
    for values, positive in ((heavy, True), (normal, False)):
        scale = Surprise(values, positive)
        surprise = scale(values)
        assert surprise.min() == 0
        for share in (0.5, 0.1, 0.06):
            assert (surprise >= -np.log(share)).mean() == pytest.approx(share, rel=0.02)
        # A light tail is made too little of, never too much.
        assert (surprise >= -np.log(0.004)).mean() < 1.5 * 0.004
        beyond = scale(values.max() * np.array([1.0, 2.0, 4.0]))
        assert (np.diff(beyond) > 0.5).all()
    exceeding = (Surprise(heavy, True)(heavy) >= -np.log(0.004)).mean()
    assert exceeding == pytest.approx(0.004, rel=0.5)


def test_outliers_among_the_training_rows_hide_each_other_little():
    rng = np.random.RandomState(0)
    clean = rng.lognormal(sigma=0.3, size=1000)
    soiled = np.r_[clean[20:], np.full(20, 50.0)]
    assert Surprise(soiled, True)(np.array([50.0])) > 0.6 * Surprise(clean, True)(np.array([50.0]))


def test_what_is_drawn_and_its_usual_loss():
    images = np.full((3, 8, 8), 200, np.uint8)
    images[1, 3:5, 3:5] = 50
    images[2, 2:6, 2:6] = 50
    rows = read_table(make_table(images))
    ink, contrast, size = drawn_features(rows, 1.0).T
    np.testing.assert_array_equal(size, [0, 4, 16])
    np.testing.assert_allclose(ink, size / 64 * 150 / 255, rtol=1e-6)
    np.testing.assert_allclose(contrast, np.sqrt(size / 64) * 150 / 255, rtol=1e-6)
    rng = np.random.RandomState(0)
    features = rng.uniform(size=(600, 3))
    loss = 100 * features[:, 0] * (1 + 0.1 * rng.normal(size=600)) - 300
    loss[5] = 60 - 300
    features[5, 0] = 0.2
    model = UsualLoss(features, loss)
    away = model.departure(features, loss)
    assert away.argmax() == 5
    assert abs(np.corrcoef(away, features[:, 0])[0, 1]) < 0.2
    more = np.linspace(0, 1, 50)[:, None] * [1, 0, 0] + [0, 0.5, 0.5]
    assert (np.diff(model.usual(more)) >= 0).all()


def test_components_that_are_not_possible():
    X = np.random.RandomState(0).normal(size=(30, 3))
    for name, missing in {
        "reconstruction": "needs an embedder with reconstruct or inverse_transform",
        "corrected_reconstruction": "needs an embedder with reconstruct, such as VAE",
        "class_distance": "needs labels: pass y to fit",
        "size": "needs a scalar named as an area",
        "disagreement": "needs scalars that vary",
    }.items():
        with pytest.raises(ValueError, match=f"components has '{name}', which {missing}"):
            OutlierScorer(components=[name]).fit(X)
    for wrong in (["ink"], [], ["distance", "distance"]):
        with pytest.raises(ValueError, match="must be 'auto' or a list of different names"):
            OutlierScorer(components=wrong).fit(X)


def test_bad_input_says_the_way_out(particles):
    X = particles[0]
    with pytest.raises(ValueError, match=r"X has the image column 'image', but embedder=None"):
        OutlierScorer().fit(X)
    with pytest.raises(ValueError, match=r"X has shape \(5, 4, 4\), but embedder=None"):
        OutlierScorer().fit(np.zeros((5, 4, 4)))
    with pytest.raises(ValueError, match="scalars has 'area', which X has not"):
        OutlierScorer(LinearImages(), scalars=["area"]).fit(X)
    holes = X.assign(**{AREA: X[AREA].where(np.arange(300) > 2)})
    only_images = make_pipeline(FunctionTransformer(lambda X: X[["image"]]), LinearImages())
    with pytest.raises(ValueError, match=r"NaN or infinity in the scalars 'Area \(ABD\)' \(3 rows"):
        OutlierScorer(only_images).fit(holes)
    with pytest.raises(ValueError, match="none is left to find neighbours by"):
        OutlierScorer(scalars=["a"]).fit(pd.DataFrame({"a": [1.0, 2.0]}))
    lost = make_pipeline(StandardScaler(), FunctionTransformer(lambda X: X * np.nan))
    with pytest.raises(ValueError, match="with NaN or infinity; expected finite rows"):
        OutlierScorer(lost).fit(np.eye(4))


def test_labels_without_a_spread_of_their_own():
    X = np.random.RandomState(0).normal(size=(60, 2)) * 5
    one = np.full(60, -1)
    one[7] = 3
    scorer = OutlierScorer(components=["class_distance"]).fit(X, one)
    distance = scorer.explain(X)["class_distance"]
    assert distance[7] == 0
    assert distance.drop(7).median() == pytest.approx(1.2, rel=0.5)  # in standard deviations of X
    assert np.isfinite(OutlierScorer().fit(X, one).score_samples(X)).all()
    assert np.isfinite(OutlierScorer().fit(np.ones((20, 2)), one[:20]).score_samples(X)).all()


def test_labels_of_two_kinds_are_not_merged():
    labels = np.array([1, "1"] * 30, dtype=object)
    with pytest.raises(ValueError, match="y has text and numbers, such as '1' and 1"):
        OutlierScorer().fit(np.random.RandomState(0).normal(size=(60, 2)), labels)


def test_a_fit_that_fails_leaves_the_scorer_as_it_was():
    random = np.random.RandomState(0)
    X, other = random.normal(size=(60, 2)), random.normal(size=(50, 2)) + 9
    scorer = OutlierScorer().fit(X)
    before = scorer.score_samples(X)
    with pytest.raises(ValueError, match="components has 'reconstruction'"):
        scorer.set_params(components=["reconstruction"]).fit(other)
    np.testing.assert_array_equal(scorer.score_samples(X), before)


@pytest.mark.parametrize("make", [pd.DataFrame, np.asfortranarray])
def test_cosine_scores_do_not_depend_on_the_layout_of_the_memory(make):
    X = make(np.random.RandomState(0).normal(size=(300, 20)))
    scorer = OutlierScorer(metric="cosine").fit(X)
    some = X[:60]
    alone = [scorer.score_samples(some[i : i + 1])[0] for i in range(60)]
    np.testing.assert_array_equal(alone, scorer.score_samples(some))


def test_one_image_has_no_neighbours(networks):
    X, scorer = networks
    with pytest.raises(ValueError, match="at least 2 are needed"):
        OutlierScorer(FrozenEstimator(scorer.embedder_)).fit(X[:1])


def test_unlabelled_rows_say_nothing_of_classes():
    X = np.random.RandomState(0).normal(size=(60, 2))
    y = np.array([0.0] * 30 + [np.nan] * 30)
    X[:30] += 5
    scorer = OutlierScorer().fit(X, y)
    assert scorer.classes_.tolist() == [0.0]
    assert (
        scorer.explain(X)["class_distance"][:30].max()
        < scorer.explain(X)["class_distance"][30:].min()
    )
    assert "class_distance" not in OutlierScorer().fit(X, np.full(60, -1)).components_


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (860.0, "largest: Area 860 where 99 % are below 858"),
        (857.0, "large: Area 857, close to the 858 that 99 % are below"),
    ],
)
def test_the_reason_for_size_does_not_contradict_itself(value, reason):
    typical = {"size": 858.0, "size name": "Area"}
    assert reasons.size(pd.Series({"size": value}), typical, 20) == reason
