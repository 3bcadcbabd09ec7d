"""Networks and losses as bare torch modules: sizes in, tensors out, no estimators."""

from icecore_sk.nn.autoencoder import AutoEncoderNet
from icecore_sk.nn.classifier import ClassifierNet
from icecore_sk.nn.decoder import Decoder
from icecore_sk.nn.encoder import ResNet18Encoder
from icecore_sk.nn.losses import ClassificationLoss, ELBOLoss, Likelihood, ReconstructionLoss
from icecore_sk.nn.planar import PlanarFlow
from icecore_sk.nn.vae import VAENet

__all__ = [
    "AutoEncoderNet",
    "ClassificationLoss",
    "ClassifierNet",
    "Decoder",
    "ELBOLoss",
    "Likelihood",
    "PlanarFlow",
    "ReconstructionLoss",
    "ResNet18Encoder",
    "VAENet",
]
