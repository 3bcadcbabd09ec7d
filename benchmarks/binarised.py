"""Likelihood of binarised MNIST under the variational autoencoders, in nats.

No digit is left out, as in the published figures. Models share latent dimensions, epochs, batches
and seeds, so that what differs between VAE and FlowVAE is the flow.
"""

import time

import numpy as np
import torch
from baselines import BATCH_SIZE, DEVICE
from contenders import Pythae
from digits_data import Size, binarise, load
from provenance import peak_memory_mb

import icecore_sk
from icecore_sk._vae import N_ELBO_SAMPLES

LATENT_DIM = 64  # as in the published figures; dimensions that are not needed fall idle
EPOCHS = 6
TRAIN_SEED, TEST_SEED = 0, 1
ACTIVE = 0.01  # variance of the posterior mean above which a dimension counts as active


class Ours:
    """VAE or FlowVAE with a Bernoulli likelihood."""

    def __init__(self, name: str, seed: int, epochs: int):
        make = getattr(icecore_sk, name)
        self.model = make(LATENT_DIM, likelihood="bernoulli", max_epochs=epochs, random_state=seed)

    def fit(self, X):
        self.model.fit(X)

    def elbo(self, X) -> float:
        return self.model.score(X)

    def log_likelihood(self, X, n_samples: int) -> np.ndarray:
        return self.model.log_likelihood(X, n_samples=n_samples)

    def posterior_mean(self, X):
        # Before the flows: they may move a dimension with the image that the encoder leaves alone.
        (mean,) = self.model._run(X, lambda net, batch: net.posterior(batch["image"])[0])
        return mean


class PythaePlanar:
    """pythae's VAE with planar flows around our encoder and decoder, with its cross-entropy.

    Its flows are not kept invertible (no constraint on u and w): where one folds the latent space,
    its ELBO and likelihood are no bounds any more.
    """

    def __init__(self, name: str, seed: int, epochs: int):
        torch.manual_seed(seed)
        self.model = Pythae("FlowVAE", (1, 28, 28), BATCH_SIZE, epochs, DEVICE)
        self.model.seed, self.model.latent_dim = seed, LATENT_DIM
        self.model.reconstruction_loss = "bce"

    def fit(self, X):
        self.model.fit(X[:, None], np.zeros(len(X), dtype=np.int64))

    def elbo(self, X) -> float:
        return self.model.elbo(X[:, None], N_ELBO_SAMPLES).mean()

    def log_likelihood(self, X, n_samples: int) -> np.ndarray:
        # Its `get_nll` returns the mean log-likelihood, and takes a whole number of batches.
        at_once = max(n for n in range(1, 101) if n_samples % n == 0)
        images = (torch.from_numpy(X[:, None]).float() / 255).to(DEVICE)
        with torch.no_grad():
            mean = self.model.net.get_nll(images, n_samples=n_samples, batch_size=at_once)
        return np.array([mean])

    def posterior_mean(self, X):
        return self.model.transform(X[:, None])


MODELS = {"VAE": Ours, "FlowVAE": Ours, "pythae planar flows": PythaePlanar}


def parameters(size: Size) -> dict:
    """What a row hangs on besides its seed."""
    return {
        "epochs": size.epochs or EPOCHS,
        "latent_dim": LATENT_DIM,
        "nll_images": min(size.nll_images, size.images or size.nll_images),
        "nll_samples": size.nll_samples,
        "elbo_noise": "of each image",
    }


def measure(name: str, seed: int, size: Size) -> dict:
    """Train on all binarised training images; return the likelihood of the test images."""
    data = load((), size)
    X, X_test = binarise(data.X, TRAIN_SEED), binarise(data.X_test, TEST_SEED)
    settings = parameters(size)
    line = MODELS[name](name, seed, settings["epochs"])
    started = time.perf_counter()
    line.fit(X)
    fit_seconds, fit_memory = time.perf_counter() - started, peak_memory_mb()
    minus_elbo = -float(line.elbo(X_test))
    few = X_test[: settings["nll_images"]]
    started = time.perf_counter()
    log_likelihood = line.log_likelihood(few, size.nll_samples)
    return {
        "model": name,
        "seed": seed,
        **settings,
        "parameters": settings,
        "training_images": len(X),
        "test_images": len(X_test),
        "minus_elbo": minus_elbo,
        "minus_elbo_of_nll_images": -float(line.elbo(few)),
        "nll": -float(log_likelihood.mean()),
        "nll_seconds": time.perf_counter() - started,
        "active_units": int((line.posterior_mean(X_test).var(axis=0) > ACTIVE).sum()),
        "fit_seconds": fit_seconds,
        "fit_peak_memory_mb": fit_memory,
        "peak_memory_mb": peak_memory_mb(),
    }
