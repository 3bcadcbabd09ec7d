"""Ids of particles, kept to the letter, and the order in which the page holds the particles."""

import numpy as np
import pandas as pd

from icecore_sk.survey._report.columns import encode


def id_level(index: pd.Index) -> int:
    """Return which level of the index names the particles: "id", else the last but crop sizes."""
    if "id" in index.names:
        return list(index.names).index("id")
    sizes = ("width", "height")
    named = [level for level, name in enumerate(index.names) if name not in sizes]
    return (named or [0])[-1]


def describe_index(index: pd.Index) -> list[dict]:
    """Return each level of an index as texts, in the order of `index`.

    Everything becomes text here, because the numbers of a browser are exact to 2**53 only.

    Returns
    -------
    levels : list of dict
        ``name``, ``quoted`` (whether a CSV file quotes it: what is no number), ``values`` (each
        text once) and ``codes`` (which of them each particle has; -1 is missing).
    """
    levels = []
    for number in range(index.nlevels):
        values = index.get_level_values(number)
        codes, uniques = pd.factorize(values)
        levels.append(
            {
                "name": str(index.names[number] if index.names[number] is not None else "id"),
                "quoted": not pd.api.types.is_numeric_dtype(values.dtype),
                "values": [str(value) for value in uniques],
                "codes": encode(codes, "<i4"),
            }
        )
    return levels


def order_by_place(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return an order in which neighbours on a map stand close together (a Z-order curve).

    A lasso then needs few sprite sheets, and no run or class is drawn on top of all others.

    Parameters
    ----------
    x, y : ndarray of shape (n,)
        Coordinates; particles without (NaN) come last.

    Returns
    -------
    order : ndarray of shape (n,) of int
    """
    code = np.zeros(len(x), np.int64)
    for shift, values in enumerate((x, y)):
        # Ranks, because a far-off particle would press all others into one cell.
        rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
        cell = rank * 1024 // max(1, len(x))
        for bit in range(10):
            code |= ((cell >> bit) & 1) << (2 * bit + shift)
    code[~(np.isfinite(x) & np.isfinite(y))] = np.iinfo(np.int64).max
    return np.argsort(code, kind="stable")
