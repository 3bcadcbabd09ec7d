"""Small digits and small fits, shared."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from icecore_sk import VAE, AutoEncoder, FlowVAE, ResNet18Classifier
from icecore_sk.datasets import load_digit_images

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
# Half the side after the first layer: a third of the time of what "auto" takes for 8x8 digits.
SMALL = {"net_params": {"stem": "pooled"}}
# An eighth of the channels: a fit costs a tenth.
NARROW = {"net_params": {"encoder_width": 8}}
NETWORKS = ("ResNet18Classifier", "AutoEncoder", "VAE", "FlowVAE")


@pytest.fixture(scope="session")
def shared_data():
    """Folder with the real data sets; skips the test where it is not there."""
    folder = Path(os.environ.get("ICECORE_DATA", SHARED))
    if not (folder / "mnist").is_dir():
        pytest.skip(f"the real data are not in {folder} (set ICECORE_DATA)")
    return folder


@pytest.fixture(scope="session")
def digits():
    """300 digits of 8x8 as uint8, and their labels."""
    X, y = load_digit_images(return_X_y=True)
    return X[:300], y[:300]


def make_table(images, **scalars):
    """Return a particle table with an index that is not 0, 1, 2, ..."""
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(images))
    index = [f"particle {i}" for i in range(len(images))]
    column = pd.Series(tensors, index=index, dtype=pd.ArrowDtype(tensors.type))
    return pd.DataFrame({"image": column, **scalars}, index=index)


def make_network(name, **params):
    """Return an unfitted, narrow network of two epochs."""
    params = {"max_epochs": 2, "random_state": 0, **NARROW, **params}
    if name == "ResNet18Classifier":
        return ResNet18Classifier(**params)
    return {"AutoEncoder": AutoEncoder, "VAE": VAE, "FlowVAE": FlowVAE}[name](4, **params)


@pytest.fixture(scope="session", params=NETWORKS)
def fitted(request, digits):
    """Each network, fitted on the digits. Tests must not fit it again."""
    return make_network(request.param).fit(*digits)


def outputs(model, X):
    """Return everything that a fitted network says of X, by method."""
    names = ["transform", "score_samples", "intermediate_features"]
    if hasattr(model, "predict_proba"):
        names += ["predict", "predict_proba", "decision_function"]
    else:
        names += ["reconstruct"]
    if hasattr(model, "log_likelihood"):
        names += ["log_likelihood"]
    return {name: getattr(model, name)(X) for name in names}


def assert_same(a, b, exact=True):
    """Compare two results of `outputs`."""
    assert a.keys() == b.keys()
    for name in a:
        if exact or a[name].dtype.kind not in "f":
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
        else:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-5, err_msg=name)
