"""Importance of scalars, on tables whose truth is planted."""

import joblib
import numpy as np
import pandas as pd
import pytest
from conftest import make_table
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler

from icecore_sk import ResNet18Classifier
from icecore_sk.metrics import scalar_importance, sufficient_scalars


class Planted(ClassifierMixin, BaseEstimator):
    """Predicts what a given function says of the table, and counts how often it is asked."""

    def __init__(self, function=None):
        self.function = function

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.n_passes_ = 0
        return self

    def predict(self, X):
        self.n_passes_ += 1
        return self.function(X)


def planted(function, X):
    y = function(X)
    return Planted(function).fit(X, y), y


@pytest.fixture(scope="module")
def scalars():
    """Ten scalars; s0 and s1 matter, and copy is s0 again."""
    rng = np.random.RandomState(0)
    X = pd.DataFrame(rng.normal(size=(800, 9)), columns=[f"s{i}" for i in range(9)])
    X["copy"] = np.exp(X["s0"] + 0.05 * rng.normal(size=800))
    y = np.where(X["s0"] + 0.8 * X["s1"] > 0, "grain", "dust")
    return X, y


@pytest.fixture(scope="module")
def forest(scalars):
    X, y = scalars
    return ExtraTreesClassifier(30, random_state=0).fit(X[:500], y[:500])


@pytest.fixture(scope="module")
def importance(forest, scalars):
    X, y = scalars
    return scalar_importance(forest, X[500:], y[500:], n_repeats=5, random_state=0)


def numbered_table(n=40):
    """Images that tell their own row, and two scalars."""
    images = np.repeat(np.arange(n, dtype=np.uint8), 4).reshape(n, 2, 2)
    rng = np.random.RandomState(1)
    return make_table(images, area=rng.normal(size=n), grey=rng.randint(256, size=n))


def image_rows(X):
    return X["image"].array.__arrow_array__().combine_chunks().to_numpy_ndarray()[:, 0, 0]


def test_copies_are_a_group_and_matter_together(importance):
    assert importance.columns.tolist() == ["mean", "std", "group", "group_mean", "group_std"]
    assert set(importance.index[:2]) == {"s0", "copy"}
    assert importance.index[2] == "s1"
    assert importance["group"].tolist() == [0, 0, *range(1, 9)]
    alone, together = importance.loc[["s0", "copy"], "mean"], importance["group_mean"]
    # Each by itself looks less important than s1, which weighs less.
    assert (alone < importance.loc["s1", "mean"]).all()
    assert together["s0"] == together["copy"] > together["s1"] > 0.15
    assert (together.iloc[3:] < 0.03).all()
    assert together.is_monotonic_decreasing


def test_without_groups_it_is_permutation_importance(forest, scalars):
    X, y = scalars[0][500:], scalars[1][500:]
    ours = scalar_importance(forest, X, y, correlated=None, n_repeats=3, random_state=3)
    theirs = permutation_importance(forest, X, y, n_repeats=3, random_state=3)
    ours = ours.loc[X.columns]
    np.testing.assert_array_equal(ours["mean"], theirs.importances_mean)
    np.testing.assert_array_equal(ours["std"], theirs.importances_std)
    np.testing.assert_array_equal(ours["group_mean"], theirs.importances_mean)
    assert sorted(ours["group"]) == list(range(10))


def test_threads_change_nothing(forest, scalars, importance):
    X, y = scalars
    with joblib.parallel_config("threading", n_jobs=2):
        again = scalar_importance(forest, X[500:], y[500:], n_repeats=5, random_state=0)
    pd.testing.assert_frame_equal(again, importance)


def test_a_group_moves_as_a_whole():
    rng = np.random.RandomState(0)
    X = pd.DataFrame({"a": np.arange(50), "b": np.arange(50) * -2.0, "c": rng.normal(size=50)})
    model, y = planted(lambda X: (X["b"] == X["a"] * -2).to_numpy(), X)
    table = scalar_importance(model, X, y, correlated=1.0, random_state=0)
    assert (table.loc[["a", "b"], "mean"] > 0.9).all()
    assert (table["group_mean"] == 0).all()
    assert table.loc["a", "group"] == table.loc["b", "group"] != table.loc["c", "group"]


def test_any_two_of_a_group_are_correlated_so_much():
    rng = np.random.RandomState(0)
    z = rng.normal(size=500)
    X = pd.DataFrame({k: z + 0.35 * k * rng.normal(size=500) for k in range(6)}).add_prefix("s")
    model, y = planted(lambda X: (X["s0"] > 0).to_numpy(), X)
    table = scalar_importance(model, X, y, correlated=0.8, n_repeats=1, random_state=0)
    assert 1 < table["group"].nunique() < 6
    for _, group in table.groupby("group"):
        assert X[group.index].corr(method="spearman").to_numpy().min() >= 0.8


