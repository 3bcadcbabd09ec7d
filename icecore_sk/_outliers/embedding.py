"""What a fitted embedder says of X: the space, the images, the scalars and the loss."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils._set_output import _get_output_config

from icecore_sk import _images


def steps(embedder) -> Iterator:
    """Yield the estimators that X passes through, one after the other."""
    if isinstance(embedder, FrozenEstimator):
        yield from steps(embedder.estimator)
    elif isinstance(embedder, Pipeline):
        for _, step in embedder.steps:
            if step not in (None, "passthrough"):
                yield from steps(step)
    else:
        yield embedder


class Embedding:
    """Asks a fitted embedder by what it can do, not by what it is."""

    def __init__(self, embedder):
        self.embedder = embedder
        self._steps = list(steps(embedder))
        self._last = self._last_that(reconstructs)
        self._looking = self._last_that(looks)

    def _last_that(self, can: Callable[[object], bool]) -> int | None:
        able = [i for i, step in enumerate(self._steps) if can(step)]
        return able[-1] if able else None

    @property
    def reconstructs(self) -> bool:
        """Whether any step reconstructs images, or any of those that a union has side by side."""
        return self._last is not None

    @property
    def _reconstructing(self):
        """The last step that reconstructs images."""
        assert self._last is not None
        return self._steps[self._last]

    @property
    def image_shape(self):
        """Shape of the images that a step was fitted with, or None."""
        return next((shape for shape in map(shape_of, self._steps) if shape is not None), None)

    @property
    def reconstructed_shape(self):
        """Shape of the images that are reconstructed, or else that a step was fitted with."""
        return shape_of(self._reconstructing) if self.reconstructs else self.image_shape

    @property
    def inverts(self) -> bool:
        return hasattr(self.embedder, "inverse_transform")

    def space(self, X) -> np.ndarray:
        return self._checked(self.embedder.transform(X))

    def _checked(self, space) -> np.ndarray:
        space = np.asarray(space)
        if space.ndim != 2 or not np.isfinite(space).all():
            raise ValueError(
                f"embedder={self.embedder!r} returned an array of shape {space.shape}"
                f"{' with NaN or infinity' if space.ndim == 2 else ''}; expected finite rows of "
                "shape (n, n_features)."
            )
        return space

    def network_input(self, X):
        """X as it reaches the step that reconstructs images, or as it is where there is none."""
        return self._input_of(self._last, X)

    @property
    def looks(self) -> bool:
        """Whether a step tells what its network's third stage sees."""
        return self._looking is not None

    def intermediate(self, X) -> np.ndarray:
        """Return what the third stage of the last network, or networks side by side, sees of X."""
        assert self._looking is not None
        step, X = self._steps[self._looking], self._input_of(self._looking, X)
        if isinstance(step, FeatureUnion):
            return np.hstack([member.intermediate(X) for member in members(step)])
        return np.asarray(step.intermediate_features(X))

    @property
    def tells_both(self) -> bool:
        """Whether one pass through the networks gives the space and the third stage."""
        if self._looking is None:
            return False
        step, is_last = self._steps[self._looking], self._looking == len(self._steps) - 1
        # What follows may need the names that only `transform` gives its columns.
        return tells_both(step) and (is_last or gives_arrays(step))

    def both(self, X) -> tuple[np.ndarray, np.ndarray]:
        """Return what `space` and `intermediate` do, where `tells_both` says so."""
        assert self._looking is not None
        step, X = self._steps[self._looking], self._input_of(self._looking, X)
        if isinstance(step, FeatureUnion):
            parts = zip(*(member.both(X) for member in members(step)), strict=True)
            space, intermediate = map(np.hstack, parts)
        else:
            space, intermediate = step._transform_both(X)
        for later in self._steps[self._looking + 1 :]:
            space = later.transform(space)
        return self._checked(space), intermediate

    def _input_of(self, number: int | None, X):
        """X as it reaches a step."""
        for step in self._steps[: number or 0]:
            X = step.transform(X)
        return X

    def loss(self, X, space: np.ndarray | None = None) -> np.ndarray:
        """Return the loss of each row: nats where the network tells, else mean squared error.

        X is what `network_input` returned, and `space` is what X was mapped to, which is needed
        where no step reconstructs images. Of networks side by side it is the mean of their losses.
        """
        if not self.reconstructs:
            values = X.to_numpy() if hasattr(X, "to_numpy") else np.asarray(X)
            restored = np.asarray(self.embedder.inverse_transform(space))
            return np.square(values.astype(np.float64) - restored).mean(axis=1)
        network = self._reconstructing
        if isinstance(network, FeatureUnion):
            losses = [member.loss(member.network_input(X)) for member in of_one_unit(network)]
            return np.mean(losses, axis=0)
        if hasattr(network, "score_samples"):
            return -np.asarray(network.score_samples(X), dtype=np.float64)
        rows = image_rows(X, self.image_shape)
        assert rows is not None  # the network has just read them
        restored = np.asarray(network.reconstruct(X)).reshape(len(rows), *rows.image_shape)
        scale = 255.0 if rows.dtype == np.uint8 else 1.0
        error = np.empty(len(rows))
        for index in _images.blocks(len(rows), rows.image_shape):
            gap = rows.gather(index) / scale - restored[index]
            error[index] = np.square(gap).mean(axis=(1, 2, 3))
        return error

    @property
    def loss_unit(self) -> str:
        network = self._reconstructing if self.reconstructs else None
        if isinstance(network, FeatureUnion):
            return of_one_unit(network)[0].loss_unit
        return "nats" if hasattr(network, "score_samples") else "mean squared error"


