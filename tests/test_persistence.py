"""Fitted estimators and Pipelines survive files, copies and other processes bit for bit."""

import copy
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
import skops.io
import torch
from conftest import NETWORKS, assert_same, make_network, make_table, outputs
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_pipelines import make_pipelines

from icecore_sk import VAE, OutlierScorer, ResNet18Classifier

pytestmark = [
    pytest.mark.filterwarnings("ignore:n_jobs value"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def through_skops(model):
    data = skops.io.dumps(model)
    return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))


@pytest.mark.parametrize(
    "through", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), through_skops]
)
def test_networks_come_back_bit_equal(through, fitted, digits):
    again = through(fitted)
    assert_same(outputs(fitted, digits[0]), outputs(again, digits[0]))
    assert again.history_.equals(fitted.history_)
    assert again.get_params().keys() == fitted.get_params().keys()
    assert again.loss_curve_ == fitted.loss_curve_


def test_skops_needs_to_trust_our_own_types_only(fitted):
    names = skops.io.get_untrusted_types(data=skops.io.dumps(fitted))
    assert {name.split(".")[0] for name in names} == {"icecore_sk"}


def plain(value):
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(entry) for key, entry in value.items())
    if isinstance(value, list | tuple):
        return all(map(plain, value))
    return value is None or isinstance(value, bool | int | float | str | np.ndarray | np.generic)


def test_state_is_numbers_strings_and_arrays(fitted):
    assert plain(fitted.__getstate__())


def test_state_after_a_warm_start_fits_again(digits):
    model = make_network("AutoEncoder", warm_start=True).fit(digits[0])
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(
        model.fit(digits[0]).transform(digits[0]), again.fit(digits[0]).transform(digits[0])
    )
    assert again.n_iter_ == 4


def test_estimator_with_a_frozen_encoder_survives(digits):
    classifier = make_network("ResNet18Classifier", max_epochs=1).fit(*digits)
    frozen = FrozenEstimator(classifier)
    model = make_network("AutoEncoder", max_epochs=1, encoder=frozen).fit(digits[0])
    again = through_skops(model)
    np.testing.assert_array_equal(model.transform(digits[0]), again.transform(digits[0]))


def test_model_of_a_missing_device_falls_back_with_a_warning(digits):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    model = make_network("VAE").fit(digits[0])
    expected = model.transform(digits[0])
    model.device = "cuda"  # as if it had been trained there
    with pytest.warns(UserWarning, match=r"device='cuda', but .* Using the CPU"):
        again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(digits[0]), expected)


def test_unfitted_estimators_survive():
    for name in NETWORKS:
        model = pickle.loads(pickle.dumps(make_network(name)))
        assert model.max_epochs == 2
        assert not hasattr(model, "net_")


LOADER = """
import sys, joblib, numpy as np, pickle
folder = sys.argv[1]
X = joblib.load(f"{folder}/X.joblib")
for name in sys.argv[2:]:
    model = joblib.load(f"{folder}/{name}.joblib")
    X_ = X["table"] if name == "table" else X["images"]
    results = {m: getattr(model, m)(X_) for m in ("transform", "predict", "score_samples",
               "predict_proba") if hasattr(model, m)}
    joblib.dump(results, f"{folder}/{name}.results")
"""


def test_every_pipeline_is_bit_equal_in_a_fresh_process(digits, tmp_path):
    X, y = digits
    table = make_table(X, area=1.0 * y)
    models = {name: pipe.fit(X, y) for name, pipe in make_pipelines().items()}
    models["table"] = ResNet18Classifier(max_epochs=1).fit(table, y)
    joblib.dump({"images": X, "table": table}, tmp_path / "X.joblib")
    for name, model in models.items():
        joblib.dump(model, tmp_path / f"{name}.joblib")
    subprocess.run([sys.executable, "-c", LOADER, str(tmp_path), *models], check=True)
    for name, model in models.items():
        data = table if name == "table" else X
        results = joblib.load(tmp_path / f"{name}.results")
        assert results
        for method, values in results.items():
            np.testing.assert_array_equal(
                values, getattr(model, method)(data), err_msg=f"{name}.{method}"
            )


def test_skops_carries_a_pipeline(digits):
    pipe = make_pipeline(
        VAE(3, max_epochs=1, random_state=0), StandardScaler(), OutlierScorer()
    ).fit(digits[0])
    again = through_skops(pipe)
    np.testing.assert_array_equal(again.score_samples(digits[0]), pipe.score_samples(digits[0]))


def test_a_learning_rate_of_numpy_survives(digits):
    model = make_network("AutoEncoder", max_epochs=1, lr=np.float32(1e-3)).fit(digits[0][:40])
    again = pickle.loads(pickle.dumps(model))
    assert again.history_.equals(model.history_)
