"""Estimators that turn particle images into a map, clusters and an explained list of outliers."""

from icecore_sk._autoencoder import AutoEncoder
from icecore_sk._class_filter import ClassFilter
from icecore_sk._classifier import ResNet18Classifier
from icecore_sk._cluster_transformer import ClusterTransformer
from icecore_sk._flow_vae import FlowVAE
from icecore_sk._image_min_max_scaler import ImageMinMaxScaler
from icecore_sk._label_shift_correction import LabelShiftCorrection
from icecore_sk._mean_correction import MeanCorrection
from icecore_sk._outlier_scorer import OutlierScorer
from icecore_sk._scalar_preprocessor import scalar_preprocessor
from icecore_sk._self_labelled_classifier import SelfLabelledClassifier
from icecore_sk._vae import VAE
from icecore_sk._within_class_whitening import WithinClassWhitening
from icecore_sk.files import load, save

__version__ = "0.1.0"

__all__ = [
    "VAE",
    "AutoEncoder",
    "ClassFilter",
    "ClusterTransformer",
    "FlowVAE",
    "ImageMinMaxScaler",
    "LabelShiftCorrection",
    "MeanCorrection",
    "OutlierScorer",
    "ResNet18Classifier",
    "SelfLabelledClassifier",
    "WithinClassWhitening",
    "load",
    "save",
    "scalar_preprocessor",
]
