"""The classifier network: ResNet18, and beside it a small expert for the scalars."""

import torch
from torch import Tensor, nn

from icecore_sk.nn.autoencoder import full_precision
from icecore_sk.nn.encoder import ResNet18Encoder


class ClassifierNet(nn.Module):
    """ResNet18 and, where there are scalars, a second expert that sees them alone.

    The logits are the mean of both experts' (a logarithmic opinion pool [1]_), and each is trained
    by a loss of its own. Trained as one, whichever of the two learns faster leaves the other little
    to learn [2]_.

    Parameters
    ----------
    image_shape : tuple of (int, int, int)
        Channels, height and width.
    n_classes : int
        Number of logits.
    n_scalars : int, default=0
        Scalars per image.
    image_mean, image_scale : float
        Mean and standard deviation of all training pixels.
    stem : str, default="auto"
        See `icecore_sk.nn.ResNet18Encoder`.
    scalar_width : int, default=64
        Hidden units of the scalars' expert.

    References
    ----------
    .. [1] Genest and Zidek (1986). Combining probability distributions: a critique and an annotated
           bibliography. Statistical Science 1.
    .. [2] Wang, Tran and Feiszli (2020). What makes training multi-modal classification networks
           hard? CVPR.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        n_classes: int,
        n_scalars: int = 0,
        image_mean: float = 0.0,
        image_scale: float = 1.0,
        stem: str = "auto",
        scalar_width: int = 64,
    ):
        super().__init__()
        channels, height, width = image_shape
        self.image_mean, self.image_scale = image_mean, image_scale
        self.encoder = ResNet18Encoder(channels, (height, width), stem=stem)
        self.n_features = self.encoder.n_features
        self.n_scalars = n_scalars
        self.head = nn.Linear(self.n_features, n_classes)
        if n_scalars:
            # Batch norm first: scalars come in pixels, degrees and square micrometres alike.
            self.scalar_norm = nn.BatchNorm1d(n_scalars)
            self.scalar_branch = nn.Sequential(nn.Linear(n_scalars, scalar_width), nn.ReLU())
            self.scalar_head = nn.Linear(scalar_width, n_classes)
            self.n_features += scalar_width

    def reset_special_parameters(self, generator: torch.Generator) -> None:
        """Start undecided: with a last layer of zeros every class is equally probable.

        A random one would prefer some class for no reason, and a class whose weight in the loss
        is close to zero would keep that preference.
        """
        for head in [self.head, self.scalar_head] if self.n_scalars else [self.head]:
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def embed(self, image: Tensor, scalars: Tensor | None = None) -> Tensor:
        """Return the next-to-last layers of both experts, shape (n, n_features)."""
        return torch.cat(self._hidden(image, scalars), dim=1)

    def forward(self, image: Tensor, scalars: Tensor | None = None) -> dict:
        hidden = self._hidden(image, scalars)
        outputs: dict = {"features": torch.cat(hidden, dim=1)}
        if not self.n_scalars:
            return {**outputs, "logits": full_precision(self.head, hidden[0])}
        heads = (self.head, self.scalar_head)
        experts = [full_precision(head, h) for head, h in zip(heads, hidden, strict=True)]
        return {**outputs, "logits": sum(experts) / 2, "experts": experts}

    def _hidden(self, image: Tensor, scalars: Tensor | None) -> list[Tensor]:
        h = self.encoder((image - self.image_mean) / self.image_scale).float()
        if not self.n_scalars:
            return [h]
        assert scalars is not None
        s = full_precision(self.scalar_norm, scalars)
        return [h, full_precision(self.scalar_branch, s)]
