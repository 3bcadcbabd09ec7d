"""Model files for tests: small models of every kind, and files that lie."""

import hashlib
import json

import numpy as np
import safetensors.numpy
from conftest import NARROW, make_network, make_table
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from icecore_sk import (
    ClassFilter,
    ClusterTransformer,
    ImageMinMaxScaler,
    LabelShiftCorrection,
    MeanCorrection,
    OutlierScorer,
    ResNet18Classifier,
    SelfLabelledClassifier,
    WithinClassWhitening,
    scalar_preprocessor,
)
from icecore_sk._files.container import BLANK, CHECKSUM, DOCUMENT, read_container, write_container


def make_models(X, y):
    """Return fitted models by name, each with data for it."""
    F = X.reshape(len(X), -1).astype(np.float64)
    table = make_table(X, area=1.0 + y, angle=1.0 * y)
    one = {"max_epochs": 1}
    networks = {
        name: make_network(name, **one).fit(X, y)
        for name in ("ResNet18Classifier", "AutoEncoder", "VAE", "FlowVAE")
    }
    frozen = FrozenEstimator(networks["ResNet18Classifier"])
    flat = ResNet18Classifier(image_shape=(1, 8, 8), max_epochs=1, random_state=0, **NARROW)
    texts = np.array(["a", "bc", None], dtype=object)[y % 2]
    parts = ["reconstruction", "corrected_reconstruction", "distance", "class_distance"]
    models = {
        **{name: (model, X) for name, model in networks.items()},
        "classifier of texts": (make_network("ResNet18Classifier", **one).fit(X, texts), X),
        "network of a table": (make_network("ResNet18Classifier", **one).fit(table, y), table),
        "network from another": (make_network("VAE", encoder=frozen, **one).fit(X), X),
        "MeanCorrection": (MeanCorrection().fit(X), X),
        "ImageMinMaxScaler": (ImageMinMaxScaler().fit(X), X),
        "ClusterTransformer": (ClusterTransformer(HDBSCAN(copy=True)).fit(F), F),
        "OutlierScorer": (OutlierScorer().fit(F, y), F),
        "OutlierScorer of images": (
            OutlierScorer(make_network("VAE", **one), components=parts).fit(X, y),
            X,
        ),
        "OutlierScorer of a table": (OutlierScorer(networks["VAE"]).fit(table), table),
        "ClassFilter": (ClassFilter(frozen, remove=1, max_miss=0.1).fit(X, y), X),
        "ClassFilter of a forest": (
            ClassFilter(
                RandomForestClassifier(5), remove=1, max_miss=0.1, cv=StratifiedKFold(3)
            ).fit(F, y),
            F,
        ),
        "LabelShiftCorrection": (
            LabelShiftCorrection(HistGradientBoostingClassifier(max_iter=3), cv=2).fit(F, y),
            F,
        ),
        "SelfLabelledClassifier": (
            SelfLabelledClassifier(
                make_pipeline(FunctionTransformer(np.sqrt), KMeans(4, random_state=0)), flat
            ).fit(F),
            F,
        ),
        "WithinClassWhitening": (WithinClassWhitening().fit(F, y), F),
        "Pipeline": (
            make_pipeline(
                MeanCorrection(),
                make_network("VAE", **one),
                StandardScaler(),
                ClusterTransformer(HDBSCAN(copy=True)),
            ).fit(X),
            X,
        ),
        "Pipeline of a table": (
            make_pipeline(scalar_preprocessor(), make_network("AutoEncoder", **one)).fit(table),
            table,
        ),
        "scikit-learn's alone": (
            make_pipeline(StandardScaler(), LogisticRegression()).fit(F, y),
            F,
        ),
    }
    return models


def forge(path, change, arrays=None):
    """Rewrite a file whose document, or arrays, `change(document)` has changed; all else is right.

    The checksum is made anew, as whoever means harm would.
    """
    document, found = read_container(path)
    change(document)
    write_container(path, document, found if arrays is None else {**found, **arrays(found)})
    return path


def state_of(node):
    """Return the state of an estimator's node as a dictionary of nodes that can be changed."""
    return State(node["state"]["dict"])


class State:
    """The items of a dictionary in a document, by key."""

    def __init__(self, items):
        self.items = items

    def __getitem__(self, key):
        return next(entry for name, entry in self.items if name == key)

    def __setitem__(self, key, value):
        self.items[:] = [item for item in self.items if item[0] != key] + [[key, value]]

    def __delitem__(self, key):
        self.items[:] = [item for item in self.items if item[0] != key]


def seal(path, text, arrays=None):
    """Write a document as the text that is given, under a right checksum."""
    arrays = {"a": np.zeros(1)} if arrays is None else arrays
    data = safetensors.numpy.save(arrays, metadata={DOCUMENT: text, CHECKSUM: BLANK})
    checksum = hashlib.sha256(data).hexdigest().encode()
    path.write_bytes(data.replace(BLANK.encode(), checksum, 1))
    return path


def document_text(path):
    return json.dumps(read_container(path)[0])
