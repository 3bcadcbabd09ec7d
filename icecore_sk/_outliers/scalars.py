"""Scalars that disagree with those of a row's neighbours, and the scalar that is a size."""

import re

import numpy as np

from icecore_sk._numbers import PER_MEDIAN_DEVIATION
from icecore_sk._outliers.surprise import robust_spread

# Orientations in degrees: -90 is the same as 90.
ANGLE, PERIOD = "Angle", 180.0
# A neighbourhood counts as at least this varied, as a share of the whole set: twenty rows that
# happen to agree are no law of nature.
LEAST = 0.1
USUAL_FROM = 0.99
BLOCK = 2**22
# By how much of its largest value a scalar must vary at least.
VARIES = 1e-9

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
        # A constant that was computed may differ in its last digits.
        least = VARIES * np.abs(scalars).max(axis=0, initial=0.0)
        self._varying = np.flatnonzero(np.ptp(scalars, axis=0) > least)
        self.names = [names[j] for j in self._varying]
        own = scalars[:, self._varying].astype(np.float64)
        self._turns = np.array([ANGLE in str(name) for name in self.names], dtype=bool)
        self._logs = np.array([_is_skewed(column) for column in own.T], dtype=bool) & ~self._turns
        self._reference = self._tame(own)
        steps = [np.median(np.diff(np.unique(column))) for column in self._reference.T]
        # Nor does a scalar vary by less than its own steps: counts and classes have large ones.
        self._least = np.maximum(LEAST * robust_spread(self._reference, axis=0), steps)
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
        """Return each scalar's robust z and the median of its neighbours', both (n, n_scalars)."""
        own = self._tame(scalars[:, self._varying].astype(np.float64))
        z, theirs = np.empty(own.shape), np.empty(own.shape)
        step = max(1, BLOCK // max(1, neighbours.shape[1] * own.shape[1]))
        for start in range(0, len(own), step):
            block = slice(start, start + step)
            # From the row to its neighbours, so that angles can go the short way round.
            gap = self._reference[neighbours[block]] - own[block, None]  # (n, k, n_scalars)
            gap[..., self._turns] = _shortest(gap[..., self._turns])
            middle = np.median(gap, axis=1)
            spread = PER_MEDIAN_DEVIATION * np.median(np.abs(gap - middle[:, None]), axis=1)
            z[block] = -middle / np.hypot(spread, self._least)
            theirs[block] = own[block] + middle
        theirs[:, self._turns] = _shortest(theirs[:, self._turns])
        theirs[:, self._logs] = np.exp(theirs[:, self._logs])
        return z, theirs

    def _tame(self, values: np.ndarray) -> np.ndarray:
        """Take the logarithm of areas and the like, whose spread grows with their size."""
        logs = values[:, self._logs]
        # A new row may lie below all that the logarithm was chosen on.
        values[:, self._logs] = np.log(np.maximum(logs, np.finfo(np.float64).tiny))
        return values


def _is_skewed(values: np.ndarray) -> bool:
    """Whether positive values are more symmetric as logarithms."""
    return bool(values.min() > 0) and abs(_skew(np.log(values))) < abs(_skew(values))


def _skew(values: np.ndarray) -> float:
    """How much longer the upper half is than the lower, between the 5 % and 95 % quantiles."""
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return float((high + low - 2 * middle) / (high - low)) if high > low else 0.0


def _shortest(degrees: np.ndarray) -> np.ndarray:
    return np.mod(degrees + PERIOD / 2, PERIOD) - PERIOD / 2
