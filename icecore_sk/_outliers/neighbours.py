"""Nearest training rows of any row, itself left out."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

# Rows above which the search is approximate. An exact one takes time with their square, but the
# other is compiled first: in a fresh process of one thread, 48,000 rows took 130 s approximately,
# and exactly 6 s (16 dimensions) to 20 s (256).
APPROXIMATE_ABOVE = 50_000
# Candidates beyond those asked for. The search rounds, so its order among near ties is not that of
# the distances computed here; a few more let the true ones in.
SPARE = 6
# How far beyond the best candidate the approximate search goes on looking, as a share of its
# distance: measured on 22,000 rows in 64 dimensions, 0.1 finds 98.9 % of the neighbours.
EPSILON = 0.1
# A row counts as itself where it lies this much nearer than its neighbours do: the same row sent
# through an embedder again may come back with other last digits.
SAME = 1e-6
ALGORITHMS = ("auto", "exact", "approximate")
BLOCK = 4096


class Neighbours:
    """Index of the training rows.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
    n_neighbors : int
        At most n - 1.
    algorithm : {"auto", "exact", "approximate"}
    seed : int
        Governs the approximate search.

    Attributes
    ----------
    distance : ndarray of shape (n,)
        Mean distance of each training row to its neighbours.
    index : ndarray of shape (n, n_neighbors)
        Its neighbours, the nearest first.
    """

    def __init__(self, rows: np.ndarray, n_neighbors: int, algorithm: str, seed: int):
        self.rows = rows
        self.n_neighbors = n_neighbors
        self.algorithm = algorithm
        self._seed = seed
        self.restore_search()
        near, distances = self._candidates(rows)
        self._same = SAME * float(np.median(distances[:, 1]))
        self.index, self.distance = self._leave_out(near, distances)

    def restore_search(self) -> None:
        """Build the search, which follows from the rows and the seed, and is in no file."""
        self._search = self._approximate(self._seed) if self.approximate else self._exact()

    @property
    def approximate(self) -> bool:
        """Whether the search is approximate."""
        # Not an attribute: a damaged file in which this is a one would compile for half a minute.
        if self.algorithm == "auto":
            return len(self.rows) > APPROXIMATE_ABOVE
        return self.algorithm == "approximate"

    @property
    def _n_candidates(self) -> int:
        return min(self.n_neighbors + 1 + SPARE, len(self.rows))

    def _exact(self):
        return NearestNeighbors(n_neighbors=self._n_candidates).fit(self.rows)

    def _approximate(self, seed: int):
        # Imported here because its compiler takes seconds.
        from pynndescent import NNDescent

        search = NNDescent(self.rows.astype(np.float32), n_neighbors=30, random_state=seed)
        search.prepare()
        return search

    def find(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each row's neighbours (n, k) and the mean distance to them (n,)."""
        return self._leave_out(*self._candidates(rows))

    def sparsity(self, index: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Return the mean distance of rows as multiples of their neighbours' own."""
        around = self.distance[index].mean(axis=1)
        positive = self.distance[self.distance > 0]
        # Among copies of one row nothing is far from anything, and a ratio would be infinite.
        least = 1e-6 * float(np.median(positive)) if len(positive) else 1.0
        return np.maximum(distance, least) / np.maximum(around, least)

    def _candidates(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return training rows near each row and their distances, the nearest first."""
        if self.approximate:
            near = self._query(np.ascontiguousarray(rows, dtype=np.float32))
        else:
            near = self._search.kneighbors(rows, return_distance=False)
        distances = np.empty(near.shape)
        for start in range(0, len(rows), BLOCK):
            block = slice(start, start + BLOCK)
            some = rows[block].astype(np.float64)
            for j in range(near.shape[1]):
                # Computed anew as differences: the search may round through products, after which
                # a row is not at distance zero from itself.
                gap = some - self.rows[near[block, j]]
                distances[block, j] = np.sqrt(np.einsum("ij,ij->i", gap, gap))
        # By distance and, where that ties, by number: never by the order of the search.
        order = np.lexsort((near, distances), axis=1)
        return np.take_along_axis(near, order, axis=1), np.take_along_axis(distances, order, axis=1)

    def _query(self, rows: np.ndarray) -> np.ndarray:
        """Search row by row.

        In one call the random starts of a row depend on how many the rows before it drew, so that
        its neighbours would depend on its company.
        """
        near = np.empty((len(rows), self._n_candidates), np.int64)
        for i in range(len(rows)):
            near[i] = self._search.query(rows[i : i + 1], k=near.shape[1], epsilon=EPSILON)[0]
        return near

    def _leave_out(self, near, distances) -> tuple[np.ndarray, np.ndarray]:
        k = self.n_neighbors
        itself = distances[:, :1] <= self._same
        distances = np.where(itself, distances[:, 1 : k + 1], distances[:, :k])
        return np.where(itself, near[:, 1 : k + 1], near[:, :k]), distances.mean(axis=1)
