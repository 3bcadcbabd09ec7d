"""The main categories of particles: what each looks like and what its scalars have in common."""

import numpy as np
from sklearn.utils import check_array

from icecore_sk.metrics._labels import MISSING, NOISE, check_lengths, encode_labels
from icecore_sk.metrics.describe_groups import check_scalars, describe_groups, telling_scalars
from icecore_sk.metrics.typical_rows import typical_rows
from icecore_sk.plotting._pictures import (
    FRAME_COLOUR,
    TEXT_COLOUR,
    Canvas,
    gather_pictures,
    has_images,
    images_of,
    read_pictures,
    scalars_in,
    show_picture,
)
from icecore_sk.plotting.particle_map import COLOURS

# Widths in tiles: of the names, and of the words about scalars.
NAMES, WORDS = 2.6, 5.8
# Height of a category, of which two tiles are images.
STEP = 2.35


class CategoryDisplay:
    """The medoid and typical images of each cluster or class, its size, and its scalars.

    The largest category comes first. Its medoid is framed; the other images go from the most
    typical to the last that still is (see `typical_rows`). Beside them stand the scalars that
    differ most from those of all other particles (see `describe_groups`), their medians in their
    own units.

    Use `from_estimator` or `from_predictions`.

    Parameters
    ----------
    Z : ndarray of shape (n, n_features)
        Latent vectors, or a map, in which the typical rows are found.
    groups : array-like of shape (n,)
        Clusters (negative numbers are noise) or labels.
    images : array or particle table
        Images of the n particles, in any of the forms that the estimators take.
    scalars : DataFrame of n rows, or None, default=None
    image_shape : tuple (C, H, W) or None, default=None
        Shape of images that are rows of an array.

    Attributes
    ----------
    sizes_ : dict
        Particles of each category, the largest first; and those of no category, as "noise" and
        "missing".
    rows_ : dict
        Rows that are drawn of each category, the medoid first.
    table_ : DataFrame or None
        What `describe_groups` says of the scalars of each category.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from icecore_sk.datasets import load_digit_images
    >>> from icecore_sk.plotting import CategoryDisplay
    >>> X, y = load_digit_images(return_X_y=True)
    >>> X, y = X[y < 2], y[y < 2]
    >>> display = CategoryDisplay.from_predictions(X.reshape(len(X), -1), y, X, n_images=4)
    >>> display.sizes_
    {1: 182, 0: 178}
    >>> _ = display.plot(n_images=2)

    Of clusters that an estimator found:

    >>> from sklearn.cluster import KMeans
    >>> rows = X.reshape(len(X), -1)
    >>> kmeans = KMeans(2, random_state=0).fit(rows)
    >>> len(CategoryDisplay.from_estimator(kmeans, rows, images=X, n_images=2).sizes_)
    2
    """

    def __init__(self, Z, groups, images, *, scalars=None, image_shape=None):
        self.Z = Z
        self.groups = groups
        self.images = images
        self.scalars = scalars
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls, estimator, X, *, images=None, scalars=None, image_shape=None, **options
    ):
        """Draw the categories that ``estimator.predict(X)`` finds.

        Parameters
        ----------
        estimator : fitted clusterer or classifier
            Anything with `predict`. Typical rows are found in what its `predict` sees: the output
            of the steps before in a Pipeline, or X. Where these are images, its own `transform`
            is taken.
        X : array or particle table
            What the estimator takes.
        images, scalars : default=None
            As in `from_predictions`; None takes those of X, where it is images or a particle
            table.
        image_shape, **options
            As in `from_predictions`.

        Returns
        -------
        display : CategoryDisplay
        """
        images, image_shape = images_of(estimator, X, images, image_shape)
        Z, step = X, estimator
        if len(getattr(estimator, "steps", ())) > 1:
            Z, step = estimator[:-1].transform(X), estimator[-1]
        if has_images(Z):
            Z = step.transform(Z)
        return cls.from_predictions(
            Z,
            estimator.predict(X),
            images,
            scalars=scalars_in(X, scalars),
            image_shape=image_shape,
            **options,
        )

    @classmethod
    def from_predictions(
        cls,
        Z,
        groups,
        images,
        *,
        scalars=None,
        image_shape=None,
        n_images=20,
        n_scalars=5,
        n_groups=12,
        random_state=0,
        ax=None,
        title=None,
    ):
        """Draw categories that are already found.

        Parameters
        ----------
        Z : array-like of shape (n, n_features)
            Latent vectors, or a map.
        groups : array-like of shape (n,)
            Clusters (negative numbers are noise) or labels; both noise and missing labels are
            counted, and among the others of each category.
        images : array or particle table
            Images of the n particles.
        scalars : DataFrame of n rows, or None, default=None
            Their scalars; of a particle table, the image is left out.
        image_shape : tuple (C, H, W) or None, default=None
            Shape of `images` that are rows of an array.
        n_images, n_scalars, n_groups, random_state, ax, title
            As in `plot`.

        Returns
        -------
        display : CategoryDisplay

        Raises
        ------
        ValueError
            Where lengths differ, Z has NaN, or no row has a category.
        """
        Z = check_array(Z, dtype=[np.float64, np.float32], input_name="Z")
        check_lengths(len(Z), groups=groups, images=read_pictures(images, image_shape))
        if scalars is not None:
            scalars = check_scalars(scalars)
            check_lengths(len(Z), scalars=scalars)
        display = cls(Z, groups, images, scalars=scalars, image_shape=image_shape)
        return display.plot(
            n_images=n_images,
            n_scalars=n_scalars,
            n_groups=n_groups,
            random_state=random_state,
            ax=ax,
            title=title,
        )

    def plot(self, *, n_images=20, n_scalars=5, n_groups=12, random_state=0, ax=None, title=None):
        """Draw a row for each category.

        Parameters
        ----------
        n_images : int, default=20
            Typical images of each category, beside its medoid.
        n_scalars : int, default=5
            Scalars of each category at most, without those that say the same as one before.
        n_groups : int, default=12
            Categories at most; the smaller ones are counted below.
        random_state : int, RandomState instance or None, default=0
            As in `typical_rows`.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        title : str or None, default=None

        Returns
        -------
        self : CategoryDisplay
        """
        codes, names = encode_labels(self.groups)
        counts = np.bincount(codes[codes >= 0], minlength=len(names))
        order = np.argsort(-counts, kind="stable")
        self.rows_ = typical_rows(self.Z, self.groups, n_images + 1, random_state=random_state)
        self.rows_ = {names[k]: self.rows_[names[k]] for k in order}
        self.sizes_ = {names[k]: int(counts[k]) for k in order}
        for name, code in (("noise", NOISE), ("missing", MISSING)):
            if (codes == code).any():
                self.sizes_[name] = int((codes == code).sum())
        self.table_ = None if self.scalars is None else describe_groups(self.scalars, self.groups)
        shown = list(self.rows_)[:n_groups]
        n_columns = -(-n_images // 2)
        width = NAMES + 2.15 + n_columns + (WORDS if self.scalars is not None else 0)
        canvas = Canvas(ax, width, STEP * len(shown) + 0.4, tile=0.48)
        self.ax_, self.figure_ = canvas.ax, canvas.ax.figure
        rows = read_pictures(self.images, self.image_shape)
        for k, name in enumerate(shown):
            # As in a map of the same groups, whatever their order here.
            colour = COLOURS[names.index(name) % len(COLOURS)]
            self._plot_category(canvas, name, STEP * k, colour, rows, n_columns, n_scalars)
        words = self._not_shown(shown)
        canvas.text(0, STEP * len(shown), words, size=canvas.font(3.2), color=TEXT_COLOUR)
        self.ax_.set_title(title)
        return self

    def _plot_category(
        self, canvas, name, y: float, colour: str, rows, n_columns: int, n_scalars: int
    ) -> None:
        size = canvas.font(3.0)
        heading = canvas.wrap(str(name), NAMES, 1.2 * size, max_lines=2)
        n, share = self.sizes_[name], self.sizes_[name] / len(self.Z)
        canvas.text(0, y + 0.75, heading, size=1.15 * size, weight="bold", va="bottom")
        canvas.text(0, y + 0.85, f"{n:,} particles\n{share:.1%}", size=size, color=TEXT_COLOUR)
        medoid, *others = gather_pictures(rows, self.rows_[name])
        place = (NAMES, y + 0.03, 1.94, 1.94)
        show_picture(self.ax_, medoid, place, frame=colour, linewidth=2)
        for j, picture in enumerate(others):
            x = NAMES + 2.15 + j % n_columns
            place = (x + 0.03, y + j // n_columns + 0.03, 0.94, 0.94)
            show_picture(self.ax_, picture, place, frame=FRAME_COLOUR, linewidth=0.4)
        if self.table_ is not None:
            own = telling_scalars(self.table_, name)["words"].head(n_scalars)
            x = NAMES + 2.15 + n_columns + 0.2
            lines = [canvas.shorten(words, WORDS - 0.3, size) for words in own]
            canvas.text(x, y + 1, "\n".join(lines), size=size, va="center")

    def _not_shown(self, shown: list) -> str:
        """Say in words how many particles are in none of the rows."""
        smaller = [n for name, n in self.sizes_.items() if name in self.rows_][len(shown) :]
        parts = [f"{len(smaller)} smaller categories: {sum(smaller):,}"] if smaller else []
        parts += [f"{name}: {n:,}" for name, n in self.sizes_.items() if name not in self.rows_]
        return "not shown, of " + f"{len(self.Z):,} particles: " + ", ".join(parts) if parts else ""
