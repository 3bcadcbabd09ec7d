"""Convolutions of small maps as matrix products.

Late stages of a network and the first ones of a decoder have maps of a few pixels and most of the
weights. A general convolution spends its time there on padding, and its gradient by the weight on
sums over hardly any positions: on two cores with bfloat16, of 128 images, from 4x4 to 2x2 pixels
with 256 and 512 channels, 10 to 14 ms as a convolution, 3 to 4 ms as the product here.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# For 2x2 maps: the tap of a 3x3 kernel that the i-th position of the input meets at the o-th of the
# output, as TAPS[o][i], with positions and taps counted along the rows.
TAPS = [[3 * (i // 2 - o // 2 + 1) + i % 2 - o % 2 + 1 for i in range(4)] for o in range(4)]
# Side of the smaller of two maps up to which the gradient by the weight is a product.
LARGEST_SIDE = 4


def working_weight(weight: Tensor) -> Tensor:
    """Return the weight in the type that a convolution with it would work in."""
    return weight.to(_working_type(weight))


def _working_type(weight: Tensor) -> torch.dtype:
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


def centre_tap(weight: Tensor) -> Tensor:
    """Return the middle of 3x3 kernels, all that a 1x1 map meets, (out, in)."""
    return _CentreTap.apply(weight)


def matrix_of_taps(weight: Tensor) -> Tensor:
    """Return the matrix that a 3x3 kernel of padding 1 is to the flattened positions of 2x2 maps.

    Parameters
    ----------
    weight : Tensor of shape (out, in, 3, 3)

    Returns
    -------
    matrix : Tensor of shape (4 out, 4 in)
        In the type that a convolution would work in.
    """
    return _MatrixOfTaps.apply(weight, _working_type(weight))


def convolve(maps: Tensor, conv: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    """Return ``conv(maps)``, whose gradient by the weight is a matrix product where that pays.

    Parameters
    ----------
    maps : Tensor of shape (n, c, h, w)
    conv : nn.Conv2d or nn.ConvTranspose2d
        Without bias, groups or dilation.
    """
    assert not isinstance(conv.padding, str)
    settings, is_transposed = (conv.stride, conv.padding), isinstance(conv, nn.ConvTranspose2d)
    if torch.is_grad_enabled() and maps.device.type == "cpu" and _pays(maps, conv):
        weight = working_weight(conv.weight)
        return _ProductGradient.apply(maps.to(weight.dtype), weight, settings, is_transposed)
    return _plain(maps, conv.weight, settings, is_transposed)


def _plain(maps: Tensor, weight: Tensor, settings, is_transposed: bool) -> Tensor:
    make = F.conv_transpose2d if is_transposed else F.conv2d
    return make(maps, weight, None, *settings)


def _pays(maps: Tensor, conv: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    if conv.stride != (2, 2) or conv.kernel_size[0] < 3:
        return False
    if isinstance(conv, nn.ConvTranspose2d):
        # In float32 the product takes as long as the convolution.
        is_short = _working_type(conv.weight) is torch.bfloat16
        return is_short and max(maps.shape[-2:]) <= LARGEST_SIDE
    return max(maps.shape[-2:]) <= 2 * LARGEST_SIDE


class _CentreTap(torch.autograd.Function):
    """The middle of 3x3 kernels; indexing twice would fill two gradients of zeros, this one."""

    @staticmethod
    def forward(ctx, weight: Tensor) -> Tensor:
        ctx.shape = weight.shape
        return weight[:, :, 1, 1]

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[override]
        full = grad.new_zeros(ctx.shape)
        full[:, :, 1, 1] = grad
        return full


class _MatrixOfTaps(torch.autograd.Function):
    """Block (o, i) of the matrix is the tap that input position i meets at output position o."""

    @staticmethod
    def forward(ctx, weight: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.dtype = weight.dtype
        n_out, n_in = weight.shape[:2]
        matrix = torch.empty(4, n_out, 4, n_in, dtype=dtype, device=weight.device)
        for o, row in enumerate(TAPS):
            for i, tap in enumerate(row):
                matrix[o, :, i] = weight[:, :, tap // 3, tap % 3]
        return matrix.view(4 * n_out, 4 * n_in)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        blocks = grad.view(4, grad.shape[0] // 4, 4, grad.shape[1] // 4)
        # In the order of a weight in channels_last, which then takes it as it is.
        taps = grad.new_zeros(blocks.shape[1], 9, blocks.shape[3], dtype=ctx.dtype)
        for o, row in enumerate(TAPS):
            for i, tap in enumerate(row):
                taps[:, tap] += blocks[o, :, i]
        return taps.unflatten(1, (3, 3)).permute(0, 3, 1, 2), None


class _ProductGradient(torch.autograd.Function):
    """A convolution, transposed or not, whose gradient by the weight is one matrix product."""

    @staticmethod
    def forward(ctx, maps, weight, settings, is_transposed):
        ctx.save_for_backward(maps, weight)
        ctx.settings, ctx.is_transposed = settings, is_transposed
        return _plain(maps, weight, settings, is_transposed)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        maps, weight = ctx.saved_tensors
        maps_grad = None
        if ctx.needs_input_grad[0]:
            wanted = (True, False, False)
            maps_grad = torch.ops.aten.convolution_backward(
                grad,
                maps,
                weight,
                None,
                *ctx.settings,
                (1, 1),
                ctx.is_transposed,
                (0, 0),
                1,
                wanted,
            )[0]
        coarse, fine = (maps, grad) if ctx.is_transposed else (grad, maps)
        return maps_grad, _product(coarse, fine, weight.shape[2:], *ctx.settings), None, None


def _product(coarse: Tensor, fine: Tensor, kernel, stride, padding) -> Tensor:
    """Gradient by the weight of a convolution from fine to coarse maps, or of its transpose back.

    Either has one row for each position of the coarse map: its channels there, and the fine map's
    under the kernel.
    """
    n, n_coarse, height, width = coarse.shape
    n_fine = fine.shape[1]
    (down, right), (above, left) = stride, padding
    # As much below and to the right as the last position of the kernel reaches.
    below = (height - 1) * down + kernel[0] - above - fine.shape[2]
    beyond = (width - 1) * right + kernel[1] - left - fine.shape[3]
    rows = F.pad(fine.permute(0, 2, 3, 1), (0, 0, left, beyond, above, below))
    by_n, by_row, by_column, by_channel = rows.stride()
    windows = rows.as_strided(
        (n, height, width, *kernel, n_fine),
        (by_n, by_row * down, by_column * right, by_row, by_column, by_channel),
    )
    windows = windows.reshape(n * height * width, -1)
    grad = coarse.permute(0, 2, 3, 1).reshape(-1, n_coarse).t() @ windows
    return grad.view(n_coarse, *kernel, n_fine).permute(0, 3, 1, 2)
