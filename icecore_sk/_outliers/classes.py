"""Distance from the nearest known class, and the space in which it is Euclidean."""

from collections.abc import Iterator

import numpy as np
from sklearn.covariance import LedoitWolf

BLOCK = 1024
ROUNDING = 1e-10


def class_means(rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the classes, sorted, their means, and each row less the mean of its class."""
    classes, member = np.unique(labels, return_inverse=True)
    rows = rows.astype(np.float64)  # float32 would lose digits among thousands of rows
    means = np.stack([rows[member == c].mean(axis=0) for c in range(len(classes))])
    return classes, means, without_rounding(rows - means[member], means[member])


def without_rounding(gap: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return differences from a mean, 0 where they are no more than its own rounding.

    Behind a whitening, rounding would be as long as any true difference.
    """
    return np.where(np.abs(gap) > ROUNDING * np.abs(mean), gap, 0.0)


def from_their_mean(rows: np.ndarray) -> np.ndarray:
    mean = rows.mean(axis=0, dtype=np.float64)
    return without_rounding(rows - mean, mean)


def whitening(within: np.ndarray) -> np.ndarray:
    """Return the matrix behind which rows spread alike in all directions.

    Parameters
    ----------
    within : ndarray of shape (n, d)
        Differences of rows from the mean of their class.

    Returns
    -------
    matrix : ndarray of shape (d, d)
        ``within @ matrix`` has the identity as covariance, but for the shrinkage.
    """
    covariance = LedoitWolf(assume_centered=True).fit(within).covariance_
    values, vectors = np.linalg.eigh(covariance)
    floor = values[-1] * 1e-9 or 1.0  # no row differs from another: distances as they are
    return vectors / np.sqrt(np.maximum(values, floor))


def in_blocks(
    rows: np.ndarray, matrix: np.ndarray, mean: float | np.ndarray = 0.0
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield which rows, and their product with a matrix after a mean is taken off.

    Products of matrices round by their shape: blocks of one shape give a row the same result
    whatever its company.
    """
    block = np.zeros((BLOCK, len(matrix)))
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        block[: len(some)] = some - mean
        yield slice(start, start + len(some)), (block @ matrix)[: len(some)]


class ClassDistances:
    """Mahalanobis distances to class means under one shrunk covariance that all classes share.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        The rows with a known label.
    labels : ndarray of shape (n,)
    everything : ndarray of shape (m, d) or None, default=None
        Rows whose spread is taken where those with a label have none; None: no others.
    """

    def __init__(self, rows: np.ndarray, labels: np.ndarray, everything: np.ndarray | None = None):
        self.classes, means, within = class_means(rows, labels)
        if len(rows) == len(self.classes):
            # As many rows as classes leave nothing within them to learn a spread from.
            within = from_their_mean(rows)
        if everything is not None and not within.any():
            # One row has a label, or all that have one are the same.
            within = from_their_mean(everything)
        self._whiten = whitening(within)  # (d, d)
        self._means = means @ self._whiten

    def nearest(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the distance to the nearest class, in standard deviations, and its number."""
        distance, number = np.empty(len(rows)), np.empty(len(rows), int)
        for block, white in in_blocks(rows, self._whiten):
            squares = np.stack([np.square(white - mean).sum(axis=1) for mean in self._means])
            number[block] = squares.argmin(axis=0)
            distance[block] = np.sqrt(squares.min(axis=0))
        return distance, number
