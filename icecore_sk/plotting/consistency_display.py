"""One map beside another: where its areas went, and which neighbourhoods were kept."""

import numpy as np
import pandas as pd
from sklearn.utils import check_array

from icecore_sk.metrics import area_consistency, map_consistency
from icecore_sk.metrics._labels import check_lengths
from icecore_sk.plotting._areas import area_mask, corners_of, is_shape
from icecore_sk.plotting._pictures import FRAME_COLOUR
from icecore_sk.plotting._points import point_style, shuffled_rows, write_note
from icecore_sk.plotting.particle_map import COLOURS, NOISE_COLOUR, SCALAR_COLOURS

# The largest group of the area on B, its other groups, and particles that lie apart: told apart
# by lightness and marker as well.
_PARTS = ((COLOURS[0], "o"), (COLOURS[2], "s"), (COLOURS[6], "D"))


class ConsistencyDisplay:
    """Two maps of the same particles beside each other.

    With an area, chosen on map A, its particles are coloured on both maps by what becomes of them
    on B: in its largest group there, in other groups, or apart. Without, all particles are coloured
    by the share of their neighbours that the maps agree on.

    Use `from_estimator` or `from_predictions`.

    Parameters
    ----------
    A, B : ndarray of shape (n, 2)
        Position of each particle on either map.
    consistency : Bunch
        What `area_consistency`, or without an area `map_consistency`, says of them.
    area : ndarray of bool of shape (n,) or None, default=None
        The particles chosen on A.
    outline : ndarray of shape (m, 2) or None, default=None
        Corners of the area on A, where it is a box or a polygon.
    names : tuple of two str, default=("A", "B")

    Attributes
    ----------
    axes_ : ndarray of two matplotlib Axes
        Map A and map B.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from icecore_sk.plotting import ConsistencyDisplay
    >>> A = np.random.RandomState(0).normal(size=(200, 2))
    >>> display = ConsistencyDisplay.from_predictions(A, A[:, ::-1], [[0, 0], [3, 3]])
    >>> display.consistency.share
    1.0
    >>> _ = display.plot(title="an area, carried over")

    Of two fitted transformers, without an area:

    >>> from sklearn.decomposition import PCA, TruncatedSVD
    >>> pca, svd = PCA(2).fit(A), TruncatedSVD(2, random_state=0).fit(A)
    >>> ConsistencyDisplay.from_estimator(pca, svd, A, names=("PCA", "SVD")).area is None
    True
    """

    def __init__(self, A, B, *, consistency, area=None, outline=None, names=("A", "B")):
        self.A = A
        self.B = B
        self.consistency = consistency
        self.area = area
        self.outline = outline
        self.names = names

    @classmethod
    def from_estimator(cls, estimator_a, estimator_b, X, area=None, **options):
        """Draw ``estimator_a.transform(X)`` beside ``estimator_b.transform(X)``.

        Parameters
        ----------
        estimator_a, estimator_b : fitted transformer
            Their first two columns are the maps; Pipelines that end in UMAP, for example.
        X : array or particle table
            What both estimators take. The index of a table or DataFrame is the ids.
        area, **options
            As in `from_predictions`.

        Returns
        -------
        display : ConsistencyDisplay
        """
        index = X.index if isinstance(X, pd.DataFrame) else None
        A, B = (
            pd.DataFrame(np.asarray(one.transform(X))[:, :2], index=index)
            for one in (estimator_a, estimator_b)
        )
        return cls.from_predictions(A, B, area, **options)

    @classmethod
    def from_predictions(
        cls,
        A,
        B,
        area=None,
        *,
        consistency=None,
        n_neighbors=15,
        names=("A", "B"),
        random_state=0,
        ax=None,
        title=None,
    ):
        """Draw two maps that are already computed.

        Parameters
        ----------
        A, B : array-like of shape (n, 2)
            The maps, the same particle in the same row.
        area : array-like or None, default=None
            What to carry over from A to B: a box (two opposite corners on A, of shape (2, 2)), a
            polygon (corners on A, of shape (m, 2)), a mask (bool, of shape (n,)), row numbers
            (int, of shape (m,)), or ids (a pandas Index, or a list of str) of the index of A, a
            DataFrame. None colours all particles by their neighbour overlap.
        consistency : Bunch or None, default=None
            Without an area: what `map_consistency` returned for A and B; None asks it.
        n_neighbors : int, default=15
            Size of a neighbourhood, as in `map_consistency` and `area_consistency`.
        names : tuple of two str, default=("A", "B")
            Names of the maps.
        random_state : int, RandomState instance or None, default=0
            Governs the random areas that tell what chance gives.
        ax : sequence of two matplotlib Axes or None, default=None
            Where to draw the maps; None makes a figure.
        title : str or None, default=None

        Returns
        -------
        display : ConsistencyDisplay

        Raises
        ------
        ValueError
            Where a map does not have two columns, the maps do not fit each other, or the area is
            none of the above or has no particle in it.
        """
        outline = None
        if area is not None:
            index = A.index if isinstance(A, pd.DataFrame) else None
            mask = area_mask("area", area, _check_map(A, "A"), index)
            outline = corners_of(area) if is_shape(area) else None
            consistency = area_consistency(A, B, mask, n_neighbors, random_state=random_state)
            area = mask
        elif consistency is None:
            consistency = map_consistency(A, B, n_neighbors, random_state=random_state)
        A, B = _check_map(A, "A"), _check_map(B, "B")
        check_lengths(len(A), B=B)
        if area is None:
            check_lengths(len(A), **{"consistency.per_particle": consistency.per_particle})
        display = cls(A, B, consistency=consistency, area=area, outline=outline, names=names)
        return display.plot(ax=ax, title=title)

    def plot(self, *, ax=None, title=None):
        """Draw both maps.

        Parameters
        ----------
        ax : sequence of two matplotlib Axes or None, default=None
        title : str or None, default=None

        Returns
        -------
        self : ConsistencyDisplay
        """
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(1, 2, figsize=(11, 5.8), layout="constrained")
        self.axes_ = np.asarray(ax, dtype=object).ravel()
        if len(self.axes_) != 2:
            raise ValueError(f"ax holds {len(self.axes_)} Axes; expected two, one for each map.")
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.figure
        if self.area is None:
            self._plot_overlap()
        else:
            self._plot_area()
        for axes in self.axes_:
            axes.set(xticks=[], yticks=[])
            axes.set_aspect("equal", adjustable="datalim")
        if title is not None:
            self.figure_.suptitle(title)
        return self

    def _plot_overlap(self) -> None:
        rows = shuffled_rows(len(self.A))
        style = {"c": self.consistency.per_particle[rows], "cmap": SCALAR_COLOURS}
        for axes, points, name in zip(self.axes_, (self.A, self.B), self.names, strict=True):
            drawn = axes.scatter(*points[rows].T, vmin=0, vmax=1, **style, **point_style(len(rows)))
            axes.set_title(name)
        bar = self.figure_.colorbar(drawn, ax=list(self.axes_), shrink=0.7)
        bar.solids.set_alpha(1)
        overlap, chance = self.consistency.overlap, self.consistency.chance
        bar.set_label(
            f"share of neighbours on both maps\nmean {overlap:.2f}, by chance {chance:.2g}"
        )

    def _plot_area(self) -> None:
        parts = self._parts()
        n, size = len(self.A), int(self.area.sum())
        for axes, points in zip(self.axes_, (self.A, self.B), strict=True):
            axes.scatter(*points[~self.area].T, c=NOISE_COLOUR, **point_style(n))
            for (colour, marker), (_, mine) in zip(_PARTS, parts, strict=True):
                style = point_style(n, size) | {"alpha": 0.8}
                axes.scatter(*points[mine].T, c=colour, marker=marker, **style)
        if self.outline is not None:
            from matplotlib.patches import Polygon

            style = {"fill": False, "ec": FRAME_COLOUR, "lw": 1.2}
            self.axes_[0].add_patch(Polygon(self.outline, closed=True, **style))
        consistency, (name_a, name_b) = self.consistency, self.names
        self.axes_[0].set_title(f"{name_a}: an area of {size:,} of {n:,} particles")
        chance = "under 1%" if consistency.chance < 0.01 else f"{consistency.chance:.0%}"
        self.axes_[1].set_title(
            f"{name_b}: {consistency.share:.0%} stay together ({chance} by chance)"
        )
        if consistency.share_on_a < 1:
            write_note(self.axes_[0], f"{consistency.share_on_a:.0%} are together here")
        self._plot_legend(parts)

    def _parts(self) -> list[tuple[str, np.ndarray]]:
        """Return the parts of the area, in words and as masks, in the order of `_PARTS`."""
        group, n_groups = self.consistency.group, self.consistency.n_groups
        others = "another group" if n_groups == 2 else f"{max(n_groups - 1, 0)} other groups"
        return [
            (f"in the largest group on {self.names[1]}", group == 0),
            (f"in {others} there", group > 0),
            ("apart there", self.area & (group < 0)),
        ]

    def _plot_legend(self, parts) -> None:
        from matplotlib.lines import Line2D

        size = int(self.area.sum())
        entries = [
            (colour, marker, f"{words}: {mine.sum():,} ({mine.sum() / size:.0%})")
            for (colour, marker), (words, mine) in zip(_PARTS, parts, strict=True)
            if mine.any()
        ]
        entries.append((NOISE_COLOUR, "o", f"not in the area: {len(self.A) - size:,}"))
        handles = [
            Line2D([], [], ls="", marker=marker, color=colour, ms=6, label=label)
            for colour, marker, label in entries
        ]
        style = {"frameon": False, "fontsize": 9}
        if self.figure_.get_layout_engine() is None:
            self.axes_[1].legend(handles=handles, loc="upper left", **style)
        else:
            self.figure_.legend(
                handles=handles, loc="outside lower center", ncols=len(handles), **style
            )


def _check_map(points, name: str) -> np.ndarray:
    points = check_array(points, input_name=name)
    if points.shape[1] != 2:
        raise ValueError(
            f"{name} has {points.shape[1]} columns; expected 2. Reduce it first, for example with "
            "umap.UMAP(n_components=2); map_consistency compares maps of any width."
        )
    return points
