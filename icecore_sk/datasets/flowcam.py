"""FlowCam runs, exported by VisualSpreadsheet, as a particle table."""

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from icecore_sk.datasets.crops import check_crop_options, check_image_size, shrunk_message
from icecore_sk.datasets.flowcam_export import (
    ALWAYS_NUMBERS,
    ID,
    TEXTUAL,
    Run,
    drops_message,
    find_table,
    holds_collages,
    read_crops,
    read_run,
)
from icecore_sk.datasets.labels import join_labels, read_labels
from icecore_sk.datasets.particle_table import particle_table

INDEX = ("run", "id", "width", "height")


def load_flowcam(
    paths,
    image_size=128,
    resize="stretch",
    min_side=15,
    *,
    color=False,
    labels=None,
    verbose=1,
):
    """Read FlowCam runs as VisualSpreadsheet exports them.

    A run is a folder with a table of particles (CSV; else the ``.lst`` file) and the collages, of
    which each particle's crop is cut.

    Parameters
    ----------
    paths : str, path, or list of these
        Folders of runs, folders that hold such folders at any depth (hidden ones are skipped,
        links followed), or the tables themselves. A collage that a link leads out of its run's
        folder is not read, and its particles count as dropped.
    image_size : int or tuple of (int, int), default=128
        Side, or height and width, of the images in pixels.
    resize : {"stretch", "pad"}, default="stretch"
        "stretch" fits every crop to `image_size`, so that small particles are seen as well as
        large ones, and their size is left to the scalars. "pad" keeps the true scale: crops are
        centred on the grey level of their edges; one larger than `image_size` is shrunk, with a
        warning.
    min_side : int, default=15
        Crops with a side shorter than this many pixels are left out, and counted. 1 keeps all.
    color : bool, default=False
        Read three channels; by default the luma (0.299 R + 0.587 G + 0.114 B).
    labels : str, path, DataFrame or None, default=None
        Table with the columns "Original Reference ID" and "label", and perhaps "run", which tells
        labels of runs that are not read from unknown ones. Labels of a file are text; of a
        DataFrame, what they are.
    verbose : int, default=1
        1 shows a progress bar on terminals, 0 none.

    Returns
    -------
    particles : DataFrame
        Particle table: ``image`` (uint8) and the scalars of the export under their own names, in
        its units (lengths in micrometres, angles in degrees, ``Image Width`` and ``Image Height``
        in pixels). The index has the levels run, id, width and height: of the crop, in pixels.
        Positions in frames and files, times and calibration are no scalars. ``particles.attrs``
        has "dropped" (rows left out, by reason), "runs" (read, kept and dropped of each),
        "left_out" (columns that are not numeric, or not in all runs) and "shrunk" (count of crops).
    labels : Series
        Only where `labels` is given: by the same index, None where a particle has no label.
        ``attrs["labels"]`` counts "matched", "unlabelled", "dropped" (of particles that were left
        out), "other_runs" and "unknown".

    Warns
    -----
    UserWarning
        Where particles were dropped for any reason but `min_side`, columns with numbers left out,
        labels unknown or of no use, or crops shrunk; with counts. Where a folder below `paths` has
        collages but no table.

    Raises
    ------
    FileNotFoundError
        Where a path does not exist.
    TypeError
        Where `paths` or `labels` is of another type.
    ValueError
        Where a folder has no run, a table is empty, lacks a column or has decimal commas, an id
        occurs twice, an id has two labels, or no particle is left.

    Notes
    -----
    A run is named after its table or, where tables of several runs have one name, its folder. Ids
    are those of "Original Reference ID"; an export without has "<run>/<Particle ID>".

    Where the CSV is missing, its scalars are taken and computed from the ``.lst`` file, whose
    fields are found by name, whatever their number. In exports of version 4.19 the scalars of both
    are equal or, where they are computed, within 2e-4 (absolute plus relative); only the CSV has
    "Filter Score" and those of scatter.

    Examples
    --------
    >>> from icecore_sk.datasets import load_flowcam
    >>> particles = load_flowcam("runs/", image_size=64)  # doctest: +SKIP
    >>> particles.attrs["dropped"]  # doctest: +SKIP
    {'crop smaller than min_side': 38}
    """
    size = check_image_size(image_size)
    check_crop_options(resize, min_side)
    # Before the images, so that a bad file of labels costs no time.
    known = None if labels is None else read_labels(labels)
    tables = find_tables(paths)
    runs, images = [], []
    with tqdm(unit=" particles", desc="load_flowcam", disable=None if verbose else True) as bar:
        for table, name in zip(tables, _run_names(tables), strict=True):
            run = read_run(table, min_side, name)
            bar.total = bar.n + len(run.fields)
            images.append(read_crops(run, size, resize, color, bar))
            runs.append(run)
    particles = _assemble(runs, images, min_side)
    particles.attrs |= {"image_size": list(size), "resize": resize, "min_side": int(min_side)}
    if known is None:
        return particles
    y, counts = join_labels(
        known,
        particles.index,
        left_out=np.concatenate([run.all_ids for run in runs]),
        runs=[run.name for run in runs],
    )
    particles.attrs["labels"] = counts
    return particles, y


