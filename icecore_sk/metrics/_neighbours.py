"""Nearest neighbours of all rows, exact, for all metrics that look at a map's neighbourhoods."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

# Beyond, a k-d tree visits nearly all of its leaves and one matrix product is faster.
_MOST_TREE_DIMENSIONS = 6


def nearest(points: np.ndarray, n_neighbors: int) -> tuple[np.ndarray, np.ndarray]:
    """Return distances and row numbers of each row's nearest other rows, the nearest first."""
    tree = points.shape[1] <= _MOST_TREE_DIMENSIONS
    search = NearestNeighbors(n_neighbors=n_neighbors, algorithm="kd_tree" if tree else "brute")
    return search.fit(points).kneighbors()


def check_n_neighbors(n_neighbors: int, n_rows: int, largest: int, why: str) -> None:
    if n_neighbors > largest:
        raise ValueError(
            f"n_neighbors={n_neighbors} is too many for {n_rows} rows: {why} Pass at most "
            f"{largest}, or more rows."
        )
