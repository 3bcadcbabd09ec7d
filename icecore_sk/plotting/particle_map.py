"""A two-dimensional map of particles, coloured."""

import numpy as np
import pandas as pd
from sklearn.utils import check_array

from icecore_sk.metrics._labels import MISSING, NOISE, check_lengths, encode_labels
from icecore_sk.plotting._pictures import (
    FRAME_COLOUR,
    gather_pictures,
    new_axes,
    read_pictures,
    show_picture,
)
from icecore_sk.plotting._points import (
    as_scalar,
    colour_bar,
    colour_range,
    middle_of,
    names_fit,
    point_style,
    shuffled_rows,
    spread_rows,
    write_note,
    write_on_map,
)

# Paul Tol's "muted" scheme, made to be told apart by colour-blind readers, and black.
COLOURS = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933",
    "#DDCC77", "#CC6677", "#882255", "#AA4499", "#000000",
)  # fmt: skip
NOISE_COLOUR = "#C8C8C8"
MISSING_COLOUR = "#9A9A9A"
OTHERS_COLOUR = "#777777"
MARKERS = "osD^v"
# No grey of middle brightness can be told from all of these colours by everyone: dots and crosses
# can.
GREY_MARKERS = {NOISE_COLOUR: "o", MISSING_COLOUR: "x", OTHERS_COLOUR: "+"}
SCALAR_COLOURS = "viridis"
KINDS = ("auto", "category", "scalar", "plain")
# Categories with a colour and marker of their own; smaller ones beyond are drawn as one.
MAX_CATEGORIES = 40


