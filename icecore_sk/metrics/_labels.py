"""Classes, clusters and groups of rows, checked for all that compares or draws them."""

from collections.abc import Mapping
from numbers import Real

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length, column_or_1d

# Codes of `encode_labels` for rows of no category.
NOISE = -1
MISSING = -2


def check_labels(y_true, labels) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(labels, pd.Series) and pd.api.types.is_integer_dtype(labels.dtype):
        if labels.isna().any():
            raise ValueError(
                f"labels has no label in {int(labels.isna().sum())} row(s); expected integers, "
                "negative for noise. Leave these rows out, or pass labels.fillna(-1)."
            )
        labels = labels.to_numpy(np.int64)
    y_true, labels = np.asarray(column_or_1d(y_true)), column_or_1d(labels)
    check_consistent_length(y_true, labels)
    if not len(labels):
        raise ValueError("labels is empty; at least one row is needed.")
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels has dtype {labels.dtype}; expected integers, negative for noise.")
    return y_true, labels


def encode_labels(values) -> tuple[np.ndarray, list]:
    """Return the code of each row, 0, 1, ..., NOISE or MISSING, and the categories' names.

    Numbers below 0 are noise, also among text; None, NaN and NA are missing. Names are sorted, or
    in the order of a pandas Categorical; whole numbers stay whole where missing ones have turned
    them into floats.
    """
    column = _as_column(values)
    missing = column.isna().to_numpy()
    known = column[~missing]
    codes = np.full(len(column), MISSING)
    if isinstance(known.dtype, pd.CategoricalDtype):
        known = known.cat.remove_unused_categories()
        categories = known.cat.categories.tolist()
        names = [one for one in categories if not is_noise(one)]
        number = [NOISE if is_noise(one) else names.index(one) for one in categories]
        codes[~missing] = np.array(number, dtype=int)[known.cat.codes]
        return codes, names
    numbers = pd.api.types.infer_dtype(known) in ("integer", "floating", "mixed-integer-float")
    if numbers:
        known = pd.to_numeric(known)
        if (known % 1 == 0).all():
            known = known.astype(np.int64)
    found = known.unique().tolist()
    try:
        names = sorted(found)
    except TypeError:  # 1 and "dust" have no order
        names = sorted(found, key=str)
    names = [one for one in names if not is_noise(one)]
    place = {one: k for k, one in enumerate(names)}
    codes[~missing] = known.map(lambda one: place.get(one, NOISE)).to_numpy(dtype=np.int64)
    return codes, names


def is_noise(label) -> bool:
    return isinstance(label, Real) and label < 0


def _as_column(values) -> pd.Series:
    if isinstance(values, pd.Series):
        return values
    if not isinstance(values, pd.Index | pd.Categorical | np.ndarray):
        # As objects, so that NaN among strings does not become the string "nan".
        values = np.asarray(values, dtype=object)
    if values.ndim != 1:
        values = column_or_1d(values)
    return pd.Series(values)


def group_masks(groups, n_rows: int) -> dict:
    """Return the rows of each group as a mask, by name.

    `groups` is labels (n,), of which noise and missing ones are no group, or a mapping of names to
    masks, which may overlap.
    """
    if isinstance(groups, Mapping):
        masks = {name: np.asarray(mask) for name, mask in groups.items()}
        for name, mask in masks.items():
            if mask.dtype != bool or mask.shape != (n_rows,):
                raise ValueError(
                    f"groups[{name!r}] has dtype {mask.dtype} and shape {mask.shape}; expected a "
                    f"mask: dtype bool and shape ({n_rows},)."
                )
    else:
        codes, names = encode_labels(groups)
        check_lengths(n_rows, groups=codes)
        masks = {name: codes == k for k, name in enumerate(names)}
    masks = {name: mask for name, mask in masks.items() if mask.any()}
    if not masks:
        raise ValueError(
            "groups has no group with a row in it: every label is missing or noise (negative)."
        )
    return masks


def check_lengths(n_rows: int, **given) -> None:
    """Raise where something given has not as many rows as the first."""
    for name, rows in given.items():
        if rows is not None and len(rows) != n_rows:
            raise ValueError(
                f"{name} has {len(rows)} rows; expected {n_rows}, one for each particle. Pass the "
                "same particles, in the same order."
            )
