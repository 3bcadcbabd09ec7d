"""What a network's third stage sees, in few numbers."""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Of random projections to as many numbers, distances are right to some 4 %.
N_INTERMEDIATE = 256
# The third map of 28x28 pixels is 2x2. Larger ones are pooled to it: details may lie elsewhere.
SIDE = 2


def intermediate_features(x: Tensor) -> Tensor:
    """Return each image's map, pooled to at most 2x2 and projected at random.

    The projection is fixed: the same for every network of this width, so that it need not be
    saved. Distances between rows are close to those between the maps [1]_.

    Parameters
    ----------
    x : tensor of shape (n, C, H, W)

    Returns
    -------
    features : tensor of shape (n, 256)

    References
    ----------
    .. [1] Achlioptas (2003). Database-friendly random projections: Johnson-Lindenstrauss with
       binary coins. Journal of Computer and System Sciences 66 (4).
    """
    height, width = x.shape[-2:]
    pooled = F.adaptive_avg_pool2d(x.float(), (min(SIDE, height), min(SIDE, width)))
    rows = pooled.flatten(1)
    with torch.autocast(x.device.type, enabled=False):
        return rows @ signs(rows.shape[1]).to(rows.device)  # (n, 256)


@lru_cache(maxsize=8)
def signs(n_columns: int) -> Tensor:
    """Return the projection (n_columns, 256): a coin for each entry."""
    # Of this generator numpy promises the same numbers for ever.
    coins = np.random.RandomState(0).randint(0, 2, (n_columns, N_INTERMEDIATE), dtype=np.int8)
    return torch.from_numpy((2 * coins - 1) / np.float32(N_INTERMEDIATE**0.5))
