"""The networks of the contenders in `contenders.py`, and the numbers that they share."""

import torch
from torch import nn
from torchvision.models import resnet18

import icecore_sk
from icecore_sk.nn import ELBOLoss, ReconstructionLoss, VAENet
from icecore_sk.nn.autoencoder import AutoEncoderNet

N_CLASSES = 7
LATENT_DIM = 16
N_FLOWS = icecore_sk.FlowVAE().n_flows
LR = 1e-3


class TorchvisionClassifier(nn.Module):
    """ResNet18 as torchvision has it, with one input channel."""

    def __init__(self, n_classes=N_CLASSES):
        super().__init__()
        self.body = resnet18(num_classes=n_classes)
        self.body.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)

    def forward(self, image):
        return self.body(image)

    def features(self, image):
        head, self.body.fc = self.body.fc, nn.Identity()
        try:
            return self.body(image)
        finally:
            self.body.fc = head

    def third_stage(self, image):
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"):
            image = getattr(self.body, name)(image)
        return image


class TorchvisionEncoder(nn.Module):
    """The encoder of our autoencoders, of the same weights, as torchvision writes ResNet18."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = resnet18(num_classes=1)
        self.body.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.body.fc = nn.Identity()
        self.n_features = 512

    def forward(self, image):
        return self.body(image)


def autoencoder_net(model: str, shape) -> nn.Module:
    """The network of our autoencoders, with torch's own initialisation."""
    if model == "AutoEncoder":
        return AutoEncoderNet(shape, LATENT_DIM, "gaussian", image_mean=0.5, image_scale=0.3)
    flows = N_FLOWS if model == "FlowVAE" else 0
    return VAENet(shape, LATENT_DIM, "gaussian", flows, image_mean=0.5, image_scale=0.3)


def plain_autoencoder_net(model: str, shape) -> nn.Module:
    """The same network with torchvision's encoder, since what is faster in ours is ours."""
    net = autoencoder_net(model, shape)
    net.encoder = TorchvisionEncoder(shape[0])
    return net


def autoencoder_loss(model: str) -> nn.Module:
    return ReconstructionLoss() if model == "AutoEncoder" else ELBOLoss()


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
