"""The main job on a little real MNIST."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from icecore_sk import VAE, OutlierScorer, ResNet18Classifier
from icecore_sk.datasets import fetch_mnist, leave_digits_out


@pytest.fixture(scope="module")
def split(shared_data):
    X, y = fetch_mnist(data_home=shared_data, subset="test", return_X_y=True)
    X_known, _, y_known, _ = leave_digits_out(X[:4000], y[:4000], digits=[0, 1])
    return X_known, y_known, X[4000:6000], y[4000:6000]


@pytest.mark.parametrize(
    ("model", "least"),
    [(ResNet18Classifier(max_epochs=3, random_state=0), 0.85), (VAE(8, max_epochs=3), 0.6)],
)
def test_digits_never_seen_look_new(model, least, split):
    X, y, X_test, y_test = split
    model.set_params(random_state=0).fit(X, y)
    known = ~np.isin(y_test, [0, 1])
    if hasattr(model, "predict"):
        assert model.score(X_test[known], y_test[known]) > 0.94
    scorer = OutlierScorer(n_neighbors=10, components=["distance"], metric="cosine").fit(
        model.transform(X)
    )
    assert roc_auc_score(known, scorer.score_samples(model.transform(X_test))) > least
