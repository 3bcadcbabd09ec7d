"""Scalars that disagree with those of a row's neighbours, and the scalar that is a size."""

import re

import numpy as np

from icecore_sk._outliers.surprise import robust_spread

# Orientations in degrees: -90 is the same as 90.
ANGLE, PERIOD = "Angle", 180.0
# A neighbourhood counts as at least this varied, as a share of the whole set: twenty rows that
# happen to agree are no law of nature.
LEAST = 0.1
USUAL_FROM = 0.99
BLOCK = 2**22

SIZES = ("Area (ABD)", "Area (Filled)", "Diameter (ABD)", "Diameter (ESD)", "Volume (ABD)")
SIZE_WORDS = re.compile(r"\b(area|diameter|volume|size)\b", re.IGNORECASE)


def size_scalar(names: list[str]) -> str | None:
    """Name the scalar that is the size of a particle, or None."""
    known = [name for name in SIZES if name in names]
    return next(iter(known + [name for name in names if SIZE_WORDS.search(str(name))]), None)


class Disagreement:
    """Compares each scalar of a row with the same scalar of its neighbours.

    Parameters
    ----------
    scalars : ndarray of shape (n, n_scalars)
        Those of the training rows.
    names : list of str
    neighbours : ndarray of shape (n, k)
        The neighbours of each training row.

    Attributes
    ----------
    names : list of str
        The scalars that vary; the others cannot disagree and are left out.
    """

    def __init__(self, scalars: np.ndarray, names: list[str], neighbours: np.ndarray):
        self._varying = np.flatnonzero(np.ptp(scalars, axis=0) > 0)
        self.names = [names[j] for j in self._varying]
        self._reference = scalars[:, self._varying].astype(np.float64)
        self._period = np.array([PERIOD if ANGLE in str(n) else np.inf for n in self.names])
        self._least = LEAST * robust_spread(self._reference, axis=0)
        self._usual = np.ones(len(self.names))
        z, _ = self.compare(scalars, neighbours)
        # Scalars with heavy tails disagree more often: each is judged by what is usual for it.
        self._usual = np.maximum(np.quantile(np.abs(z), USUAL_FROM, axis=0), 1.0)

    def __len__(self) -> int:
        return len(self.names)

    def largest(self, scalars: np.ndarray, neighbours: np.ndarray) -> dict[str, np.ndarray]:
        """Return, for each row, the scalar that disagrees most and by how much.

        Returns
        -------
        found : dict
            ``relative``: |z| as a multiple of what 99 % of the training rows stay below;
            ``z``: |z| in robust standard deviations; ``number``: of the scalar, in `names`;
            ``own`` and ``theirs``: its value, and the median of the neighbours'.
        """
        z, theirs = self.compare(scalars, neighbours)
        relative = np.abs(z) / self._usual
        number = relative.argmax(axis=1)
        pick = (np.arange(len(z)), number)
        return {
            "relative": relative[pick],
            "z": np.abs(z)[pick],
            "number": number,
            "own": scalars[:, self._varying][pick],
            "theirs": theirs[pick],
        }

    def compare(self, scalars, neighbours) -> tuple[np.ndarray, np.ndarray]:
        """Return robust z of every scalar and the median of the neighbours', both (n, n_scalars)."""
        own = scalars[:, self._varying].astype(np.float64)
        z, theirs = np.empty(own.shape), np.empty(own.shape)
        step = max(1, BLOCK // max(1, neighbours.shape[1] * own.shape[1]))
        for start in range(0, len(own), step):
            block = slice(start, start + step)
            # From the row to its neighbours, so that angles can go the short way round.
            gap = self._reference[neighbours[block]] - own[block, None]  # (n, k, n_scalars)
            turns = np.isfinite(self._period)
            if turns.any():
                wrapped = np.mod(gap[..., turns] + PERIOD / 2, PERIOD) - PERIOD / 2
                gap[..., turns] = wrapped
            middle = np.median(gap, axis=1)
            spread = 1.4826 * np.median(np.abs(gap - middle[:, None]), axis=1)
            z[block] = -middle / np.hypot(spread, self._least)
            theirs[block] = own[block] + middle
        return z, theirs
