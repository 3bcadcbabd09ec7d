"""The autoencoder network; the variational ones add a posterior to it."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from icecore_sk.nn.decoder import Decoder
from icecore_sk.nn.encoder import EncodesImages, ResNet18Encoder
from icecore_sk.nn.losses import Likelihood
from icecore_sk.nn.resnet import WIDTH


def full_precision(module: nn.Module, x: Tensor) -> Tensor:
    """Apply a small module in float32 also where autocast is on.

    Heads cost nothing beside the convolutions, and eight bits of mantissa are too few for a
    latent position or a logit.
    """
    with torch.autocast(x.device.type, enabled=False):
        return module(x.float())


class AutoEncoderNet(EncodesImages):
    """ResNet18 to a latent vector and back to the image.

    Parameters
    ----------
    image_shape : tuple of (int, int, int)
        Channels, height and width.
    latent_dim : int
        Length of the latent vector.
    likelihood : {"bernoulli", "gaussian"}
        See `icecore_sk.nn.Likelihood`.
    n_scalars : int, default=0
        Scalars to decode beside the image.
    image_mean, image_scale : float
        Mean and standard deviation of all training pixels. One scale for all pixels: a scale per
        pixel would blow up at border pixels that are constant in training.
    stem : str, default="auto"
        See `icecore_sk.nn.ResNet18Encoder`.
    encoder_width : int, default=64
        Its `width`.
    decoder_width : int, default=32
        See `icecore_sk.nn.Decoder`.
    """

    n_encoder_outputs = 1  # vectors of length latent_dim that `head` returns

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        likelihood: str = "bernoulli",
        n_scalars: int = 0,
        image_mean: float = 0.0,
        image_scale: float = 1.0,
        stem: str = "auto",
        encoder_width: int = WIDTH,
        decoder_width: int = 32,
    ):
        super().__init__()
        channels, *size = image_shape
        self.latent_dim = latent_dim
        self.image_mean, self.image_scale = image_mean, image_scale
        self.encoder = ResNet18Encoder(channels, (size[0], size[1]), stem=stem, width=encoder_width)
        self.head = nn.Linear(self.encoder.n_features, self.n_encoder_outputs * latent_dim)
        self.decoder = Decoder(latent_dim, channels, (size[0], size[1]), width=decoder_width)
        self.likelihood = Likelihood(likelihood, image_scale)
        self.n_scalars = n_scalars
        if n_scalars:
            self.scalar_head = nn.Linear(latent_dim, n_scalars)

    def reset_special_parameters(self, generator: torch.Generator) -> None:
        """Start at the mean grey level: a random picture costs dozens of steps to unlearn."""
        mean = min(max(self.image_mean, 0.01), 0.99)
        is_logit = self.likelihood.name == "bernoulli"
        with torch.no_grad():
            self.decoder.out.weight.mul_(0.1)
            bias = cast(Tensor, self.decoder.out.bias)
            bias.fill_(math.log(mean / (1 - mean)) if is_logit else 0.0)

    def encode(self, image: Tensor) -> Tensor:
        """Return the latent vector, shape (n, latent_dim)."""
        return full_precision(self.head, self.features(image))

    def decode_output(self, z: Tensor) -> Tensor:
        output = self.decoder(z).float()
        if self.likelihood.name == "gaussian":
            output = self.image_mean + self.image_scale * output
        return output

    def decode(self, z: Tensor) -> Tensor:
        """Return the expected image, shape (n, C, H, W), on the scale of the input."""
        return self.likelihood.mean(self.decode_output(z))

    def decode_scalars(self, z: Tensor) -> Tensor:
        """Return the expected scalars, shape (n, n_scalars), on the scale of the input."""
        return full_precision(self.scalar_head, z)

    def decoded(self, z: Tensor, image: Tensor) -> dict[str, Tensor]:
        outputs = {"nll": self.likelihood.nll(self.decode_output(z), image)}
        if self.n_scalars:
            outputs["scalars"] = self.decode_scalars(z)
        return outputs

    def forward(self, image: Tensor, noise: Tensor | None = None) -> dict[str, Tensor]:
        z = self.encode(image)
        return {"z": z, **self.decoded(z, image)}
