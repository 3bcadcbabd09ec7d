"""One run as VisualSpreadsheet exports it: a table of particles and collages of their crops."""

import codecs
import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

import numpy as np
import pandas as pd

from icecore_sk.datasets.crops import (
    UnreadableImageError,
    channels_first,
    image_array,
    read_picture,
    resize_crop,
)
from icecore_sk.datasets.lst import COLUMNS, DERIVED, read_lst
from icecore_sk.datasets.particle_table import FLOWCAM_SCALARS

ID = "Original Reference ID"
PARTICLE = "Particle ID"
COLLAGE = "Image File"
COLLAGE_NAME = re.compile(r".+_\d{6}\.tiff?", re.IGNORECASE)
BOX = ["Image X", "Image Y", "Image Width", "Image Height"]
# Where a particle lies in files, frames and time, not what it is: a model could only learn the
# run from these. All other numbers are scalars.
BOOKKEEPING = {
    PARTICLE,
    "Image X",
    "Image Y",
    "Capture X",
    "Capture Y",
    "Source Image",
    "Calibration Image",
    "Calibration Factor",
    "Camera",
    "Elapsed Time",
}
TEXT = {ID, COLLAGE, "Date", "Time", "Timestamp"}
# Columns that always hold numbers. Any other may hold text, such as comments or classes.
ALWAYS_NUMBERS = {*FLOWCAM_SCALARS, *COLUMNS.values(), *DERIVED} - TEXT
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")
# A column counts as numeric where at least this share of its cells are numbers.
NUMERIC_SHARE = 0.5

# A million particles have half a gigabyte.
MAX_TABLE_BYTES = 2**32

TEXTUAL = "no numbers"
TOO_SMALL = "crop smaller than min_side"


@dataclass
class Run:
    """The particles of one run, without their images.

    Attributes
    ----------
    name : str
    folder : Path
        Where the collages lie.
    fields : DataFrame
        Columns `ID`, `COLLAGE`, `BOX`, one row per particle that is usable so far, by its row in
        the table.
    scalars : DataFrame
        Numbers of the same rows.
    all_ids : ndarray of str
        Ids of all rows, dropped ones too.
    n_read : int
        Lines of the table.
    dropped : Counter
        Rows dropped, by reason.
    left_out : dict
        Columns that are no scalars, with the reason.
    """

    name: str
    folder: Path
    fields: pd.DataFrame
    scalars: pd.DataFrame
    all_ids: np.ndarray
    n_read: int
    dropped: Counter = field(default_factory=Counter)
    left_out: dict[str, str] = field(default_factory=dict)

    def keep(self, mask: np.ndarray, reason: str) -> None:
        """Drop and count the rows outside `mask`, which has a value for each row of the table."""
        mask = mask[self.fields.index]
        if not mask.all():
            self.dropped[reason] += int((~mask).sum())
            self.fields, self.scalars = self.fields[mask], self.scalars[mask]


def decode(path: Path) -> str:
    """Read a text file in UTF-8, or UTF-16 that says so, or else in Latin-1, as older software."""
    n_bytes = path.stat().st_size
    if n_bytes > MAX_TABLE_BYTES:
        raise ValueError(
            f"{path} has {n_bytes:,} bytes; expected a table of at most {MAX_TABLE_BYTES:,}. Split "
            "it, or pass the right file."
        )
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def is_export(path: Path) -> bool:
    """Whether a CSV looks like a table of particles."""
    if path.stem.lower().endswith("_summary"):
        return False
    if path.with_suffix(".lst").is_file() or path.stem == path.resolve().parent.name:
        return True
    with path.open("rb") as file:
        header = file.readline(65536).decode("latin-1").replace("\0", "")
    return COLLAGE in header and any(name in header for name in [PARTICLE, ID, *BOX])


def find_table(folder: Path) -> Path | None:
    """Return the CSV or, where it is missing, the `.lst` of a run's folder; None without either."""
    # Hidden files are other systems' notes, such as the "._run.csv" of a Mac.
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    tables = [p for p in files if p.suffix.lower() == ".csv" and is_export(p)]
    lists = [p for p in files if p.suffix.lower() == ".lst"]
    tables = tables or lists
    if len(tables) > 1:
        tables = [p for p in tables if p.stem == folder.resolve().name] or tables
    if len(tables) > 1:
        raise ValueError(
            f"{folder} holds several tables of particles ({', '.join(p.name for p in tables)}). "
            "Pass the one to read instead of the folder."
        )
    return tables[0] if tables else None


