"""Numbers as people read them, and deviations as standard ones."""

import numpy as np

# Of the normal distribution: standard deviation over median, and over mean, absolute deviation.
PER_MEDIAN_DEVIATION = 1.4826
PER_MEAN_DEVIATION = 1.2533

# Shares of a scalar, in percent, between which its colours change: beyond lie the heavy tails.
COLOUR_RANGE = (1, 99)


def colour_limits(finite: np.ndarray) -> tuple[float, float]:
    """Return the smallest and largest value of a scalar between which its colours change."""
    # Values that there are: between zeros and a rare larger one lies nothing to be coloured by.
    low, high = np.percentile(finite, COLOUR_RANGE, method="nearest")
    if low == high:
        # Nearly all values are one: the few others are all there is to see.
        low, high = finite.min(), finite.max()
    return float(low), float(high)


def format_number(value: float) -> str:
    """Return three significant digits, and whole numbers from 1000."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def count_of(n: int, thing: str) -> str:
    """Return a number of things, such as "1 outlier" or "2,000 outliers"."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"
