"""Areas of a map: what is there, and in which scalars it differs from the rest."""

from collections.abc import Mapping

import numpy as np
from sklearn.utils import check_array, check_random_state

from icecore_sk._numbers import format_number
from icecore_sk.metrics._labels import check_lengths, group_masks
from icecore_sk.metrics.describe_groups import check_scalars, describe_groups, telling_scalars
from icecore_sk.plotting._areas import area_mask
from icecore_sk.plotting._pictures import (
    FRAME_COLOUR,
    Canvas,
    cut,
    gather_pictures,
    images_in,
    read_pictures,
    scalars_in,
    show_picture,
    split_axes,
)
from icecore_sk.plotting._points import middle_of, write_on_map
from icecore_sk.plotting.particle_map import COLOURS, NOISE_COLOUR

PICTURE_COLUMNS = 6
N_BINS = 24


class MapAreaDisplay:
    """Areas of a map: where they are, a sample of their images, and their scalars.

    A row for each area: images drawn at random, and histograms of the scalars that differ most
    from those of all other particles, which stand behind in grey.

    Use `from_estimator` or `from_predictions`.

    Parameters
    ----------
    coordinates : ndarray of shape (n, 2)
    areas : dict
        Masks of shape (n,) by name.
    images : array or particle table, or None, default=None
    scalars : DataFrame of n rows, or None, default=None
    image_shape : tuple (C, H, W) or None, default=None
        Shape of images that are rows of an array.

    Attributes
    ----------
    table_ : DataFrame or None
        What `describe_groups` says of the scalars of each area.
    rows_ : dict
        For each area, the rows whose images are drawn.
    ax_ : matplotlib Axes
        The map.
    axes_ : ndarray of matplotlib Axes of shape (n_areas, n_panels)
        The images, where there are some, and then the histograms.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from icecore_sk.plotting import MapAreaDisplay
    >>> Z = np.random.RandomState(0).normal(size=(60, 2))
    >>> scalars = pd.DataFrame({"area": Z[:, 0] + 5, "grey": Z[:, 1] ** 2})
    >>> areas = {"right": [[0.5, -3], [3, 3]]}
    >>> display = MapAreaDisplay.from_predictions(Z, areas, scalars=scalars)
    >>> int(display.areas["right"].sum()), display.table_["words"].iloc[0]
    (19, 'area 6.23 (others 4.59)')
    >>> _ = display.plot(n_scalars=1)

    Of a fitted transformer, with an area as row numbers:

    >>> from sklearn.decomposition import PCA
    >>> first = {"first": [0, 1, 2]}
    >>> display = MapAreaDisplay.from_estimator(PCA(2).fit(Z), Z, first, scalars=scalars)
    >>> int(display.areas["first"].sum())
    3
    """

    def __init__(self, coordinates, areas, *, images=None, scalars=None, image_shape=None):
        self.coordinates = coordinates
        self.areas = areas
        self.images = images
        self.scalars = scalars
        self.image_shape = image_shape

    @classmethod
    def from_estimator(cls, estimator, X, areas, *, images=None, scalars=None, **options):
        """Draw areas of ``estimator.transform(X)``.

        Parameters
        ----------
        estimator : fitted transformer
            Its first two columns are the map.
        X : array or particle table
            What the estimator takes.
        areas, images, scalars, **options
            As in `from_predictions`; images and scalars that are None are those of X, where it is
            images or a particle table.

        Returns
        -------
        display : MapAreaDisplay
        """
        coordinates = np.asarray(estimator.transform(X))[:, :2]
        images = images_in(X, images, options.get("image_shape"))
        scalars = scalars_in(X, scalars)
        return cls.from_predictions(coordinates, areas, images=images, scalars=scalars, **options)

    @classmethod
    def from_predictions(
        cls,
        coordinates,
        areas,
        *,
        images=None,
        scalars=None,
        image_shape=None,
        n_images=18,
        n_scalars=3,
        random_state=0,
        ax=None,
        title=None,
    ):
        """Draw areas of a map.

        Parameters
        ----------
        coordinates : array-like of shape (n, 2)
        areas : dict, list, or array-like of shape (n,)
            By name, or in a list and named A, B, C, ...: masks (bool, of shape (n,)), row
            numbers (int, of shape (m,)), boxes (two opposite corners, of shape (2, 2)), or polygons
            (corners, of shape (m, 2) with m >= 3).
            Or labels, such as clusters: negative numbers and missing labels are no area.
        images : array or particle table, or None, default=None
            Images of the n particles.
        scalars : DataFrame of n rows, or None, default=None
            Their scalars; of a particle table, the image is left out.
        image_shape : tuple (C, H, W) or None, default=None
            Shape of `images` that are rows of an array.
        n_images, n_scalars, random_state, ax, title
            As in `plot`.

        Returns
        -------
        display : MapAreaDisplay

        Raises
        ------
        ValueError
            Where neither images nor scalars are given, lengths differ, or an area is empty or none
            of the above.
        """
        coordinates = check_array(coordinates, input_name="coordinates")
        n = len(coordinates)
        if coordinates.shape[1] != 2:
            raise ValueError(f"coordinates has {coordinates.shape[1]} columns; expected 2.")
        if images is None and scalars is None:
            raise ValueError("images and scalars are both None; pass at least one of them.")
        if images is not None:
            check_lengths(n, images=read_pictures(images, image_shape))
        if scalars is not None:
            scalars = check_scalars(scalars)
            check_lengths(n, scalars=scalars)
        masks = area_masks(areas, coordinates)
        display = cls(coordinates, masks, images=images, scalars=scalars, image_shape=image_shape)
        return display.plot(
            n_images=n_images, n_scalars=n_scalars, random_state=random_state, ax=ax, title=title
        )

    def plot(self, *, n_images=18, n_scalars=3, random_state=0, ax=None, title=None):
        """Draw the map and a row for each area.

        Parameters
        ----------
        n_images : int, default=18
            Images of each area, at most.
        n_scalars : int, default=3
            Histograms of each area, at most: of the scalars with the largest effect, without those
            that say the same as one before (see `describe_groups`).
        random_state : int, RandomState instance or None, default=0
            Draws the images.
        ax : matplotlib Axes or None, default=None
            Axes in whose place the panels are drawn; None makes a figure.
        title : str or None, default=None

        Returns
        -------
        self : MapAreaDisplay
        """
        self.table_ = None if self.scalars is None else describe_groups(self.scalars, self.areas)
        rng = check_random_state(random_state)
        self.rows_ = {
            name: rng.permutation(np.flatnonzero(mask))[:n_images]
            for name, mask in self.areas.items()
        }
        pictured = self.images is not None
        n_scalars = 0 if self.scalars is None else min(n_scalars, self.scalars.shape[1])
        height = 0.4 + 0.42 * -(-n_images // PICTURE_COLUMNS) if pictured else 0
        n = len(self.areas)
        # The map needs a height of its own beside few areas.
        height = max(height, 1.75, 3.4 / n)
        widths = [3.6, *([0.5 * PICTURE_COLUMNS] if pictured else []), *([1.8] * n_scalars)]
        self.figure_, grid = split_axes(
            ax, (n, len(widths)), (sum(widths), height * n), width_ratios=widths
        )
        # The map needs a square, not the whole height of a long list.
        self.ax_ = self.figure_.add_subplot(grid[: max(1, min(n, round(3.6 / height))), 0])
        self._plot_map()
        self.axes_ = np.empty((n, len(widths) - 1), dtype=object)
        for k, name in enumerate(self.areas):
            for j in range(len(widths) - 1):
                self.axes_[k, j] = self.figure_.add_subplot(grid[k, j + 1])
            if pictured:
                self._plot_pictures(self.axes_[k, 0], name, n_images)
            self._plot_scalars(self.axes_[k, int(pictured) :], name, COLOURS[k % len(COLOURS)])
        if title is not None:
            self.figure_.suptitle(title) if ax is None else ax.set_title(title)
        return self

    def _plot_map(self) -> None:
        n = len(self.coordinates)
        style = {"s": float(np.clip(8_000 / n, 1, 15)), "lw": 0, "rasterized": n > 5_000}
        rest = ~np.any(list(self.areas.values()), axis=0)
        self.ax_.scatter(*self.coordinates[rest].T, c=NOISE_COLOUR, **style)
        for k, mask in enumerate(self.areas.values()):
            self.ax_.scatter(*self.coordinates[mask].T, c=COLOURS[k % len(COLOURS)], **style)
        for name, mask in self.areas.items():
            write_on_map(self.ax_, str(name), middle_of(self.coordinates[mask]))
        self.ax_.set(xticks=[], yticks=[])
        self.ax_.set_aspect("equal", adjustable="datalim")

    def _plot_pictures(self, ax, name, n_images: int) -> None:
        n_rows = -(-n_images // PICTURE_COLUMNS)
        Canvas(ax, PICTURE_COLUMNS, n_rows)
        ax.set_title(self._heading(name), fontsize=9, loc="left")
        rows = self.rows_[name]
        pictures = gather_pictures(read_pictures(self.images, self.image_shape), rows)
        for k, picture in enumerate(pictures):
            place = (k % PICTURE_COLUMNS + 0.03, k // PICTURE_COLUMNS + 0.03, 0.94, 0.94)
            show_picture(ax, picture, place, frame=FRAME_COLOUR, linewidth=0.4)

    def _heading(self, name) -> str:
        n = int(self.areas[name].sum())
        return f"{name}: {n:,} ({n / len(self.coordinates):.1%})"

    def _plot_scalars(self, axes, name, colour: str) -> None:
        for ax in axes:
            ax.set_axis_off()
        if self.table_ is None:
            return
        own = telling_scalars(self.table_, name)
        mask = self.areas[name]
        if self.images is None:
            style = {"textcoords": "offset points", "size": 9, "weight": "bold"}
            axes[0].annotate(self._heading(name), (0, 1), (0, 32), "axes fraction", **style)
        for ax, (_, scalar), row in zip(axes, own.index, own.itertuples(), strict=False):
            ax.set_axis_on()
            values = self.scalars[scalar].to_numpy(dtype=float, na_value=np.nan)
            plot_histograms(ax, values[mask], values[~mask], colour)
            heading = cut(str(scalar), 26)
            words = format_number(row.median)
            if not np.isnan(row.others):
                words += f" (others {format_number(row.others)})"
            ax.set_title(f"{heading}\n{words}", fontsize=8)


def plot_histograms(ax, inside: np.ndarray, outside: np.ndarray, colour: str) -> None:
    """Draw the shares of two groups of particles, the tails beyond 1 and 99 % in the end bins."""
    inside, outside = inside[np.isfinite(inside)], outside[np.isfinite(outside)]
    ends = [np.percentile(one, (1, 99)) for one in (inside, outside) if len(one)]
    low, high = np.min(ends), np.max(ends)
    bins = np.linspace(low, high if high > low else low + 1, N_BINS + 1)
    for values, style in (
        (outside, {"color": NOISE_COLOUR}),
        (inside, {"color": colour, "histtype": "step", "lw": 1.4}),
    ):
        if len(values):
            share = np.full(len(values), 1 / len(values))
            ax.hist(np.clip(values, bins[0], bins[-1]), bins, weights=share, **style)
    ax.set(yticks=[])
    ax.tick_params(labelsize=7)
    ax.locator_params(axis="x", nbins=4)
    ax.spines[["top", "right", "left"]].set_visible(False)


def area_masks(areas, coordinates: np.ndarray) -> dict:
    """Return the rows of each area as a mask, by name."""
    n = len(coordinates)
    if not isinstance(areas, Mapping):
        if not isinstance(areas, list | tuple) or np.ndim(areas[0] if areas else 0) == 0:
            return group_masks(areas, n)
        areas = {area_name(k): area for k, area in enumerate(areas)}
    masks = {name: area_mask(f"areas[{name!r}]", area, coordinates) for name, area in areas.items()}
    if not masks:
        raise ValueError("areas is empty; pass at least one area.")
    return masks


def area_name(k: int) -> str:
    """Return A, B, ..., Z, A2, B2, ..."""
    return chr(ord("A") + k % 26) + (str(k // 26 + 1) if k >= 26 else "")
