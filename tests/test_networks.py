"""The bare torch modules."""

import copy
import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from icecore_sk.nn import (
    Decoder,
    ELBOLoss,
    Likelihood,
    PlanarFlow,
    ResNet18Encoder,
    VAENet,
    small_maps,
)
from icecore_sk.nn.augment import Augment
from icecore_sk.nn.encoder import choose_stem, initialise
from icecore_sk.nn.losses import gaussian_kl
from icecore_sk.nn.planar import constrained_u
from icecore_sk.nn.resnet import SmallMapConv2d


@pytest.mark.parametrize(
    "size", [(8, 8), (9, 8), (28, 28), (31, 17), (1, 20), (1, 1), (64, 64), (100, 128), (3, 77)]
)
def test_decoder_returns_exactly_the_size(size):
    decoder = Decoder(5, 2, size).eval()
    assert decoder(torch.zeros(2, 5)).shape == (2, 2, *size)


@pytest.mark.parametrize("stem", ["auto", "standard", "pooled", "strided", "plain"])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_encoder_takes_any_number_of_channels(stem, channels):
    encoder = ResNet18Encoder(channels, (28, 28), stem).eval()
    assert encoder(torch.zeros(2, channels, 28, 28)).shape == (2, 512)


@pytest.mark.parametrize("width", [1, 8, 64])
def test_width_of_the_encoder(width):
    encoder = ResNet18Encoder(1, (28, 28), width=width).eval()
    assert encoder.n_features == 8 * width
    assert encoder(torch.zeros(2, 1, 28, 28)).shape == (2, 8 * width)
    weights = sum(parameter.numel() for parameter in encoder.parameters())
    assert width != 64 or weights == 11_170_240  # the published network, one channel in


def assert_same(ours, plain, x):
    """Same values and same gradients."""
    plain.load_state_dict(ours.state_dict())
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    y = plain(b)
    weight = torch.randint(-2, 3, y.shape).to(y.dtype)
    (ours(a) * weight).sum().backward()
    (y * weight).sum().backward()
    torch.testing.assert_close(ours(x), plain(x))
    torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)


@pytest.mark.parametrize("n", [3, 32])
def test_convolution_of_2x2_maps_is_the_plain_one(n):
    ours = SmallMapConv2d(8, 12, 3).double()
    x = torch.rand(n, 8, 2, 2).double()
    assert ours.is_matrix_product(x) == (n == 32)
    assert_same(ours, nn.Conv2d(8, 12, 3, padding=1, bias=False).double(), x)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 2), (4, 4), (7, 4), (8, 5), (9, 8)])
def test_strided_convolution_of_small_maps_is_the_plain_one(size):
    x = torch.rand(3, 8, *size).double().contiguous(memory_format=torch.channels_last)
    plain = nn.Conv2d(8, 12, 3, 2, padding=1, bias=False).double()
    assert_same(SmallMapConv2d(8, 12, 3, 2).double(), plain, x)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 4), (4, 5)])
def test_growing_of_small_maps_is_the_plain_convolution(size, monkeypatch):
    # Whole numbers: sums of few are exact in 16 bits.
    products = []
    product = small_maps._product
    monkeypatch.setattr(small_maps, "_product", lambda *a: products.append(a) or product(*a))
    plain = nn.ConvTranspose2d(8, 6, 4, 2, padding=1, bias=False)
    grown = copy.deepcopy(plain)
    grown.weight.data = torch.randint(-1, 2, grown.weight.shape).float()
    grown.forward = lambda maps: small_maps.convolve(maps, grown)
    x = torch.randint(-2, 3, (2, 8, *size)).bfloat16()
    assert_same(grown.bfloat16(), plain.bfloat16(), x)
    assert len(products) == (max(size) <= 4)


@pytest.mark.parametrize("channels", [8, 16])
def test_strided_shortcut_is_the_plain_convolution(channels):
    plain = nn.Conv2d(channels, 2 * channels, 1, 2, bias=False)
    assert_same(SmallMapConv2d(channels, 2 * channels, 1, 2), plain, torch.rand(3, channels, 7, 8))


MANY_SHORTCUTS = """
import torch
from icecore_sk.nn.resnet import SmallMapConv2d

torch.set_num_threads(2)
for dtype in (torch.bfloat16, torch.float32):
    conv = SmallMapConv2d(8, 16, 1, 2).to(dtype).to(memory_format=torch.channels_last)
    for size in (8, 9, 12, 14, 16, 24, 32):
        for n in (1, 2, 7, 16, 32, 128):
            x = torch.rand(n, 8, size, size, dtype=dtype).to(memory_format=torch.channels_last)
            conv(x.requires_grad_()).sum().backward()
"""


