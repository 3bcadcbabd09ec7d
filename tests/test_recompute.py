"""The stages that compute again in the backward pass, beside the plain modules."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from icecore_sk.nn import recompute
from icecore_sk.nn.recompute import convolve_and_pool, norm_relu_convolve
from icecore_sk.nn.resnet import SmallMapConv2d


def plain_stem(image, conv, norm):
    return F.max_pool2d(norm(conv(image)), 3, stride=2, padding=1)


def plain_middle(maps, conv, norm):
    return conv(F.relu(norm(maps)))


def middle(maps, conv, norm):
    return norm_relu_convolve(maps, norm, conv)


STAGES = {"stem": (convolve_and_pool, plain_stem), "middle": (middle, plain_middle)}


def make(stage, kernel_size, momentum=0.1):
    torch.manual_seed(0)
    conv = SmallMapConv2d(2, 6, kernel_size, 2 if stage == "stem" else 1).double()
    norm = nn.BatchNorm2d(6 if stage == "stem" else 2, momentum=momentum).double()
    with torch.no_grad():  # factors of both signs, and none
        norm.weight.copy_(torch.linspace(-1, 1, len(norm.weight)))
        norm.weight[0] = 0.0
        norm.bias.normal_()
    return conv.to(memory_format=torch.channels_last), norm


def everything(function, image, conv, norm, amp=False):
    """Result, gradients and running statistics after two calls."""
    conv, norm = copy.deepcopy(conv), copy.deepcopy(norm)
    image = image.clone().requires_grad_()
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            result = function(image, conv, norm)
    weights = torch.linspace(-1, 2, result.numel(), dtype=result.dtype).reshape(result.shape)
    (result * weights).sum().backward()
    return {
        "result": result.detach(),
        "image": image.grad,
        **{name: p.grad for m in (conv, norm) for name, p in named_parameters(m)},
        "running_mean": norm.running_mean,
        "running_var": norm.running_var,
        "num_batches_tracked": norm.num_batches_tracked,
    }


def named_parameters(module):
    return [(f"{type(module).__name__}.{n}", p) for n, p in module.named_parameters()]


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("sides", [(20, 20), (17, 33), (200, 500)])
@pytest.mark.parametrize("stage", STAGES)
def test_same_as_the_plain_modules(stage, sides, training, momentum, monkeypatch):
    monkeypatch.setattr(recompute, "SLICE_BYTES", 40_000)  # several slices, the last one short
    conv, norm = make(stage, 7 if stage == "stem" else 3, momentum)
    conv.train(training), norm.train(training)
    n = 5 if sides[0] < 100 else 2
    image = torch.randn(n, 2, *sides, dtype=torch.float64)
    ours, theirs = (everything(f, image, conv, norm) for f in STAGES[stage])
    for name, value in theirs.items():
        if stage == "stem" and name in ("result", "BatchNorm2d.weight"):
            # A channel with factor zero has no largest place; wherever pooling looks is right.
            value, ours[name] = (v[1:] if v.ndim == 1 else v for v in (value, ours[name]))
        torch.testing.assert_close(ours[name], value, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_stem_loses_no_more_than_torch_in_16_bits(offset):
    """An image far from zero shows whether the gradient of the map still adds up to zero."""
    conv, norm = make("stem", 7)
    with torch.no_grad():
        norm.weight[0] = 0.5
    image = torch.rand(8, 2, 64, 64, dtype=torch.float64) + offset
    exact = everything(plain_stem, image, conv, norm)
    conv, norm, image = conv.float(), norm.float(), image.float()
    ours, theirs = (everything(f, image, conv, norm, amp=True) for f in STAGES["stem"])

    def error(values, name):
        return float((values[name].double() - exact[name]).norm() / exact[name].norm())

    for name in ("result", "SmallMapConv2d.weight", "BatchNorm2d.weight", "BatchNorm2d.bias"):
        assert error(ours, name) < 1.2 * error(theirs, name) + 1e-3, name


def test_middle_keeps_only_its_input():
    conv, norm = make("middle", 3)
    kept = []

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    maps = torch.randn(4, 2, 16, 16, dtype=torch.float64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        norm_relu_convolve(maps, norm, conv)
    assert kept.count(maps.numel()) == 1
    assert sum(kept) < 1.2 * maps.numel()


@pytest.mark.parametrize("stage", STAGES)
def test_without_gradients_the_norm_still_learns(stage):
    """Statistics are measured anew on training rows in this way."""
    conv, norm = make(stage, 7 if stage == "stem" else 3)
    other = copy.deepcopy(norm)
    image = torch.randn(3, 2, 20, 20, dtype=torch.float64)
    ours, plain = STAGES[stage]
    with torch.no_grad():
        torch.testing.assert_close(ours(image, conv, norm)[:, 1:], plain(image, conv, other)[:, 1:])
    torch.testing.assert_close(norm.running_mean, other.running_mean)
    torch.testing.assert_close(norm.running_var, other.running_var)
