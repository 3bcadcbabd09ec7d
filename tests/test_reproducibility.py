"""One seed, one result: in another process, in workers of joblib, in two threads at once."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import NETWORKS, make_network
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline, make_union

from icecore_sk import OutlierScorer, ResNet18Classifier
from icecore_sk._random import draw_seed
from icecore_sk.datasets import load_digit_images

PARAMS = {
    "ResNet18Classifier": {"augmentation": {"rotate": 10}, "outlier_exposure": 0.3},
    "AutoEncoder": {"augmentation": {"flip": True, "shift": 0.2}},
    "VAE": {"kl_warmup": 2.0},
    "FlowVAE": {"early_stopping": True},
}
FIT = """
import pickle, sys
from test_reproducibility import fit
sys.stdout.buffer.write(pickle.dumps([fit(name) for name in sys.argv[1:]]))
"""


def fit(name: str) -> dict[str, np.ndarray]:
    """Return weights, outputs and history of a network fitted on some digits."""
    X, y = load_digit_images(return_X_y=True)
    model = make_network(name, **PARAMS[name]).fit(X[:130], y[:130])
    found = {key: value.numpy() for key, value in model.net_.module_.state_dict().items()}
    history = model.history_.drop(columns="seconds").to_numpy()
    return found | {"transform": model.transform(X[130:200]), "history": history}


def assert_equal(found: list[dict], expected: list[dict]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Workers of joblib share the cores, so with more threads here they would round otherwise."""
    before, torch_before = os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    get_reusable_executor().shutdown()  # else workers of other tests are used
    yield
    get_reusable_executor().shutdown()
    torch.set_num_threads(torch_before)
    if before is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = before


@pytest.fixture(scope="module")
def here():
    return [fit(name) for name in NETWORKS]


def test_a_fresh_process_gives_the_same(here):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIT, *NETWORKS],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
    )
    assert_equal(pickle.loads(done.stdout), here)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_two_at_a_time_give_the_same(backend, here):
    with parallel_config(backend, n_jobs=2):
        found = Parallel()(delayed(fit)(name) for name in NETWORKS)
    assert_equal(found, here)


def test_searches_give_the_same_for_any_number_of_jobs(digits):
    X, y = digits[0][:150], digits[1][:150]
    model = make_network("ResNet18Classifier")
    grid = {"lr": [1e-3, 3e-3]}
    tables = [
        GridSearchCV(model, grid, cv=2, n_jobs=n_jobs, refit=False).fit(X, y).cv_results_
        for n_jobs in (1, 2)
    ]
    for key in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(tables[0][key], tables[1][key])
    scores = [cross_val_score(model, X, y, cv=2, n_jobs=n_jobs) for n_jobs in (1, 2)]
    np.testing.assert_array_equal(*scores)


def test_a_generator_as_random_state_moves_on(digits):
    X, y = digits[0][:60], digits[1][:60]

    def two_fits():
        generator = np.random.RandomState(3)
        model = ResNet18Classifier(
            max_epochs=1, random_state=generator, net_params={"encoder_width": 8}
        )
        return [model.fit(X, y).transform(X) for _ in range(2)]

    first, second = two_fits()
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(two_fits(), [first, second])


def test_networks_side_by_side_begin_with_other_weights(digits):
    union = make_union(*(make_network("AutoEncoder", random_state=None) for _ in range(2)))
    scorer = OutlierScorer(union, random_state=3).fit(digits[0][:60])
    first, second = (member for _, member in scorer.embedder_.transformer_list)
    assert first.random_state == draw_seed(3)
    assert second.random_state != first.random_state
    again = OutlierScorer(union, random_state=3).fit(digits[0][:60])
    members = [member for _, member in again.embedder_.transformer_list]
    assert members[1].random_state == second.random_state
    alone = OutlierScorer(make_pipeline(PCA(2), KMeans(2)), random_state=3).fit(np.eye(9))
    # Other kinds do other things with it.
    assert [step.random_state for _, step in alone.embedder_.steps] == [draw_seed(3)] * 2
