"""A two-dimensional map of particles, coloured."""

import numpy as np
from sklearn.utils import check_array, check_consistent_length, column_or_1d

# Paul Tol's "muted" scheme, made to be told apart by colour-blind readers, and black.
COLOURS = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933",
    "#DDCC77", "#CC6677", "#882255", "#AA4499", "#000000",
)  # fmt: skip
NOISE_COLOUR = "#C8C8C8"
MARKERS = "osD^v"


class ParticleMapDisplay:
    """A map of particles, coloured by label, cluster or a scalar.

    Use `from_estimator` or `from_predictions`.

    Parameters
    ----------
    coordinates : ndarray of shape (n, 2)
        Position of each particle.
    values : ndarray of shape (n,) or None, default=None
        Labels, clusters (negative integers are noise), or a scalar.
    kind : {"category", "scalar", "plain"}, default="plain"
        How `values` are shown.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from icecore_sk.plotting import ParticleMapDisplay
    >>> Z = np.random.RandomState(0).normal(size=(50, 2))
    >>> display = ParticleMapDisplay.from_predictions(Z, ["dust", "pollen"] * 25)
    >>> type(display.ax_).__name__
    'Axes'
    """

    def __init__(self, coordinates, *, values=None, kind="plain"):
        self.coordinates = coordinates
        self.values = values
        self.kind = kind

    @classmethod
    def from_estimator(cls, estimator, X, values=None, *, kind="auto", ax=None, title=None):
        """Draw ``estimator.transform(X)``.

        Parameters
        ----------
        estimator : fitted transformer
            Its first two columns are the map; a Pipeline that ends in UMAP, for example.
        X : array or particle table
            What the estimator takes.
        values, kind, ax, title
            As in `from_predictions`.

        Returns
        -------
        display : ParticleMapDisplay
        """
        return cls.from_predictions(
            np.asarray(estimator.transform(X))[:, :2], values, kind=kind, ax=ax, title=title
        )

    @classmethod
    def from_predictions(cls, coordinates, values=None, *, kind="auto", ax=None, title=None):
        """Draw a map that is already computed.

        Parameters
        ----------
        coordinates : array-like of shape (n, 2)
        values : array-like of shape (n,) or None, default=None
            Labels, clusters (negative integers are noise, drawn in grey below the others), or a
            scalar; None draws all points alike.
        kind : {"auto", "category", "scalar", "plain"}, default="auto"
            "auto" takes floats for a scalar and everything else for categories.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        title : str or None, default=None

        Returns
        -------
        display : ParticleMapDisplay
        """
        coordinates = check_array(coordinates, input_name="coordinates")
        if coordinates.shape[1] != 2:
            raise ValueError(
                f"coordinates has {coordinates.shape[1]} columns; expected 2. Reduce them first, "
                "for example with umap.UMAP(n_components=2)."
            )
        if kind not in ("auto", "category", "scalar", "plain"):
            raise ValueError(f"kind={kind!r} must be 'auto', 'category', 'scalar' or 'plain'.")
        if values is not None:
            values = np.asarray(column_or_1d(values))
            check_consistent_length(coordinates, values)
            if kind == "auto":
                kind = "scalar" if values.dtype.kind == "f" else "category"
        else:
            kind = "plain"
        return cls(coordinates, values=values, kind=kind).plot(ax=ax, title=title)

    def plot(self, *, ax=None, title=None):
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
        title : str or None, default=None

        Returns
        -------
        self : ParticleMapDisplay
        """
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(6, 6), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        # Smaller and lighter as they grow more, so that 100,000 points stay a map.
        n = len(self.coordinates)
        style = {
            "s": float(np.clip(20_000 / n, 1, 30)),
            "alpha": float(np.clip(2_000 / n, 0.3, 0.8)),
            "linewidths": 0,
            "rasterized": n > 5_000,
        }
        if self.kind == "category":
            self._plot_categories(style)
        elif self.kind == "scalar":
            points = ax.scatter(*self.coordinates.T, c=self.values, cmap="viridis", **style)
            ax.figure.colorbar(points, ax=ax, shrink=0.7)
        else:
            ax.scatter(*self.coordinates.T, c=COLOURS[0], **style)
        ax.set(xticks=[], yticks=[], title=title)
        ax.set_aspect("equal", adjustable="datalim")
        return self

    def _plot_categories(self, style: dict) -> None:
        from matplotlib.patheffects import withStroke

        values = self.values
        noise = values < 0 if values.dtype.kind == "i" else np.zeros(len(values), bool)
        self.ax_.scatter(*self.coordinates[noise].T, c=NOISE_COLOUR, **style)
        for k, name in enumerate(np.unique(values[~noise])):
            mine = self.coordinates[values == name]
            # Past ten categories the colours repeat, with another marker.
            marker = MARKERS[k // len(COLOURS) % len(MARKERS)]
            self.ax_.scatter(*mine.T, c=COLOURS[k % len(COLOURS)], marker=marker, **style)
            middle = mine[np.abs(mine - np.median(mine, axis=0)).sum(1).argmin()]
            self.ax_.annotate(
                str(name),
                middle,
                ha="center",
                va="center",
                weight="bold",
                path_effects=[withStroke(linewidth=3, foreground="white")],
            )
        if noise.any():
            share = f"noise: {noise.sum():,} of {len(values):,}"
            self.ax_.text(0.01, 0.01, share, transform=self.ax_.transAxes, color="#666666")
