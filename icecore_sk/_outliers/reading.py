"""X as the component scores need it."""

from functools import cached_property

import numpy as np

from icecore_sk import _images
from icecore_sk._outliers import embedding
from icecore_sk._outliers.drawn import drawn_features

METRICS = ("euclidean", "cosine")


class Reading:
    """What there is to know of some rows; the costly parts are found when they are asked for.

    Parameters
    ----------
    X : as the embedder takes it
    embedder : fitted estimator or None
    scalars : "auto", list or None
    metric : {"euclidean", "cosine"}
    picked : list of int or None
        Scalars that were chosen in fit; None chooses by `scalars`.
    closely : bool, default=False
        Whether `intermediate` will be asked for too: then one pass may serve both.

    Attributes
    ----------
    space : ndarray of shape (n, d)
    scalars : ndarray of shape (n, n_scalars) or None
        In the units of X.
    names : list
        Of the scalars.
    picked : list of int
        Which of all scalars of X these are.
    """

    def __init__(
        self,
        X,
        embedder,
        scalars,
        metric: str,
        picked: list | None = None,
        closely: bool = False,
    ):
        self._X = X
        self._embedding = None
        if embedder is None:
            columns = embedding.read_columns(X, scalars, picked)
            space, self.scalars, self.names, self.picked = columns
        else:
            self._embedding = embedding.Embedding(embedder)
            shape = self._embedding.image_shape
            read = embedding.read_scalars(X, shape, scalars, picked)
            self.scalars, self.names, self.picked = read
            if closely and self._embedding.tells_both:
                space, self.intermediate = self._embedding.both(X)
            else:
                space = self._embedding.space(X)
            self._latent = space
        if space.dtype not in (np.float32, np.float64):
            space = space.astype(np.float64)
        if metric == "cosine":
            # Sums along rows that lie apart in memory round otherwise than those of one row alone.
            space = np.ascontiguousarray(space)
            length = np.linalg.norm(space, axis=1, keepdims=True)
            space = space / np.where(length > 0, length, 1.0)
        self.space = space

    def __len__(self) -> int:
        return len(self.space)

    @property
    def reconstructs(self) -> bool:
        """Whether the embedder has a network that reconstructs images, if only beside others."""
        return self._embedding is not None and self._embedding.reconstructs

    @property
    def has_loss(self) -> bool:
        return self.reconstructs or (self._embedding is not None and self._embedding.inverts)

    @property
    def has_intermediate(self) -> bool:
        """Whether a step of the embedder tells what its third stage sees."""
        return self._embedding is not None and self._embedding.looks

    @cached_property
    def intermediate(self) -> np.ndarray:
        assert self._embedding is not None
        return self._embedding.intermediate(self._X)

    @property
    def loss_unit(self) -> str:
        assert self._embedding is not None
        return self._embedding.loss_unit

    @cached_property
    def _inputs(self):
        assert self._embedding is not None
        return self._embedding.network_input(self._X)

    @cached_property
    def loss(self) -> np.ndarray:
        assert self._embedding is not None
        return self._embedding.loss(self._inputs, self._latent)

    @cached_property
    def pictures(self) -> _images.ImageRows | None:
        """The images that the reconstructing network sees, or else those of X."""
        if self._embedding is None:
            return None
        return embedding.image_rows(self._inputs, self._embedding.reconstructed_shape)

    @cached_property
    def grey_range(self) -> float:
        assert self.pictures is not None
        low, high = _images.pixel_range(self.pictures)
        return high - low or 1.0

    def drawn(self, grey_range: float) -> np.ndarray:
        """Return ink, contrast and size of each image, (n, 3)."""
        assert self.pictures is not None
        return drawn_features(self.pictures, grey_range)