def learns_classes(embedder) -> bool:
    """Whether an embedder takes labels as classes to learn, or anything inside it does."""
    if isinstance(embedder, Pipeline):
        return any(learns_classes(step) for _, step in embedder.steps)
    if isinstance(embedder, FeatureUnion):
        return any(learns_classes(member) for _, member in embedder.transformer_list)
    fits = hasattr(embedder, "fit") and not isinstance(embedder, FrozenEstimator)
    return fits and is_classifier(embedder)


def members(union: FeatureUnion) -> list[Embedding]:
    """Return the embedders whose features a FeatureUnion puts side by side."""
    return [Embedding(member) for _, member in union.transformer_list if member != "drop"]


def reconstructs(step) -> bool:
    """Whether a step reconstructs images: of a union, any of its members."""
    if isinstance(step, FeatureUnion):
        return any(member.reconstructs for member in members(step))
    return hasattr(step, "reconstruct")


def of_one_unit(union: FeatureUnion) -> list[Embedding]:
    """Return the members that reconstruct images: those that tell nats, if there are such.

    Nats and squared errors have no mean.
    """
    able = [member for member in members(union) if member.reconstructs]
    return [member for member in able if member.loss_unit == "nats"] or able


def looks(step) -> bool:
    """Whether a step tells what the third stage of its networks sees: of a union, all of them."""
    if isinstance(step, FeatureUnion):
        able = [member.looks for member in members(step)]
        return bool(able) and all(able)
    return hasattr(step, "intermediate_features")


def tells_both(step) -> bool:
    """Whether a step's `transform` and its third stage can be had of one pass."""
    if isinstance(step, FeatureUnion):
        unweighted = not step.transformer_weights
        return unweighted and all(member.tells_both for member in members(step))
    if isinstance(step, FrozenEstimator):
        return tells_both(step.estimator)
    if not hasattr(step, "_transform_both"):
        return False
    owners = [
        next(i for i, kind in enumerate(type(step).__mro__) if name in vars(kind))
        for name in ("_transform_both", "transform", "intermediate_features")
    ]
    # A subclass may have its own idea of either.
    own = owners[0] == min(owners)
    return own and (not hasattr(step, "classifier_") or tells_both(step.classifier_))


def gives_arrays(step) -> bool:
    """Whether a step's `transform` returns arrays, not tables (see `set_output`)."""
    step = getattr(step, "classifier_", step)
    return _get_output_config("transform", step)["dense"] == "default"


def shape_of(step):
    """Shape of the images that a step was fitted with, or None."""
    if isinstance(step, FeatureUnion):
        shapes = (member.image_shape for member in members(step))
        return next((shape for shape in shapes if shape is not None), None)
    return getattr(step, "image_shape_", None)


