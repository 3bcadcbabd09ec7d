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

    def elbo(self, X) -> np.ndarray:
        return self.model.score_samples(X)

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

    def elbo(self, X) -> np.ndarray:
        net = self.model.net.eval()
        values = []
        with torch.no_grad():
            for part in self._images(X).split(BATCH_SIZE):
                # The loss of a batch is a mean over its images.
                drawn = [net({"data": part.to(DEVICE)}).loss.item() for _ in range(N_ELBO_SAMPLES)]
                values.append(np.full(len(part), -np.mean(drawn)))
        return np.concatenate(values)

    def log_likelihood(self, X, n_samples: int) -> np.ndarray:
        # Its `get_nll` returns the mean log-likelihood, and takes a whole number of batches.
        with torch.no_grad():
            mean = self.model.net.get_nll(
                self._images(X).to(DEVICE), n_samples=n_samples, batch_size=min(100, n_samples)
            )
        return np.array([mean])

    def posterior_mean(self, X):
        return self.model.transform(X[:, None])

    @staticmethod
    def _images(X) -> torch.Tensor:
        return torch.from_numpy(X[:, None]).float() / 255


MODELS = {"VAE": Ours, "FlowVAE": Ours, "pythae planar flows": PythaePlanar}


def measure(name: str, seed: int, size: Size) -> dict:
    """Train on all binarised training images; return the likelihood of the test images."""
    data = load((), size)
    X, X_test = binarise(data.X, TRAIN_SEED), binarise(data.X_test, TEST_SEED)
    epochs = size.epochs or EPOCHS
    line = MODELS[name](name, seed, epochs)
    started = time.perf_counter()
    line.fit(X)
    fit_seconds, fit_memory = time.perf_counter() - started, peak_memory_mb()
    elbo = line.elbo(X_test)
    few = X_test[: size.nll_images]
    started = time.perf_counter()
    log_likelihood = line.log_likelihood(few, size.nll_samples)
    return {
        "model": name,
        "seed": seed,
        "epochs": epochs,
        "latent_dim": LATENT_DIM,
        "training_images": len(X),
        "test_images": len(X_test),
        "minus_elbo": -float(elbo.mean()),
        "minus_elbo_of_nll_images": -float(elbo[: len(few)].mean()),
        "nll": -float(log_likelihood.mean()),
        "nll_images": len(few),
        "nll_samples": size.nll_samples,
        "nll_seconds": time.perf_counter() - started,
        "active_units": int((line.posterior_mean(X_test).var(axis=0) > ACTIVE).sum()),
        "fit_seconds": fit_seconds,
        "fit_peak_memory_mb": fit_memory,
        "peak_memory_mb": peak_memory_mb(),
    }
