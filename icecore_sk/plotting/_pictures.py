"""What the displays share: images of any form as pictures, and places to draw them."""

import numpy as np
import pandas as pd
from sklearn.utils import _safe_indexing

from icecore_sk import _images

FRAME_COLOUR = "#444444"
TEXT_COLOUR = "#555555"


def read_pictures(X, image_shape=None, name: str = "images") -> _images.ImageRows:
    """Read the images of X in any of its three forms; scalars may be anything."""
    columns = _images.image_columns(X)
    if columns:
        return _checked(_images.read_table(X[columns]), name)
    if isinstance(X, pd.Series) and _images.is_tensor_dtype(X.dtype):
        return _checked(_images.read_table(X.to_frame()), name)
    array = np.asarray(X)
    shape = None if image_shape is None else _images.check_image_shape(image_shape)
    if array.ndim in (3, 4) and array.dtype.kind in "buif":
        return _checked(_images.read_images(array, shape), name)
    if array.ndim == 2 and shape is not None:
        return _checked(_images.read_rows(array, shape), name)
    raise ValueError(
        f"{name} has no images: it is a {type(X).__name__} of shape {np.shape(X)}. Pass an array "
        "(n, H, W) or (n, C, H, W), a table with an image column, or flattened rows together with "
        "image_shape=(C, H, W)."
    )


def _checked(rows: _images.ImageRows, name: str) -> _images.ImageRows:
    if rows.image_shape[0] not in (1, 3):
        raise ValueError(
            f"{name} has images of {rows.image_shape[0]} channels; expected 1 (grey) or 3 (RGB). "
            "Pass some of them, such as X[:, :1], or their mean, X.mean(axis=1)."
        )
    return rows


def cut(text: str, length: int) -> str:
    """Cut a name that is too long, wherever that is: names of species have no spaces."""
    return text if len(text) <= length else text[: length - 3].rstrip() + "..."


def has_images(X) -> bool:
    """Whether X is images in a form that needs no `image_shape`."""
    return bool(_images.image_columns(X)) or np.ndim(X) in (3, 4)


def images_in(X, images=None, image_shape=None):
    """Return `images` or else those in X, or None where it has none."""
    if images is not None:
        return images
    if isinstance(X, pd.DataFrame) and not _images.image_columns(X):
        return None
    return X if has_images(X) or (image_shape is not None and np.ndim(X) == 2) else None


def images_of(estimator, X, images=None, image_shape=None):
    """Return `images` or else those in X, and the shape of images that are rows, or raise.

    A shape that is not given is the one that the estimator was fitted with.
    """
    if image_shape is None:
        image_shape = getattr(estimator, "image_shape_", None)
    images = images_in(X, images, image_shape)
    if images is None:
        raise ValueError(
            "X has no images; pass those of the same particles as images=, an array "
            "(n, H, W) or (n, C, H, W) or a table with an image column."
        )
    return images, image_shape


def scalars_in(X, scalars=None):
    """Return `scalars` or else those in a particle table X, or None where it has none."""
    if scalars is not None or not _images.image_columns(X):
        return scalars
    beside = X.drop(columns=_images.image_columns(X))
    return beside if beside.shape[1] else None


def gather_pictures(rows: _images.ImageRows, index) -> np.ndarray:
    """Return images as matplotlib draws them: (k, H, W) or (k, H, W, 3), from 0 to 1.

    Black is 0 and white is 255 or 1. Images that reach beyond 0 to 1 are brought there together,
    so that they can be compared.
    """
    images = rows.gather(np.asarray(index, dtype=int))
    if images.dtype == np.uint8:
        images = images / np.float32(255)
    images = images.astype(np.float32)
    if not np.isfinite(images).all():
        raise ValueError("images to be drawn contain NaN or infinity; mend or leave out these.")
    if images.size and (images.min() < 0 or images.max() > 1):
        images = (images - images.min()) / (np.ptp(images) or 1.0)
    return images[:, 0] if images.shape[1] == 1 else np.moveaxis(images, 1, -1)


