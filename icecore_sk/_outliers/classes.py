"""Distance from the nearest known class."""

import numpy as np
from sklearn.covariance import LedoitWolf

BLOCK = 1024


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
        self.classes, member = np.unique(labels, return_inverse=True)
        rows = rows.astype(np.float64)
        means = np.stack([rows[member == c].mean(axis=0) for c in range(len(self.classes))])
        # As many rows as classes leave nothing within them to learn a spread from.
        within = rows - means[member] if len(rows) > len(self.classes) else rows - rows.mean(axis=0)
        if everything is not None and not within.any():
            # One row has a label, or all that have one are the same.
            within = everything - everything.mean(axis=0, dtype=np.float64)
        covariance = LedoitWolf(assume_centered=True).fit(within).covariance_
        values, vectors = np.linalg.eigh(covariance)
        floor = values[-1] * 1e-9 or 1.0  # no row differs from another: distances as they are
        self._whiten = vectors / np.sqrt(np.maximum(values, floor))  # (d, d)
        self._means = means @ self._whiten

    def nearest(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the distance to the nearest class, in standard deviations, and its number."""
        distance, number = np.empty(len(rows)), np.empty(len(rows), int)
        # Products of matrices round by their shape: blocks of one shape give a row the same
        # distance whatever its company.
        block = np.zeros((BLOCK, self._whiten.shape[0]))
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            block[: len(some)] = some
            white = (block @ self._whiten)[: len(some)]
            squares = np.stack([np.square(white - mean).sum(axis=1) for mean in self._means])
            number[start : start + BLOCK] = squares.argmin(axis=0)
            distance[start : start + BLOCK] = np.sqrt(squares.min(axis=0))
        return distance, number
