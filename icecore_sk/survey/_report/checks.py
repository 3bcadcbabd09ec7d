"""What `write_report` is given, checked before anything is written."""

from collections.abc import Mapping

import pandas as pd


def check_table(table) -> None:
    """Raise where there is no table of particles."""
    if not isinstance(table, pd.DataFrame):
        raise TypeError(
            f"table is a {type(table).__name__}; expected a DataFrame with a row for each particle."
        )
    if not len(table):
        raise ValueError("table has no rows; expected at least one particle to report on.")
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise ValueError(f"table has several columns named {twice!r}; expected one.")
    if "outlier" in table:
        values = table["outlier"].dropna()
        odd = values[~values.isin([True, False])]  # 0 and 1 are what a file makes of them
        if len(odd):
            raise ValueError(
                f"Column 'outlier' of table holds {odd.tolist()[0]!r}; expected True for an "
                "outlier and False for any other particle. What `predict` of an OutlierScorer "
                "returned is -1 for an outlier: pass predict(X) == -1."
            )


def check_images(images, n: int):
    """Return the images as they are, or raise where they do not fit the table."""
    shape = getattr(images, "shape", None)
    if shape is None or len(shape) not in (3, 4):
        raise ValueError(
            f"images has shape {shape}; expected an array (n, H, W) or (n, C, H, W). Flattened "
            "images are reshaped with images.reshape(-1, H, W)."
        )
    if str(images.dtype) != "uint8":
        raise ValueError(
            f"images has dtype {images.dtype}; expected uint8. Bring images from 0 to 1 there with "
            "(255 * images).round().astype('uint8')."
        )
    if len(shape) == 4 and shape[1] not in (1, 3):
        raise ValueError(
            f"images has {shape[1]} channels; expected 1 (grey) or 3 (red, green, blue). Choose "
            "one, for example images[:, :1]."
        )
    if shape[0] != n:
        raise ValueError(
            f"images has {shape[0]} rows and table has {n}; expected one image for each row."
        )
    return images


def check_maps(maps, table: pd.DataFrame) -> None:
    """Raise where a map has no two numeric columns in the table."""
    if not isinstance(maps, Mapping) or not maps:
        raise ValueError(
            f"maps={maps!r} must be a dict with at least one map: name -> (x column, y column)."
        )
    for name, columns in maps.items():
        if not isinstance(columns, list | tuple) or len(columns) != 2:
            raise ValueError(f"maps has {columns!r} for {name!r}; expected (x column, y column).")
        for column in columns:
            if column not in table:
                raise ValueError(
                    f"maps has the column {column!r} for {name!r}, which table has not; its "
                    f"columns are {list(table.columns)}."
                )
            if not pd.api.types.is_numeric_dtype(table[column].dtype):
                raise ValueError(
                    f"Column {column!r} of the map {name!r} has dtype {table[column].dtype}; "
                    "expected numbers."
                )


def check_histories(histories) -> dict:
    """Return the histories, or raise where one is no ``history_``."""
    histories = {} if histories is None else histories
    if not isinstance(histories, Mapping):
        raise TypeError(
            f"histories is a {type(histories).__name__}; expected a dict: name -> `history_`."
        )
    for name, history in histories.items():
        if not isinstance(history, pd.DataFrame) or "epoch" not in history:
            raise ValueError(
                f"histories has a {type(history).__name__} without the column 'epoch' for "
                f"{name!r}; expected the DataFrame `history_` of a fitted estimator."
            )
    return dict(histories)


def check_record(record) -> dict:
    """Return the record, or raise where it is no dict."""
    record = {} if record is None else record
    if not isinstance(record, Mapping):
        raise TypeError(f"record is a {type(record).__name__}; expected a dict.")
    return dict(record)
