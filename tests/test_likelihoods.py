"""Likelihoods and their bounds: units, order, noise, samples."""

import numpy as np
import pytest
import torch
from conftest import SMALL

from icecore_sk import VAE, AutoEncoder, FlowVAE


def test_elbo_is_below_the_importance_sampled_likelihood(digits):
    model = FlowVAE(4, max_epochs=3, random_state=0, **SMALL).fit(digits[0])
    elbo, few, many = [], [], []
    for model._seed in range(10):  # rows share their noise, so that their mean has it too
        elbo.append(model.score(digits[0][:50]))
        few.append(model.log_likelihood(digits[0][:50], 2).mean())
        many.append(model.log_likelihood(digits[0][:50], 200).mean())
    assert np.mean(elbo) < np.mean(few) < np.mean(many)


def test_the_noise_of_rows_cancels_in_the_score(digits):
    """That of `score_samples`, which is the same for all rows, does not."""
    X = digits[0]
    model = FlowVAE(16, max_epochs=3, random_state=0, **SMALL).fit(X)
    scores, means = [], []
    for model._seed in range(15):
        scores.append(model.score(X))
        means.append(model.score_samples(X).mean(dtype=float))
    assert np.std(scores) < np.std(means) / 3
    assert abs(np.mean(scores) - np.mean(means)) < np.std(means)
    assert model.score(X) == scores[-1]


def test_samples_come_from_the_prior_and_the_seed(digits):
    model = VAE(4, likelihood="bernoulli", max_epochs=3, random_state=0).fit(digits[0])
    images = model.sample(200, random_state=0)
    assert images.shape == (200, 8, 8)
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.std(axis=0).max() > 0.05
    np.testing.assert_array_equal(images, model.sample(200, random_state=0))
    assert not np.array_equal(images, model.sample(200, random_state=1))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_likelihoods_are_in_nats_and_known_as_such(likelihood, digits):
    X = digits[0]
    model = AutoEncoder(4, likelihood=likelihood, max_epochs=2, random_state=0).fit(X)
    image, expected = X / 255, model.reconstruct(X)
    if likelihood == "bernoulli":
        expected = expected.clip(1e-7, 1 - 1e-7)
        nats = image * np.log(expected) + (1 - image) * np.log1p(-expected)
    else:
        net = model.net_.module_.likelihood
        sigma = float(net.log_sigma.detach().exp()) * net.scale
        nats = -0.5 * ((image - expected) / sigma) ** 2 - np.log(sigma * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(model.score_samples(X), nats.sum((1, 2)), rtol=2e-2)


@pytest.mark.parametrize("white", [255, 1])
def test_likelihood_auto_is_bernoulli_for_black_and_white_only(white, digits):
    dtype = np.uint8 if white == 255 else np.float32
    binary = (digits[0] > 100).astype(dtype) * dtype(white)
    assert VAE(2, max_epochs=1).fit(binary).likelihood_ == "bernoulli"
    binary[-1, 0, 0] = white // 2 if white == 255 else 0.5
    assert VAE(2, max_epochs=1).fit(binary).likelihood_ == "gaussian"


def test_flows_of_before_there_was_a_scale_read_their_features_as_they_were(digits):
    """Saved models of earlier versions lack it, and scaled features would be other flows."""
    X = digits[0]
    model = FlowVAE(4, max_epochs=1, random_state=0, **SMALL).fit(X)
    flow = model.net_.module_.flow
    before = model.transform(X)
    with torch.no_grad():
        flow.head.weight *= flow.feature_scale
    state = model.__getstate__()
    del state["net_"]["weights"]["flow.feature_scale"]
    earlier = FlowVAE.__new__(FlowVAE)
    earlier.__setstate__(state)
    np.testing.assert_allclose(earlier.transform(X), before, atol=1e-5)
    earlier.set_params(warm_start=True, max_epochs=1).fit(X)  # goes on as it was
    assert earlier.net_.module_.flow.feature_scale == 1.0
