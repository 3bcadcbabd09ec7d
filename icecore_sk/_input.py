"""Reading and checking X in its three forms, for everything that takes images."""

import math
import warnings

import numpy as np
import pandas as pd
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import _safe_indexing, check_array, check_consistent_length, column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_feature_names, _check_n_features, validate_data

from icecore_sk import _images


def known_labels(y: np.ndarray) -> np.ndarray:
    """Mask of the rows with a label, given as objects: not None, not NaN or NA, not -1."""
    known = ~pd.isna(y)
    known[known] = y[known] != -1  # NA is neither equal nor unequal
    return known


def as_labels(labels: np.ndarray, name: str = "y") -> np.ndarray:
    """Return labels given as objects as an array of their own kind.

    numpy would make one class of 1 and "1", so text beside numbers is refused.
    """
    text = [label for label in labels if isinstance(label, str)]
    if text and len(text) < len(labels):
        number = next(label for label in labels if not isinstance(label, str))
        raise ValueError(
            f"{name} has text and numbers, such as {text[0]!r} and {number!r}; expected labels of "
            "one kind. Pass all of them as text, [str(label) for label in ...]."
        )
    return np.array(labels.tolist())


def read_labels(X, y, warn: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows of X have a label, and these labels."""
    check_consistent_length(X, y)
    labels = column_or_1d(np.asarray(y, dtype=object), warn=warn)
    known = known_labels(labels)
    return known, as_labels(labels[known])


def known_classes(X, y) -> tuple[np.ndarray, np.ndarray]:
    """Return the same; refuse y that names no classes."""
    known, labels = read_labels(X, y, warn=True)
    if known.any():
        check_classification_targets(labels)
    return known, labels


def labelled_rows(X, y):
    """Return the rows of X that have a label, and their labels.

    A classifier would learn what stands for no label as a class of its own.
    """
    known, labels = known_classes(X, y)
    if known.all():
        return X, y
    if not known.any():
        raise ValueError(
            "y has no label (-1, None and NaN stand for none), and the embedder learns classes. "
            "Label some rows, or pass an embedder that needs none, such as VAE()."
        )
    return _safe_indexing(X, np.flatnonzero(known)), labels


def n_missing_labels(y) -> int:
    """Count None, NaN and NA in labels that are no array yet.

    In an array of strings NaN is the string "nan".
    """
    return int(pd.isna(np.asarray(y, dtype=object)).sum())


def check_target(estimator, y, way_out: str) -> np.ndarray:
    """Return labels of two classes or more, none missing; `way_out` says what to do with those."""
    name = type(estimator).__name__
    if y is None:
        raise ValueError(f"{name} requires y to be passed, but the target y is None.")
    n_missing = n_missing_labels(y)
    if n_missing:
        raise ValueError(f"y contains {n_missing} missing label(s) (NaN or None). {way_out}")
    y = column_or_1d(y, warn=True)
    check_classification_targets(y)
    classes = np.unique(y).tolist()
    if len(classes) < 2:
        raise ValueError(
            f"{name} needs at least 2 classes, but y holds {len(classes)} class: {classes}."
        )
    return y


class ImageInputMixin:
    """Gives an estimator with the parameter `image_shape` the method `_read`.

    Fitted attributes: `image_shape_`, `n_features_in_`, `feature_names_in_` (tables and
    DataFrames), `n_scalars_`, `scalar_names_` (tables; else None), and `input_form_`, the form in
    which X came.
    """

    _min_samples = 2  # in fit; batch norm and every spread need two

    image_shape: tuple[int, int, int] | None
    image_shape_: tuple[int, int, int]

    def _read(self, X, reset: bool = False) -> _images.ImageRows:
        """Read X in one of its forms; `reset` learns its shape, else it must fit the learned."""
        shape = self._expected_shape(reset)
        if _images.image_columns(X):
            rows = self._read_table(X, reset)
            if shape is not None and rows.image_shape != shape:
                raise ValueError(
                    f"The images in X have shape {rows.image_shape}, but {self._who(reset)} "
                    f"{shape}. Resize them when they are loaded."
                )
        else:
            rows = self._read_array(X, reset, shape)
        at_least = self._min_samples if reset else 1
        if len(rows) < at_least:
            raise ValueError(
                f"Found array with {len(rows)} sample(s) (shape={np.shape(X)}) while a minimum of "
                f"{at_least} is required by {type(self).__name__}."
            )
        if reset:
            self.image_shape_ = rows.image_shape
            self.n_scalars_ = rows.n_scalars
            self.scalar_names_ = rows.scalar_names
            self.input_form_ = rows.form
        elif rows.n_scalars != self.n_scalars_:
            raise ValueError(
                f"X has {rows.n_scalars} scalar(s) beside the images, but {type(self).__name__} "
                f"was fitted with {self.n_scalars_}. Pass the same columns as in fit."
            )
        return rows

    def _expected_shape(self, reset: bool):
        if not reset:
            return self.image_shape_
        return None if self.image_shape is None else _images.check_image_shape(self.image_shape)

    def _who(self, reset: bool) -> str:
        return "image_shape is" if reset else f"{type(self).__name__} was fitted with images of"

    def _read_table(self, X: pd.DataFrame, reset: bool) -> _images.ImageRows:
        if reset or self.input_form_ == "table":
            _check_feature_names(self, X, reset=reset)
            _check_n_features(self, X, reset=reset)
        return _images.read_table(X)

    def _read_array(self, X, reset: bool, shape) -> _images.ImageRows:
        X = self._as_regular(X)
        if getattr(X, "ndim", 2) in (3, 4):
            # A table or DataFrame cannot get here: both are two-dimensional.
            X = check_array(X, dtype="numeric", allow_nd=True, ensure_min_samples=0, estimator=self)
            if 0 in X.shape[1:]:
                raise ValueError(f"X of shape {X.shape} has images without pixels.")
            rows = _images.read_images(X, shape)
            if reset:
                self.n_features_in_ = math.prod(rows.image_shape)
                if hasattr(self, "feature_names_in_"):
                    del self.feature_names_in_
            return rows
        self._hint_one_image(X, reset, shape)
        if reset or self.input_form_ != "table":
            X = validate_data(
                self,
                X,
                reset=reset,
                dtype="numeric",
                ensure_min_samples=self._min_samples if reset else 1,
            )
        else:
            X = check_array(X, dtype="numeric", estimator=self)
        if reset and shape is None:
            message = _images.warn_if_flattened(X.shape[1])
            if message:
                warnings.warn(message, UserWarning, stacklevel=4)
        return _images.read_rows(X, shape)

    def _as_regular(self, X):
        """Turn sequences into arrays and refuse object arrays of images of several sizes."""
        if isinstance(X, pd.Series) and _images.is_tensor_dtype(X.dtype):
            raise ValueError(
                f"X is one image column ({X.name!r}); expected a table. Pass X.to_frame()."
            )
        if hasattr(X, "__array__") and not isinstance(X, np.ndarray | pd.DataFrame | pd.Series):
            X = np.asarray(X)  # tensors, memory views of other libraries
        if isinstance(X, list | tuple):
            shapes = {np.shape(x) for x in X[:1000] if isinstance(x, np.ndarray)}
            if len(shapes) > 1:
                raise ValueError(self._ragged_message(shapes))
            X = np.asarray(X)
        if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
            shapes = {np.shape(x) for x in X[:1000]}
            if shapes and min(map(len, shapes)) >= 2:
                if len(shapes) > 1:
                    raise ValueError(self._ragged_message(shapes))
                raise ValueError(
                    f"X is an object array of {len(X)} images; expected one numeric array. "
                    "Pass np.stack(X)."
                )
        return X

    @staticmethod
    def _ragged_message(shapes) -> str:
        some = ", ".join(str(shape) for shape in sorted(shapes, key=str)[:3])
        return (
            f"X holds images of different shapes ({some}, ...); expected one shape. "
            "Resize or pad them first."
        )

    def _hint_one_image(self, X, reset: bool, shape) -> None:
        if reset or shape is None or getattr(X, "shape", None) != shape[1:]:
            return
        if X.shape[1] != math.prod(shape) + self.n_scalars_:
            raise ValueError(
                f"X of shape {X.shape} is one image; {type(self).__name__} expects a set of "
                "images. Pass X[None]."
            )


class ImagesOutMixin(OneToOneFeatureMixin, TransformerMixin):
    """A transformer that returns images in the form that they came in.

    Arrays of images have no columns to be named, and stay arrays where `set_output` asks for
    DataFrames, as a Pipeline does of all its steps.
    """

    def set_output(self, *, transform=None):
        """Say what `transform` makes of rows and tables; arrays of images stay as they are.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            None changes nothing.

        Returns
        -------
        self : object
        """
        # scikit-learn's own is not there where no names are.
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    @available_if(lambda self: getattr(self, "input_form_", "rows") in ("rows", "table"))
    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns of X, where it had columns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns of X; None takes those of `fit`.

        Returns
        -------
        names : ndarray of str
        """
        return super().get_feature_names_out(input_features)
