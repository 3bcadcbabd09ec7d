"""From one `random_state` to every generator a fit needs, without touching the global ones."""

import numpy as np
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state


def draw_seed(random_state) -> int:
    """Draw one seed in [0, 2**31) from `random_state`.

    None draws from the operating system's entropy instead of numpy's global generator, which
    would otherwise be moved on by a fit.
    """
    if random_state is None:
        random_state = np.random.RandomState()
    return int(check_random_state(random_state).randint(2**31 - 1))


def seeded(estimator, seed: int):
    """Return a clone whose unset `random_state`s, nested ones too, follow from `seed`.

    The first estimator of each kind gets `seed` itself and the further ones others: two networks
    side by side would learn the same. A FrozenEstimator is what it is.
    """
    estimator = clone(estimator)
    if isinstance(estimator, FrozenEstimator):
        return estimator
    params = estimator.get_params()
    unset = [name for name in random_parameters(estimator) if params[name] is None]
    further = iter(np.random.RandomState(seed).randint(2**31 - 1, size=len(unset)).tolist())
    seeds, kinds = {}, set()
    for name in unset:
        owner = params.get(name.rpartition("__")[0], estimator)
        seeds[name] = next(further) if type(owner) in kinds else seed
        kinds.add(type(owner))
    return estimator.set_params(**seeds)


def random_parameters(estimator) -> list[str]:
    """Return the names of all parameters that are a `random_state`, nested ones included."""
    names = sorted(estimator.get_params(deep=True))
    return [name for name in names if name.split("__")[-1] == "random_state"]


def spawn_generators(seed: int, n: int, *further: int) -> list[torch.Generator]:
    """Return `n` independent CPU generators, each for one purpose.

    `further` numbers beside the seed give others.

    One generator per purpose keeps, say, the initial weights the same when only the number of
    shuffles changes.
    """
    children = np.random.SeedSequence((seed, *further)).generate_state(n, dtype=np.uint64)
    return [torch.Generator().manual_seed(int(child >> 1)) for child in children]


def standard_normal(shape: tuple[int, ...], seed: int, *further: int) -> torch.Tensor:
    """Return antithetic standard normal rows: the second half mirrors the first.

    `further` numbers beside the seed give others.

    Mirrored rows cancel every odd term of the integrand, so a few of them estimate an
    expectation under a Gaussian well.
    """
    (generator,) = spawn_generators(seed, 1, *further)
    half = torch.randn((shape[0] + 1) // 2, *shape[1:], generator=generator)
    return torch.cat([half, -half])[: shape[0]]
