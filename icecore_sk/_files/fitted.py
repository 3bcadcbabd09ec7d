"""What fit leaves in estimators of icecore_sk and in their parts, checked before it is used."""

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from icecore_sk._files.container import ModelFileError
from icecore_sk._outliers.neighbours import ALGORITHMS
from icecore_sk._outliers.reading import METRICS
from icecore_sk._outliers.reasons import COMPONENTS
from icecore_sk.nn.encoder import STEMS

LIKELIHOODS = ("bernoulli", "gaussian")


def _is_count(value) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0


def _is_real(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def _are_numbers(value) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and _is_finite(value)


def _is_finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())


def _are(kind: type):
    return lambda value: isinstance(value, kind)


# Any other kind is the name of a class.
KINDS = {
    "array": _are(np.ndarray),
    "count": _is_count,
    "dict": _are(dict),
    "estimator": _are(BaseEstimator),
    "flag": _are(bool),
    "labels": lambda value: isinstance(value, np.ndarray) and value.ndim == 1,
    "list": _are(list),
    "number": lambda value: _is_real(value) and math.isfinite(value),
    "numbers": _are_numbers,
    # Thresholds may be infinite: "never" and "always".
    "real": _is_real,
    "shape": lambda value: (
        isinstance(value, tuple)
        and len(value) == 3
        and all(_is_count(side) and side > 0 for side in value)
    ),
    "text": _are(str),
}
# "?" where it may be None, "*" where it may be missing.
COLUMNS = "n_features_in_ count*, feature_names_in_ labels*, "
IMAGES = COLUMNS + "image_shape_ shape, n_scalars_ count, scalar_names_ list?, input_form_ text, "
NETWORK = (
    IMAGES + "_seed count, _net_args dict, history_ dict, loss_curve_ list, n_iter_ count, "
    "net_ dict, "
)
FITTED = {
    "AutoEncoder": NETWORK + "likelihood_ text",
    "ClassFilter": "n_groups_ count?, _offset real, rescue_threshold_ real?, threshold_ real, "
    "n_calibration_ count, miss_rate_ number, removed_rate_ number, classes_ labels, "
    "classifier_ estimator, _known ClassDistances?",
    "ClusterTransformer": COLUMNS + "clusterer_ estimator, labels_ labels, n_clusters_ count, "
    "n_noise_ count, _neighbours KNeighborsClassifier?",
    "FlowVAE": NETWORK + "likelihood_ text",
    "ImageMinMaxScaler": IMAGES + "data_min_ number, data_max_ number",
    "LabelShiftCorrection": "classes_ labels, classifier_ estimator, prior_ numbers, "
    "temperature_ number, bias_ numbers, shares_ numbers",
    "MeanCorrection": IMAGES + "_white number, mean_ number",
    "OutlierScorer": COLUMNS + "embedder_ estimator?, n_neighbors_ count, _neighbours Neighbours, "
    "_details Neighbours?, "
    "_disagreement Disagreement?, scalars_ list, _classes ClassDistances?, classes_ labels*, "
    "_metric text, _picked list?, "
    "_size_column count?, size_name_ text?, components_ list, _typical dict, _grey_range number, "
    "_usual_loss UsualLoss?, _scales dict, offset_ number",
    "ResNet18Classifier": NETWORK + "classes_ labels, _class_weights list?",
    "SelfLabelledClassifier": "clusterer_ estimator, labels_ labels, n_noise_ count, "
    "n_clusters_ count, classifier_ estimator, classes_ labels",
    "VAE": NETWORK + "likelihood_ text",
    "WithinClassWhitening": COLUMNS + "classes_ labels, mean_ numbers, whitening_ numbers",
    # Parts.
    "ClassDistances": "classes labels, _whiten numbers, _means numbers",
    "Columns": "text text?, named flag",
    "Disagreement": "_varying numbers, names list, _turns array, _logs array, "
    "_reference numbers, _least numbers, _usual numbers",
    "Neighbours": "rows numbers, n_neighbors count, algorithm text, _seed count, _same number, "
    "index numbers, distance numbers",
    "Surprise": "positive flag, median number, values numbers, counted numbers, start number, "
    "pace number, least number*, spread number*",
    "UsualLoss": "_centre HistGradientBoostingRegressor, _spread HistGradientBoostingRegressor, "
    "_least number",
}


def _is(value, kind: str) -> bool:
    return KINDS[kind](value) if kind in KINDS else type(value).__name__ == kind


