"""What is drawn on an image, and the loss that is usual for as much."""

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from icecore_sk import _images
from icecore_sk._numbers import PER_MEAN_DEVIATION, PER_MEDIAN_DEVIATION

FEATURES = ("ink", "contrast", "size")
# A pixel is drawn where it departs from the background by this share of the range of grey.
DRAWN = 0.1
# Losses are clipped this many robust standard deviations from the usual.
CLIP = 3.0


def drawn_features(rows: _images.ImageRows, grey_range: float) -> np.ndarray:
    """Return ink, contrast and size of each image, (n, 3) float64.

    The background of an image is the median of its outermost pixels. Ink is the mean departure
    from it and contrast the root of its mean square, both as shares of `grey_range`; size is the
    number of pixels that depart by more than a tenth.
    """
    out = np.empty((len(rows), len(FEATURES)))
    scale = grey_range * (255.0 if rows.dtype == np.uint8 else 1.0)
    for index in _images.blocks(len(rows), rows.image_shape):
        images = rows.gather(index).astype(np.float32)
        edges = [images[:, :, [0, -1]], images[:, :, :, [0, -1]].swapaxes(2, 3)]
        background = np.median(np.concatenate(edges, axis=3), axis=(2, 3), keepdims=True)
        departure = np.abs(images - background) / scale
        flat = departure.reshape(len(index), -1).astype(np.float64)
        out[index, 0] = flat.mean(axis=1)
        out[index, 1] = np.sqrt(np.square(flat).mean(axis=1))
        out[index, 2] = (departure.max(axis=1) > DRAWN).sum(axis=(1, 2))
    return out


class UsualLoss:
    """Learns which loss is usual for what is drawn, and how much it varies there.

    Gradient boosting of small trees that may only rise with each feature: a loss never becomes more
    usual for an image with less on it, nor beyond the range of training. Trees of medians would
    resist outliers, but break that order, so these are means of clipped losses, clipped first as a
    whole and then about what a first fit found usual.
    """

    def __init__(self, features: np.ndarray, loss: np.ndarray):
        clipped = np.clip(loss, *np.quantile(loss, [0.01, 0.99]))
        first = _monotone().fit(features, clipped).predict(features)
        width = CLIP * PER_MEDIAN_DEVIATION * float(np.median(np.abs(loss - first)))
        clipped = np.clip(loss, first - width, first + width)
        self._centre = _monotone().fit(features, clipped)
        away = np.minimum(np.abs(loss - self._centre.predict(features)), width)
        self._spread = _monotone().fit(features, away)
        # Nothing varies less than a tenth of what it does overall: ten equal rows are no law.
        self._least = max(
            0.1 * PER_MEAN_DEVIATION * float(away.mean()), 1e-9 * float(np.ptp(loss)), 1e-12
        )

    def usual(self, features: np.ndarray) -> np.ndarray:
        """Return the usual loss of each row."""
        return self._centre.predict(features)

    def departure(self, features: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Return how far each loss lies above the usual, in robust standard deviations."""
        spread = np.maximum(PER_MEAN_DEVIATION * self._spread.predict(features), self._least)
        return (loss - self.usual(features)) / spread


def _monotone() -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(
        max_iter=60,
        max_leaf_nodes=15,
        min_samples_leaf=20,
        monotonic_cst=[1] * len(FEATURES),
        early_stopping=False,
        random_state=0,
    )
