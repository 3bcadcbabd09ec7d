"""Particles in the layout in which ICELEARNING publishes them."""

import os
import warnings
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from icecore_sk.datasets.crops import (
    UnreadableImageError,
    check_crop_options,
    check_image_size,
    image_array,
    read_picture,
    resize_crop,
    shrunk_message,
)
from icecore_sk.datasets.flowcam_export import (
    TOO_SMALL,
    drops_message,
    finite_rows,
    read_whole_csv,
)
from icecore_sk.datasets.particle_table import FLOWCAM_SCALARS, particle_table

# One-hot label columns: Campanian tephra (felsic), hazel pollen, dust, Grimsvotn tephra (basaltic),
# oak and cork-oak pollen, contamination and blur.
CLASSES = ("camp", "corylus", "dust", "grim", "qrob", "qsub", "cont")
PATHS = "imgpaths"


def load_icelearning(
    root,
    files=None,
    *,
    image_size=128,
    resize="stretch",
    min_side=15,
    verbose=1,
):
    """Read particles in the layout of ICELEARNING [1]_.

    CSV files name the crops (column ``imgpaths``, relative to `root`), the 34 scalars of
    `FLOWCAM_SCALARS` and, for training data, the class as one-hot columns
    ``camp corylus dust grim qrob qsub cont``.

    Parameters
    ----------
    root : str or path
        Folder to which ``imgpaths`` are relative. Crops that links lead out of it are left out,
        and counted.
    files : str, path, list of these, or None, default=None
        CSV files, relative to `root` or absolute. None reads ``train.csv`` or, where it is
        missing, the classes' files (``camp.csv`` to ``cont.csv``), in `root` or ``root/datasets``.
    image_size : int or tuple of (int, int), default=128
        Side, or height and width, of the images in pixels.
    resize : {"stretch", "pad"}, default="stretch"
        As in `load_flowcam`.
    min_side : int, default=15
        Crops with a side shorter than this many pixels are left out, and counted. 1 keeps all.
    verbose : int, default=1
        1 shows a progress bar on terminals, 0 none.

    Returns
    -------
    particles : DataFrame
        Particle table: ``image`` (uint8, grey) and the 34 scalars. The index has the levels run
        (the CSV's stem), id (the crop's path), width and height (of the crop, in pixels).
        ``particles.attrs`` has "dropped" (rows left out, by reason) and "shrunk" (count of crops).
    labels : Series
        Class of each particle by the same index; None where the file does not tell, as for the
        GRIP and Quelccaya (Peru) cores.

    Warns
    -----
    UserWarning
        Where rows were dropped for any reason but `min_side`, or crops shrunk; with counts. Where
        ``files=None`` finds the files of some classes only, or one that does not name the class.

    Raises
    ------
    FileNotFoundError
        Where `root` or a file does not exist.
    ValueError
        Where a file is empty or lacks a column, a path leaves `root`, a path occurs twice, a row
        belongs to several classes, or no particle is left.

    References
    ----------
    .. [1] Maffezzoli et al. (2023). Detection of ice core particles via deep neural networks. The
           Cryosphere 17, 539-565. doi:10.5194/tc-17-539-2023

    Examples
    --------
    >>> from icecore_sk.datasets import load_icelearning
    >>> X, y = load_icelearning("icelearning/")  # doctest: +SKIP
    >>> core, _ = load_icelearning("icelearning/", "GRIP_3306_raw.csv")  # doctest: +SKIP
    """
    size = check_image_size(image_size)
    check_crop_options(resize, min_side)
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"root={str(root)!r} is no folder.")
    paths = _find_files(root, files)
    tables = [_read(path, root) for path in paths]
    if files is None:
        _warn_of_unlabelled(paths, tables)
    table = pd.concat(tables, ignore_index=True)
    twice = table["id"][table["id"].duplicated()]
    if len(twice):
        raise ValueError(
            f"{', '.join(map(str, paths))}: {len(twice)} path(s) occur more than once, such as "
            f"{twice.iloc[0]!r}. Pass each file once, and keep one row for each crop."
        )
    dropped: Counter = Counter()
    n_read = len(table)
    table = table[finite_rows(table[list(FLOWCAM_SCALARS)], dropped)]
    images, kept, sides, shrunk = _read_crops(
        table["id"], root, size, resize, min_side, dropped, verbose
    )
    if not kept:
        what = "; ".join(f"{reason} ({count})" for reason, count in dropped.items())
        raise ValueError(
            f"No particle is left of {n_read}: {what}. Check root={str(root)!r}, or lower "
            f"min_side={min_side}."
        )
    _warn(dropped, n_read, sides, shrunk)
    table = table.iloc[kept]
    index = pd.MultiIndex.from_arrays(
        [table["run"], table["id"], sides[:, 1], sides[:, 0]],
        names=["run", "id", "width", "height"],
    )
    attrs = {
        "dropped": dict(dropped),
        "shrunk": int(shrunk.sum()),
        "image_size": list(size),
        "resize": resize,
        "min_side": int(min_side),
    }
    scalars = {name: table[name].to_numpy(float) for name in FLOWCAM_SCALARS}
    particles = particle_table(images, scalars, index, attrs)
    labels = table["label"].to_numpy(object)
    return particles, pd.Series(labels, index=index, name="label", dtype=object)