@pytest.mark.parametrize("max_samples", [1.0, 0.5, 15])
def test_images_are_never_shuffled(max_samples):
    X = numbered_table()
    seen = []

    def predict(X):
        seen.append(image_rows(X))
        return (X["area"] > 0).to_numpy()

    model, y = planted(predict, X)
    seen.clear()
    before = X.copy()
    n_rows = {1.0: 40, 0.5: 20, 15: 15}[max_samples]
    table = scalar_importance(model, X, y, max_samples=max_samples, n_repeats=3, random_state=0)
    result = sufficient_scalars(model, X, y, max_samples=max_samples, random_state=0)
    assert set(table.index) == {"area", "grey"}
    assert len(seen) > 7
    # Of a sample of the rows the images are those rows' own, in order.
    assert all(len(rows) == n_rows and (np.diff(rows.astype(int)) > 0).all() for rows in seen)
    assert len({rows.tobytes() for rows in seen}) == 1
    assert table.loc["area", "mean"] > 0.1
    # The score before shuffling is that of the same rows.
    assert table.loc["grey", ["mean", "std"]].tolist() == [0, 0]
    assert result.scalars == ["area"]
    pd.testing.assert_frame_equal(X, before)


def test_constant_scalars_cost_nothing():
    X = numbered_table().assign(dull=1.0, missing=np.nan)
    model, y = planted(lambda X: (X["area"] > 0).to_numpy(), X)
    table = scalar_importance(model, X, y, n_repeats=3, random_state=0)
    assert model.n_passes_ == 1 + 3 * 2
    assert (table.loc[["dull", "missing"], ["mean", "std", "group_mean"]] == 0).all(axis=None)
    assert table["group"].tolist() == [0, 1, 2, 3]


def test_only_the_named_scalars():
    X = numbered_table().assign(species="Corylus")
    model, y = planted(lambda X: (X["area"] > 0).to_numpy(), X)
    table = scalar_importance(model, X, y, scalars=["area"], random_state=0)
    assert table.index.tolist() == ["area"]
    assert sufficient_scalars(model, X, y, importance=table, random_state=0).scalars == ["area"]


def test_scores_that_need_no_target():
    X = pd.DataFrame({"a": np.repeat([0.0, 9.0], 20), "b": np.tile([0.0, 0.1], 20)})
    model = KMeans(2, n_init=1, random_state=0).fit(X)
    # Shuffled, "a" still lies on the two centres; "b" never left them.
    assert scalar_importance(model, X, None, random_state=0)["mean"].abs().max() < 1e-6
    shifted = scalar_importance(
        model, X, None, scoring=lambda model, X, y: -abs(X["a"].diff()).sum(), random_state=0
    )
    assert shifted.index[0] == "a"
    assert shifted.loc["a", "mean"] > 9
    assert shifted.loc["b", "mean"] == 0


def test_short_list_holds_one_of_the_copies(forest, scalars, importance):
    X, y = scalars
    result = sufficient_scalars(
        forest, X[500:], y[500:], importance=importance, n_repeats=5, random_state=0
    )
    assert len(result.scalars) == 2
    assert result.scalars[0] in ("s0", "copy")
    assert result.scalars[1] == "s1"
    assert result.score == forest.score(X[500:], y[500:])
    curve = result.curve
    assert curve.index.tolist() == [0, 1, 2]
    assert curve.index.name == "n_scalars"
    assert curve["scalar"].tolist()[1:] == result.scalars
    assert curve["score"].is_monotonic_increasing
    assert curve["score"][1] < result.score - 0.01 <= curve["score"][2]
    refit = ExtraTreesClassifier(30, random_state=0).fit(X[result.scalars][:500], y[:500])
    assert refit.score(X[result.scalars][500:], y[500:]) > result.score - 0.03


def test_short_list_measures_importance_where_it_is_not_given(forest, scalars):
    X, y = scalars
    options = {"n_repeats": 2, "max_samples": 200, "random_state": 5}
    importance = scalar_importance(forest, X[500:], y[500:], **options)
    given = sufficient_scalars(forest, X[500:], y[500:], importance=importance, **options)
    measured = sufficient_scalars(forest, X[500:], y[500:], **options)
    pd.testing.assert_frame_equal(given.curve, measured.curve)
    assert given.scalars == measured.scalars


def test_tolerance_says_where_the_list_ends(forest, scalars, importance):
    X, y = scalars
    lengths = [
        len(
            sufficient_scalars(
                forest,
                X[500:],
                y[500:],
                importance=importance,
                tolerance=tolerance,
                n_repeats=2,
                random_state=0,
            ).scalars
        )
        for tolerance in (1.0, 0.25, 0.02)
    ]
    assert lengths == [0, 1, 2]


