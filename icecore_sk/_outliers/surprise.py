"""The common scale of all component scores: how surprising a value is, in nats."""

import numpy as np

from icecore_sk._numbers import PER_MEDIAN_DEVIATION

# Beyond this quantile of the training rows a fitted tail speaks instead of their counts.
TAIL_FROM = 0.95
# The tail is fitted between these quantiles, and not to the rows beyond: the outliers are there.
FIT_BETWEEN = (0.9, 0.975)
# What a positive component is measured from, as a share of its median, so that it has a logarithm.
LEAST = 1e-3


class Surprise:
    """Minus the log of the share of training rows that reach a value, continued beyond all of them.

    Values are first brought to a scale without heavy tails, by the logarithm where they are
    positive by nature, else by the inverse hyperbolic sine of robust z-scores. Up to the 95 %
    quantile the share is counted. Beyond, it falls exponentially on that scale, that is, with a
    power of the value, at the pace at which it falls between the 90 % and 97.5 % quantiles. Of
    components with lighter tails the surprise is then too small rather than too large.

    Parameters
    ----------
    values : ndarray of shape (n,)
        The component of the training rows; the higher, the more unusual.
    positive : bool
        Whether the component is a distance, ratio or size. One that has been standardised, and has
        values below 0, is taken as any other.
    """

    def __init__(self, values: np.ndarray, positive: bool):
        self.positive = positive and bool(np.min(values) >= 0)
        self.median = float(np.median(values))
        if self.positive:
            self.least = LEAST * self.median or np.finfo(np.float64).tiny
        else:
            self.spread = robust_spread(values)
        tame = np.sort(self._tame(values))
        # Between training rows the share is interpolated: with steps, the last digit of a value
        # would decide whether it reaches a row that is its equal.
        self.values, first = np.unique(tame, return_index=True)
        self.counted = -np.log((len(tame) - first) / len(tame))
        at = np.quantile(tame, [0.5, *FIT_BETWEEN, TAIL_FROM])
        self.start = float(at[3])
        middle, low, high = at[:3]
        self.pace = self._pace(middle, low, high, len(tame))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the surprise of each value, 0 for the most normal."""
        tame = self._tame(values)
        counted = np.interp(np.minimum(tame, self.start), self.values, self.counted)
        return counted + np.maximum(tame - self.start, 0.0) / self.pace

    def _tame(self, values) -> np.ndarray:
        values = np.asarray(values, dtype=np.float64)
        if self.positive:
            return np.log(np.maximum(values, 0.0) + self.least)
        return np.arcsinh((values - self.median) / self.spread)

    def _pace(self, middle: float, low: float, high: float, n: int) -> float:
        """Return how far the tail reaches while the share falls by a factor e."""
        candidates = (
            (high - low) / np.log((1 - FIT_BETWEEN[0]) / (1 - FIT_BETWEEN[1])),
            # Where many rows share one value, quantiles further apart.
            (high - middle) / np.log(0.5 / (1 - FIT_BETWEEN[1])),
            (self.values[-1] - middle) / np.log(n + 1),
        )
        return next((float(pace) for pace in candidates if pace > 1e-9), 1.0)


def robust_spread(values: np.ndarray, axis: int | None = None):
    """Median absolute deviation, scaled to the standard deviation of a normal distribution.

    Where more than half of the values are equal it would be 0; then it is the standard deviation,
    and 1 where all are equal.
    """
    centre = np.median(values, axis=axis, keepdims=True)
    spread = PER_MEDIAN_DEVIATION * np.median(np.abs(values - centre), axis=axis)
    spread = np.where(spread > 0, spread, np.std(values, axis=axis))
    # Summing equal values rounds, and leaves a spread that is none.
    some = spread > 1e-9 * np.max(np.abs(values), axis=axis, initial=0.0)
    return np.where(some, spread, 1.0)[()]


def combine(surprises: list[np.ndarray]) -> np.ndarray:
    """Return one surprise from those of all components.

    The logarithm of the mean of their exponentials: the surprise that belongs to the harmonic mean
    of the tail probabilities, which holds for components that depend on each other (Wilson 2019).
    One component that is extreme outranks several that are a little unusual, and of two rows with
    the same extreme the one that is unusual in more ways comes first. The mean, not the sum, is
    the correction for how many components had a chance.
    """
    stacked = np.stack(surprises)
    top = stacked.max(axis=0)
    return top + np.log(np.exp(stacked - top).mean(axis=0))