class ParticleMapDisplay:
    """A map of particles: plain, or coloured by label, cluster or a scalar, with thumbnails.

    Use `from_estimator`, `from_predictions`, or `compare` for several maps.

    Parameters
    ----------
    coordinates : ndarray of shape (n, 2)
        Position of each particle.
    values : array-like of shape (n,) or None, default=None
        Labels, clusters (negative integers are noise), or a scalar.
    kind : {"category", "scalar", "plain"}, default="plain"
        How `values` are shown.
    name : str or None, default=None
        What `values` are; stands at the legend or colour bar.
    images : array or particle table, or None, default=None
        Images for thumbnails, in any of the forms that the estimators take.
    image_shape : tuple (C, H, W) or None, default=None
        Shape of images that are rows of an array.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    thumbnails_ : ndarray of int
        Rows whose images are drawn.
    colorbar_ : matplotlib Colorbar
        Where a scalar is drawn with its colour bar.

    Examples
    --------
    >>> import numpy as np
    >>> from icecore_sk.plotting import ParticleMapDisplay
    >>> Z = np.random.RandomState(0).normal(size=(50, 2))
    >>> display = ParticleMapDisplay.from_predictions(Z, ["dust", "pollen"] * 25)
    >>> type(display.ax_).__name__
    'Axes'
    >>> _ = display.plot(title="two kinds")

    Of a fitted transformer, and of several maps beside each other:

    >>> from sklearn.decomposition import PCA
    >>> _ = ParticleMapDisplay.from_estimator(PCA(2).fit(Z), Z, Z[:, 0], name="first column")
    >>> sorted(ParticleMapDisplay.compare({"one": Z, "mirrored": -Z}))
    ['mirrored', 'one']
    """

    def __init__(
        self, coordinates, *, values=None, kind="plain", name=None, images=None, image_shape=None
    ):
        self.coordinates = coordinates
        self.values = values
        self.kind = kind
        self.name = name
        self.images = images
        self.image_shape = image_shape

    @classmethod
    def from_estimator(cls, estimator, X, values=None, **options):
        """Draw ``estimator.transform(X)``.

        Parameters
        ----------
        estimator : fitted transformer
            Its first two columns are the map; a Pipeline that ends in UMAP, for example.
        X : array or particle table
            What the estimator takes.
        values, **options
            As in `from_predictions`. Thumbnails are drawn with ``images=X``.

        Returns
        -------
        display : ParticleMapDisplay
        """
        return cls.from_predictions(np.asarray(estimator.transform(X))[:, :2], values, **options)

    @classmethod
    def from_predictions(
        cls,
        coordinates,
        values=None,
        *,
        kind="auto",
        name=None,
        images=None,
        image_shape=None,
        ax=None,
        title=None,
        log=False,
        legend="auto",
        n_thumbnails=60,
        thumbnail_size=0.06,
    ):
        """Draw a map that is already computed.

        Parameters
        ----------
        coordinates : array-like of shape (n, 2)
        values : array-like of shape (n,) or None, default=None
            Labels, clusters (negative integers are noise), or a scalar, such as a loss or score;
            None draws all points alike. Noise is drawn in grey dots and missing values
            (None, NaN) in grey crosses, below the others; both are counted. Of more than 40
            categories the smallest are drawn as one.
        kind : {"auto", "category", "scalar", "plain"}, default="auto"
            "auto" takes floats for a scalar and everything else for categories.
        name : str or None, default=None
            What `values` are; None takes the name of a Series.
        images : array or particle table, or None, default=None
            Images of the n particles, of which thumbnails are drawn.
        image_shape : tuple (C, H, W) or None, default=None
            Shape of `images` that are rows of an array.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        title, log, legend, n_thumbnails, thumbnail_size
            As in `plot`.

        Returns
        -------
        display : ParticleMapDisplay
        """
        display = cls._checked(coordinates, values, kind, name, images, image_shape)
        return display.plot(
            ax=ax,
            title=title,
            log=log,
            legend=legend,
            n_thumbnails=n_thumbnails,
            thumbnail_size=thumbnail_size,
        )

    @classmethod
    def compare(
        cls,
        maps,
        values=None,
        *,
        kind="auto",
        name=None,
        images=None,
        image_shape=None,
        n_columns=3,
        **options,
    ):
        """Draw several maps of the same particles, such as t-SNE beside UMAP, coloured alike.

        Parameters
        ----------
        maps : dict
            Coordinates (n, 2) by name; the names become titles.
        values, kind, name, images, image_shape
            As in `from_predictions`. One legend or colour bar serves all maps.
        n_columns : int, default=3
            Maps beside each other, at most.
        **options
            log, n_thumbnails and thumbnail_size as in `plot`.

        Returns
        -------
        displays : dict
            A ParticleMapDisplay by name; they share `figure_`.
        """
        import matplotlib.pyplot as plt

        if not hasattr(maps, "items") or not maps:
            raise ValueError(
                f"maps={type(maps).__name__} must be a dict of at least one map, by name: "
                "{'t-SNE': ..., 'UMAP': ...}."
            )
        displays = {
            title: cls._checked(one, values, kind, name, images, image_shape, str(title))
            for title, one in maps.items()
        }
        lengths = {title: len(display.coordinates) for title, display in displays.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"maps have different numbers of rows ({lengths}); expected the same.")
        n_columns = min(n_columns, len(maps))
        n_rows = -(-len(maps) // n_columns)
        size = (4.5 * n_columns + 1.2, 4.5 * n_rows)
        figure, axes = plt.subplots(
            n_rows, n_columns, figsize=size, layout="constrained", squeeze=False
        )
        for ax in axes.flat[len(maps) :]:
            ax.set_axis_off()
        for ax, (title, display) in zip(axes.flat, displays.items(), strict=False):
            display.plot(ax=ax, title=title, legend=False, **options)
        first = next(iter(displays.values()))
        if first.kind == "scalar":
            first._colour_bar(list(axes.flat))
        elif first.kind == "category":
            handles = first._legend_handles()
            figure.legend(
                handles=handles, loc="outside right upper", **first._legend_style(handles)
            )
        return displays

    @classmethod
    def _checked(cls, coordinates, values, kind, name, images, image_shape, who="coordinates"):
        """Return a display that is ready to be drawn, or raise."""
        coordinates = check_array(coordinates, input_name=who)
        if coordinates.shape[1] != 2:
            raise ValueError(
                f"{who} has {coordinates.shape[1]} columns; expected 2. Reduce them first, "
                "for example with umap.UMAP(n_components=2)."
            )
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r} must be 'auto', 'category', 'scalar' or 'plain'.")
        if values is None:
            kind = "plain"
        else:
            check_lengths(len(coordinates), values=values)
            name = getattr(values, "name", None) if name is None else name
            if kind == "auto":
                kind = "scalar" if pd.api.types.is_float_dtype(np.asarray(values)) else "category"
        if images is not None:
            check_lengths(len(coordinates), images=read_pictures(images, image_shape))
        return cls(
            coordinates,
            values=values,
            kind=kind,
            name=name,
            images=images,
            image_shape=image_shape,
        )

    def plot(
        self,
        *,
        ax=None,
        title=None,
        log=False,
        legend="auto",
        n_thumbnails=60,
        thumbnail_size=0.06,
    ):
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
        title : str or None, default=None
        log : bool, default=False
            Logarithmic colours of a scalar; it must be positive.
        legend : {"auto"} or bool, default="auto"
            Names and counts of categories beside the map, or the colour bar. "auto" writes up to
            ten names into the map instead, where each has a place of its own and there are no
            thumbnails.
        n_thumbnails : int, default=60
            Thumbnails at most, where there are images. They stand where their particles do, spread
            evenly, and never overlap.
        thumbnail_size : float, default=0.06
            Longer side of a thumbnail, as a share of the longer side of the map.

        Returns
        -------
        self : ParticleMapDisplay
        """
        if legend not in ("auto", True, False):
            raise ValueError(f"legend={legend!r} must be 'auto', True or False.")
        if not 0 < thumbnail_size <= 1:
            raise ValueError(
                f"thumbnail_size={thumbnail_size!r} must be a share of the map, above 0 and at "
                "most 1."
            )
        self._style = point_style(len(self.coordinates))
        pictured = self.images is not None and n_thumbnails > 0
        named = False
        if self.kind == "category":
            self._find_categories()
            if legend == "auto":
                named = len(self._categories) <= len(COLOURS) and not pictured
                named = named and names_fit(
                    self.coordinates, {str(name): mine for name, _, mine in self._categories}
                )
                legend = not named
        # Room for what stands beside the map, which would be squeezed else.
        columns = 1 if self.kind == "scalar" else self._n_legend_columns()
        beside = 1.4 * columns if legend else 0.0
        self.ax_ = new_axes((6 + beside, 6)) if ax is None else ax
        self.figure_ = self.ax_.figure
        if self.kind == "category":
            self._plot_categories()
        elif self.kind == "scalar":
            self._plot_scalar(log)
        else:
            self.ax_.scatter(*self.coordinates.T, c=COLOURS[0], **self._style)
        self.ax_.set(xticks=[], yticks=[], title=title)
        self.ax_.set_aspect("equal", adjustable="datalim")
        self._plot_thumbnails(n_thumbnails if pictured else 0, thumbnail_size)
        if legend:
            self._plot_legend()
        if named:
            self._write_names()
        return self

    # ---------------------------------------------------------------- categories

    def _find_categories(self) -> None:
        codes, names = encode_labels(self.values)
        counts = np.bincount(codes[codes >= 0], minlength=len(names))
        # The largest keep a colour of their own, in the order of their names.
        own = np.sort(np.argsort(-counts, kind="stable")[:MAX_CATEGORIES])
        self._categories = [(names[k], int(counts[k]), codes == k) for k in own]
        others = (codes >= 0) & ~np.isin(codes, own)
        self._greys = [
            ("noise", NOISE_COLOUR, codes == NOISE),
            ("missing", MISSING_COLOUR, codes == MISSING),
            (f"{len(names) - len(own)} smaller", OTHERS_COLOUR, others),
        ]

    def _plot_categories(self) -> None:
        from matplotlib.colors import to_rgba_array

        for _, colour, mine in self._greys:
            if mine.any():
                self._plot_grey(mine, colour)
        place = np.full(len(self.coordinates), -1)
        for k, (_, _, mine) in enumerate(self._categories):
            place[mine] = k
        shuffled = shuffled_rows(len(place))
        shuffled = shuffled[place[shuffled] >= 0]
        palette = to_rgba_array(COLOURS)  # names of a hundred thousand colours take seconds
        for k, marker in enumerate(MARKERS):
            # All ten colours of a marker at once and in random order: none lies above the others.
            mine = shuffled[place[shuffled] // len(COLOURS) == k]
            if len(mine):
                colours = palette[place[mine] % len(COLOURS)]
                self.ax_.scatter(*self.coordinates[mine].T, c=colours, marker=marker, **self._style)

    def _plot_grey(self, mine: np.ndarray, colour: str) -> None:
        style = {**self._style, "marker": GREY_MARKERS[colour]}
        if style["marker"] != "o":  # crosses are all line
            style |= {"linewidths": 0.6, "s": max(4.0, style["s"])}
        self.ax_.scatter(*self.coordinates[mine].T, c=colour, **style)

    def _write_names(self) -> None:
        """Write each name at the middle of its category, and the greys at the bottom."""
        for name, _, mine in self._categories:
            write_on_map(self.ax_, str(name), middle_of(self.coordinates[mine]))
        notes = [
            f"{name}: {mine.sum():,} of {len(mine):,}"
            for name, _, mine in self._greys
            if mine.any()
        ]
        write_note(self.ax_, "\n".join(notes))

    def _legend_handles(self) -> list:
        from matplotlib.lines import Line2D

        entries = [
            (name, count, COLOURS[k % len(COLOURS)], MARKERS[k // len(COLOURS)])
            for k, (name, count, _) in enumerate(self._categories)
        ]
        entries += [
            (name, int(mine.sum()), colour, GREY_MARKERS[colour])
            for name, colour, mine in self._greys
            if mine.any()
        ]
        # A name with dollars is no formula.
        labels = [f"{name} ({count:,})".replace("$", r"\$") for name, count, *_ in entries]
        return [
            Line2D([], [], ls="", marker=marker, color=colour, ms=6, label=label)
            for label, (_, _, colour, marker) in zip(labels, entries, strict=True)
        ]

    def _n_legend_columns(self) -> int:
        return 1 + len(self._categories) // 24 if self.kind == "category" else 0

    def _legend_style(self, handles: list) -> dict:
        return {
            "title": self.name,
            "fontsize": 8 if len(handles) > 12 else 9,
            "ncols": self._n_legend_columns(),
            "frameon": False,
            "alignment": "left",
        }

    # ---------------------------------------------------------------- scalars

    def _plot_scalar(self, log: bool) -> None:
        values = as_scalar(self.values)
        missing = np.isnan(values)
        self._norm, self._extend = colour_range(values, log)
        if missing.any():
            self._plot_grey(missing, MISSING_COLOUR)
            write_note(self.ax_, f"missing: {missing.sum():,} of {len(values):,}")
        shown = shuffled_rows(len(values))
        shown = shown[~missing[shown]]
        clipped = np.clip(values[shown], self._norm.vmin, self._norm.vmax)  # infinity has a colour
        style = {"norm": self._norm, "cmap": SCALAR_COLOURS, **self._style}
        self.ax_.scatter(*self.coordinates[shown].T, c=clipped, **style)

    def _colour_bar(self, axes) -> None:
        bar = colour_bar(self.figure_, axes, self._norm, SCALAR_COLOURS, self._extend)
        if self.name is not None:
            bar.set_label(str(self.name))
        self.colorbar_ = bar

    # ---------------------------------------------------------------- beside and above the points

    def _plot_legend(self) -> None:
        if self.kind == "scalar":
            self._colour_bar(self.ax_)
        elif self.kind == "category":
            handles = self._legend_handles()
            place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
            self.ax_.legend(handles=handles, **place, **self._legend_style(handles))

    def _frame_colours(self, rows: np.ndarray) -> list:
        """Return the colours in which the points of some rows are drawn."""
        import matplotlib as mpl

        if self.kind == "plain":
            return [FRAME_COLOUR] * len(rows)
        if self.kind == "scalar":
            values = as_scalar(self.values)[rows]
            colours = mpl.colormaps[SCALAR_COLOURS](self._norm(values))
            return [
                MISSING_COLOUR if np.isnan(value) else tuple(colour)
                for value, colour in zip(values, colours, strict=True)
            ]
        drawn = [(colour, mine) for _, colour, mine in self._greys]
        drawn += [(COLOURS[k % 10], mine) for k, (_, _, mine) in enumerate(self._categories)]
        return [next(colour for colour, mine in drawn if mine[row]) for row in rows]

    def _plot_thumbnails(self, n_thumbnails: int, size: float) -> None:
        self.thumbnails_ = np.empty(0, dtype=int)
        if n_thumbnails < 1:
            return
        rows = read_pictures(self.images, self.image_shape)
        side = size * (np.ptp(self.coordinates, axis=0).max() or 1.0)
        self.thumbnails_ = spread_rows(self.coordinates, 1.1 * side, n_thumbnails)
        pictures = gather_pictures(rows, self.thumbnails_)
        frames = self._frame_colours(self.thumbnails_)
        for row, picture, frame in zip(self.thumbnails_, pictures, frames, strict=True):
            left, bottom = self.coordinates[row] - side / 2
            show_picture(
                self.ax_,
                picture,
                (left, bottom, side, side),
                frame=frame,
                linewidth=1.5,
                zorder=3,
            )
        corners = self.coordinates[self.thumbnails_]
        self.ax_.update_datalim(np.vstack([corners - side / 2, corners + side / 2]))
        self.ax_.autoscale_view()
