"""Every image at the brightness of the training set."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from icecore_sk import _images
from icecore_sk._input import ImageInputMixin, ImagesOutMixin
from icecore_sk._wrapping import unchanged_on_error


class MeanCorrection(ImagesOutMixin, ImageInputMixin, BaseEstimator):
    """Shifts each image so that its mean brightness is that of the training set.

    Illumination drifts from one run of a microscope to the next, and a network learns the drift
    like any other feature. After the correction images differ in what is drawn, not in how bright
    they are. Contrast stays as it is.

    Parameters
    ----------
    image_shape : tuple of (int, int, int) or None, default=None
        Channels, height and width when X has rows of flattened images; columns beyond
        ``C * H * W`` are scalars and stay as they are.

    Attributes
    ----------
    mean_ : float
        Mean of all pixels in `fit`, in the units of X (grey levels from 0 to 255 for uint8).
    image_shape_ : tuple of (int, int, int)
        Channels, height and width.
    n_features_in_ : int
        Pixels and scalars per row; for a particle table its number of columns.
    feature_names_in_ : ndarray of str
        Column names, where X was a DataFrame.

    Notes
    -----
    An image x becomes ``x - x.mean() + mean_``. All its channels are shifted alike, so that its
    colour stays.

    Floating-point pixels are shifted freely and may leave the range that they came in. Integer
    pixels are rounded, and clipped to the range of their type; the shift is then enlarged until
    the mean of the clipped image is within half a grey level of `mean_`. What is clipped is lost:
    an image with much pure white or black loses contrast there.

    Scalars measured from brightness, such as FlowCam's "Intensity", are not corrected.

    Examples
    --------
    >>> import numpy as np
    >>> from icecore_sk import MeanCorrection
    >>> X = np.stack([np.full((8, 8), grey, np.uint8) for grey in (90, 110)])
    >>> correction = MeanCorrection().fit(X)
    >>> correction.transform(X)[:, 0, 0]
    array([100, 100], dtype=uint8)
    """

    _parameter_constraints: dict = {"image_shape": ["array-like", None]}
    _min_samples = 1

    def __init__(self, *, image_shape=None):
        self.image_shape = image_shape

    def fit(self, X, y=None):
        """Learn the mean brightness.

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
            Where X is boolean, or no set of images of one shape.
        """
        self._validate_params()
        with unchanged_on_error(self):
            rows = self._read(X, reset=True)
            self._white = white(rows.dtype)
            self.mean_ = _images.image_mean_and_scale(rows)[0] * self._white
        return self

    def transform(self, X):
        """Shift each image to the mean brightness `mean_`.

        Parameters
        ----------
        X : array or particle table
            Images as in `fit`. Where one is uint8 and the other is not, white is 255 in the one
            and 1 in the other.

        Returns
        -------
        Xt : array or particle table
            X in its own form and dtype; scalars, index and columns are kept.

        Raises
        ------
        ValueError
            Where X is boolean, or of an integer type that cannot have the brightness `mean_`.
        """
        check_is_fitted(self)
        rows = self._read(X)
        target = self.mean_ / self._white * white(rows.dtype)
        if rows.dtype.kind == "f":
            images = _images.map_images(rows, lambda block: shift_floats(block, target))
        else:
            limits = np.iinfo(rows.dtype)
            if not limits.min <= target <= limits.max:
                raise ValueError(
                    f"X is {rows.dtype}, whose pixels end at {limits.min} and {limits.max}; the "
                    f"brightness learned in fit is {target:.6g} on that scale. Pass images of the "
                    "same dtype and range as in fit."
                )
            images = _images.map_images(rows, lambda block: shift_integers(block, target))
        return _images.replace_images(X, rows, images)


def white(dtype: np.dtype) -> float:
    """What a pixel of this type is divided by to be on the scale that the networks see."""
    if dtype.kind == "b":
        raise ValueError(
            "X is boolean: black and white leaves no room for a shift. Pass grey levels, for "
            "example X.astype(np.float32)."
        )
    return 255.0 if dtype == np.uint8 else 1.0


def shift_floats(images: np.ndarray, target: float) -> np.ndarray:
    """Return images (n, C, H, W) shifted to the mean `target`."""
    shift = target - images.mean(axis=(1, 2, 3), dtype=np.float64, keepdims=True)
    return images + shift.astype(images.dtype)


def shift_integers(images: np.ndarray, target: float) -> np.ndarray:
    """Return images (n, C, H, W) shifted, rounded and clipped to within half of `target`."""
    limits = np.iinfo(images.dtype)
    wide = np.dtype(f"i{min(2 * images.dtype.itemsize, 8)}")
    out = images.copy()
    shift = np.zeros((len(images), 1, 1, 1), wide)
    left = np.arange(len(images))
    while len(left):
        # One level of shift moves the mean by one level or, where pixels are clipped, by less. So
        # no step overshoots by more than the half level of its rounding, and all images arrive.
        step = np.rint(target - out[left].mean(axis=(1, 2, 3)))
        left, step = left[step != 0], step[step != 0]
        shift[left, 0, 0, 0] += step.astype(wide)
        out[left] = np.clip(images[left] + shift[left], limits.min, limits.max)
    return out
