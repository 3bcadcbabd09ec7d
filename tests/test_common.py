"""scikit-learn's own checks on every public estimator, none excepted."""

import os
import subprocess
import sys

import pytest
from conftest import NARROW
from sklearn.base import BaseEstimator
from sklearn.cluster import DBSCAN, HDBSCAN, KMeans
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

import icecore_sk
from icecore_sk import (
    VAE,
    AutoEncoder,
    ClassFilter,
    ClusterTransformer,
    FlowVAE,
    ImageMinMaxScaler,
    LabelShiftCorrection,
    MeanCorrection,
    OutlierScorer,
    ResNet18Classifier,
    SelfLabelledClassifier,
    WithinClassWhitening,
)

# Few epochs of narrow networks, because each of some fifty checks fits at least once.
ESTIMATORS = [
    ResNet18Classifier(max_epochs=5, **NARROW),
    AutoEncoder(latent_dim=2, max_epochs=2, **NARROW),
    VAE(latent_dim=2, max_epochs=2, **NARROW),
    FlowVAE(latent_dim=2, max_epochs=2, **NARROW),
    ImageMinMaxScaler(),
    MeanCorrection(),
    ClusterTransformer(KMeans(3, random_state=0)),
    ClusterTransformer(DBSCAN()),
    ClusterTransformer(HDBSCAN(copy=True)),
    OutlierScorer(),
    OutlierScorer(PCA(1, svd_solver="full")),
    OutlierScorer(AutoEncoder(latent_dim=2, max_epochs=1, **NARROW)),
    # The checks' labels are 0, 1, 2 or 1, 2, often ten rows in all.
    ClassFilter(LogisticRegression(), remove=1, max_miss=0.2, cv=3),
    LabelShiftCorrection(LogisticRegression(), cv=2),
    SelfLabelledClassifier(KMeans(2), LinearDiscriminantAnalysis()),
    WithinClassWhitening(),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:max_miss=0.2 needs")
@pytest.mark.filterwarnings("ignore:No held-out row of 1 is removed")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_every_public_estimator_is_checked():
    public = {
        name
        for name in icecore_sk.__all__
        if isinstance(getattr(icecore_sk, name), type)
        and issubclass(getattr(icecore_sk, name), BaseEstimator)
    }
    assert public == {type(estimator).__name__ for estimator in ESTIMATORS}


def test_checks_that_scipy_switches_off_by_default_pass_too():
    words = [sys.executable, "-m", "pytest", __file__, "-k", "array_api_input"]
    run = subprocess.run(
        [*words, "-p", "no:cacheprovider"],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert f"{len(ESTIMATORS)} passed" in run.stdout
    assert "skipped" not in run.stdout
