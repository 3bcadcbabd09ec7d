"""What the scalars of a group of particles have in common."""

import numpy as np
import pandas as pd

from icecore_sk._images import image_columns
from icecore_sk._numbers import PER_MEAN_DEVIATION, PER_MEDIAN_DEVIATION, format_number
from icecore_sk.metrics._labels import group_masks

# Absolute Spearman correlation above which two scalars say the same.
ALIKE = 0.9


def describe_groups(scalars, groups):
    """Compare the scalars of each group with those of all other rows.

    Parameters
    ----------
    scalars : DataFrame of shape (n, n_scalars)
        Numeric columns; of a particle table, the image is left out. NaN counts for nothing.
    groups : array-like of shape (n,), or dict
        Label of each row (negative numbers are noise, None and NaN missing: both are no group, but
        are among the others of each), or masks of shape (n,) by name, which may overlap.

    Returns
    -------
    description : DataFrame
        Indexed by group and scalar; in each group the scalars that differ most come first.

        - n: rows of the group.
        - median: of the group, in the unit of the scalar.
        - others: median of all other rows; NaN where there are none.
        - effect: median minus others, in robust standard deviations within the two (1.4826 times
          the median absolute deviation from the own median). Positive: larger in this group. Where
          more than half of the rows equal their median, the mean absolute deviation is taken
          (times 1.2533); infinite where all do and the medians differ.
        - like: an earlier scalar of this group that says the same (absolute Spearman correlation
          over all rows of at least 0.9); "" where there is none.
        - words: such as "Area (ABD) 340 (others 55)".

    Raises
    ------
    TypeError
        Where `scalars` is no DataFrame.
    ValueError
        Where it has no columns or one that is not numeric, lengths differ, or no group has a row.

    Examples
    --------
    >>> import pandas as pd
    >>> from icecore_sk.metrics import describe_groups
    >>> scalars = pd.DataFrame({"area": [5, 6, 7, 40, 42, 44], "grey": [8, 9, 9, 9, 8, 9]})
    >>> description = describe_groups(scalars, ["dust"] * 3 + ["pollen"] * 3)
    >>> description.loc["pollen", "words"].tolist()
    ['area 42 (others 6)', 'grey 9 (others 9)']
    """
    scalars = check_scalars(scalars)
    masks = group_masks(groups, len(scalars))
    values = scalars.to_numpy(dtype=np.float64, na_value=np.nan)
    alike = scalars.rank().corr().abs().to_numpy(na_value=0.0) >= ALIKE
    parts = {name: _describe(values, mask, scalars.columns, alike) for name, mask in masks.items()}
    return pd.concat(parts, names=["group", "scalar"])


def check_scalars(scalars) -> pd.DataFrame:
    """Return the numeric columns of a particle table or DataFrame, or raise."""
    if not isinstance(scalars, pd.DataFrame):
        raise TypeError(
            f"scalars is a {type(scalars).__name__}; expected a DataFrame, whose columns name the "
            "scalars. Pass pd.DataFrame(values, columns=names)."
        )
    scalars = scalars.drop(columns=image_columns(scalars))
    for name, dtype in scalars.dtypes.items():
        if not pd.api.types.is_numeric_dtype(dtype):
            raise ValueError(
                f"Column {name!r} of scalars has dtype {dtype}; expected numbers. Leave it out "
                "with scalars.drop(columns=...)."
            )
    if not scalars.shape[1]:
        raise ValueError("scalars has no column of numbers; pass at least one scalar.")
    return scalars


def _describe(values: np.ndarray, mask: np.ndarray, names, alike: np.ndarray) -> pd.DataFrame:
    """Describe one group; `alike` tells which scalars say the same."""
    inside, outside = _medians(values[mask]), _medians(values[~mask])
    effect = _effects(values, mask, inside, outside)
    order = np.argsort(-np.nan_to_num(np.abs(effect), nan=-1.0, posinf=np.inf), kind="stable")
    like = []
    for place, k in enumerate(order):
        before = [earlier for earlier in order[:place] if alike[k, earlier]]
        like.append(str(names[before[0]]) if before else "")
    return pd.DataFrame(
        {
            "n": int(mask.sum()),
            "median": inside[order],
            "others": outside[order],
            "effect": effect[order],
            "like": like,
            "words": [_words(names[k], inside[k], outside[k]) for k in order],
        },
        index=names[order],
    )


def _medians(values: np.ndarray) -> np.ndarray:
    # pandas skips NaN, and columns without a number give NaN without a warning.
    return pd.DataFrame(values).median().to_numpy()


def _effects(values, mask, inside, outside) -> np.ndarray:
    deviation = np.abs(values - np.where(mask[:, None], inside, outside))
    spread = PER_MEDIAN_DEVIATION * _medians(deviation)
    mean = PER_MEAN_DEVIATION * pd.DataFrame(deviation).mean().to_numpy()
    spread = np.where(spread > 0, spread, mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = (inside - outside) / spread
    return np.where(inside == outside, 0.0, effect)


def _words(name, inside: float, outside: float) -> str:
    words = f"{name} {format_number(inside)}"
    return words if np.isnan(outside) else f"{words} (others {format_number(outside)})"


def telling_scalars(table: pd.DataFrame, name) -> pd.DataFrame:
    """Return the rows of `describe_groups` for one group, without scalars that repeat another."""
    own = table[table.index.get_level_values(0) == name]  # .loc takes [True] for a mask
    return own[(own["like"] == "") & own["effect"].notna()]