def image_rows(X, image_shape) -> _images.ImageRows | None:
    """Read the images of X, or return None where it has none."""
    images = _images.image_columns(X)
    if images:
        return _images.read_table(X[images])
    if not isinstance(X, pd.DataFrame):
        X = np.asarray(X)
    if X.ndim in (3, 4):
        return _images.read_images(np.asarray(X), None)
    if image_shape is None or X.shape[1] < math.prod(image_shape):
        return None
    return _images.read_rows(np.asarray(X), tuple(image_shape))


def read_columns(X, scalars, picked=None) -> tuple[np.ndarray, np.ndarray | None, list, list]:
    """Return the space, the scalars, their names and columns, where there is no embedder.

    The columns that `scalars` names are compared, all others are the space. `picked` are the
    columns that were chosen in fit.
    """
    values, names = np.asarray(X), column_names(X)
    if picked is None:
        picked = [] if scalars in ("auto", None) else positions(list(scalars), names)
    rest = [j for j in range(len(names)) if j not in set(picked)]
    if not rest:
        raise ValueError(
            f"scalars={list(scalars)} are all columns of X, and none is left to find neighbours by."
            " Name fewer, or pass embedder."
        )
    space = values[:, rest] if picked else values
    chosen = [names[j] for j in picked]
    return space, _finite(values, picked, chosen), chosen, picked


def read_scalars(X, image_shape, scalars, picked=None) -> tuple[np.ndarray | None, list, list]:
    """Return the scalars of X beside its images, their names, and which of them these are.

    "auto" takes all of them: the columns beside the image of a table, those beyond the pixels of a
    row, and every column of a DataFrame that has no images. The columns of an array without images
    have no names to be told by, and are taken only where `scalars` lists their numbers. `picked`
    are those that were chosen in fit: X may have come as a table then and be an array now.
    """
    if scalars is None or getattr(X, "ndim", 2) != 2:
        if scalars in ("auto", None) and not picked:
            return None, [], []
        raise ValueError(
            f"scalars={scalars!r} are compared, but X has only images. Pass a particle table."
        )
    images = _images.image_columns(X)
    n_pixels = math.prod(image_shape) if image_shape is not None else 0
    n_columns = np.shape(X)[1]
    if images:
        columns = [j for j in range(n_columns) if X.columns[j] not in images]
    else:
        columns = list(range(n_pixels if n_columns >= n_pixels else 0, n_columns))
    all_names = column_names(X)
    names = [all_names[j] for j in columns]
    if picked is None:
        told = isinstance(X, pd.DataFrame) or n_pixels
        if scalars == "auto":
            picked = list(range(len(names))) if told else []
        else:
            picked = positions(list(scalars), names)
    chosen = [names[j] for j in picked]
    return _finite(X, [columns[j] for j in picked], chosen), chosen, picked


def column_names(X) -> list:
    return list(X.columns) if isinstance(X, pd.DataFrame) else list(range(np.shape(X)[1]))


def positions(chosen: list, names: list) -> list[int]:
    missing = [name for name in chosen if name not in names]
    if missing:
        some = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
        raise ValueError(
            f"scalars has {missing[0]!r}, which X has not; expected names among {some or 'none'}."
        )
    return [names.index(name) for name in chosen]


def _finite(X, columns: list[int], names: list) -> np.ndarray | None:
    """Return columns of X, which have these names, after refusing what cannot be compared."""
    if not columns:
        return None
    try:
        # These alone: an embedder may read texts beside them.
        if isinstance(X, pd.DataFrame):
            scalars = X.iloc[:, columns].to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            scalars = np.asarray(X)[:, columns].astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"scalars={names} must be numeric columns: {error}.") from error
    bad = (~np.isfinite(scalars)).sum(axis=0)
    if bad.any():
        which = ", ".join(f"{name!r} ({n} rows)" for name, n in zip(names, bad, strict=True) if n)
        raise ValueError(
            f"Input X contains NaN or infinity in the scalars {which}. Impute them "
            "(sklearn.impute.SimpleImputer), drop these rows, or leave the columns out with "
            "scalars=[...]."
        )
    return scalars