def holds_collages(folder: Path) -> bool:
    """Whether a folder has images named as those of a run: ``run_000001.tif``, not its masks."""
    return any(
        COLLAGE_NAME.fullmatch(path.name) and not path.name.lower().startswith("cal_image")
        for path in folder.iterdir()
    )


def read_table(path: Path) -> tuple[pd.DataFrame, int]:
    """Return the table of a CSV or `.lst` file and the number of damaged lines."""
    return read_lst(path, decode(path)) if path.suffix.lower() == ".lst" else read_csv(path)


def read_csv(path: Path) -> tuple[pd.DataFrame, int]:
    """Return a CSV as a table of strings and the number of lines that do not fit its header."""
    reader = csv.reader(io.StringIO(decode(path), newline=""), skipinitialspace=True, strict=True)
    header: list[str] = []
    rows, n_damaged, line = [], 0, 0
    try:
        for row in reader:
            n_lines, line = reader.line_num - line, reader.line_num
            if not any(map(str.strip, row)):
                continue
            if not header:
                header = [name.strip() for name in row]
            elif len(row) == len(header) and n_lines == 1:
                rows.append(row)
            else:
                # A stray quote joins all lines up to the next one, perhaps to as many cells.
                n_damaged += n_lines
    except csv.Error as error:
        raise ValueError(
            f"{path} cannot be read from line {line + 1} on ({error}). Mend it or export it again."
        ) from None
    if not header:
        raise ValueError(f"{path} is empty. Export it again.")
    if len(header) == 1 and (other := re.search("[;\t|]", header[0])):
        raise ValueError(
            f"{path} has {other[0]!r} between its columns; expected commas, and points in numbers. "
            "Save or export it so."
        )
    repeated = [name for name, n in Counter(header).items() if n > 1]
    if repeated:
        raise ValueError(f"{path} has several columns named {repeated}. Export it again.")
    return pd.DataFrame(rows, columns=header, dtype=object), n_damaged


def read_whole_csv(path: Path) -> pd.DataFrame:
    """Read a CSV of which every line must fit the header."""
    table, n_damaged = read_csv(path)
    if n_damaged:
        raise ValueError(
            f"{path} has {n_damaged} line(s) with more or fewer cells than its header. Mend them "
            "or take them out."
        )
    return table


def read_run(path: Path, min_side: int, name: str | None = None) -> Run:
    """Read the table of one run and drop the rows that cannot be used, each with a reason."""
    table, n_damaged = read_table(path)
    _check_columns(table, n_damaged, path)
    name = name or path.stem
    named = ID if ID in table else PARTICLE
    ids = table[named].astype(str).str.strip()
    has_id = (ids != "").to_numpy()
    _check_unique(ids[has_id], path)
    if named == PARTICLE:
        ids = name + "/" + ids
    box = table[BOX].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    usable = (box == np.round(box)).all(1) & (np.abs(box) < 2**31).all(1)
    usable &= (box[:, 2:] >= 1).all(1)
    fields = pd.DataFrame({ID: ids, COLLAGE: table[COLLAGE].astype(str).map(_file_name)})
    fields[BOX] = np.where(usable[:, None], box, 0).astype(np.int64)
    run = Run(
        name=name,
        folder=path.parent,
        fields=fields,
        scalars=pd.DataFrame(index=table.index),
        all_ids=ids.to_numpy(),
        n_read=len(table) + n_damaged,
    )
    if n_damaged:
        run.dropped["damaged line"] = n_damaged
    run.keep(has_id, "no id")
    run.keep(usable, "no usable position in the collage")
    run.scalars, run.left_out = _numbers(table.loc[run.fields.index], path)
    good = finite_rows(run.scalars, run.dropped)
    run.fields, run.scalars = run.fields[good], run.scalars[good]
    run.keep(fields[["Image Width", "Image Height"]].min(axis=1).to_numpy() >= min_side, TOO_SMALL)
    return run


def finite_rows(scalars: pd.DataFrame, dropped: Counter) -> np.ndarray:
    """Return the mask of rows with a number in every column; count the others as dropped.

    The first column at fault gives the reason, so that each particle counts once.
    """
    finite = np.isfinite(scalars.to_numpy(float))
    good = finite.all(1)
    if not good.all():
        dropped.update(f"no number in {scalars.columns[k]!r}" for k in finite[~good].argmin(1))
    return good


