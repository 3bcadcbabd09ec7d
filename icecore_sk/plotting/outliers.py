"""The most unusual particles, with what is unusual about them."""

import numpy as np
import pandas as pd

from icecore_sk._numbers import format_number
from icecore_sk.metrics._labels import check_lengths
from icecore_sk.plotting._pictures import (
    FRAME_COLOUR,
    TEXT_COLOUR,
    Canvas,
    gather_pictures,
    images_of,
    read_pictures,
    row_name,
    show_picture,
)

INLIER = "within the usual"


class OutlierDisplay:
    """The most unusual particles: image, name, score and reason, the most unusual first.

    Use `from_estimator` or `from_predictions`.

    Parameters
    ----------
    table : DataFrame of n rows
        With the columns score (the lower, the more unusual) and reason.
    images : array or particle table
        Images of the n particles, in any of the forms that the estimators take.
    image_shape : tuple (C, H, W) or None, default=None
        Shape of images that are rows of an array.

    Attributes
    ----------
    rows_ : ndarray of int
        Rows of the table that are drawn, in this order.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from icecore_sk.plotting import OutlierDisplay
    >>> table = pd.DataFrame({"score": [-1.0, -9.0], "reason": ["", "far from everything"]})
    >>> display = OutlierDisplay.from_predictions(table, np.zeros((2, 8, 8)))
    >>> display.rows_.tolist()
    [1, 0]
    >>> _ = display.plot(n_columns=1)

    Of a fitted scorer:

    >>> from icecore_sk import OutlierScorer
    >>> Z = np.random.RandomState(0).normal(size=(100, 2))
    >>> Z[7] = 9
    >>> scorer = OutlierScorer().fit(Z)
    >>> images = np.zeros((100, 8, 8))
    >>> OutlierDisplay.from_estimator(scorer, Z, images=images, n_outliers=1).rows_.tolist()
    [7]
    """

    def __init__(self, table, images, *, image_shape=None):
        self.table = table
        self.images = images
        self.image_shape = image_shape

    @classmethod
    def from_estimator(cls, scorer, X, *, images=None, image_shape=None, **options):
        """Draw what ``scorer.explain(X)`` says.

        Parameters
        ----------
        scorer : fitted OutlierScorer
            Anything with `explain`.
        X : array or particle table
            What the scorer takes.
        images : array or particle table, or None, default=None
            Images of the particles; None takes those of X.
        image_shape, **options
            As in `from_predictions`.

        Returns
        -------
        display : OutlierDisplay

        Raises
        ------
        ValueError
            Where neither is given images, or as `from_predictions`.
        """
        images, image_shape = images_of(scorer, X, images, image_shape)
        return cls.from_predictions(scorer.explain(X), images, image_shape=image_shape, **options)

    @classmethod
    def from_predictions(
        cls, table, images, *, n_outliers=12, n_columns=2, image_shape=None, ax=None, title=None
    ):
        """Draw the particles of lowest score.

        Parameters
        ----------
        table : DataFrame of n rows
            With the columns score and reason, as `OutlierScorer.explain` returns it.
        images : array or particle table
            Images of the same particles, in the same order.
        image_shape : tuple (C, H, W) or None, default=None
            Shape of images that are rows of an array.
        n_outliers, n_columns, ax, title
            As in `plot`.

        Returns
        -------
        display : OutlierDisplay

        Raises
        ------
        TypeError
            Where `table` is no DataFrame.
        ValueError
            Where it lacks a column, or has another number of rows than there are images.
        """
        if not isinstance(table, pd.DataFrame):
            raise TypeError(f"table is a {type(table).__name__}; expected a DataFrame.")
        for column in ("score", "reason"):
            if column not in table:
                raise ValueError(
                    f"table has no column {column!r}, but {list(table.columns)}. Pass what "
                    "OutlierScorer.explain returns."
                )
        check_lengths(len(table), images=read_pictures(images, image_shape))
        display = cls(table, images, image_shape=image_shape)
        return display.plot(n_outliers=n_outliers, n_columns=n_columns, ax=ax, title=title)

    def plot(self, *, n_outliers=12, n_columns=2, ax=None, title=None):
        """Draw the particles.

        Parameters
        ----------
        n_outliers : int, default=12
            Particles at most.
        n_columns : int, default=2
            Particles beside each other; the first row is read first.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        title : str or None, default=None

        Returns
        -------
        self : OutlierDisplay
        """
        if n_outliers < 1 or n_columns < 1:
            raise ValueError(
                f"n_outliers={n_outliers!r} and n_columns={n_columns!r} must be at least 1."
            )
        score = self.table["score"].to_numpy(dtype=float)
        self.rows_ = np.argsort(score, kind="stable")[:n_outliers]
        n_columns = min(n_columns, len(self.rows_))
        width, step = 4.4, 1.12
        canvas = Canvas(ax, width * n_columns, step * -(-len(self.rows_) // n_columns), tile=0.95)
        self.ax_, self.figure_ = canvas.ax, canvas.ax.figure
        pictures = gather_pictures(read_pictures(self.images, self.image_shape), self.rows_)
        for k, (row, picture) in enumerate(zip(self.rows_, pictures, strict=True)):
            x, y = k % n_columns * width, k // n_columns * step
            show_picture(self.ax_, picture, (x, y, 1, 1), frame=FRAME_COLOUR, linewidth=0.5)
            self._write(canvas, k + 1, row, x + 1.12, y, width - 1.3)
        self.ax_.set_title(title)
        return self

    def _write(self, canvas: Canvas, rank: int, row: int, x: float, y: float, width: float):
        """Write what is known of one particle, in the height of its image."""
        size = canvas.font(7)
        line = 1.25 * size / canvas.points
        name = f"{rank}. {row_name(self.table.index, row)}"
        head = canvas.shorten(name, width, 1.2 * size)  # bold is wider
        canvas.text(x, y, head, size=size, weight="bold")
        score = f"score {format_number(self.table['score'].iloc[row])}"
        canvas.text(x, y + line, score, size=size, color=TEXT_COLOUR)
        reason = str(self.table["reason"].iloc[row] or INLIER)
        lines = max(1, int((1 - 2 * line) / line))
        canvas.text(x, y + 2 * line, canvas.wrap(reason, width, size, lines), size=size)
