"""Which objects a file may hold, by the names that stand for them there."""

import importlib
from typing import Any

import sklearn
from sklearn.base import BaseEstimator
from sklearn.ensemble._hist_gradient_boosting.binning import _BinMapper
from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit

from icecore_sk._autoencoder import AutoEncoder
from icecore_sk._class_filter import ClassFilter
from icecore_sk._classifier import ResNet18Classifier
from icecore_sk._cluster_transformer import ClusterTransformer
from icecore_sk._files.container import ModelFileError
from icecore_sk._flow_vae import FlowVAE
from icecore_sk._image_min_max_scaler import ImageMinMaxScaler
from icecore_sk._images import image_columns
from icecore_sk._label_shift_correction import LabelShiftCorrection
from icecore_sk._mean_correction import MeanCorrection
from icecore_sk._outlier_scorer import OutlierScorer
from icecore_sk._outliers.classes import ClassDistances
from icecore_sk._outliers.drawn import UsualLoss
from icecore_sk._outliers.neighbours import Neighbours
from icecore_sk._outliers.scalars import Disagreement
from icecore_sk._outliers.surprise import Surprise
from icecore_sk._scalar_preprocessor import _Columns, _double_angle, _double_angle_names, _Power
from icecore_sk._self_labelled_classifier import SelfLabelledClassifier
from icecore_sk._vae import VAE
from icecore_sk._within_class_whitening import WithinClassWhitening

OURS = "icecore_sk"
ESTIMATORS: dict[str, type] = {
    cls.__name__: cls
    for cls in (
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
        VAE,
        WithinClassWhitening,
    )
}
# Of what estimators hold.
PARTS: dict[str, Any] = {
    "ClassDistances": ClassDistances,
    "Columns": _Columns,
    "Disagreement": Disagreement,
    "Neighbours": Neighbours,
    "Surprise": Surprise,
    "UsualLoss": UsualLoss,
}
FUNCTIONS = {
    "double_angle": _double_angle,
    "double_angle_names": _double_angle_names,
    "image_columns": image_columns,
}
PRIVATE: dict[str, type] = {"sklearn.bin_mapper": _BinMapper, "scalars.Power": _Power}
KINDS = (BaseEstimator, BaseCrossValidator, BaseShuffleSplit)


def name_of(cls: type) -> str | None:
    """Return the name under which a class goes into a file, or None."""
    if ESTIMATORS.get(cls.__name__) is cls:
        return f"{OURS}.{cls.__name__}"
    for name, private in PRIVATE.items():
        if private is cls:
            return name
    parts = cls.__module__.split(".")
    if parts[0] != "sklearn" or len(parts) < 2 or not issubclass(cls, KINDS):
        return None
    name = f"sklearn.{parts[1]}.{cls.__name__}"
    return name if _public(name) is cls else None


def class_of(name: Any) -> Any:
    """Return the class that `name` stands for in a file; nothing else is ever made from one."""
    cls: Any = None
    if isinstance(name, str):
        head, _, last = name.partition(".")
        cls = ESTIMATORS.get(last) if head == OURS else PRIVATE.get(name) or _public(name)
    if cls is None:
        raise ModelFileError(
            f"it asks for {str(name)[:80]!r}, which is no estimator of icecore_sk or of "
            f"scikit-learn {sklearn.__version__}"
        )
    return cls


def _public(name: str) -> type | None:
    """Return an estimator of scikit-learn by its public name, such as sklearn.svm.SVC."""
    parts = name.split(".")
    if len(parts) != 3 or parts[0] != "sklearn" or parts[1] not in sklearn.__all__:
        return None
    try:
        module = importlib.import_module(f"sklearn.{parts[1]}")
    except ImportError:  # of a function, such as sklearn.clone
        return None
    # In the dictionary, because asking for what is experimental raises an error of its own.
    cls = vars(module).get(parts[2]) if parts[2] in getattr(module, "__all__", ()) else None
    return cls if isinstance(cls, type) and issubclass(cls, KINDS) else None
