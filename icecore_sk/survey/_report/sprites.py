"""Thumbnails of all particles, side by side in sheets that a browser decodes as needed."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

PER_ROW = 16
PER_SHEET = PER_ROW * PER_ROW
# Sides of thumbnails in pixels, tried in this order until the sheets fit.
SIDES = (64, 48, 32, 24, 16)
# JPEG works in blocks of this side. Cells made of whole blocks do not run into each other.
BLOCK = 8
QUALITY = 85


@dataclass(frozen=True)
class SpriteLayout:
    """Where a thumbnail is in its sheet: the nth is at row ``n // 16``, column ``n % 16``.

    Attributes
    ----------
    height, width : int
        Pixels of a thumbnail.
    cell_height, cell_width : int
        Pixels from one thumbnail to the next, in whole JPEG blocks.
    """

    height: int
    width: int

    @classmethod
    def of(cls, image_shape: tuple[int, ...], side: int) -> "SpriteLayout":
        """Return the layout for images whose longer side is shown in at most `side` pixels."""
        height, width = image_shape
        scale = min(1.0, side / max(height, width))
        return cls(max(1, round(height * scale)), max(1, round(width * scale)))

    @property
    def cell_height(self) -> int:
        return -(-self.height // BLOCK) * BLOCK

    @property
    def cell_width(self) -> int:
        return -(-self.width // BLOCK) * BLOCK

    def describe(self) -> dict:
        """Return the layout as the page reads it."""
        return {
            "height": self.height,
            "width": self.width,
            "cellHeight": self.cell_height,
            "cellWidth": self.cell_width,
            "perRow": PER_ROW,
            "perSheet": PER_SHEET,
        }


def fit_sprites(images, order: np.ndarray, max_bytes: int) -> tuple[SpriteLayout, list[bytes]]:
    """Return the largest thumbnails whose sheets need at most `max_bytes` together.

    Parameters
    ----------
    images : array of uint8 of shape (n, H, W) or (n, 1 or 3, H, W)
    order : ndarray of int
        Rows of `images` in the order of the sheets.
    max_bytes : int

    Returns
    -------
    layout : SpriteLayout
    sheets : list of bytes
        JPEG files.
    """
    for side in SIDES:
        layout = SpriteLayout.of(images.shape[-2:], side)
        sheets = list(make_sheets(images, order, layout))
        if sum(map(len, sheets)) <= max_bytes:
            break
    return layout, sheets


def make_sheets(images, order: np.ndarray, layout: SpriteLayout) -> Iterator[bytes]:
    """Yield the sheets, reading no more images at a time than one of them holds."""
    from PIL import Image

    for start in range(0, len(order), PER_SHEET):
        rows = order[start : start + PER_SHEET]
        pixels = draw_sheet(np.asarray(images[rows]), layout)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
        yield buffer.getvalue()


def draw_sheet(images: np.ndarray, layout: SpriteLayout) -> np.ndarray:
    """Return one sheet as pixels of shape (height, width) or (height, width, 3)."""
    images = images[:, None] if images.ndim == 3 else images
    images = np.moveaxis(images, 1, -1)  # (n, H, W, C)
    n_rows = -(-len(images) // PER_ROW)
    missing = n_rows * PER_ROW - len(images)
    images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)), constant_values=255)
    images = _shrink(images, layout)
    # Repeated edges, so that the block of an edge has no step in it.
    beyond = (layout.cell_height - layout.height, layout.cell_width - layout.width)
    images = np.pad(images, ((0, 0), (0, beyond[0]), (0, beyond[1]), (0, 0)), mode="edge")
    cells = images.reshape(n_rows, PER_ROW, *images.shape[1:])
    sheet = cells.swapaxes(1, 2).reshape(
        n_rows * layout.cell_height, PER_ROW * layout.cell_width, -1
    )
    return sheet[..., 0] if sheet.shape[-1] == 1 else sheet


def _shrink(images: np.ndarray, layout: SpriteLayout) -> np.ndarray:
    """Resize images of shape (n, H, W, C), all at once."""
    from PIL import Image

    n, height, width, channels = images.shape
    if (height, width) == (layout.height, layout.width):
        return images
    # One tall picture of them all: the box filter averages whole areas, and those of the thumbnails
    # end exactly where the images end, so none runs into the next.
    tall = np.ascontiguousarray(images).reshape(n * height, width, channels)
    picture = Image.fromarray(tall[..., 0] if channels == 1 else tall)
    small = np.asarray(
        picture.resize((layout.width, n * layout.height), Image.Resampling.BOX), dtype=np.uint8
    )
    return small.reshape(n, layout.height, layout.width, channels)
