"""Labels from a table of their own, joined to particles by their ids."""

import os
import warnings
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from icecore_sk.datasets.flowcam_export import ID, read_whole_csv


def read_labels(labels) -> pd.DataFrame:
    """Read a table with the columns "Original Reference ID" and "label" as a DataFrame by id."""
    source = "labels"
    if isinstance(labels, str | os.PathLike):
        source = f"labels={str(labels)!r}"
        path = Path(labels)
        if not path.is_file():
            raise FileNotFoundError(f"{source} is no file.")
        labels = read_whole_csv(path).map(str.strip)
        if "label" in labels:
            labels["label"] = labels["label"].replace({"-1": "", "-1.0": ""})
    elif not isinstance(labels, pd.DataFrame):
        raise TypeError(
            f"labels is a {type(labels).__name__}; expected a DataFrame or the path of a CSV file."
        )
    missing = [name for name in (ID, "label") if list(labels).count(name) != 1]
    if missing:
        raise ValueError(
            f"{source} lacks the column(s) {missing}, or has them twice; it has {list(labels)}. "
            f"Expected {ID!r} and 'label', and perhaps 'run'."
        )
    if labels.empty:
        raise ValueError(f"{source} has no rows, only a header.")
    known = labels.assign(**{ID: labels[ID].astype(str).str.strip()}).drop_duplicates([ID, "label"])
    twice = known[ID][known[ID].duplicated()]
    if len(twice):
        raise ValueError(
            f"{source} gives {twice.nunique()} id(s) different labels, such as {twice.iloc[0]!r}. "
            "Keep one label for each particle."
        )
    return known.set_index(ID)


def join_labels(
    known: pd.DataFrame,
    index: pd.Index,
    left_out: Collection[str] = (),
    runs: Collection[str] | None = None,
) -> tuple[pd.Series, dict[str, int]]:
    """Return the label of each particle, and how many labels found what.

    Parameters
    ----------
    known : DataFrame
        What `read_labels` returns.
    index : Index
        Of the particles; their ids are its level "id", or the first.
    left_out : collection of str
        Ids of particles that were read, but left out of the table; any others do no harm.
    runs : collection of str or None
        Names of the runs that were read. By default those of the level "run", if there is one.
    """
    ids = index.get_level_values("id" if "id" in index.names else 0).astype(str)
    again = ids[ids.duplicated() & ids.isin(known.index)]
    if len(again):
        raise ValueError(
            f"the id {again[0]!r} is of several particles, and labels are joined by id alone. Give "
            "each particle an id of its own, such as the run's name and its number there."
        )
    if runs is None:
        runs = set(index.get_level_values("run")) if "run" in index.names else ()
    values = known["label"].astype(object).reindex(ids).to_numpy(object, copy=True)
    values[pd.isna(values) | (values == "")] = None
    y = pd.Series(values, index=index, name="label", dtype=object)
    if known["label"].dtype.kind in "biu" and y.notna().all():
        y = y.astype(known["label"].dtype)
    found = known.index.isin(ids)
    dropped = known.index.isin(list(left_out)) & ~found
    # A label file covers a campaign; which of its runs are not loaded only the file can tell.
    elsewhere = ~found & ~dropped
    if "run" in known:
        elsewhere &= ~known["run"].isin(list(runs)).to_numpy()
    else:
        elsewhere[:] = False
    unknown = ~found & ~dropped & ~elsewhere
    counts = {
        "matched": int(y.notna().sum()),
        "unlabelled": int(y.isna().sum()),
        "dropped": int(dropped.sum()),
        "other_runs": int(elsewhere.sum()),
        "unknown": int(unknown.sum()),
    }
    message = None
    if not found.any():
        message = (
            f"labels has no label for any of the {len(index)} particles: its ids are like "
            f"{known.index[0]!r}, theirs like {ids[0]!r}."
        )
    elif unknown.any():
        message = (
            f"labels has {counts['unknown']} id(s) that no particle read has, such as "
            f"{known.index[unknown][0]!r}; they are ignored and counted in "
            "particles.attrs['labels']."
        )
    if message:
        warnings.warn(message, UserWarning, stacklevel=3)
    return y, counts