def check_fitted(name: str, learned: dict[str, Any]) -> None:
    """Raise where attributes are not what fit of the estimator `name` leaves.

    Parameters
    ----------
    name : str
    learned : dict
        Attributes that are no parameters; empty where it is not fitted.
    """
    if not learned:
        return
    fields = [entry.split() for entry in FITTED[name].split(", ")]
    unknown = sorted(set(learned) - {attribute for attribute, _ in fields})
    if unknown:
        raise ModelFileError(
            f"its {name} has {unknown[0][:40]!r}, which is neither a parameter nor learned by fit"
        )
    for attribute, kind in fields:
        value = learned.get(attribute)
        if attribute not in learned:
            if "*" not in kind:
                raise ModelFileError(f"its {name} lacks {attribute!r}")
        elif not (value is None and "?" in kind) and not _is(value, kind.rstrip("?*")):
            raise ModelFileError(
                f"its {name} has {attribute!r} that is no {kind.rstrip('?*')} (a "
                f"{type(value).__name__}, or not finite)"
            )
    _check_lengths(name, learned)


def _check_lengths(name: str, learned: dict[str, Any]) -> None:
    """Raise where attributes do not fit each other."""
    if name == "LabelShiftCorrection":
        expected = (len(learned["classes_"]),)
        for attribute in ("prior_", "bias_", "shares_"):
            if learned[attribute].shape != expected:
                raise ModelFileError(
                    f"its {name} has {attribute!r} of shape {learned[attribute].shape}; "
                    f"expected {expected}"
                )
    if name == "WithinClassWhitening":
        d = learned["n_features_in_"]
        if learned["mean_"].shape != (d,) or learned["whitening_"].shape != (d, d):
            raise ModelFileError(
                f"its {name} has 'mean_' and 'whitening_' of shapes {learned['mean_'].shape} and "
                f"{learned['whitening_'].shape}; expected {(d,)} and {(d, d)}"
            )
    if name == "OutlierScorer":
        names, scales = learned["components_"], learned["_scales"]
        known = all(isinstance(component, str) and component in COMPONENTS for component in names)
        if not known or list(scales) != names:
            raise ModelFileError(f"its {name} has scales of {str(list(scales))[:80]}")
        if learned["_metric"] not in METRICS:
            raise ModelFileError(f"its {name} has the metric {learned['_metric'][:40]!r}")
        if not all(_is(scale, "Surprise") for scale in scales.values()):
            raise ModelFileError(f"its {name} has '_scales' that are no Surprise")
    if "_net_args" in learned:
        _check_network(name, learned["_net_args"])
        expected = tuple(learned["_net_args"]["image_shape"])
        if learned["image_shape_"] != expected:
            raise ModelFileError(
                f"its {name} has image_shape_ {learned['image_shape_']}, but a network for "
                f"{expected}"
            )
        n_classes = learned["_net_args"].get("n_classes", 0)
        if name == "ResNet18Classifier" and len(learned["classes_"]) != n_classes:
            raise ModelFileError(
                f"its {name} has {len(learned['classes_'])} classes_, but a network for {n_classes}"
            )


def _check_network(name: str, arguments: dict[str, Any]) -> None:
    """Raise where what a network is built from is none of the values that there are."""
    known = {"stem": STEMS, "likelihood": LIKELIHOODS}
    for argument, values in known.items():
        if arguments.get(argument, values[0]) not in values:
            raise ModelFileError(
                f"its {name} has a network with {argument} {str(arguments[argument])[:40]!r}; "
                f"expected one of {list(values)}"
            )
    for argument in ("image_mean", "image_scale"):
        if not KINDS["number"](arguments[argument]):
            raise ModelFileError(f"its {name} has a network with {argument} that is no number")


def check_neighbours(state: dict[str, Any]) -> None:
    """Raise where neighbours are not rows, as they would be followed."""
    rows, index = state["rows"], state["index"]
    n = len(rows)
    if state["algorithm"] not in ALGORITHMS:
        raise ModelFileError(
            f"its Neighbours has the algorithm {state['algorithm'][:40]!r}; expected one of "
            f"{list(ALGORITHMS)}"
        )
    if not _are_numbers(rows) or rows.ndim != 2:
        raise ModelFileError("its Neighbours has 'rows' that are no matrix of finite numbers")
    shapes = {"index": (n, state["n_neighbors"]), "distance": (n,)}
    for attribute, shape in shapes.items():
        if getattr(state[attribute], "shape", None) != shape:
            raise ModelFileError(f"its Neighbours has {attribute!r} of another shape than {shape}")
    if index.dtype.kind not in "iu" or not ((index >= 0) & (index < n)).all():
        raise ModelFileError("its Neighbours has an 'index' that points to no row")