def test_tolerance_of_nothing_ends_with_every_group():
    X = pd.DataFrame(np.random.RandomState(0).normal(size=(60, 3)), columns=list("abc"))
    model, y = planted(lambda X: (X["a"] * X["b"] * X["c"] > 0).to_numpy(), X)
    result = sufficient_scalars(model, X, y, tolerance=0, n_repeats=2, random_state=0)
    assert sorted(result.scalars) == ["a", "b", "c"]
    assert result.curve["score"].iloc[-1] == result.score == 1.0


def test_network_behind_a_column_transformer(digits):
    rng = np.random.RandomState(0)
    y = rng.randint(2, size=160)
    # Blank images say nothing, one scalar says all.
    table = make_table(
        np.zeros((160, 8, 8), np.uint8),
        useful=100 * y + rng.normal(size=160),
        noise=rng.normal(size=160),
    )
    scale = ColumnTransformer(
        [("scalars", RobustScaler(), make_column_selector(dtype_include="number"))],
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    network = ResNet18Classifier(max_epochs=5, batch_size=50, lr=2e-3, random_state=0)
    model = make_pipeline(scale, network).fit(table[:100], y[:100])
    found = scalar_importance(
        model,
        table[100:],
        y[100:],
        scoring="balanced_accuracy",
        n_repeats=2,
        max_samples=50,
        random_state=0,
    )
    assert found.index.tolist() == ["useful", "noise"]
    assert found.loc["useful", "mean"] > 0.3
    assert abs(found.loc["noise", "mean"]) < 0.1


@pytest.mark.parametrize("function", [scalar_importance, sufficient_scalars])
def test_refuses_what_it_cannot_use(function, forest, scalars):
    X, y = scalars
    with pytest.raises(NotFittedError, match="ExtraTreesClassifier instance is not fitted"):
        function(ExtraTreesClassifier(), X, y)
    with pytest.raises(TypeError, match=r"X is a ndarray; expected .* pd.DataFrame\(X, columns"):
        function(forest, X.to_numpy(), y)
    with pytest.raises(ValueError, match="y is None, but the score of ExtraTreesClassifier needs"):
        function(forest, X, None)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        function(forest, X, y[1:])
    with pytest.raises(ValueError, match="'sharpness' is not a valid scoring value"):
        function(forest, X, y, scoring="sharpness")
    with pytest.raises(ValueError, match="looks like it is a metric"):
        function(forest, X, y, scoring=accuracy_score)
    with pytest.raises(ValueError, match="The score of X is nan; expected one finite number"):
        function(forest, X, y, scoring=lambda *_: float("nan"))
    with pytest.raises(ValueError, match="max_samples=900 makes 900 of the 800 rows of X"):
        function(forest, X, y, max_samples=900)
    with pytest.raises(ValueError, match=r"'n_repeats' parameter .* Got 0 instead"):
        function(forest, X, y, n_repeats=0)
    with pytest.raises(ValueError, match="None of the 10 scalars of X varies"):
        function(forest, X * 0, y)
    with pytest.raises(ValueError, match="Column 'species' of X has dtype str; scalars must be"):
        function(forest, X.assign(species="Corylus"), y)
    with pytest.raises(ValueError, match=r"X names \['s0'\] more than once"):
        function(forest, pd.concat([X, X[["s0"]]], axis=1), y)


def test_refuses_a_table_of_images_alone():
    X = numbered_table()[["image"]]
    model, y = planted(lambda X: np.arange(len(X)) % 2, X)
    with pytest.raises(ValueError, match=r"no scalars to shuffle: X has the columns \['image'\]"):
        scalar_importance(model, X, y)


def test_refuses_wrong_choices(forest, scalars, importance):
    X, y = scalars
    with pytest.raises(ValueError, match=r"X has no column \['Area'\]; its columns are \['s0'"):
        scalar_importance(forest, X, y, scalars=["s0", "Area"])
    with pytest.raises(ValueError, match=r"scalars names \['s0'\] more than once"):
        scalar_importance(forest, X, y, scalars=["s0", "s0"])
    with pytest.raises(ValueError, match=r"'correlated' parameter .* Got 1.5 instead"):
        scalar_importance(forest, X, y, correlated=1.5)
    with pytest.raises(ValueError, match=r"'tolerance' parameter .* Got -1 instead"):
        sufficient_scalars(forest, X, y, tolerance=-1)
    with pytest.raises(ValueError, match=r"importance has the columns \['s0'\]; expected 'mean'"):
        sufficient_scalars(forest, X, y, importance=X[["s0"]])
    with pytest.raises(ValueError, match="X has no column"):
        sufficient_scalars(forest, X.drop(columns="s3"), y, importance=importance)
