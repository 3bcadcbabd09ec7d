"""Stages of ResNet that compute again in the backward pass what is dear to keep until then.

Both give what the plain modules give, and their gradients: by tests. They are for CPUs, where
moving maps about takes as long as multiplying them, and for the training of whole networks: no
second derivatives.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icecore_sk.nn.small_maps import working_weight

SLICE_BYTES = 8 * 2**20  # of the convolution's map, a quarter of a usual third-level cache
POOLING = ((3, 3), (2, 2), (1, 1), (1, 1))  # kernel, stride, padding, dilation
# The gradients that come in are numbers of 8 bits. A small term added to one would always be
# rounded away; added to its product with another number of 8 bits, it is so half of the time.
UNEVEN = 1.3671875


def convolve_and_pool(image: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Return 3x3 max pooling of stride 2 over ``norm(conv(image))``.

    Before pooling are the network's largest maps, with little arithmetic to them: moving them
    about took a fifth of a step's time and, with their gradients, half of its memory. Here they
    are made for a slice of the images at a time, which stays in the processor's cache, and made
    again for the gradient.

    Pooling comes before the norm, which commutes where the norm's factor for a channel is
    positive; where it is not, the kernel's sign is turned first.

    Parameters
    ----------
    image : Tensor of shape (n, c, h, w)
    conv : nn.Conv2d
        Without bias.
    norm : nn.BatchNorm2d
        In training mode its running statistics move on, as when it is called.

    Returns
    -------
    Tensor of shape (n, conv.out_channels, ceil(h / 4), ceil(w / 4))
        For a convolution of stride 2.
    """
    if image.device.type != "cpu" or not _is_plain(norm):
        return F.max_pool2d(norm(conv(image)), *POOLING)
    sign = torch.where(norm.weight.detach() < 0, -1.0, 1.0)
    weight = working_weight(conv.weight * sign[:, None, None, None])
    scale = norm.weight * sign
    settings = _stride_and_padding(conv)
    image = image.to(weight.dtype)
    n_rows = _images_per_slice(image, conv)
    if not norm.training:
        running_mean, running_variance = _statistics(norm)
        pooled = [
            F.max_pool2d(F.conv2d(rows, weight, None, *settings), *POOLING)
            for rows in image.split(n_rows)
        ]
        z = torch.cat(pooled)
        mean = running_mean * sign
        return F.batch_norm(z, mean, running_variance, scale, norm.bias, eps=norm.eps)
    z, mean, variance, n = _PooledStem.apply(
        image, weight, scale, norm.bias, norm.eps, settings, n_rows
    )
    _move_statistics(norm, mean * sign, variance, n)
    return z