def show_picture(ax, picture, place, *, frame=None, linewidth=1.0, zorder=2.0):
    """Draw a picture as large as it fits into `place`: left, first edge up or down, width, height.

    Its shape stays; `frame` is the colour of a frame around it.
    """
    from matplotlib.patches import Rectangle

    left, start, width, height = place
    scale = min(width / picture.shape[1], height / picture.shape[0])
    w, h = picture.shape[1] * scale, picture.shape[0] * scale
    x, y = left + (width - w) / 2, start + (height - h) / 2
    # Row 0 of a picture is its top, wherever up is on these axes.
    vertical = (y + h, y) if ax.yaxis_inverted() else (y, y + h)
    autoscale = ax.get_autoscalex_on(), ax.get_autoscaley_on()
    ax.set_autoscale_on(False)
    artist = ax.imshow(
        picture, extent=(x, x + w, *vertical), cmap="gray", vmin=0, vmax=1, zorder=zorder
    )
    # Otherwise the axes would end exactly where a picture does.
    artist.sticky_edges.x.clear()
    artist.sticky_edges.y.clear()
    if frame is not None:
        ax.add_patch(
            Rectangle((x, y), w, h, fill=False, ec=frame, lw=linewidth, zorder=zorder + 0.1)
        )
    ax.set_autoscalex_on(autoscale[0])
    ax.set_autoscaley_on(autoscale[1])
    return artist


class Canvas:
    """Empty axes for pictures and text, `width` by `height` tiles, (0, 0) at the top left.

    Parameters
    ----------
    ax : Axes or None
        None makes a figure, with tiles of `tile` inches.
    """

    def __init__(self, ax, width: float, height: float, tile: float = 0.8):
        if ax is None:
            ax = new_axes((width * tile, height * tile))
        self.ax = ax
        ax.set(xlim=(0, width), ylim=(height, 0))
        ax.set_aspect("equal")
        ax.set_axis_off()
        box = ax.get_window_extent()
        inches = min(box.width / width, box.height / height) / ax.figure.dpi
        self.points = 72 * inches  # of a tile

    def font(self, lines: float) -> float:
        """Font size for `lines` lines in the height of a tile, between 4 and 9 points."""
        return float(np.clip(self.points / lines / 1.25, 4, 9))

    def text(self, x, y, words, *, size, **style):
        """Write at a place, from its top left corner down unless `style` says otherwise."""
        usual = {"va": "top", "ha": "left", "linespacing": 1.2}
        # A name or a reason may have dollars.
        return self.ax.text(x, y, words, **{"size": size, "parse_math": False, **usual, **style})

    def wrap(self, words: str, width: float, size: float, max_lines: int | None = None) -> str:
        """Break words into lines of at most `width` tiles, and say so where some are left out."""
        import textwrap

        columns = self._letters(width, size)
        return "\n".join(textwrap.wrap(words, columns, max_lines=max_lines, placeholder=" ..."))

    def shorten(self, name: str, width: float, size: float) -> str:
        """Cut a name that is wider than `width` tiles, which may have no space to break at."""
        return cut(name, self._letters(width, size))

    def _letters(self, width: float, size: float) -> int:
        # A letter of the default font is about 0.52 times as wide as the font is high.
        return max(4, int(width * self.points / (0.52 * size)))


def new_axes(figsize):
    """Return the axes of a new figure."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize, layout="constrained")[1]


def split_axes(ax, shape, figsize, **grid):
    """Return a figure and a gridspec of `shape`, in place of `ax` or, where None, in a new one."""
    import matplotlib.pyplot as plt

    if ax is None:
        figure = plt.figure(figsize=figsize, layout="constrained")
        return figure, figure.add_gridspec(*shape, **grid)
    ax.set_axis_off()
    spec = ax.get_subplotspec()
    if spec is not None:
        return ax.figure, spec.subgridspec(*shape, **grid)
    box = ax.get_position()
    return ax.figure, ax.figure.add_gridspec(
        *shape, left=box.x0, right=box.x1, bottom=box.y0, top=box.y1, **grid
    )


def find_step(estimator, X, method: str):
    """Return the last step of a Pipeline that has `method`, and X as this step gets it."""
    if hasattr(estimator, method) or not hasattr(estimator, "steps"):
        return estimator, X
    for k in range(len(estimator.steps) - 1, -1, -1):
        if hasattr(estimator[k], method):
            return estimator[k], X if k == 0 or X is None else estimator[:k].transform(X)
    return estimator, X


def take(X, index):
    """Return rows of X, whatever it is."""
    return _safe_indexing(X, np.asarray(index, dtype=int))


def row_name(index, row: int) -> str:
    """Name of a particle: its level "id" where the index has one, else all of its index."""
    if index is None:
        return str(row)
    if isinstance(index, pd.MultiIndex):
        if "id" in index.names:
            return str(index.get_level_values("id")[row])
        return ", ".join(map(str, index[row]))
    return str(index[row])