def drops_message(dropped: Counter, n_read: int, whose: str, key: str) -> str | None:
    """Say what was dropped for other reasons than its size; None where nothing was."""
    faults = {reason: n for reason, n in dropped.items() if reason != TOO_SMALL}
    if not faults:
        return None
    return (
        f"{sum(faults.values())} of {n_read} particles{whose} were dropped: "
        + "; ".join(f"{reason} ({n})" for reason, n in faults.items())
        + f". particles.attrs[{key!r}] has the counts."
    )


def read_crops(run: Run, size: tuple[int, int], resize: str, color: bool, progress) -> np.ndarray:
    """Cut the crops out of the collages and bring them to one size.

    Rows whose crop cannot be had are dropped from `run` and counted.
    """
    images = image_array(len(run.fields), size, color)
    reasons: dict[int, str] = {}
    shrunk = np.zeros(len(run.fields), bool)
    boxes = run.fields[BOX].to_numpy()
    for name, rows in _grouped(run.fields[COLLAGE].to_numpy()):
        try:
            collage = read_picture(run.folder / name, run.folder, color)
        except UnreadableImageError as error:
            reasons |= dict.fromkeys(rows, f"collage {name!r} {error}")
            progress.update(len(rows))
            continue
        for row in rows:
            x, y, width, height = boxes[row]
            if x < 0 or y < 0 or x + width > collage.shape[1] or y + height > collage.shape[0]:
                reasons[row] = f"crop outside its collage {name!r}"
                continue
            crop = collage[y : y + height, x : x + width]
            image, kept_scale = resize_crop(crop, size, resize)
            images[row] = channels_first(image)
            shrunk[row] = resize == "pad" and not kept_scale
        progress.update(len(rows))
    run.fields = run.fields.assign(shrunk=shrunk)
    if not reasons:
        return images
    bad = np.zeros(len(images), bool)
    bad[list(reasons)] = True
    run.dropped.update(reasons.values())
    run.fields, run.scalars = run.fields[~bad], run.scalars[~bad]
    return images[~bad]


def _grouped(names: np.ndarray):
    """Yield each name with the positions at which it occurs, in order of appearance."""
    codes, uniques = pd.factorize(names)
    order = np.argsort(codes, kind="stable")
    for name, rows in zip(uniques, np.split(order, np.cumsum(np.bincount(codes))), strict=False):
        yield name, rows.tolist()


def _file_name(name: str) -> str:
    # Some exports hold the whole path on the instrument's computer; collages lie beside the table.
    return PureWindowsPath(name.strip()).name


def _check_columns(table: pd.DataFrame, n_damaged: int, path: Path) -> None:
    missing = [name for name in [COLLAGE, *BOX] if name not in table]
    if ID not in table and PARTICLE not in table:
        missing.append(ID)
    if missing:
        raise ValueError(
            f"{path} lacks the column(s) {missing}; it has {list(table)[:8]} and {len(table)} "
            "rows. Export the run from VisualSpreadsheet with all columns."
        )
    if table.empty and n_damaged:
        raise ValueError(
            f"None of the {n_damaged} line(s) of {path} has the {table.shape[1]} cells that its "
            "header has. Export the run again."
        )
    if table.empty:
        raise ValueError(f"{path} holds no particles, only a header. Export the run again.")


def _check_unique(ids: pd.Series, path: Path) -> None:
    twice = ids[ids.duplicated()].unique()
    if len(twice):
        raise ValueError(
            f"{path} has {len(twice)} id(s) more than once, such as {twice[0]!r}; ids must be "
            "unique. Export the run again, or remove the repeated rows."
        )


def _numbers(table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the scalars as floats, cells that are no number as NaN, and the columns left out."""
    scalars, left_out = {}, {}
    for name in table:
        if name in TEXT or name in BOOKKEEPING or table.empty:
            continue
        values = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
        share = np.isfinite(values).mean()
        if share >= NUMERIC_SHARE:
            scalars[name] = values
            continue
        texts = [cell for cell in table[name] if isinstance(cell, str)]  # derived ones are numbers
        commas = [cell for cell in texts if DECIMAL_COMMA.fullmatch(cell)]
        if name in ALWAYS_NUMBERS and len(commas) >= NUMERIC_SHARE * len(table):
            raise ValueError(
                f"{path} has decimal commas, such as {commas[0]!r} in {name!r}; expected points. "
                "Save or export it so."
            )
        some = f"only {share:.0%} of its cells in {path.name} are numbers"
        left_out[name] = some if share else TEXTUAL
    return pd.DataFrame(scalars, index=table.index), left_out
