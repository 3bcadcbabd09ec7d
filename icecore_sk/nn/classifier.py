"""The classifier network: ResNet18, scalars joined late, one linear layer."""

import torch
from torch import Tensor, nn

from icecore_sk.nn.autoencoder import full_precision
from icecore_sk.nn.encoder import EncodesImages, ResNet18Encoder
from icecore_sk.nn.resnet import WIDTH


class ClassifierNet(EncodesImages):
    """ResNet18 and, where there are scalars, a small branch for them before the last layer.

    Parameters
    ----------
    image_shape : tuple of (int, int, int)
        Channels, height and width.
    n_classes : int
        Number of classes.
    n_scalars : int, default=0
        Scalars per image.
    image_mean, image_scale : float
        Mean and standard deviation of all training pixels.
    stem : str, default="auto"
        See `icecore_sk.nn.ResNet18Encoder`.
    encoder_width : int, default=64
        Its `width`.
    scalar_width : int, default=64
        Length of the scalars' branch.
    has_unknown : bool, default=False
        Add a logit, the last, for images that belong to no class.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        n_classes: int,
        n_scalars: int = 0,
        image_mean: float = 0.0,
        image_scale: float = 1.0,
        stem: str = "auto",
        encoder_width: int = WIDTH,
        scalar_width: int = 64,
        has_unknown: bool = False,
    ):
        super().__init__()
        channels, height, width = image_shape
        self.image_mean, self.image_scale = image_mean, image_scale
        self.encoder = ResNet18Encoder(channels, (height, width), stem=stem, width=encoder_width)
        n_features = self.encoder.n_features
        self.n_scalars = n_scalars
        if n_scalars:
            # Batch norm first: scalars come in pixels, degrees and square micrometres alike.
            self.scalar_norm = nn.BatchNorm1d(n_scalars)
            self.scalar_branch = nn.Sequential(nn.Linear(n_scalars, scalar_width), nn.ReLU())
            n_features += scalar_width
        self.n_features = n_features
        self.head = nn.Linear(n_features, n_classes + has_unknown)

    def reset_special_parameters(self, generator: torch.Generator) -> None:
        """Start undecided: with a last layer of zeros every class is equally probable.

        A random one would prefer some class for no reason, and a class whose weight in the loss
        is close to zero would keep that preference.
        """
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def embed(self, image: Tensor, scalars: Tensor | None = None) -> Tensor:
        """Return the next-to-last layer, shape (n, n_features)."""
        return self._with_scalars(self.features(image), scalars)

    def embed_both(self, image: Tensor, scalars: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what `embed` and `intermediate_features` do, of one pass."""
        h, intermediate = self.encoder.both_features(self.scaled(image))
        return self._with_scalars(h.float(), scalars), intermediate

    def _with_scalars(self, h: Tensor, scalars: Tensor | None) -> Tensor:
        if not self.n_scalars:
            return h
        assert scalars is not None
        s = full_precision(self.scalar_norm, scalars)
        return torch.cat([h, full_precision(self.scalar_branch, s)], dim=1)

    def forward(self, image: Tensor, scalars: Tensor | None = None) -> dict[str, Tensor]:
        h = self.embed(image, scalars)
        return {"features": h, "logits": self.classify(h)}

    def classify(self, h: Tensor) -> Tensor:
        """Return the logits of a next-to-last layer, a column for each class, perhaps one more."""
        return full_precision(self.head, h)
