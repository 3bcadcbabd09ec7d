"""Pictures of any mode as grey or colour arrays, and crops brought to one size."""

import warnings
from numbers import Integral
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

RESIZE = ("stretch", "pad")
# Collages have about a million pixels. What claims a hundred times as many is damaged or hostile.
MAX_PIXELS = 2**27
# Pillow knows some forty formats more, and hands one of them, EPS, to another program to run.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF")


class UnreadableImageError(ValueError):
    """A picture is missing, truncated or no picture; the message says which, in a few words."""


def check_image_size(image_size) -> tuple[int, int]:
    """Return the parameter `image_size` as (height, width), or raise."""
    sides = (image_size, image_size) if isinstance(image_size, Integral) else image_size
    if isinstance(sides, tuple | list) and len(sides) == 2 and all(map(_is_positive, sides)):
        return int(sides[0]), int(sides[1])
    raise ValueError(
        f"image_size={image_size!r} must be a positive integer, or two: (height, width)."
    )


def check_crop_options(resize, min_side) -> None:
    """Raise where the parameter `resize` or `min_side` is not what it must be."""
    if resize not in RESIZE:
        raise ValueError(f"resize={resize!r} must be one of {list(RESIZE)}.")
    if not _is_positive(min_side):
        raise ValueError(f"min_side={min_side!r} must be an integer of at least 1.")


def _is_positive(value) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def read_picture(path: Path, folder: Path, color: bool = False) -> np.ndarray:
    """Read a picture as uint8, shape (height, width), or (height, width, 3) with `color`.

    A table may name any file, and a link lead anywhere: what is not in `folder`, nor below it, is
    not opened.

    Palette, RGB and alpha pictures are converted; 16-bit grey keeps its upper eight bits. Grey of
    a colour picture is its luma, 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601).
    """
    try:
        # Opening anything else, such as a folder or a pipe, would fail or wait without end.
        if not path.is_file():
            raise UnreadableImageError("missing")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UnreadableImageError("outside its folder")
        with warnings.catch_warnings():
            # Of damage that loses pixels Pillow raises an error; absurd sizes are checked below.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise UnreadableImageError(f"absurdly large ({width} x {height})")
                if picture.mode.startswith("I;16"):
                    grey = (np.asarray(picture) >> 8).astype(np.uint8)
                    return np.repeat(grey[..., None], 3, axis=2) if color else grey
                if picture.mode in ("I", "F"):
                    raise UnreadableImageError(f"of mode {picture.mode!r}, not 8 or 16 bits")
                return np.asarray(picture.convert("RGB" if color else "L"))
    except UnidentifiedImageError:
        raise UnreadableImageError("not a picture") from None
    except Image.DecompressionBombError:
        raise UnreadableImageError("absurdly large") from None
    # Pillow's decoders report damage in all of these.
    except (OSError, SyntaxError, ValueError, IndexError, EOFError, MemoryError) as error:
        if isinstance(error, UnreadableImageError):
            raise
        raise UnreadableImageError(f"unreadable ({error})") from error


def shrunk_message(n_shrunk: int, n: int, largest: int) -> str:
    return (
        f"{n_shrunk} of {n} crops are larger than image_size and were shrunk, so resize='pad' does "
        f"not keep their scale; image_size={largest} would."
    )


def resize_crop(crop: np.ndarray, size: tuple[int, int], resize: str) -> tuple[np.ndarray, bool]:
    """Bring a crop to (height, width) and say whether its scale was kept.

    "stretch" fits both sides, which loses scale and proportions. "pad" centres the crop on the
    median of its outermost pixels; a crop that is too large is shrunk, proportions kept.
    """
    height, width = size
    if crop.shape[:2] == size:
        return crop, True
    if resize == "stretch":
        return _resample(crop, size), False
    shrink = max(crop.shape[0] / height, crop.shape[1] / width)
    if shrink > 1:
        sides = (max(1, int(crop.shape[0] / shrink)), max(1, int(crop.shape[1] / shrink)))
        crop = _resample(crop, sides)
    edge = np.concatenate([crop[0], crop[-1], crop[:, 0], crop[:, -1]])
    out = np.empty((height, width, *crop.shape[2:]), np.uint8)
    out[:] = np.median(edge, axis=0)
    top, left = (height - crop.shape[0]) // 2, (width - crop.shape[1]) // 2
    out[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    return out, shrink <= 1


def _resample(crop: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    # Pillow widens its bilinear kernel where it shrinks, so that nothing is skipped.
    image = Image.fromarray(np.ascontiguousarray(crop))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def image_array(n: int, size: tuple[int, int], color: bool) -> np.ndarray:
    """Return an empty array for n images, (n, H, W) or (n, 3, H, W)."""
    return np.empty((n, 3, *size) if color else (n, *size), np.uint8)


def channels_first(image: np.ndarray) -> np.ndarray:
    return image.transpose(2, 0, 1) if image.ndim == 3 else image
