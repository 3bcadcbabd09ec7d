"""Numbers as people read them, and deviations as standard ones."""

# Of the normal distribution: standard deviation over median, and over mean, absolute deviation.
PER_MEDIAN_DEVIATION = 1.4826
PER_MEAN_DEVIATION = 1.2533


def format_number(value: float) -> str:
    """Return three significant digits, and whole numbers from 1000."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def count_of(n: int, thing: str) -> str:
    """Return a number of things, such as "1 outlier" or "2,000 outliers"."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"
