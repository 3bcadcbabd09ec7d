"""One scale for all pixels."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from icecore_sk import _images
from icecore_sk._input import ImageInputMixin, ImagesOutMixin


class ImageMinMaxScaler(ImagesOutMixin, ImageInputMixin, BaseEstimator):
    """Scales all pixels of all images together, so that training images span a range.

    scikit-learn's MinMaxScaler gives every pixel a scale of its own. At the border, where
    training images are constant, the least change in a new image then becomes enormous; with
    digits left out of training that falsifies every score.

    Parameters
    ----------
    feature_range : tuple of (float, float), default=(0, 1)
        Smallest and largest pixel of the training images after scaling. Pixels of new images may
        lie outside.
    image_shape : tuple of (int, int, int) or None, default=None
        Channels, height and width when X has rows of flattened images; columns beyond
        ``C * H * W`` are scalars and stay as they are.

    Attributes
    ----------
    data_min_, data_max_ : float
        Smallest and largest pixel in `fit`, uint8 divided by 255.
    image_shape_ : tuple of (int, int, int)
        Channels, height and width.
    n_features_in_ : int
        Pixels and scalars per row; for a particle table its number of columns.
    feature_names_in_ : ndarray of str
        Column names, where X was a DataFrame.
    n_scalars_ : int
        Columns of X beside the pixels.
    scalar_names_ : list of str or None
        Their names, where X was a particle table.
    input_form_ : {"grey", "images", "rows", "table"}
        How X held the images in fit.

    Notes
    -----
    A pixel x becomes ``(x - data_min_) / (data_max_ - data_min_)``, stretched to `feature_range`;
    where all pixels are equal, the least of that range. uint8 is divided by 255 before.

    Examples
    --------
    >>> import numpy as np
    >>> from icecore_sk import ImageMinMaxScaler
    >>> X = np.random.RandomState(0).normal(size=(10, 8, 8))
    >>> scaler = ImageMinMaxScaler().fit(X)
    >>> Xt = scaler.transform(X)
    >>> float(Xt.min()), float(Xt.max())
    (0.0, 1.0)
    """

    _parameter_constraints: dict = {
        "feature_range": [tuple, list],
        "image_shape": ["array-like", None],
    }
    _min_samples = 1

    def __init__(self, feature_range=(0, 1), *, image_shape=None):
        self.feature_range = feature_range
        self.image_shape = image_shape

    def fit(self, X, y=None):
        """Learn the smallest and largest pixel.

        Parameters
        ----------
        X : array of shape (n, H, W), (n, C, H, W) or (n, p), or particle table
        y : ignored

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            Where `feature_range` is not (low, high), or X no set of images of one shape.
        """
        self._validate_params()
        low, high = self.feature_range
        if not low < high:
            raise ValueError(
                f"feature_range={self.feature_range!r} must be (low, high) with low < high."
            )
        rows = self._read(X, reset=True)
        unit = 255.0 if rows.dtype == np.uint8 else 1.0
        self.data_min_ = float(min(chunk.min() for chunk in rows.chunks)) / unit
        self.data_max_ = float(max(chunk.max() for chunk in rows.chunks)) / unit
        return self

    def transform(self, X):
        """Scale the pixels.

        Parameters
        ----------
        X : array or particle table

        Returns
        -------
        Xt : array or particle table
            X in its own form with floating-point pixels; scalars, index and columns are kept.
        """
        check_is_fitted(self)
        rows = self._read(X)
        dtype = rows.dtype if rows.dtype.kind == "f" else np.float32
        low, high = self.feature_range
        factor = (high - low) / ((self.data_max_ - self.data_min_) or 1.0)

        def scale(images):
            if images.dtype == np.uint8:
                images = images / np.float32(255)
            return (images - self.data_min_) * factor + low

        return _images.replace_images(X, rows, _images.map_images(rows, scale, dtype))
