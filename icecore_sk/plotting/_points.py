"""What maps share: points in a fair order, places for names and thumbnails, and words on them."""

import numpy as np
import pandas as pd
from sklearn.metrics import euclidean_distances

from icecore_sk._numbers import colour_limits
from icecore_sk.plotting._pictures import TEXT_COLOUR


def point_style(n: int, n_points: int | None = None) -> dict:
    """Return how n points are drawn: smaller and lighter the more, so that 100,000 stay a map.

    Where only `n_points` of them are drawn, they are larger, and as light as all.
    """
    n_points = n if n_points is None else n_points
    return {
        "s": float(np.clip(20_000 / n_points, max(20_000 / n, 1), 30)),
        "alpha": float(np.clip(2_000 / n, 0.3, 0.8)),
        "linewidths": 0,
        "rasterized": n > 5_000,
    }


def shuffled_rows(n: int) -> np.ndarray:
    """Return the rows in an order that is random, and the same for every map of n particles."""
    return np.random.RandomState(0).permutation(n)


def as_scalar(values) -> np.ndarray:
    """Return numbers as floats, missing ones as NaN, or raise."""
    try:
        return pd.to_numeric(pd.Series(values)).to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise ValueError(
            "kind='scalar' needs numbers, but values has text. Pass kind='category'."
        ) from None


def middle_of(points: np.ndarray, sample: int = 500) -> np.ndarray:
    """Return the point in the middle of where most are.

    Of the two halves of a group that lies in two places the median would be between them, so
    distances beyond the typical one count no more than that.
    """
    some = points[np.linspace(0, len(points) - 1, min(sample, len(points))).astype(int)]
    distances = euclidean_distances(some)
    return some[np.minimum(distances, np.median(distances)).sum(axis=1).argmin()]


def spread_rows(points: np.ndarray, side: float, n_max: int) -> np.ndarray:
    """Choose points whose squares of `side` do not overlap, spread evenly over all.

    From the middle on, each is the one farthest from all chosen before (in the larger of the two
    coordinate differences), until squares would touch or there are `n_max`.
    """
    chosen = [int(np.abs(points - np.median(points, axis=0)).max(axis=1).argmin())]
    gap = np.full(len(points), np.inf)
    while len(chosen) < n_max:
        gap = np.minimum(gap, np.abs(points - points[chosen[-1]]).max(axis=1))
        if gap.max() < side:
            break
        chosen.append(int(gap.argmax()))
    return np.array(chosen)


def write_on_map(ax, words: str, place) -> None:
    """Write a name into a map, readable above any points."""
    from matplotlib.patheffects import withStroke

    outline = [withStroke(linewidth=3, foreground="white")]
    style = {"ha": "center", "va": "center", "weight": "bold", "path_effects": outline}
    ax.annotate(words, place, parse_math=False, **style)


def write_note(ax, words: str) -> None:
    """Write counts into the lower left corner of a map, readable above any points."""
    from matplotlib.patheffects import withStroke

    if words:
        outline = [withStroke(linewidth=3, foreground="white")]
        style = {"transform": ax.transAxes, "color": TEXT_COLOUR, "path_effects": outline}
        ax.text(0.01, 0.01, words, va="bottom", **style)


def names_fit(coordinates: np.ndarray, groups: dict) -> bool:
    """Whether each name can stand in the map, clearly at its own particles and no other name."""
    span = np.ptp(coordinates, axis=0).max() or 1.0
    middles = []
    for mine in groups.values():
        middles.append(middle_of(coordinates[mine]))
        away = np.abs(coordinates[mine] - middles[-1]).max(axis=1) / span
        if np.median(away) > 0.2:
            return False  # scattered all over, so that no one place is its own
    lengths = [len(name) for name in groups]
    for i, j in zip(*np.triu_indices(len(middles), 1), strict=True):
        beside, above = np.abs(middles[i] - middles[j]) / span
        # About the size of a letter on a map of six inches.
        if above < 0.045 and beside < 0.012 * (lengths[i] + lengths[j]):
            return False
    return True


def colour_range(values: np.ndarray, log: bool):
    """Return the norm of a scalar's colours, and at which ends the bar points on to more."""
    from matplotlib.colors import LogNorm, Normalize

    known = values[np.isfinite(values)]
    if not len(known):
        raise ValueError(
            "values has no finite number to colour by. Pass values=None for a plain map."
        )
    if log and (known <= 0).any():
        raise ValueError(
            f"log=True needs positive values, but {int((known <= 0).sum())} are 0 or below "
            f"(the smallest is {known.min():.3g}). Pass log=False."
        )
    low, high = colour_limits(known)
    ends = {(False, False): "neither", (True, False): "min", (False, True): "max"}
    beyond = bool((values < low).any()), bool((values > high).any())
    return (LogNorm if log else Normalize)(low, high), ends.get(beyond, "both")


def colour_bar(figure, axes, norm, colours: str, extend: str):
    """Draw a colour bar beside axes; logarithmic ones are labelled with plain numbers."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import LogFormatter

    # Not of the points, whose transparency it would take over.
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, shrink=0.7, extend=extend)
    if isinstance(norm, LogNorm):
        bar.ax.yaxis.set_major_formatter("{x:,g}")
        bar.ax.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    return bar