def find_tables(paths) -> list[Path]:
    """Return the tables of all runs under `paths`."""
    if isinstance(paths, str | os.PathLike) or not isinstance(paths, Iterable):
        paths = [paths]
    found: list[Path] = []
    for entry in paths:
        if not isinstance(entry, str | os.PathLike):
            raise TypeError(f"paths has {entry!r}; expected a path, or a list of paths.")
        path = Path(entry)
        if path.is_file():
            if path.suffix.lower() not in (".csv", ".lst"):
                raise ValueError(
                    f"paths has the file {str(path)!r}; expected a folder, or a .csv or .lst file."
                )
            found.append(path)
            continue
        if not path.is_dir():
            raise FileNotFoundError(
                f"paths has {str(path)!r}, which is neither a folder nor a file. Pass the folder "
                "that VisualSpreadsheet exported a run to, or one that holds such folders."
            )
        by_folder = {folder: find_table(folder) for folder in _folders(path)}
        here = [table for table in by_folder.values() if table is not None]
        if not here:
            raise ValueError(
                f"{str(path)!r} holds no FlowCam run: no CSV with a column 'Image File' and no "
                ".lst file. Pass the folder that VisualSpreadsheet exported a run to."
            )
        bare = [str(f) for f, table in by_folder.items() if table is None and holds_collages(f)]
        if bare:
            warnings.warn(
                f"{len(bare)} folder(s) hold collages but no table of their particles, such as "
                f"{bare[0]!r}: nothing is read there. Export that run again, or move the collages "
                "beside their .csv or .lst file.",
                UserWarning,
                stacklevel=3,
            )
        found += here
    if not found:
        raise ValueError("paths is empty; pass at least one folder of a run.")
    for path, n in Counter(path.resolve() for path in found).items():
        if n > 1:
            raise ValueError(f"paths gives {str(path)!r} {n} times. Pass each run once.")
    return found


def _folders(top: Path) -> Iterator[Path]:
    """Yield `top` and the folders below it; hidden ones are skipped, links followed once."""

    def fail(error: OSError) -> None:
        raise error

    seen = set()
    for folder, below, _ in os.walk(top, followlinks=True, onerror=fail):
        real = os.path.realpath(folder)
        # Emptying the list keeps os.walk from going round in circles.
        below[:] = [] if real in seen else sorted(name for name in below if name[0] != ".")
        if real not in seen:
            yield Path(folder)
        seen.add(real)


def _run_names(tables: list[Path]) -> list[str]:
    """Name each run after its table or, where several tables have that name, its folder."""
    stems = Counter(table.stem for table in tables)
    names = [t.stem if stems[t.stem] == 1 else t.resolve().parent.name for t in tables]
    for name, n in Counter(names).items():
        if n > 1:
            same = [str(table) for table, own in zip(tables, names, strict=True) if own == name]
            raise ValueError(
                f"paths has {n} runs named {name!r}: {same}. Rename their tables or folders, so "
                "that each run has a name of its own, or pass only one of them."
            )
    return names


def _assemble(runs: list[Run], images: list[np.ndarray], min_side: int) -> pd.DataFrame:
    """Put the runs into one table with its account of what was dropped."""
    dropped: Counter = Counter()
    for run in runs:
        dropped.update(run.dropped)
        message = drops_message(run.dropped, run.n_read, f" of run {run.name!r}", "runs")
        if message:
            warnings.warn(message, UserWarning, stacklevel=3)
    if not any(len(block) for block in images):
        raise ValueError(
            f"No particle is left of {len(runs)} run(s), the first in {str(runs[0].folder)!r}: "
            + ", ".join(f"{reason} ({n})" for reason, n in dropped.items())
            + f". Check the export, or lower min_side (now {min_side})."
        )
    index = pd.MultiIndex.from_arrays(
        [
            np.concatenate([np.repeat(run.name, len(run.fields)).astype(object) for run in runs]),
            *(
                np.concatenate([run.fields[name].to_numpy() for run in runs])
                for name in (ID, "Image Width", "Image Height")
            ),
        ],
        names=INDEX,
    )
    ids = index.get_level_values("id")
    if not ids.is_unique:
        raise ValueError(
            f"paths gives {int(ids.duplicated().sum())} particle(s) more than once, such as id "
            f"{ids[ids.duplicated()][0]!r}. Pass each run once."
        )
    scalars, left_out = _common_scalars([run for run in runs if len(run.fields)])
    n_shrunk = sum(int(run.fields["shrunk"].sum()) for run in runs)
    if n_shrunk:
        largest = max(int(index.get_level_values(side).max()) for side in INDEX[2:])
        message = shrunk_message(n_shrunk, len(index), largest)
        warnings.warn(message, UserWarning, stacklevel=3)
    attrs = {
        "dropped": dict(dropped),
        "runs": {
            run.name: {
                "read": run.n_read,
                "kept": len(run.fields),
                "dropped": dict(run.dropped),
            }
            for run in runs
        },
        "left_out": left_out,
        "shrunk": n_shrunk,
    }
    return particle_table([block for block in images if len(block)], scalars, index, attrs)


def _common_scalars(runs: list[Run]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the scalars that all runs have, and why other columns are left out."""
    left_out: dict[str, str] = {}
    for run in runs:
        left_out |= run.left_out
    expected = {name for name in left_out if all(r.left_out.get(name) == TEXTUAL for r in runs)}
    expected -= ALWAYS_NUMBERS
    first, *others = [list(run.scalars) for run in runs]
    common = [name for name in first if all(name in other for other in others)]
    for run in runs:
        for name in run.scalars:
            if name not in common:
                without = next(r.name for r in runs if name not in r.scalars)
                left_out.setdefault(name, f"run {without!r} does not have it")
    surprising = [(name, why) for name, why in left_out.items() if name not in expected]
    if surprising:
        warnings.warn(
            f"{len(surprising)} column(s) are left out: "
            + "; ".join(f"{name!r} ({why})" for name, why in surprising[:5])
            + (" ..." if len(surprising) > 5 else ""),
            UserWarning,
            stacklevel=4,
        )
    scalars = {name: np.concatenate([r.scalars[name].to_numpy() for r in runs]) for name in common}
    return scalars, left_out
