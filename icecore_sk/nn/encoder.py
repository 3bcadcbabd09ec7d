"""Image encoder: ResNet18 with a first stage that suits the image."""

import torch
from torch import Tensor, nn

from icecore_sk.nn.intermediate import intermediate_features
from icecore_sk.nn.resnet import WIDTH, ResNet18Body

STEMS = ("auto", "standard", "pooled", "strided", "plain")


def choose_stem(height: int, width: int) -> str:
    """Name the first stage that leaves ResNet18's four stages something to look at.

    The published stem shrinks by four before the first stage. Measured on MNIST (28 pixels) it
    loses nothing against a 3x3 kernel and costs a quarter of going without pooling; on images up
    to 16 pixels it would leave a map of 4x4 and less.
    """
    return "plain" if max(height, width) <= 16 else "standard"


class ResNet18Encoder(nn.Module):
    """ResNet18 without its last layer.

    Parameters
    ----------
    in_channels : int
        Number of image channels.
    image_size : tuple of (int, int)
        Height and width in pixels; only used to choose the stem.
    stem : {"auto", "standard", "pooled", "strided", "plain"}
        First stage: "standard" is a 7x7 convolution of stride 2 and max pooling (the published
        network), "pooled" a 3x3 one of stride 2 and max pooling, "strided" the same without
        pooling, "plain" a 3x3 convolution alone. "auto" chooses by size.
    width : int
        Channels of the first of the four stages; each of the next has twice as many.

    References
    ----------
    .. [1] He, Zhang, Ren and Sun (2016). Deep residual learning for image recognition. CVPR.

    Examples
    --------
    >>> import torch
    >>> encoder = ResNet18Encoder(1, (28, 28)).eval()
    >>> encoder(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 512])
    """

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        stem: str = "auto",
        width: int = WIDTH,
    ):
        super().__init__()
        self.stem = choose_stem(*image_size) if stem == "auto" else stem
        self.body = ResNet18Body(
            in_channels,
            kernel_size=7 if self.stem == "standard" else 3,
            stride=1 if self.stem == "plain" else 2,
            pool=self.stem in ("standard", "pooled"),
            width=width,
        )
        self.n_features = self.body.n_features

    def forward(self, image: Tensor) -> Tensor:
        return self.body(image)  # (n, 8 width)

    def intermediate_features(self, image: Tensor) -> Tensor:
        """Return what the third of the four stages sees, see `icecore_sk.nn.intermediate`."""
        return intermediate_features(self.body.third_map(image))  # (n, 256)

    def both_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` and `intermediate_features` do, of one pass."""
        third = self.body.third_map(image)
        return self.body.last_stage(third), intermediate_features(third)


class EncodesImages(nn.Module):
    """What networks with an encoder share: all pixels on one scale, and what the encoder says."""

    image_mean: float
    image_scale: float
    encoder: ResNet18Encoder

    def scaled(self, image: Tensor) -> Tensor:
        """Return the images as the encoder takes them."""
        return (image - self.image_mean) / self.image_scale

    def features(self, image: Tensor) -> Tensor:
        return self.encoder(self.scaled(image)).float()  # (n, n_features of the encoder)

    def intermediate_features(self, image: Tensor) -> Tensor:
        return self.encoder.intermediate_features(self.scaled(image))  # (n, 256)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every weight from `generator`, in the order in which the modules were registered.

    Kaiming convolutions (uniform: quicker to draw than normal, of the same variance) and
    LeCun-uniform linear layers, batch norms at identity: the schemes of torchvision and torch,
    but without their global generator.
    """
    for child in module.modules():
        if isinstance(child, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_uniform_(
                child.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
            if child.bias is not None:
                nn.init.zeros_(child.bias)
        elif isinstance(child, nn.Linear):
            bound = child.in_features**-0.5
            nn.init.uniform_(child.weight, -bound, bound, generator=generator)
            if child.bias is not None:
                nn.init.uniform_(child.bias, -bound, bound, generator=generator)
        elif isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            child.reset_parameters()
    for child in module.modules():
        # Modules that want another start (an output layer at zero, a flow near the identity).
        special = getattr(child, "reset_special_parameters", None)
        if special is not None:
            special(generator)
