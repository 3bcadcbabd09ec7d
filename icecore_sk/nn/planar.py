"""Planar flows whose parameters depend on the image, always invertible."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# softplus(x + SHIFT) - 1 vanishes at x = 0.
SHIFT = math.log(math.e - 1.0)
# The closest that w . u may come to -1: log-determinants stay above log(MARGIN) also in float32.
MARGIN = 1e-3
# Adam moves each weight by the learning rate, whatever its gradient. With hundreds of features, all
# of one sign, u and w would leap with every step, and with them z in dimensions that are not used.
FEATURE_SCALE = 0.03


def constrained_u(u: Tensor, w: Tensor) -> Tensor:
    """Move `u` along `w` so that ``w . u > -1``, which makes a tanh planar flow invertible.

    Appendix A.1 of Rezende and Mohamed (2015) replaces ``w . u`` by ``softplus(w . u) - 1``. Here
    the softplus is shifted so that 0 stays 0: unshifted, ``w . u = 0`` becomes -0.31 however
    small `w` is, so `u` grows without bound as `w` shrinks and no chain can start near the
    identity.
    """
    wu = (w * u).sum(-1, keepdim=True)
    target = (1.0 - MARGIN) * (F.softplus(wu + SHIFT) - 1.0)
    norm2 = (w * w).sum(-1, keepdim=True)
    return u + (target - wu) * w / norm2.clamp_min(torch.finfo(w.dtype).tiny ** 0.5)


class PlanarFlow(nn.Module):
    """A chain of amortised planar flows, ``f(z) = z + u tanh(w . z + b)``.

    `u`, `w` and `b` of each flow are linear functions of the encoder's features, so every image
    has a posterior shape of its own. They start near zero: the chain starts near the identity. The
    features are scaled down, so that flows train in smaller steps than what is around them.

    Parameters
    ----------
    n_flows : int
        Length of the chain; 0 is the identity and has no parameters.
    latent_dim : int
        Dimension of z.
    n_features : int
        Length of the feature vector that determines the flow.

    References
    ----------
    .. [1] Rezende and Mohamed (2015). Variational inference with normalizing flows. ICML.

    Examples
    --------
    >>> import torch
    >>> flow = PlanarFlow(4, 2, 8)
    >>> z, ladj = flow.call_and_ladj(torch.zeros(3, 2), torch.zeros(3, 8))
    >>> z.shape, ladj.shape
    (torch.Size([3, 2]), torch.Size([3]))
    """

    feature_scale: Tensor

    def __init__(self, n_flows: int, latent_dim: int, n_features: int):
        super().__init__()
        self.n_flows, self.latent_dim = n_flows, latent_dim
        if n_flows:
            self.head = nn.Linear(n_features, n_flows * (2 * latent_dim + 1))
            # Of the state, so that a network goes on with the one that it was trained with.
            self.register_buffer("feature_scale", torch.tensor(FEATURE_SCALE))

    def reset_special_parameters(self, generator: torch.Generator) -> None:
        if self.n_flows:
            self.feature_scale.fill_(FEATURE_SCALE)
            nn.init.normal_(self.head.weight, std=1e-3, generator=generator)
            # A small w is needed from the start: at w = u = 0 both have zero gradient.
            nn.init.normal_(self.head.bias, std=1e-1, generator=generator)
            with torch.no_grad():
                self.head.bias.view(self.n_flows, -1)[:, : self.latent_dim] = 0.0

    def parameters_of(self, features: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return u (already constrained), w and b of each flow for each row of `features`."""
        if not self.n_flows:
            return []
        d = self.latent_dim
        rows = self.head(self.feature_scale * features).unflatten(-1, (self.n_flows, 2 * d + 1))
        return [
            (constrained_u(row[..., :d], row[..., d : 2 * d]), row[..., d : 2 * d], row[..., -1:])
            for row in rows.unbind(-2)
        ]

    def call_and_ladj(self, z: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the transformed z and log|det df/dz|, shapes (n, d) and (n,)."""
        ladj = z.new_zeros(z.shape[:-1])
        for u, w, b in self.parameters_of(features):
            t = torch.tanh((w * z).sum(-1, keepdim=True) + b)
            # det = 1 + (1 - tanh^2) w.u > 0 by the constraint; log1p keeps its small values.
            ladj = ladj + torch.log1p((1 - t**2).squeeze(-1) * (w * u).sum(-1))
            z = z + u * t
        return z, ladj
