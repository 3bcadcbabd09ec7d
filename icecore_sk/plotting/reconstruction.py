"""Images above what an autoencoder makes of them."""

import numpy as np
from sklearn.utils import check_random_state

from icecore_sk._numbers import format_number
from icecore_sk.metrics._labels import check_lengths
from icecore_sk.plotting._pictures import (
    FRAME_COLOUR,
    Canvas,
    find_step,
    gather_pictures,
    read_pictures,
    show_picture,
    take,
)

ORDERS = ("random", "worst", "best")
SQUARED_ERROR = "squared error"


class ReconstructionDisplay:
    """Originals above reconstructions, with the loss of each.

    Use `from_estimator` or `from_predictions`.

    Parameters
    ----------
    originals, reconstructions : array or particle table
        Images in any of the forms that the estimators take, row by row the same particles.
    losses : array-like of shape (n,)
    rows : array-like of int of shape (n,)
        Row of each in the data that they were chosen from.
    loss_name : str, default="loss"
    image_shape : tuple (C, H, W) or None, default=None
        Shape of images that are rows of an array.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from icecore_sk.plotting import ReconstructionDisplay
    >>> X = np.zeros((3, 8, 8))
    >>> R = X + np.array([0.1, 0.5, 0.2])[:, None, None]
    >>> display = ReconstructionDisplay.from_predictions(X, R, n_images=2, order="worst")
    >>> display.rows.tolist(), display.losses.round(2).tolist()
    ([1, 2], [0.25, 0.04])
    >>> _ = display.plot(n_columns=1)

    Of a fitted autoencoder:

    >>> from icecore_sk import AutoEncoder
    >>> from icecore_sk.datasets import load_digit_images
    >>> X = load_digit_images().data[:50]
    >>> model = AutoEncoder(4, max_epochs=1, random_state=0).fit(X)
    >>> len(ReconstructionDisplay.from_estimator(model, X, n_images=3).rows)
    3
    """

    def __init__(
        self, originals, reconstructions, losses, *, rows, loss_name="loss", image_shape=None
    ):
        self.originals = originals
        self.reconstructions = reconstructions
        self.losses = losses
        self.rows = rows
        self.loss_name = loss_name
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls, estimator, X, *, n_images=10, order="random", random_state=0, ax=None, title=None
    ):
        """Draw what ``estimator.reconstruct`` makes of rows of X.

        Parameters
        ----------
        estimator : fitted autoencoder
            Anything with `reconstruct`, or a Pipeline with such a step: the originals are then the
            images as this step gets them. The loss is minus its `score_samples` (of a VAE minus
            the ELBO, in nats) or, where it has none, the mean squared error over the pixels, of
            images from 0 to 1.
        X : array or particle table
        n_images, order, random_state, ax, title
            As in `from_predictions`.

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        TypeError
            Where nothing has a method `reconstruct`.
        ValueError
            As `from_predictions`.
        """
        step, X = find_step(estimator, X, "reconstruct")
        if not hasattr(step, "reconstruct"):
            raise TypeError(
                f"{type(estimator).__name__} has no method reconstruct; pass an autoencoder or a "
                "Pipeline with one."
            )
        shape = getattr(step, "image_shape_", None)
        n = len(read_pictures(X, shape, "X"))
        if not hasattr(step, "score_samples"):
            everything = step.reconstruct(X)
            losses = squared_errors(X, everything, shape)
            rows = choose_rows(losses, n, n_images, order, random_state)
            chosen = (take(X, rows), take(everything, rows), losses[rows])
            return cls(*chosen, rows=rows, loss_name=SQUARED_ERROR, image_shape=shape).plot(
                ax=ax, title=title
            )
        # Only the losses are needed of all rows, and not even those for a random choice.
        losses = None if order == "random" else -np.asarray(step.score_samples(X))
        rows = choose_rows(losses, n, n_images, order, random_state)
        X = take(X, rows)
        losses = -np.asarray(step.score_samples(X)) if losses is None else losses[rows]
        return cls(X, step.reconstruct(X), losses, rows=rows, image_shape=shape).plot(
            ax=ax, title=title
        )

    @classmethod
    def from_predictions(
        cls,
        X,
        reconstructions,
        losses=None,
        *,
        n_images=10,
        order="random",
        random_state=0,
        image_shape=None,
        ax=None,
        title=None,
    ):
        """Draw images and their reconstructions.

        Parameters
        ----------
        X, reconstructions : array or particle table
            n images in any of the forms that the estimators take; uint8 is divided by 255.
        losses : array-like of shape (n,) or None, default=None
            None takes the mean squared error over the pixels.
        n_images : int, default=10
            Images at most.
        order : {"random", "worst", "best"}, default="random"
            "worst" shows the images with the largest losses, the largest first; "best" those with
            the smallest.
        random_state : int, RandomState instance or None, default=0
            Draws the rows of ``order="random"``.
        image_shape : tuple (C, H, W) or None, default=None
            Shape of images that are rows of an array.
        ax, title
            As in `plot`.

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        ValueError
            Where the numbers or shapes of images differ, or a parameter is out of its range.
        """
        name = SQUARED_ERROR if losses is None else "loss"
        if losses is None:
            losses = squared_errors(X, reconstructions, image_shape)
        losses = np.asarray(losses, dtype=float)
        n = len(read_pictures(X, image_shape, "X"))
        check_lengths(n, losses=losses, reconstructions=reconstructions)
        rows = choose_rows(losses, n, n_images, order, random_state)
        return cls(
            take(X, rows),
            take(reconstructions, rows),
            losses[rows],
            rows=rows,
            loss_name=name,
            image_shape=image_shape,
        ).plot(ax=ax, title=title)

    def plot(self, *, ax=None, title=None, n_columns=10):
        """Draw the pairs.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        title : str or None, default=None
        n_columns : int, default=10
            Pairs beside each other.

        Returns
        -------
        self : ReconstructionDisplay
        """
        pairs = [
            read_pictures(images, self.image_shape)
            for images in (self.originals, self.reconstructions)
        ]
        n = len(pairs[0])
        n_columns = min(n_columns, n)
        n_blocks = -(-n // n_columns)
        # Tiles have the shape of the images, which are not always square.
        _, image_height, image_width = pairs[0].image_shape
        high, margin = float(np.clip(image_height / image_width, 0.3, 3)), 1.5
        step = 2 * high + 0.45
        canvas = Canvas(ax, n_columns + margin, n_blocks * step, tile=0.85)
        self.ax_, self.figure_ = canvas.ax, canvas.ax.figure
        size = canvas.font(5.5)
        for part, rows in enumerate(pairs):
            for k, picture in enumerate(gather_pictures(rows, np.arange(n))):
                x, y = margin + k % n_columns, k // n_columns * step + part * high
                place = (x + 0.03, y + 0.03, 0.94, high - 0.06)
                show_picture(self.ax_, picture, place, frame=FRAME_COLOUR, linewidth=0.5)
        below = 2 * high + 0.04
        for k, loss in enumerate(self.losses):
            x, y = margin + k % n_columns + 0.5, k // n_columns * step + below
            canvas.text(x, y, format_number(loss), size=size, ha="center")
        names = (("original", high / 2), ("reconstruction", 1.5 * high), (self.loss_name, below))
        for top in np.arange(n_blocks) * step:
            for words, y in names:
                middle = "top" if y == below else "center"
                canvas.text(margin - 0.1, top + y, words, size=size, ha="right", va=middle)
        self.ax_.set_title(title)
        return self


def squared_errors(X, reconstructions, image_shape=None) -> np.ndarray:
    """Mean squared error over the pixels of each image, uint8 divided by 255."""
    pair = [read_pictures(X, image_shape, "X"), read_pictures(reconstructions, image_shape)]
    shapes = [(len(rows), *rows.image_shape) for rows in pair]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"X has images of shape {shapes[0]}, but reconstructions of {shapes[1]}; expected the "
            "same (n, C, H, W)."
        )
    errors = np.empty(shapes[0][0])
    for start in range(0, len(errors), 512):
        index = np.arange(start, min(start + 512, len(errors)))
        one, other = (
            rows.gather(index) / np.float32(255 if rows.dtype == np.uint8 else 1) for rows in pair
        )
        errors[index] = np.square(one - other).mean(axis=(1, 2, 3))
    return errors


def choose_rows(losses, n: int, n_images: int, order: str, random_state) -> np.ndarray:
    """Return the rows to be drawn."""
    if order not in ORDERS:
        raise ValueError(f"order={order!r} must be one of {list(ORDERS)}.")
    if n_images < 1:
        raise ValueError(f"n_images={n_images!r} must be at least 1.")
    n_images = min(n_images, n)
    if order == "random":
        return check_random_state(random_state).choice(n, n_images, replace=False)
    return np.argsort(-losses if order == "worst" else losses, kind="stable")[:n_images]
