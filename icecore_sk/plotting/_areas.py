"""Areas of a map: who is in them."""

import numpy as np
import pandas as pd


def area_mask(name: str, area, coordinates: np.ndarray, index=None) -> np.ndarray:
    """Return which particles are in an area: a mask, row numbers, ids, a box or a polygon."""
    n = len(coordinates)
    if isinstance(area, pd.Index) or _holds_text(area):
        return _mask_of_rows(name, _rows_of_ids(name, pd.Index(area), index), n)
    area = np.asarray(area)
    if area.dtype == bool and area.shape == (n,):
        mask = area
    elif area.dtype.kind in "iu" and area.ndim == 1 and area.size:
        mask = _mask_of_rows(name, area, n)
    elif is_shape(area):
        mask = _inside(area, coordinates)
    else:
        raise ValueError(
            f"{name} has dtype {area.dtype} and shape {area.shape}; expected a mask (bool, of "
            f"shape ({n},)), row numbers (int, of shape (m,)), ids (a pandas Index), a box (two "
            "opposite corners, of shape (2, 2)) or a polygon (corners, of shape (m, 2), m >= 3)."
        )
    if not mask.any():
        raise ValueError(
            f"{name} has no particle in it. The map reaches from "
            f"{coordinates.min(axis=0).round(3).tolist()} to "
            f"{coordinates.max(axis=0).round(3).tolist()}."
        )
    return mask


def is_shape(area) -> bool:
    """Whether an area is the corners of a box or a polygon."""
    area = np.asarray(area)
    return area.dtype.kind in "iuf" and area.ndim == 2 and area.shape[1] == 2 and len(area) >= 2


def corners_of(area) -> np.ndarray:
    """Return the corners of a box or polygon, of shape (m, 2), in order."""
    area = np.asarray(area, dtype=float)
    if len(area) > 2:
        return area
    (x0, y0), (x1, y1) = area
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _holds_text(area) -> bool:
    return np.ndim(area) == 1 and len(area) > 0 and isinstance(next(iter(area)), str)


def _inside(area: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    from matplotlib.path import Path

    if len(area) == 2:
        inside = (coordinates >= area.min(axis=0)) & (coordinates <= area.max(axis=0))
        return inside.all(axis=1)
    return Path(area).contains_points(coordinates)


def _rows_of_ids(name: str, ids: pd.Index, index: pd.Index | None) -> np.ndarray:
    if index is None:
        raise ValueError(
            f"{name} holds ids, but the map has none. Pass the map as a DataFrame with the ids as "
            "its index, or row numbers instead."
        )
    unknown = ids[~ids.isin(index)]
    if len(unknown):
        raise ValueError(
            f"{name} holds {len(unknown)} ids that the map does not have, such as {unknown[0]!r}."
        )
    return np.flatnonzero(index.isin(ids))


def _mask_of_rows(name: str, rows: np.ndarray, n: int) -> np.ndarray:
    if rows.min() < 0 or rows.max() >= n:
        raise ValueError(
            f"{name} holds row numbers from {rows.min()} to {rows.max()}; expected 0 to {n - 1}."
        )
    mask = np.zeros(n, bool)
    mask[rows] = True
    return mask
