"""The columns of a table as a page needs them: numbers as base64, categories with colours."""

import base64

import numpy as np
import pandas as pd

from icecore_sk._images import is_tensor_dtype
from icecore_sk._numbers import colour_limits
from icecore_sk.plotting.particle_map import COLOURS, NOISE_COLOUR

# Result columns of a survey, in the order in which they are offered.
RESULTS = ("label", "predicted", "cluster", "outlier", "outlier_score", "neighbour_overlap")
# What is told of a particle beside its numbers; nothing to colour by.
TEXTS = ("reason",)
# More names than this no legend can hold: the rarer ones share one grey.
MAX_CATEGORIES = 40
OTHER, NOISE = "other", "noise"
YES_COLOUR = "#882255"
# Colours and histograms are logarithmic where the upper limit is this many times the lower.
LOG_SPAN = 50


def encode(values, dtype: str) -> str:
    """Return an array as base64 of its little-endian bytes."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode("ascii")


def is_cluster(name: str) -> bool:
    """Tell whether a column holds clusters, whose negative numbers are noise."""
    return name == "cluster" or name.endswith(" cluster")


def are_outliers(values: pd.Series) -> np.ndarray:
    """Tell which particles are outliers by a column of True and False; a missing one is none."""
    return values.isin([True]).to_numpy(bool)


def describe_columns(table: pd.DataFrame, coordinates: set[str]) -> list[dict]:
    """Return every column that particles can be coloured by, results first.

    Parameters
    ----------
    table : DataFrame
        In the order of the page.
    coordinates : set of str
        Columns that are the axes of a map.

    Returns
    -------
    columns : list of dict
        ``name``, ``group``, ``kind`` ("scalar" or "category") and what `scalar_column` or
        `category_column` says.
    """
    columns = []
    classes = _class_names(table)
    for level in range(table.index.nlevels):
        values = table.index.get_level_values(level)
        # Ids are searched for and downloaded; a colour for each of them would say nothing.
        if values.nunique() <= MAX_CATEGORIES and values.nunique() > 1:
            name = str(table.index.names[level] or f"index {level}")
            columns.append({"name": name, "group": "Origin", **describe(values.to_series())})
    for key in table:
        name, values = str(key), table[key]
        if is_tensor_dtype(values.dtype) or name in TEXTS:
            continue
        group = "Scalars"
        if name in RESULTS or is_cluster(name):
            group = "Results"
        elif name in coordinates:
            group = "Map coordinates"
        names = classes if name in ("label", "predicted") else None
        columns.append({"name": name, "group": group, **describe(values, name, names)})
    order = {name: rank for rank, name in enumerate(RESULTS)}
    groups = {"Results": 0, "Scalars": 1, "Origin": 2, "Map coordinates": 3}
    return sorted(
        columns,
        key=lambda column: (groups[column["group"]], order.get(column["name"], len(order))),
    )


def describe(values: pd.Series, name: str = "", names: list[str] | None = None) -> dict:
    """Return a column as a scalar or as categories, whichever it is."""
    dtype = values.dtype
    numeric = pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)
    if numeric and names is None and not is_cluster(name) and name not in ("label", "outlier"):
        return scalar_column(values)
    return category_column(values, noise=is_cluster(name), names=names)


def scalar_column(values: pd.Series) -> dict:
    """Return a scalar with limits that a few extreme values cannot stretch."""
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    finite = numbers[np.isfinite(numbers)]
    low, high = colour_limits(finite) if len(finite) else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return {
        "kind": "scalar",
        "values": encode(np.where(np.isfinite(numbers), numbers, np.nan), "<f4"),
        "low": float(low),
        "high": float(high),
        "log": bool(len(finite) and low > 0 and high / low > LOG_SPAN),
        "missing": len(numbers) - len(finite),
    }


def category_column(values: pd.Series, *, noise=False, names: list[str] | None = None) -> dict:
    """Return categories as codes (-1 is missing) with name, colour and count of each."""
    texts = category_texts(values, noise=noise)
    counts = texts.value_counts()
    if names is None:
        names = _in_order(counts.index)
    shown = [name for name in names if name in counts.index and name not in (NOISE, OTHER)]
    if len(shown) > MAX_CATEGORIES:
        often = set(counts.reindex(shown).nlargest(MAX_CATEGORIES).index)
        texts = texts.where(texts.isna() | texts.isin([*often, NOISE]), OTHER)
        shown = [name for name in shown if name in often]
        counts = texts.value_counts()
    # Classes keep the colour of their place among all names, so that a label and a prediction of
    # the same name look alike.
    places = {name: names.index(name) for name in shown}
    shown += [name for name in (OTHER, NOISE) if name in counts.index]
    yes_or_no = set(shown) <= {"yes", "no"}
    return {
        "kind": "category",
        "codes": encode(pd.Index(shown).get_indexer(texts), "<i2"),
        "names": shown,
        "colours": [_colour(name, places.get(name), yes_or_no) for name in shown],
        "shapes": [places.get(name, 0) // len(COLOURS) % 5 for name in shown],
        "counts": [int(counts[name]) for name in shown],
        "missing": int(texts.isna().sum()),
    }


def category_texts(values: pd.Series, *, noise=False) -> pd.Series:
    """Return each value as a text, missing ones as NaN."""
    values = values.reset_index(drop=True)
    texts = pd.Series(np.nan, index=values.index, dtype=object)
    known = values.notna()
    texts[known] = [_text(value) for value in values[known]]
    if noise and pd.api.types.is_numeric_dtype(values.dtype):
        texts[known & (values < 0)] = NOISE
    return texts


def _text(value) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    # A column of clusters in which some are missing has become one of floats.
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _colour(name: str, place: int | None, yes_or_no: bool) -> str:
    if place is None or (yes_or_no and name == "no"):
        return NOISE_COLOUR
    return YES_COLOUR if yes_or_no else COLOURS[place % len(COLOURS)]


def _class_names(table: pd.DataFrame) -> list[str]:
    """Return the names of all classes, labelled or predicted."""
    names: set[str] = set()
    for column in ("label", "predicted"):
        if column in table:
            names |= set(category_texts(table[column]).dropna())
    return _in_order(names)


def _in_order(names) -> list[str]:
    """Sort names, numbers by their value."""

    def key(name: str):
        number = name.removeprefix("-").isdigit()
        return (not number, int(name) if number and name.isascii() else 0, name)

    return sorted(names, key=key)