def norm_relu_convolve(maps: Tensor, norm: nn.BatchNorm2d, conv: nn.Conv2d) -> Tensor:
    """Return ``conv(relu(norm(maps)))`` and keep for the gradient nothing but `maps`.

    Torch keeps both sides of the norm, which makes a quarter of all that a residual network keeps.

    Parameters
    ----------
    maps : Tensor of shape (n, c, h, w)
    norm : nn.BatchNorm2d
    conv : nn.Conv2d
        Without bias.

    Returns
    -------
    Tensor of shape (n, conv.out_channels, h', w')
    """
    small = max(maps.shape[-2:]) <= 2  # where the convolution has ways of its own
    recomputes = maps.device.type == "cpu" and _is_plain(norm) and not small
    if not recomputes or not norm.training or not torch.is_grad_enabled():
        return conv(F.relu(norm(maps), inplace=True))
    weight = working_weight(conv.weight)
    result, mean, variance = _NormReluConv.apply(
        maps, norm.weight, norm.bias, norm.eps, weight, _stride_and_padding(conv)
    )
    _move_statistics(norm, mean, variance, maps.numel() // maps.shape[1])
    return result


class _PooledStem(torch.autograd.Function):
    """Batch norm over a max-pooled convolution, with the statistics of the map before pooling.

    Returns the result, mean and variance by channel, and the number of positions they are over.
    """

    @staticmethod
    def forward(ctx, image, weight, scale, shift, eps, settings, n_rows):
        pooled, statistics = [], []
        for rows in image.split(n_rows):
            maps = F.conv2d(rows, weight, None, *settings)
            pooled.append(F.max_pool2d(maps, *POOLING))
            statistics.append(_mean_and_variance(maps, scale))
        mean, variance = _merge(statistics, [len(values) for values in pooled])
        n = len(image) * maps.shape[-2:].numel()
        pooled = torch.cat(pooled)
        ctx.save_for_backward(image, weight, scale, pooled, mean, variance)
        ctx.eps, ctx.settings, ctx.n_rows, ctx.n = eps, settings, n_rows, n
        ctx.mark_non_differentiable(mean, variance)
        return F.batch_norm(pooled, mean, variance, scale, shift, eps=eps), mean, variance, n

    @staticmethod
    def backward(ctx, grad, *_):  # type: ignore[override]
        image, weight, scale, pooled, mean, variance = ctx.saved_tensors
        _, scale_grad, shift_grad = torch.ops.aten.native_batch_norm_backward(
            grad, pooled, scale, mean, variance, None, None, False, ctx.eps, (False, True, True)
        )
        # What the statistics pass back is the same function of the map at every position. The
        # norm's own factor comes last: in 16 bits it would be off a little for a whole channel.
        slope, constant = UNEVEN * scale_grad / -ctx.n, UNEVEN * shift_grad / -ctx.n
        factor = (scale * torch.rsqrt(variance + ctx.eps) / UNEVEN)[:, None, None, None]
        scaled_weight = (weight * factor).to(weight.dtype)
        weight_grad = torch.zeros_like(factor.expand_as(weight))
        image_grads = []
        for rows, row_grad in zip(*(t.split(ctx.n_rows) for t in (image, grad)), strict=True):
            maps = F.conv2d(rows, weight, None, *ctx.settings)
            # Kept, the indices would weigh as much as the map that pooling leaves.
            _, index = torch.ops.aten.max_pool2d_with_indices(maps, *POOLING)
            map_grad = torch.ops.aten.max_pool2d_with_indices_backward(
                row_grad, maps, *POOLING, False, index
            )
            rest = F.batch_norm(maps, mean, variance, slope, constant, eps=ctx.eps)
            map_grad = torch.add(rest, map_grad, alpha=UNEVEN)
            wanted = (ctx.needs_input_grad[0], True)
            image_grad, part = _conv_backward(map_grad, rows, scaled_weight, ctx.settings, wanted)
            weight_grad += part
            image_grads.append(image_grad)
        whole = torch.cat(image_grads) if ctx.needs_input_grad[0] else None
        weight_grad = (weight_grad * factor).to(weight.dtype)
        return whole, weight_grad, scale_grad, shift_grad, None, None, None


class _NormReluConv(torch.autograd.Function):
    """Convolution of the ReLU of a batch norm, with mean and variance by channel of its input."""

    @staticmethod
    def forward(ctx, maps, scale, shift, eps, weight, settings):
        mean, variance = _mean_and_variance(maps, scale)
        ctx.save_for_backward(maps, scale, shift, weight, mean, variance)
        ctx.eps, ctx.settings = eps, settings
        ctx.mark_non_differentiable(mean, variance)
        active = F.relu(F.batch_norm(maps, mean, variance, scale, shift, eps=eps), inplace=True)
        return F.conv2d(active, weight, None, *settings), mean, variance

    @staticmethod
    def backward(ctx, grad, *_):  # type: ignore[override]
        maps, scale, shift, weight, mean, variance = ctx.saved_tensors
        active = F.batch_norm(maps, mean, variance, scale, shift, eps=ctx.eps)
        active = F.relu(active, inplace=True)
        grad, weight_grad = _conv_backward(grad, active, weight, ctx.settings, (True, True))
        grad = torch.ops.aten.threshold_backward(grad, active, 0)
        inverse = torch.rsqrt(variance + ctx.eps)
        grad, scale_grad, shift_grad = torch.ops.aten.native_batch_norm_backward(
            grad, maps, scale, None, None, mean, inverse, True, ctx.eps, (True, True, True)
        )
        return grad, scale_grad, shift_grad, None, weight_grad, None


def _is_plain(norm: nn.BatchNorm2d) -> bool:
    """Whether the statistics are those of the maps alone: others must be called to be had."""
    return type(norm) is nn.BatchNorm2d


def _images_per_slice(image: Tensor, conv: nn.Conv2d) -> int:
    positions = 1
    for size, stride in zip(image.shape[-2:], conv.stride, strict=True):
        positions *= -(-size // stride)
    return max(1, SLICE_BYTES // (conv.out_channels * positions * image.element_size()))


def _conv_backward(grad, maps, weight, settings, wanted) -> tuple[Tensor | None, Tensor | None]:
    """Gradients by input and by weight, of those `wanted`."""
    return torch.ops.aten.convolution_backward(
        grad, maps, weight, None, *settings, (1, 1), False, (0, 0), 1, (*wanted, False)
    )[:2]


def _mean_and_variance(maps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance by channel."""
    # As running statistics of momentum 1 they have the precision of the norm, not of the maps.
    mean, variance = torch.zeros_like(like), torch.zeros_like(like)
    torch.batch_norm_update_stats(maps, mean, variance, 1.0)
    n = maps.numel() // maps.shape[1]
    return mean, variance * ((n - 1) / n)


def _merge(statistics: list[tuple[Tensor, Tensor]], counts: list[int]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of the whole, from those of its parts (Chan and others, 1983)."""
    means, variances = (torch.stack(values) for values in zip(*statistics, strict=True))
    share = means.new_tensor(counts)[:, None] / sum(counts)
    mean = (share * means).sum(0)
    return mean, (share * (variances + (means - mean) ** 2)).sum(0)


@torch.no_grad()
def _move_statistics(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, n: int) -> None:
    """What a norm in training mode does to its running statistics."""
    running_mean, running_variance = _statistics(norm)
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    # Without a momentum it keeps the plain mean over the batches that it has seen.
    momentum = norm.momentum
    if momentum is None:
        momentum = 1.0 / float(norm.num_batches_tracked)
    running_mean.lerp_(mean, momentum)
    running_variance.lerp_(variance * (n / max(n - 1, 1)), momentum)


def _statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    # Torch's norms may go without; those of our networks do not.
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def _stride_and_padding(conv: nn.Conv2d) -> tuple[tuple[int, ...], tuple[int, ...]]:
    assert not isinstance(conv.padding, str)
    return conv.stride, conv.padding