def _find_files(root: Path, files) -> list[Path]:
    """Return the CSV files to read."""
    if files is not None:
        files = [files] if isinstance(files, str | os.PathLike) else list(files)
        found = [root / file for file in files]
        for path in found:
            if not path.is_file():
                raise FileNotFoundError(f"files has {str(path)!r}, which is no file.")
        if not found:
            raise ValueError("files is empty; pass at least one, or None.")
        return found
    for folder in (root, root / "datasets"):
        if (folder / "train.csv").is_file():
            return [folder / "train.csv"]
        of_classes = [folder / f"{name}.csv" for name in CLASSES]
        found = [path for path in of_classes if path.is_file()]
        if found:
            absent = [path.name for path in of_classes if path not in found]
            if absent:
                warnings.warn(
                    f"{str(folder)!r} lacks {', '.join(absent)}: these classes are not read. Pass "
                    "files= with those that are meant, if that is all there is.",
                    UserWarning,
                    stacklevel=3,
                )
            return found
    others = sorted(path.name for path in root.glob("*.csv"))
    raise ValueError(
        f"root={str(root)!r} has neither train.csv nor files of classes ({', '.join(CLASSES)}). "
        f"Pass files=, for example one of {others}."
        if others
        else f"root={str(root)!r} holds no CSV file, nor does its folder 'datasets'."
    )


def _read(path: Path, root: Path) -> pd.DataFrame:
    """Read one CSV as run, id, label and scalars; cells that are no number become NaN."""
    table = read_whole_csv(path)
    missing = [name for name in (PATHS, *FLOWCAM_SCALARS) if name not in table]
    if missing:
        raise ValueError(f"{path} lacks the column(s) {missing}; it has {list(table)[:8]} ...")
    if table.empty:
        raise ValueError(f"{path} holds no particles, only a header.")
    out: dict[str, Any] = {
        "run": path.stem,
        "id": [_inside(name, path) for name in table[PATHS]],
        # As a Series: pandas would make an array of texts and None one of texts and NaN.
        "label": pd.Series(_labels(table, path), dtype=object),
    }
    for name in FLOWCAM_SCALARS:
        out[name] = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
    return pd.DataFrame(out)


def _inside(name: str, path: Path) -> str:
    """Return a crop's path in the form of POSIX, refusing one that leaves the folder."""
    posix = PurePosixPath(name.strip().replace("\\", "/"))
    if posix.is_absolute() or ".." in posix.parts or not posix.parts or ":" in posix.parts[0]:
        raise ValueError(
            f"{path} has the path {name!r} in {PATHS!r}; expected one below root, such as "
            "'train/camp/1.png'."
        )
    return str(posix)


def _labels(table: pd.DataFrame, path: Path) -> np.ndarray:
    """Read the one-hot columns; None where there are none, or none is 1."""
    present = [name for name in CLASSES if name in table]
    labels = np.full(len(table), None, dtype=object)
    if not present:
        return labels
    if len(present) < len(CLASSES):
        lacking = [name for name in CLASSES if name not in table]
        raise ValueError(f"{path} has some label columns, but lacks {lacking}.")
    hot = table[present].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    bad = ~np.isin(hot, (0, 1)).all(1) | (hot.sum(1) > 1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{path}: {int(bad.sum())} row(s) are not one-hot, such as line {row + 2} with "
            f"{dict(zip(present, table[present].iloc[row], strict=True))}; expected a single 1, or "
            "none."
        )
    rows, classes = np.nonzero(hot)
    labels[rows] = np.array(present, dtype=object)[classes]
    return labels


def _read_crops(names, root, size, resize, min_side, dropped, verbose):
    """Read the crops that can be had, and count the others as dropped.

    Returns the images, and of each the position in `names`, the sides (height, width) of its crop
    in pixels, and whether that was shrunk.
    """
    images = image_array(len(names), size, color=False)
    kept, sides, shrunk = [], [], []
    bar = tqdm(names, unit=" particles", desc="load_icelearning", disable=None if verbose else True)
    for row, name in enumerate(bar):
        try:
            crop = read_picture(root / name, root)
        except UnreadableImageError as error:
            # By kind only: a missing folder should not list a thousand names.
            dropped[f"crop {str(error).split(' (')[0]}"] += 1
            continue
        if min(crop.shape) < min_side:
            dropped[TOO_SMALL] += 1
            continue
        images[len(kept)], kept_scale = resize_crop(crop, size, resize)
        kept.append(row)
        sides.append(crop.shape)
        shrunk.append(resize == "pad" and not kept_scale)
    # The end of the array that no crop filled was never written, so it takes no memory.
    return images[: len(kept)], kept, np.array(sides, np.int64), np.array(shrunk, bool)


def _warn_of_unlabelled(paths: list[Path], tables: list[pd.DataFrame]) -> None:
    """Training data whose files do not say the class: their name alone is no label."""
    silent = [path.name for path, table in zip(paths, tables, strict=True) if _is_unlabelled(table)]
    if silent:
        warnings.warn(
            f"{', '.join(silent)}: no columns of labels ({' '.join(CLASSES)}), so the class of "
            "these particles is None. Add the columns, or set the labels by the level 'run'.",
            UserWarning,
            stacklevel=3,
        )


def _is_unlabelled(table: pd.DataFrame) -> bool:
    return bool(table["label"].isna().all())


def _warn(dropped: Counter, n_read: int, sides: np.ndarray, shrunk: np.ndarray) -> None:
    message = drops_message(dropped, n_read, "", "dropped")
    if message:
        warnings.warn(message, UserWarning, stacklevel=3)
    if shrunk.any():
        message = shrunk_message(int(shrunk.sum()), len(sides), int(sides.max()))
        warnings.warn(message, UserWarning, stacklevel=3)
