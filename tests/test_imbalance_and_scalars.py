"""Rare classes, scalars beside images, and their scaling."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL, assert_same, make_table, outputs
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback

from icecore_sk import ResNet18Classifier, scalar_preprocessor
from icecore_sk._engine import balanced

# ---- balanced sampling


def draw(classes, seed=0, index=None):
    index = np.arange(len(classes)) if index is None else index
    return balanced(index, classes[index], torch.Generator().manual_seed(seed))


def test_balanced_draws_equally_many_of_each_class():
    classes = np.repeat([0, 1, 2], [90, 7, 3])
    rows = draw(classes)
    assert len(rows) == 100
    counts = np.bincount(classes[rows])
    assert counts.max() - counts.min() <= 1
    # Each class is gone through before any of its rows comes again.
    for c, n in enumerate(counts):
        times = np.bincount(rows, minlength=100)[classes == c]
        assert times.sum() == n
        assert times.max() - times.min() <= 1


def test_balanced_draws_other_rows_each_time_and_only_those_asked_for():
    classes = np.repeat([0, 1], [90, 10])
    index = np.arange(5, 95)
    rows = draw(classes, 0, index)
    assert len(rows) == 90
    assert set(rows) <= set(index)
    assert set(rows) != set(draw(classes, 1, index))
    np.testing.assert_array_equal(rows, draw(classes, 0, index))


def test_balanced_goes_without_classes_that_are_not_there():
    classes = np.array([0, 2, 2, 2])
    assert np.bincount(classes[draw(classes)]).tolist() == [2, 0, 2]


@pytest.fixture(scope="module")
def unbalanced(digits):
    """Many ones, few eights; and eights to test on."""
    X, y = digits
    ones, eights = np.flatnonzero(y == 1), np.flatnonzero(y == 8)
    few = np.concatenate([ones[:26], eights[:3]])
    return X[few], y[few], X[eights[3:]]


@pytest.mark.parametrize("class_weight", ["balanced", "balanced_sampling"])
def test_a_rare_class_is_found(class_weight, unbalanced):
    X, y, X_rare = unbalanced
    found = {
        weight: np.mean(
            [
                ResNet18Classifier(
                    max_epochs=4, batch_size=8, class_weight=weight, random_state=seed, **SMALL
                )
                .fit(X, y)
                .predict_proba(X_rare)[:, 1]
                .mean()
                for seed in range(3)
            ]
        )
        for weight in (None, class_weight)
    }
    assert found[class_weight] > found[None] + 0.1


def test_balanced_sampling_goes_on_exactly_from_a_checkpoint(unbalanced, tmp_path):
    X, y, _ = unbalanced
    params = {"batch_size": 8, "class_weight": "balanced_sampling", "random_state": 0, **SMALL}

    def model(callbacks, folder):
        return ResNet18Classifier(
            max_epochs=3, checkpoint_dir=folder, callbacks=callbacks, **params
        )

    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise KeyboardInterrupt

    whole = model(None, tmp_path / "whole").fit(X, y)
    with pytest.raises(KeyboardInterrupt):
        model([Stop()], tmp_path / "parts").fit(X, y)
    assert_same(outputs(model(None, tmp_path / "parts").fit(X, y), X), outputs(whole, X))


def test_class_weight_is_checked(digits):
    with pytest.raises(ValueError, match=r"'class_weight' parameter .*balanced_sampling"):
        ResNet18Classifier(class_weight="sampling").fit(*digits)
    for weights in (dict.fromkeys(range(10), 0), {0: -1}, {0: float("nan")}):
        with pytest.raises(ValueError, match=r"class_weight=.* must have finite weights, none"):
            ResNet18Classifier(class_weight=weights).fit(*digits)


def test_sorted_rows_leave_the_batch_norms_as_they_are(digits):
    """Batches of one class each would hide the variance between classes."""
    X, y = digits
    order = np.argsort(y, kind="stable")
    params = {"max_epochs": 3, "batch_size": 32, "random_state": 0, **SMALL}
    as_they_are = ResNet18Classifier(**params).fit(X, y)
    by_class = ResNet18Classifier(**params).fit(X[order], y[order])
    variances = [
        model.net_.module_.encoder.body.layer4[1].bn2.running_var.mean()
        for model in (as_they_are, by_class)
    ]
    assert variances[1] > 0.7 * variances[0]


# ---- scalars beside images


def test_scalars_change_nothing_in_a_row_beside_another(digits):
    X, y = digits
    table = make_table(X[:100], size=np.arange(100.0))
    model = ResNet18Classifier(max_epochs=1, random_state=0, **SMALL).fit(table, y[:100])
    np.testing.assert_array_equal(
        model.predict_proba(table.iloc[[3, 50]]), model.predict_proba(table)[[3, 50]]
    )
    again = ResNet18Classifier(max_epochs=1, random_state=0, **SMALL).fit(table, y[:100])
    assert_same(outputs(model, table), outputs(again, table))


# ---- scalar_preprocessor


@pytest.fixture(scope="module")
def measured(digits):
    """A particle table with a heavy-tailed area, an angle, a count and a constant."""
    rng = np.random.default_rng(0)
    X, y = digits
    scalars = {
        "Area (ABD)": np.exp(3 * rng.normal(size=300)),
        "Feret Angle Max": rng.uniform(-90, 90, 300),
        "Particles Per Chain": rng.integers(1, 4, 300),
        "Camera": np.ones(300),
    }
    return make_table(X, **scalars), y


def test_scalars_are_scaled_and_the_image_is_passed_on(measured):
    table, _ = measured
    out = scalar_preprocessor().fit(table[:200]).transform(table)
    assert out.columns.tolist() == [
        "image",
        "Feret Angle Max cos",
        "Feret Angle Max sin",
        "Area (ABD)",
        "Particles Per Chain",
        "Camera",
    ]
    assert out.dtypes["image"] == table.dtypes["image"]
    assert out["image"].equals(table["image"])
    assert out.index.equals(table.index)
    scaled = out[["Area (ABD)", "Particles Per Chain"]][:200]
    np.testing.assert_allclose(scaled.mean(), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(ddof=0), 1, atol=1e-6)
    assert abs(out["Area (ABD)"]).max() < 6
    assert np.isfinite(out["Camera"]).all()
    # Order is kept, beyond the range of training too.
    assert (out["Area (ABD)"].rank() == table["Area (ABD)"].rank()).all()


def test_opposite_angles_are_one_orientation():
    angles = pd.DataFrame({"Feret Angle Min": [-90.0, 90.0, -45.0, 135.0, 0.0]})
    out = scalar_preprocessor().fit_transform(angles).to_numpy()
    np.testing.assert_allclose(out[[0, 2]], out[[1, 3]], atol=1e-12)
    np.testing.assert_allclose(out[4], [1, 0], atol=1e-12)
    plain = scalar_preprocessor(angles=None).fit_transform(angles)
    assert plain.columns.tolist() == ["Feret Angle Min"]


def test_preprocessor_in_a_pipeline_and_a_grid_search(measured):
    table, y = measured
    pipeline = make_pipeline(
        scalar_preprocessor(), ResNet18Classifier(max_epochs=1, random_state=0, **SMALL)
    )
    search = GridSearchCV(pipeline, {"resnet18classifier__lr": [1e-3, 2e-3]}, cv=2)
    search.fit(table[:80], y[:80])
    check_is_fitted(search.best_estimator_)
    assert search.best_estimator_[-1].n_scalars_ == 5
    assert len(search.predict(table[80:90])) == 10


def test_preprocessor_refuses_what_it_was_not_fitted_on(measured):
    table, _ = measured
    fitted = scalar_preprocessor().fit(table)
    with pytest.raises(ValueError, match=r"columns are missing: \{'Camera'\}"):
        fitted.transform(table.drop(columns="Camera"))
    with pytest.raises(ValueError, match="angles=3 must be a text"):
        scalar_preprocessor(angles=3)


@pytest.mark.parametrize(
    "values", [[1.0] * 99 + [2.0], [170.0] * 99 + [171.0], [100.0] * 95 + [104.0] * 5]
)
def test_scalars_that_seldom_vary_do_not_vanish(values):
    """The likeliest power would bring all values to one place, within rounding."""
    X = pd.DataFrame({"Particles Per Chain": values, "Camera": 1.0})
    model = scalar_preprocessor().fit(X)
    out = model.transform(X)
    assert out["Particles Per Chain"].std(ddof=0) == pytest.approx(1.0)
    assert out["Camera"].eq(0).all()
    beyond = model.transform(X[-1:] + 50)
    assert beyond["Particles Per Chain"].iloc[0] > out["Particles Per Chain"].iloc[-1]
    again = pickle.loads(pickle.dumps(model)).transform(X)
    pd.testing.assert_frame_equal(again, out)
