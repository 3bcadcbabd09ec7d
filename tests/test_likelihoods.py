"""Likelihoods and their bounds: units, order, noise, samples."""

import numpy as np
import pytest
from conftest import SMALL

from icecore_sk import VAE, AutoEncoder, FlowVAE


def test_elbo_is_below_the_importance_sampled_likelihood(digits):
    model = FlowVAE(4, max_epochs=3, random_state=0, **SMALL).fit(digits[0])
    elbo = model.score_samples(digits[0][:50])
    few, many = (model.log_likelihood(digits[0][:50], n) for n in (2, 200))
    assert elbo.mean() < many.mean()
    assert few.mean() < many.mean()


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
