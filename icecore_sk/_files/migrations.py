"""What turns a file of an older minor format into one of the next."""

from collections.abc import Callable
from typing import Any


def add_views_and_exposure(document: dict[str, Any]) -> dict[str, Any]:
    """1.0 to 1.1: the classifier can average views and train on images of no class; it did not."""
    for state in states_of("icecore_sk.ResNet18Classifier", document):
        known = {name for name, _ in state}
        added = [["average_views", False], ["outlier_exposure", 0.0]]
        state += [entry for entry in added if entry[0] not in known]
    return document


def add_known_places(document: dict[str, Any]) -> dict[str, Any]:
    """1.1 to 1.2: the filter rescues by distance; one of before goes on by `score_samples`."""
    for state in states_of("icecore_sk.ClassFilter", document):
        # An unfitted one has parameters only.
        known = {name for name, _ in state}
        if "classifier_" in known and "_known" not in known:
            state.append(["_known", None])
    return document


def add_augmentation(document: dict[str, Any]) -> dict[str, Any]:
    """1.2 to 1.3: the autoencoders can be trained on random views; they were not."""
    for name in ("AutoEncoder", "VAE", "FlowVAE"):
        for state in states_of(f"icecore_sk.{name}", document):
            if "augmentation" not in {key for key, _ in state}:
                state.append(["augmentation", None])
    return document


def add_fitted_metric(document: dict[str, Any]) -> dict[str, Any]:
    """1.3 to 1.4: a scorer keeps the metric it was fitted with; that was its parameter."""
    for state in states_of("icecore_sk.OutlierScorer", document):
        known = dict(state)
        if "offset_" in known and "_metric" not in known:
            state.append(["_metric", known["metric"]])
    return document


def states_of(name: str, node: Any) -> list[list]:
    """Return what the state of each estimator of this name holds, as lists of pairs."""
    if isinstance(node, list):
        return [state for entry in node for state in states_of(name, entry)]
    if not isinstance(node, dict):
        return []
    found = [state for entry in node.values() for state in states_of(name, entry)]
    if node.get("estimator") == name:
        found.append(node["state"]["dict"])
    return found


# MIGRATIONS[i] turns a document of format 1.i into one of 1.(i + 1); a reader of another first
# number would not know where to begin.
MIGRATIONS: list[Callable[[dict[str, Any]], dict[str, Any]]] = [
    add_views_and_exposure,
    add_known_places,
    add_augmentation,
    add_fitted_metric,
]
