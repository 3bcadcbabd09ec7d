"""Losses in nats per image, row by row, with their parts kept apart.

Each loss maps a network's outputs and the batch to a dictionary of tensors of shape (n,), one
value per image. The entry "loss" is what training minimises; the others are reported.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Likelihood(nn.Module):
    """Distribution of an image given the decoder's output.

    Parameters
    ----------
    name : {"bernoulli", "gaussian"}
        "bernoulli": each pixel in [0, 1] is the mean of a Bernoulli variable with the decoder's
        output as logit (cross-entropy; for grey levels it is the usual surrogate and not a
        normalised density). "gaussian": normal around the output, with one standard deviation
        for all pixels that is learned beside the weights [1]_.
    scale : float
        Standard deviation of all training pixels: the unit in which the Gaussian starts.

    References
    ----------
    .. [1] Rybkin, Daniilidis and Levine (2021). Simple and effective VAE training with
           calibrated decoders. ICML.
    """

    def __init__(self, name: str, scale: float = 1.0):
        super().__init__()
        self.name = name
        if name == "gaussian":
            self.scale = scale
            self.log_sigma = nn.Parameter(torch.zeros(()))

    def reset_special_parameters(self, generator: torch.Generator) -> None:
        if self.name == "gaussian":
            nn.init.zeros_(self.log_sigma)

    def mean(self, output: Tensor) -> Tensor:
        """Return the expected image for a decoder output."""
        return torch.sigmoid(output) if self.name == "bernoulli" else output

    def nll(self, output: Tensor, image: Tensor) -> Tensor:
        """Return -log p(image | output) summed over the pixels, in nats, shape (n,)."""
        output = output.float()
        if self.name == "bernoulli":
            terms = F.binary_cross_entropy_with_logits(output, image, reduction="none")
            return terms.flatten(1).sum(1)
        # Below 1/1000 of the data's spread a perfect fit would drive the density to infinity.
        log_sigma = self.log_sigma.clamp_min(math.log(1e-3)) + math.log(self.scale)
        # Summed first: what is the same for all pixels need not pass over them.
        squares = (image - output).square().flatten(1).sum(1)
        n_pixels = output[0].numel()
        return 0.5 * squares * (-2 * log_sigma).exp() + n_pixels * (log_sigma + HALF_LOG_2PI)


def gaussian_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_var)) from N(0, 1) per dimension, in nats."""
    return 0.5 * (mean**2 + log_var.exp() - 1.0 - log_var)


def _mean_over_rows(values: Tensor) -> Tensor:
    return values.mean(0)


def total(terms: dict[str, Tensor]) -> Tensor:
    """Sum of all terms, by row."""
    return torch.stack(list(terms.values())).sum(0)


class ReconstructionLoss(nn.Module):
    """Negative log-likelihood of the image and, if decoded, of the scalars.

    Parameters
    ----------
    scalar_weight : float
        Weight of the scalars' squared error (half a nat per squared unit, so that a scalar scaled
        to unit variance costs what one unit-variance Gaussian variable costs).
    """

    def __init__(self, scalar_weight: float = 0.0):
        super().__init__()
        self.scalar_weight = scalar_weight

    def parts(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        terms = {"reconstruction": outputs["nll"]}
        if "scalars" in outputs:
            error = (outputs["scalars"].float() - batch["scalars"]) ** 2
            terms["scalar_loss"] = 0.5 * self.scalar_weight * error.sum(1)
        return terms

    def forward(self, outputs, batch, progress: float = math.inf) -> dict[str, Tensor]:
        terms = self.parts(outputs, batch)
        return {"loss": total(terms), **terms}


class ELBOLoss(ReconstructionLoss):
    """Negative evidence lower bound with the usual remedies against collapse and explosion.

    Parameters
    ----------
    beta : float
        Weight of the KL divergence [1]_; 1 is the ELBO.
    kl_warmup : float
        Epochs over which the weight grows linearly from 0 to `beta` [2]_.
    free_bits : float
        Nats per latent dimension (batch mean) below which the KL is not pushed further [3]_.
    scalar_weight : float
        As in `ReconstructionLoss`.

    Notes
    -----
    Evaluation uses the full `beta` and no free bits, so the validation loss of two epochs is
    the same quantity and early stopping compares like with like.

    References
    ----------
    .. [1] Higgins et al. (2017). beta-VAE. ICLR.
    .. [2] Bowman et al. (2016). Generating sentences from a continuous space. CoNLL.
    .. [3] Kingma et al. (2016). Improving variational inference with inverse autoregressive
           flow. NeurIPS.
    """

    def __init__(
        self,
        beta: float = 1.0,
        kl_warmup: float = 0.0,
        free_bits: float = 0.0,
        scalar_weight: float = 0.0,
    ):
        super().__init__(scalar_weight)
        self.beta, self.kl_warmup, self.free_bits = beta, kl_warmup, free_bits
        # Where a batch is spread over several devices, its mean is no matter of one of them.
        self.batch_mean: Callable[[Tensor], Tensor] = _mean_over_rows

    def weight_at(self, progress: float) -> float:
        """Weight of the KL after `progress` epochs (fractions count)."""
        return self.beta * (min(1.0, progress / self.kl_warmup) if self.kl_warmup else 1.0)

    def forward(self, outputs, batch, progress: float = math.inf) -> dict[str, Tensor]:
        terms = self.parts(outputs, batch)
        loss = total(terms)
        kl = outputs["kl"].sum(1) - outputs["ladj"]  # (n,)
        penalty = kl
        if self.training and self.free_bits:
            # The flow's share belongs to no single dimension; the floor acts on the base's KL.
            per_dim = self.batch_mean(outputs["kl"]).clamp_min(self.free_bits)
            penalty = (per_dim.sum() - outputs["ladj"]).expand_as(kl)
        weight = self.weight_at(progress if self.training else math.inf)
        return {"loss": loss + weight * penalty, **terms, "kl": kl}


class ClassificationLoss(nn.Module):
    """Cross-entropy in nats with optional class weights.

    Logits beyond the rows of y are of images that belong to no class. Their target is a class of
    their own, the last column, and each counts like a row of y.

    Parameters
    ----------
    class_weight : tensor of shape (n_classes,) or None
        Factor of each class's rows.
    label_smoothing : float
        Probability mass spread evenly over all classes.
    """

    class_weight: Tensor | None

    def __init__(self, class_weight: Tensor | None = None, label_smoothing: float = 0.0):
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weight", class_weight)

    def forward(self, outputs, batch, progress: float = math.inf) -> dict[str, Tensor]:
        y = batch["y"]
        logits, unknown = outputs["logits"].tensor_split([len(y)])
        smoothing = self.label_smoothing if self.training else 0.0
        loss = F.cross_entropy(logits, y, reduction="none", label_smoothing=smoothing)
        if self.class_weight is not None:
            loss = loss * self.class_weight[y]
        terms = {"accuracy": (logits.argmax(1) == y).float()}
        if len(unknown):
            last = torch.full((len(unknown),), unknown.shape[1] - 1, device=y.device)
            exposure = F.cross_entropy(unknown, last, reduction="sum") / len(y)
            # One figure for the batch: these images belong to none of its rows.
            terms["outlier_exposure"] = exposure.expand(len(y))
            loss = loss + exposure
        return {"loss": loss, **terms}
