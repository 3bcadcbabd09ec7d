"""The variational autoencoder network, with planar flows or without."""

import math

import torch
from torch import Tensor

from icecore_sk.nn.autoencoder import AutoEncoderNet, full_precision
from icecore_sk.nn.losses import gaussian_kl
from icecore_sk.nn.planar import PlanarFlow

# Posterior variances between e^-14 and e^6: wide enough for any latent that is used, and an
# over-trained encoder cannot overflow exp() in its first step.
LOG_VAR_RANGE = (-14.0, 6.0)


class VAENet(AutoEncoderNet):
    """ResNet18 to a Gaussian posterior, `n_flows` planar flows, and back to the image.

    Parameters
    ----------
    n_flows : int, default=0
        Planar flows between encoder and decoder; 0 is the plain VAE, weight for weight.
    image_shape, latent_dim, likelihood, n_scalars, image_mean, image_scale, stem, encoder_width,
    decoder_width
        As in `icecore_sk.nn.AutoEncoderNet`.
    """

    n_encoder_outputs = 2

    def __init__(self, image_shape, latent_dim, likelihood="bernoulli", n_flows=0, **kwargs):
        super().__init__(image_shape, latent_dim, likelihood, **kwargs)
        self.flow = PlanarFlow(n_flows, latent_dim, self.encoder.n_features)

    def reset_special_parameters(self, generator: torch.Generator) -> None:
        """Start close to the prior: the KL begins near zero and grows as far as it pays."""
        super().reset_special_parameters(generator)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and log-variance, (n, latent_dim) each, and the features."""
        features = self.features(image)
        mean, log_var = full_precision(self.head, features).chunk(2, dim=1)
        return mean, log_var.clamp(*LOG_VAR_RANGE), features

    def call_flow(self, z: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(z.device.type, enabled=False):
            return self.flow.call_and_ladj(z, features)

    def encode(self, image: Tensor) -> Tensor:
        mean, _, features = self.posterior(image)
        return self.call_flow(mean, features)[0]

    def forward(self, image: Tensor, noise: Tensor | None = None) -> dict[str, Tensor]:
        mean, log_var, features = self.posterior(image)
        z0 = mean if noise is None else mean + (0.5 * log_var).exp() * noise
        z, ladj = self.call_flow(z0, features)
        return {
            "z": z,
            "mean": mean,
            "kl": self.kl(mean, log_var, z0, z),
            "ladj": ladj,
            **self.decoded(z, image),
        }

    def kl(self, mean: Tensor, log_var: Tensor, z0: Tensor, z: Tensor) -> Tensor:
        """KL per dimension before the flow's log-determinant: exact without, sampled with flows.

        With flows only what they do to z is sampled. The KL of the Gaussian before them is known;
        sampled as well, it would differ by whole nats over 64 idle dimensions.
        """
        exact = gaussian_kl(mean, log_var)
        return exact + 0.5 * (z**2 - z0**2) if self.flow.n_flows else exact

    def log_weights(self, image: Tensor, noise: Tensor) -> Tensor:
        """Return log p(x, z_s) - log q(z_s | x) for each row of `noise` (s, latent_dim): (n, s).

        Its mean over s estimates the ELBO, its log-mean-exp the log-likelihood [1]_.

        References
        ----------
        .. [1] Burda, Grosse and Salakhutdinov (2016). Importance weighted autoencoders. ICLR.
        """
        mean, log_var, features = self.posterior(image)
        columns = []
        for eps in noise:
            z, ladj = self.call_flow(mean + (0.5 * log_var).exp() * eps, features)
            # The constants 0.5 d log(2 pi) of prior and posterior cancel.
            log_ratio = 0.5 * (eps**2 + log_var - z**2).sum(1) + ladj
            columns.append(log_ratio - self.likelihood.nll(self.decode_output(z), image))
        return torch.stack(columns, dim=1)

    def elbo(self, image: Tensor, noise: Tensor) -> Tensor:
        """Return the ELBO in nats, shape (n,), with the KL in closed form where there is one."""
        mean, log_var, features = self.posterior(image)
        total = torch.zeros_like(mean[:, 0])
        for eps in noise:
            z0 = mean + (0.5 * log_var).exp() * eps
            z, ladj = self.call_flow(z0, features)
            kl = self.kl(mean, log_var, z0, z).sum(1) - ladj
            total = total - kl - self.likelihood.nll(self.decode_output(z), image)
        return total / len(noise)


def log_mean_exp(log_weights: Tensor) -> Tensor:
    return torch.logsumexp(log_weights, dim=1) - math.log(log_weights.shape[1])
