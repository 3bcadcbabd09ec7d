"""Predicted labels beside the truth: which are confused, and what the mistakes look like."""

import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay

from icecore_sk.metrics._labels import check_lengths, encode_labels
from icecore_sk.plotting._pictures import (
    TEXT_COLOUR,
    Canvas,
    cut,
    gather_pictures,
    images_of,
    read_pictures,
    show_picture,
    split_axes,
)

RIGHT_COLOUR, WRONG_COLOUR = "#44AA99", "#CC6677"
PICTURE_COLUMNS = 6


class PredictionDisplay:
    """A confusion matrix, and images with their true and predicted labels.

    The mistakes come first, the most confident first of them; then, as far as there is room, what
    was right by a hair. Above each image stands its true label, below it the predicted one.

    Use `from_estimator` or `from_predictions`.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        None, NaN and negative numbers are missing.
    y_pred : array-like of shape (n,)
    images : array or particle table
        Images of the n particles, in any of the forms that the estimators take.
    confidence : array-like of shape (n,) or None, default=None
        Probability of each predicted label.
    image_shape : tuple (C, H, W) or None, default=None
        Shape of images that are rows of an array.

    Attributes
    ----------
    rows_ : ndarray of int
        Rows that are drawn, in this order.
    n_mistakes_ : int
    axes_ : ndarray of matplotlib Axes of shape (2,)
        The confusion matrix and the images.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from icecore_sk.datasets import load_digit_images
    >>> from icecore_sk.plotting import PredictionDisplay
    >>> X, y = load_digit_images(return_X_y=True)
    >>> guess = y[:30].copy()
    >>> guess[[3, 7]] = 0
    >>> display = PredictionDisplay.from_predictions(y[:30], guess, X[:30], n_images=4)
    >>> display.n_mistakes_, display.rows_[:2].tolist()
    (2, [3, 7])
    >>> _ = display.plot(n_images=2)

    Of a fitted classifier:

    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> rows = X.reshape(len(X), -1)
    >>> knn = KNeighborsClassifier(1).fit(rows[:300], y[:300])
    >>> test = slice(300, 400)
    >>> display = PredictionDisplay.from_estimator(knn, rows[test], y[test], images=X[test])
    >>> bool(display.n_mistakes_ == (knn.predict(rows[test]) != y[test]).sum())
    True
    """

    def __init__(self, y_true, y_pred, images, *, confidence=None, image_shape=None):
        self.y_true = y_true
        self.y_pred = y_pred
        self.images = images
        self.confidence = confidence
        self.image_shape = image_shape

    @classmethod
    def from_estimator(cls, estimator, X, y, *, images=None, image_shape=None, **options):
        """Draw ``estimator.predict(X)`` beside y.

        Parameters
        ----------
        estimator : fitted classifier
            The confidence is the largest of its `predict_proba`, where it has that.
        X : array or particle table
            What the estimator takes.
        y : array-like of shape (n,)
            True labels.
        images : array or particle table, or None, default=None
            None takes those of X.
        image_shape, **options
            As in `from_predictions`.

        Returns
        -------
        display : PredictionDisplay
        """
        images, image_shape = images_of(estimator, X, images, image_shape)
        confidence = None
        if hasattr(estimator, "predict_proba"):
            confidence = np.asarray(estimator.predict_proba(X)).max(axis=1)
        return cls.from_predictions(
            y,
            estimator.predict(X),
            images,
            confidence=confidence,
            image_shape=image_shape,
            **options,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_pred,
        images,
        *,
        confidence=None,
        image_shape=None,
        n_images=24,
        ax=None,
        title=None,
    ):
        """Draw predictions that are already made.

        Parameters
        ----------
        y_true : array-like of shape (n,)
            Rows whose label is missing (None, NaN, negative numbers) are left out, and counted.
        y_pred : array-like of shape (n,)
        images : array or particle table
            Images of the n particles.
        confidence : array-like of shape (n,) or None, default=None
            Probability of each predicted label; None takes the rows in their order.
        image_shape : tuple (C, H, W) or None, default=None
            Shape of `images` that are rows of an array.
        n_images, ax, title
            As in `plot`.

        Returns
        -------
        display : PredictionDisplay

        Raises
        ------
        ValueError
            Where lengths differ or every true label is missing.
        """
        n = len(read_pictures(images, image_shape))
        check_lengths(n, y_true=y_true, y_pred=y_pred, confidence=confidence)
        display = cls(y_true, y_pred, images, confidence=confidence, image_shape=image_shape)
        return display.plot(n_images=n_images, ax=ax, title=title)

    def plot(self, *, n_images=24, ax=None, title=None):
        """Draw the confusion matrix and the images.

        Parameters
        ----------
        n_images : int, default=24
            Images at most.
        ax : matplotlib Axes or None, default=None
            Axes in whose place both are drawn; None makes a figure.
        title : str or None, default=None

        Returns
        -------
        self : PredictionDisplay
        """
        truth, guess, names, known = self._codes()
        self.rows_ = self._choose(truth, guess, known)[:n_images]
        self.n_mistakes_ = int((truth != guess)[known].sum())
        n_columns = min(PICTURE_COLUMNS, max(1, len(self.rows_)))
        height = max(3.9, 1.3 * -(-len(self.rows_) // n_columns) + 0.5)
        widths = [4.2, 0.9 * n_columns]
        self.figure_, grid = split_axes(ax, (1, 2), (sum(widths), height), width_ratios=widths)
        self.axes_ = np.array([self.figure_.add_subplot(grid[k]) for k in range(2)], dtype=object)
        self.ax_ = self.axes_[0]
        self._plot_matrix(truth[known], guess[known], names)
        self._plot_pictures(truth, guess, names, n_columns)
        if title is not None:
            self.figure_.suptitle(title) if ax is None else ax.set_title(title)
        return self

    def _codes(self):
        """Return true and predicted labels as codes, their names, and which truth is known."""
        n = len(self.y_pred)
        both = np.concatenate([np.asarray(y, dtype=object) for y in (self.y_true, self.y_pred)])
        codes, names = encode_labels(both)
        truth, guess = codes[:n], codes[n:]
        known = truth >= 0
        if not known.any():
            raise ValueError("y_true has no label: all are missing. Pass those of some particles.")
        if (guess < 0).any():
            # A prediction of "none of them" is one, too.
            guess = np.where(guess < 0, len(names), guess)
            names = [*names, "none"]
        return truth, guess, [str(name) for name in names], known

    def _choose(self, truth, guess, known) -> np.ndarray:
        """Return the rows of known truth: mistakes, surest first; then right, least sure first."""
        rows = np.flatnonzero(known)
        wrong = (truth != guess)[rows]
        sure = np.zeros(len(rows))
        if self.confidence is not None:
            sure = np.asarray(self.confidence, dtype=float)[rows]
        return rows[np.lexsort([np.where(wrong, -sure, sure), ~wrong])]

    def _plot_matrix(self, truth, guess, names: list) -> None:
        shown = np.unique(np.concatenate([truth, guess]))
        labels = [cut(names[k], 16) for k in shown]
        if len(set(labels)) < len(labels):
            labels = [names[k] for k in shown]
        ConfusionMatrixDisplay.from_predictions(
            truth,
            guess,
            labels=shown,
            display_labels=labels,
            cmap="Blues",
            colorbar=False,
            values_format=",d",
            ax=self.axes_[0],
            xticks_rotation="vertical" if max(map(len, labels)) > 3 else "horizontal",
            text_kw={"size": 9 if len(shown) <= 8 else 6},
        )
        self.axes_[0].set(xlabel="predicted", ylabel="true")
        left_out = len(self.y_pred) - len(truth)
        if left_out:
            words = f"{left_out:,} without a true label left out"
            self.axes_[0].set_title(words, fontsize=8, color=TEXT_COLOUR)

    def _plot_pictures(self, truth, guess, names: list, n_columns: int) -> None:
        step = 1.46
        canvas = Canvas(self.axes_[1], n_columns, max(1, -(-len(self.rows_) // n_columns)) * step)
        size = canvas.font(5.8)
        line = 1.25 * size / canvas.points
        n = int((truth >= 0).sum())
        heading = f"{self.n_mistakes_:,} of {n:,} mistaken"
        self.axes_[1].set_title(heading, fontsize=10, loc="left")
        pictures = gather_pictures(read_pictures(self.images, self.image_shape), self.rows_)
        for k, (row, picture) in enumerate(zip(self.rows_, pictures, strict=True)):
            x, y = k % n_columns, k // n_columns * step
            colour = WRONG_COLOUR if truth[row] != guess[row] else RIGHT_COLOUR
            place = (x + 0.04, y + line, 0.92, 0.92)
            show_picture(self.axes_[1], picture, place, frame=colour, linewidth=2)
            above = canvas.shorten(names[truth[row]], 0.98, size)
            canvas.text(x + 0.5, y + line, above, size=size, ha="center", va="bottom")
            below = (
                "" if self.confidence is None else f" {float(np.asarray(self.confidence)[row]):.0%}"
            )
            below = canvas.wrap(names[guess[row]], 0.98 - 0.04 * len(below), size, 1) + below
            style = {"ha": "center", "color": TEXT_COLOUR}
            canvas.text(x + 0.5, y + line + 0.96, below, size=size, **style)
