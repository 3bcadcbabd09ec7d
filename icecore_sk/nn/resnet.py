"""The body of ResNet18, laid out for training on small images.

torchvision has the same network, and the parameters here have its names and order, so weights go
either way. Ours are the convolutions that skip taps which only see padding, and the stages that
make their maps twice instead of keeping them. Importing torchvision's models also imports torch's
compiler, which takes longer than everything else together and 160 MB.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from icecore_sk.nn.recompute import convolve_and_pool, norm_relu_convolve
from icecore_sk.nn.small_maps import centre_tap, convolve, matrix_of_taps

WIDTH = 64
# Writing the matrix of a 2x2 map takes as long as 25 images do.
MANY_IMAGES = 32


class SmallMapConv2d(nn.Conv2d):
    """A convolution without bias that skips the taps which only ever see padding.

    On a 1x1 map a 3x3 kernel with padding 1 multiplies eight of its nine taps by zero. Late
    ResNet18 stages meet such maps on images up to 32 pixels and hold most of its weights, so the
    centre tap alone, as a matrix product, trains 1.6 times faster at 28 pixels. On a 2x2 map five
    of nine products are with padding; one matrix product of all positions leaves them out, in half
    of the time with 128 images on a CPU. A stride of two leaves one position of a 2x2 map, and four
    taps. Where it leaves few, the gradient is a product (`icecore_sk.nn.small_maps.convolve`).

    Strided 1x1 kernels of fewer than 16 channels are made plain ones of every other pixel: oneDNN's
    gradient of them writes past its scratch memory (uxlfoundation/oneDNN#6035), which sooner or
    later aborts the process. It takes a CPU with AVX-512 or AVX2 and two threads.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1):
        padding = kernel_size // 2
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=False)

    def is_matrix_product(self, input: Tensor) -> bool:
        """Whether all positions of many 2x2 maps are multiplied at once."""
        return (
            input.shape[-2:] == (2, 2)
            and (self.kernel_size, self.stride) == ((3, 3), (1, 1))
            and input.device.type == "cpu"
            and len(input) >= MANY_IMAGES
        )

    def forward(self, input: Tensor) -> Tensor:
        size = input.shape[-2:]
        if size == (1, 1) and self.kernel_size == (3, 3):
            return F.linear(input.flatten(1), centre_tap(self.weight))[:, :, None, None]
        if size == (2, 2) and (self.kernel_size, self.stride) == ((3, 3), (2, 2)):
            taps = self.weight[:, :, 1:, 1:].permute(0, 2, 3, 1).flatten(1)
            rows = input.permute(0, 2, 3, 1).flatten(1)
            return F.linear(rows, taps)[:, :, None, None]
        if self.is_matrix_product(input):
            rows = input.permute(0, 2, 3, 1).flatten(1)
            product = F.linear(rows, matrix_of_taps(self.weight))
            return product.view(-1, 2, 2, self.out_channels).permute(0, 3, 1, 2)
        if self.kernel_size == (1, 1) and self.in_channels < 16:
            down, right = self.stride
            return F.conv2d(input[:, :, ::down, ::right], self.weight)
        return convolve(input, self)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which a 1x1 convolution fits where shapes differ."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv1 = SmallMapConv2d(in_channels, out_channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = SmallMapConv2d(out_channels, out_channels, 3)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                SmallMapConv2d(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(norm_relu_convolve(self.conv1(x), self.bn1, self.conv2))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class ResNet18Body(nn.Module):
    """ResNet18 from the first convolution to the mean over the last map.

    Parameters
    ----------
    in_channels : int
        Number of image channels.
    kernel_size, stride : int
        Of the first convolution.
    pool : bool
        Whether max pooling follows it.
    width : int
        Channels of the first stage; each of the next three has twice as many. 64 is the published
        network.

    References
    ----------
    .. [1] He, Zhang, Ren and Sun (2016). Deep residual learning for image recognition. CVPR.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: int = 7,
        stride: int = 2,
        pool: bool = True,
        width: int = WIDTH,
    ):
        super().__init__()
        self.conv1 = SmallMapConv2d(in_channels, width, kernel_size, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = pool
        self.layer1 = self._stage(width, width, stride=1)
        self.layer2 = self._stage(width, 2 * width, stride=2)
        self.layer3 = self._stage(2 * width, 4 * width, stride=2)
        self.layer4 = self._stage(4 * width, 8 * width, stride=2)
        self.n_features = 8 * width

    @staticmethod
    def _stage(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            BasicBlock(in_channels, out_channels, stride),
            BasicBlock(out_channels, out_channels, stride=1),
        )

    def stem(self, image: Tensor) -> Tensor:
        # The published order is ReLU, then pooling. Both are monotonous, so they commute, and
        # the ReLU of the largest map shrinks to a quarter.
        if self.pool:
            x = convolve_and_pool(image, self.conv1, self.bn1)
        else:
            x = self.bn1(self.conv1(image))
        return F.relu(x, inplace=True)

    def third_map(self, image: Tensor) -> Tensor:
        return self.layer3(self.layer2(self.layer1(self.stem(image))))  # (n, 4 width, h, w)

    def last_stage(self, third_map: Tensor) -> Tensor:
        return self.layer4(third_map).mean((2, 3))  # (n, 8 width)

    def forward(self, image: Tensor) -> Tensor:
        return self.last_stage(self.third_map(image))