def test_narrow_shortcuts_leave_the_memory_of_others_alone():
    # In a process of its own: torch's own gradient aborts it on CPUs with AVX-512.
    done = subprocess.run([sys.executable, "-c", MANY_SHORTCUTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_stem_suits_the_size():
    assert choose_stem(8, 8) == choose_stem(1, 16) == "plain"
    assert choose_stem(28, 28) == choose_stem(128, 128) == "standard"


def test_encoder_is_torchvisions_resnet18():
    from torchvision.models import resnet18

    ours = ResNet18Encoder(3, (128, 128)).eval().double()
    theirs = resnet18(weights=None)
    theirs.fc = nn.Identity()
    assert list(ours.body.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.body.state_dict())
    theirs = theirs.eval().double()
    for side in (128, 28):  # at 28 pixels the centre-tap shortcut is taken
        x = torch.randn(3, 3, side, side, dtype=torch.float64)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-10, atol=1e-12)


def flow_of(n_flows=5, dim=4, seed=0, spread=1.0):
    """Return a chain in float64 whose parameters are far from the identity."""
    flow = PlanarFlow(n_flows, dim, 6).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    return flow, generator


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_flows", [1, 5])
def test_ladj_is_autograds_jacobian(seed, n_flows):
    flow, generator = flow_of(n_flows, seed=seed)
    z = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    features = torch.randn(7, 6, generator=generator, dtype=torch.float64)
    _, ladj = flow.call_and_ladj(z, features)
    for i in range(len(z)):
        jacobian = torch.autograd.functional.jacobian(
            lambda row, f=features[i : i + 1]: flow.call_and_ladj(row[None], f)[0][0], z[i]
        )
        sign, log_det = torch.linalg.slogdet(jacobian)
        assert sign == 1  # invertible, orientation kept
        assert abs(float((log_det - ladj[i]).detach())) < 1e-8


def test_flow_can_be_inverted():
    flow, generator = flow_of(1, spread=2.0)
    features = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    z = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    y, _ = flow.call_and_ladj(z, features)
    ((u, w, b),) = flow.parameters_of(features)
    # Along w the map is a + (w.u) tanh(a + b), monotone: bisection finds a, then z.
    wy, wu = (w * y).sum(-1, keepdim=True), (w * u).sum(-1, keepdim=True)
    low, high = wy - wu.abs() - 1, wy + wu.abs() + 1
    for _ in range(200):
        middle = (low + high) / 2
        below = middle + wu * torch.tanh(middle + b) < wy
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    torch.testing.assert_close(y - u * torch.tanh(low + b), z, rtol=1e-8, atol=1e-8)


def test_constrained_u_keeps_the_flow_invertible_and_finite():
    generator = torch.Generator().manual_seed(0)
    w = 10 * torch.randn(1000, 3, generator=generator, dtype=torch.float64)
    u = 10 * torch.randn(1000, 3, generator=generator, dtype=torch.float64)
    assert ((w * constrained_u(u, w)).sum(-1) > -1).all()
    torch.testing.assert_close(constrained_u(u, torch.zeros_like(w)), u)
    w0 = torch.zeros(2, 3, requires_grad=True)
    u0 = torch.ones(2, 3, requires_grad=True)
    constrained_u(u0, w0).sum().backward()
    assert w0.grad.isfinite().all()
    assert u0.grad.isfinite().all()


def test_flow_gradients_are_autograds():
    flow, generator = flow_of(3)
    features = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    z = torch.randn(2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: flow.call_and_ladj(z, features), (z,))


def test_flow_starts_near_the_identity():
    flow = PlanarFlow(8, 4, 6)
    initialise(flow, torch.Generator().manual_seed(0))
    z = torch.randn(100, 4)
    moved, ladj = flow.call_and_ladj(z, torch.rand(100, 6))
    assert (moved - z).abs().max() < 0.5
    assert ladj.abs().max() < 0.5


def test_kl_is_torchs():
    mean, log_var = torch.randn(9, 3), torch.randn(9, 3)
    q = torch.distributions.Normal(mean, (0.5 * log_var).exp())
    p = torch.distributions.Normal(0.0, 1.0)
    torch.testing.assert_close(gaussian_kl(mean, log_var), torch.distributions.kl_divergence(q, p))


def test_likelihoods_are_torchs():
    output, image = torch.randn(4, 1, 3, 3), torch.rand(4, 1, 3, 3)
    bernoulli = torch.distributions.Bernoulli(logits=output, validate_args=False)
    torch.testing.assert_close(
        Likelihood("bernoulli").nll(output, image), -bernoulli.log_prob(image).flatten(1).sum(1)
    )
    gaussian = Likelihood("gaussian", scale=0.3)
    expected = -torch.distributions.Normal(output, 0.3).log_prob(image).flatten(1).sum(1)
    torch.testing.assert_close(gaussian.nll(output, image), expected)


def flow_vae_that_ignores_z(latent_dim):
    """Its decoder paints the same whatever z is, so the noise bears on the KL alone."""
    net = VAENet((1, 8, 8), latent_dim, n_flows=3, stem="pooled")
    generator = torch.Generator().manual_seed(0)
    initialise(net, generator)
    with torch.no_grad():
        net.decoder.start.weight.zero_()
    return net.eval(), generator


def test_sampled_elbo_and_likelihood_agree_with_a_known_integral():
    """With a decoder that ignores z, log p(x) is exactly -nll; the ELBO is that minus the KL."""
    net, generator = flow_vae_that_ignores_z(3)
    with torch.no_grad():
        net.head.weight.mul_(30)
        image = torch.rand(2, 1, 8, 8, generator=generator)
        noise = torch.randn(1000, 3, generator=generator)
        nll = net.likelihood.nll(net.decode_output(torch.zeros(2, 3)), image)
        weights = net.log_weights(image, noise)
        log_p = torch.logsumexp(weights, 1) - math.log(len(noise))
        torch.testing.assert_close(log_p, -nll, rtol=1e-3, atol=0.02)
        assert (net.elbo(image, noise) < -nll).all()
        torch.testing.assert_close(net.elbo(image, noise), weights.mean(1), rtol=1e-3, atol=0.05)


def test_elbo_of_a_flow_near_the_identity_hangs_little_on_the_noise():
    """All images share a few rows of noise: what they err by together does not average out."""
    net, generator = flow_vae_that_ignores_z(64)
    with torch.no_grad():
        image = torch.rand(2, 1, 8, 8, generator=generator)
        noise = torch.randn(50, 64, generator=generator)
        each = torch.stack([net.elbo(image, row[None]) for row in noise])
    # Half the square of 64 normal numbers has this spread, and so had a KL sampled in whole.
    assert (each.std(0) < 0.25 * math.sqrt(64 / 2)).all()


def test_kl_warm_up_and_validation_weight():
    loss = ELBOLoss(beta=2.0, kl_warmup=4.0)
    outputs = {"nll": torch.ones(3), "kl": torch.full((3, 2), 5.0), "ladj": torch.ones(3)}
    loss.train()
    assert loss(outputs, {}, progress=1.0)["loss"].tolist() == [1 + 0.5 * 9] * 3
    assert loss(outputs, {}, progress=9.0)["loss"].tolist() == [1 + 2 * 9] * 3
    loss.eval()
    assert loss(outputs, {}, progress=0.0)["loss"].tolist() == [1 + 2 * 9] * 3
    assert loss(outputs, {}, progress=0.0)["kl"].tolist() == [9] * 3


def test_quarter_turns_and_flips_only_move_pixels():
    image = torch.rand(64, 1, 8, 8)
    augment = Augment(torch.Generator().manual_seed(0), flip=True, quarter_turns=True)
    moved = augment(image)
    torch.testing.assert_close(
        moved.flatten(1).sort(1).values, image.flatten(1).sort(1).values, rtol=1e-4, atol=1e-4
    )
    views = [torch.rot90(image, k, (2, 3)) for k in range(4)]
    views += [view.flip(3) for view in views]
    nearest = torch.stack([(moved - view).abs().flatten(1).max(1).values for view in views])
    assert nearest.min(0).values.max() < 1e-3
    assert len(nearest.argmin(0).unique()) == 8


def test_augment_fills_with_the_given_grey_and_shifts_by_the_given_share():
    image = torch.full((100, 1, 20, 20), 0.7)
    augment = Augment(torch.Generator().manual_seed(0), fill=0.7, rotate=30, shift=0.2, scale=0.2)
    torch.testing.assert_close(augment(image), image)
    spot = torch.zeros(200, 1, 21, 21)
    spot[:, :, 10, 10] = 1.0
    moved = Augment(torch.Generator().manual_seed(0), shift=0.2)(spot)[:, 0]
    rows = (moved.sum(2) * torch.arange(21)).sum(1) / moved.sum((1, 2))
    assert 2.5 < (rows - 10).abs().max() < 4.3
    # By whole pixels: nothing is blurred.
    torch.testing.assert_close(moved, moved.round(), rtol=0, atol=1e-4)


def test_turn_of_an_image_that_is_not_square_keeps_shapes():
    image = torch.zeros(1, 1, 20, 40)
    image[:, :, 8:12, 10:30] = 1.0  # a bar of 4 x 20
    augment = Augment(torch.Generator(), rotate=90)
    augment._symmetric = lambda n: torch.ones(n)  # the largest angle, exactly
    turned = augment(image)[0, 0]
    assert turned[:, 18:22].sum() > 0.95 * turned.sum()
    assert turned[:, 18:22].sum() == pytest.approx(80, rel=0.1)
