"""The particle table: images as an Arrow tensor column, scalars beside them, ids in the index."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from icecore_sk._images import image_columns, is_tensor_dtype, tensor_column
from icecore_sk._writing import replacing
from icecore_sk.datasets.mapped_columns import let_workers_map

# The 34 scalars of ICELEARNING (Maffezzoli et al., 2023, doi 10.5194/tc-17-539-2023).
FLOWCAM_SCALARS = (
    "Area (ABD)",
    "Area (Filled)",
    "Aspect Ratio",
    "Biovolume (Cylinder)",
    "Biovolume (P. Spheroid)",
    "Circle Fit",
    "Circularity",
    "Circularity (Hu)",
    "Compactness",
    "Convex Perimeter",
    "Convexity",
    "Diameter (ABD)",
    "Diameter (ESD)",
    "Edge Gradient",
    "Elongation",
    "Feret Angle Max",
    "Feret Angle Min",
    "Fiber Curl",
    "Fiber Straightness",
    "Geodesic Aspect Ratio",
    "Geodesic Length",
    "Geodesic Thickness",
    "Intensity",
    "Length",
    "Particles Per Chain",
    "Perimeter",
    "Roughness",
    "Sigma Intensity",
    "Sum Intensity",
    "Symmetry",
    "Transparency",
    "Volume (ABD)",
    "Volume (ESD)",
    "Width",
)
IMAGE = "image"
METADATA = b"icecore_sk"
CHECKSUM = b"icecore_sk_crc32"
FORMAT = 1
MAGIC = b"ARROW1\0\0"
# Images of one record batch: what a reader that goes through the file holds at a time.
BATCH_BYTES = 64 * 2**20


def particle_table(images, scalars=None, index=None, attrs=None) -> pd.DataFrame:
    """Put images and scalars into one DataFrame without copying the images.

    Parameters
    ----------
    images : ndarray of shape (n, H, W) or (n, C, H, W), or a list of such
        A list becomes the chunks of one column.
    scalars : dict of arrays, or None
        Numbers by name, in the order of the images.
    index : Index or None
        Ids of the particles.
    attrs : dict or None
        Becomes ``table.attrs``.
    """
    # From one dictionary, because adding columns one by one fragments a DataFrame.
    table = pd.DataFrame({IMAGE: tensor_column(images), **(scalars or {})}, index=index)
    table.attrs.update(attrs or {})
    return table


def save_particles(particles, path):
    """Write a particle table to one Arrow file, which `load_particles` maps into memory.

    Index (ids, runs, crop sizes), scalars, their order and ``attrs`` are kept; integers with
    missing values come back as floats. The file appears under its name only when it is whole.

    Parameters
    ----------
    particles : DataFrame
        Particle table: one Arrow tensor column, every other column numeric. It may come from
        `load_particles`, also of the same `path`.
    path : str or path
        By custom with the ending ``.arrow``. An existing file is replaced.

    Returns
    -------
    path : Path

    Raises
    ------
    FileNotFoundError
        Where the folder of `path` does not exist.
    TypeError
        Where `particles` is no DataFrame, or a column's name or something in ``attrs`` is of a
        type that the file cannot hold, or values of several types are in one level of the index.
    ValueError
        Where it has no image column or several, a name twice, or a column that is not numeric.

    Examples
    --------
    >>> import tempfile
    >>> from icecore_sk.datasets import load_particles, make_particles, save_particles
    >>> X, y = make_particles(20, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_particles(X, f"{folder}/particles.arrow")
    ...     load_particles(path).shape == X.shape
    True
    """
    path = Path(path)
    check_particle_table(particles)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path={str(path)!r} is in a folder that does not exist.")
    if path.is_dir():
        raise ValueError(f"path={str(path)!r} is a folder; expected the name of a file.")
    table = arrow_table(particles)
    per_row = max(1, table.nbytes // max(1, len(particles)))
    with replacing(path) as temporary, pa.ipc.new_file(temporary, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, BATCH_BYTES // per_row))
    return path


def arrow_table(particles: pd.DataFrame) -> pa.Table:
    """Return a particle table as a file holds it, with its notes; images are not copied."""
    index = particles.index
    columns = {}
    for level in range(index.nlevels):
        try:
            columns[f"index:{level}"] = pa.array(index.get_level_values(level))
        except pa.ArrowException as error:
            raise TypeError(
                f"Level {level} of the index of particles has values of several types, or of one "
                f"that the file cannot hold ({error}). Keep to texts or numbers."
            ) from error
    for name in particles:
        values = particles[name]
        is_image = is_tensor_dtype(values.dtype)
        columns[f"{'image' if is_image else 'scalar'}:{name}"] = (
            values.array.__arrow_array__() if is_image else pa.array(values.to_numpy())
        )
    notes = {
        "format": FORMAT,
        "index": list(index.names),
        "attrs": particles.attrs,
    }
    table = pa.table(columns)
    text = json.dumps(notes, default=_plain).encode()
    metadata = {METADATA: text, CHECKSUM: str(checksum(table, text))}
    return table.replace_schema_metadata(metadata)


def load_particles(path):
    """Open a particle table written by `save_particles`.

    The images stay in the file, mapped into memory: opening takes no time, and pages are read
    when a row is used. Scalars and index are read, and checked by a checksum. Pixels are not:
    damage to these alone goes unnoticed. Workers of joblib, as in a grid search with ``n_jobs``,
    map the file too; each would be sent a table that was not opened from one.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    particles : DataFrame
        Particle table with the index, columns and ``attrs`` that it had.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where the file is damaged, or none that `save_particles` wrote.

    Examples
    --------
    >>> import tempfile
    >>> from icecore_sk.datasets import load_particles, make_particles, save_particles
    >>> X, y = make_particles(20, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_particles(X, f"{folder}/particles.arrow")
    ...     particles = load_particles(path)
    >>> particles.index.equals(X.index), particles.dtypes.equals(X.dtypes)
    (True, True)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no particle file {str(path)!r}.")
    try:
        # Damage shows in many ways, and all of them mean that the file is of no use.
        particles = _open(path)
        check_particle_table(particles)
    except Exception as error:
        raise ValueError(
            f"{str(path)!r} is damaged, or no particle file of this version ({error}). "
            "Write it again with icecore_sk.datasets.save_particles."
        ) from error
    let_workers_map()
    return particles


def _open(path: Path) -> pd.DataFrame:
    table = mapped_table(pa.memory_map(str(path)).read_buffer())
    notes = read_notes(table)
    validate(table)
    check_sum(table)
    return data_frame(table, notes)


def read_notes(table: pa.Table) -> dict:
    """Return what the file says beside its columns; raise where it is of a later format."""
    notes = json.loads(table.schema.metadata[METADATA])
    if notes["format"] > FORMAT:
        raise ValueError(f"format {notes['format']}")
    return notes


def validate(table: pa.Table, done: Callable[[], None] = lambda: None) -> None:
    """Raise where offsets point nowhere, which would be followed.

    To check pixels would read the whole file. `done` is called after each part that was read.
    """
    for name, column in zip(table.column_names, table.columns, strict=True):
        for part in column.chunks:
            part.validate(full=not name.startswith("image:"))
            done()


def check_sum(table: pa.Table, done: Callable[[], None] = lambda: None) -> None:
    """Raise where ids, scalars or notes are not those that were written."""
    metadata = table.schema.metadata
    if checksum(table, metadata[METADATA], done) != int(metadata[CHECKSUM]):
        raise ValueError("its checksum is another")


def data_frame(table: pa.Table, notes: dict) -> pd.DataFrame:
    """Return rows of a file as a particle table; images are not copied."""
    columns: dict = {}
    levels = []
    for full_name, column in zip(table.column_names, table.columns, strict=True):
        kind, name = full_name.split(":", 1)
        if kind == "image":
            columns[name] = pd.arrays.ArrowExtensionArray(column)
        elif kind == "scalar":
            columns[name] = column.to_numpy()
        else:
            levels.append(column.to_pandas())
    if len(levels) == 1:
        index = pd.Index(levels[0]).rename(notes["index"][0])
    else:
        index = pd.MultiIndex.from_arrays(levels, names=notes["index"])
    particles = pd.DataFrame(columns, index=index)
    particles.attrs.update(notes["attrs"])
    return particles


def mapped_table(content: pa.Buffer) -> pa.Table:
    """Read a mapped file of `save_particles`; raise before anything in it would be unpacked."""
    n_batches = pa.ipc.open_file(content).num_record_batches
    # Read from the front, where the messages stand one after another: the footer may lie.
    stream = content.slice(len(MAGIC))
    batches = [
        message
        for message in pa.ipc.MessageReader.open_stream(stream)
        if message.type == "record batch"
    ]
    if len(batches) != n_batches:
        raise ValueError(f"it has {len(batches)} parts where {n_batches} are expected")
    if any(_is_compressed(message.metadata) for message in batches):
        raise ValueError("it is compressed, and may unpack to any size")
    return pa.ipc.open_stream(stream).read_all()


def _is_compressed(message: pa.Buffer) -> bool:
    """Whether a record batch names a codec, the field 3 of its header (Arrow's Message.fbs)."""
    (root,) = struct.unpack_from("<I", message, 0)
    header = _field(message, root, 2)
    (offset,) = struct.unpack_from("<I", message, header)
    return _field(message, header + offset, 3) != 0


def _field(message: pa.Buffer, table: int, number: int) -> int:
    """Return where a field of a table in a flatbuffer stands, 0 where it is missing."""
    (back,) = struct.unpack_from("<i", message, table)
    (size,) = struct.unpack_from("<H", message, table - back)
    at = 4 + 2 * number
    if at >= size:
        return 0
    (offset,) = struct.unpack_from("<H", message, table - back + at)
    return table + offset if offset else 0


def checksum(table: pa.Table, notes: bytes, done: Callable[[], None] = lambda: None) -> int:
    """Return the CRC-32 of a file's content without the images."""
    crc = zlib.crc32(notes)
    for name, column in zip(table.column_names, table.columns, strict=True):
        crc = zlib.crc32(name.encode(), crc)
        if name.startswith("image:"):
            continue
        # Part by part, so that no column is ever copied whole. One with missing values is: numpy
        # makes floats of its integers, and would not in a part without any.
        whole = column.null_count > 0
        parts = [column] if whole else [pa.chunked_array([part]) for part in column.chunks]
        between = b""
        for part in filter(len, parts):
            if pa.types.is_primitive(column.type):
                crc = zlib.crc32(part.to_numpy().tobytes(), crc)
            else:
                crc = zlib.crc32(between + "\0".join(map(str, part.to_pylist())).encode(), crc)
                between = b"\0"
            done()
    return crc


def _plain(value):
    """Turn what JSON does not know, in ``attrs``, into what it knows."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(
        f"particles.attrs has a {type(value).__name__}, which the file cannot hold. Keep to "
        "numbers, texts, lists and dictionaries, or take it out."
    )


def check_particle_table(particles) -> None:
    if not isinstance(particles, pd.DataFrame):
        raise TypeError(
            f"particles is a {type(particles).__name__}; expected a particle table (a DataFrame "
            "with an Arrow tensor column), as load_flowcam returns it."
        )
    if not particles.columns.is_unique:
        twice = particles.columns[particles.columns.duplicated()][0]
        raise ValueError(f"particles has several columns named {twice!r}; expected one.")
    images = image_columns(particles)
    if len(images) != 1:
        raise ValueError(
            f"particles has {len(images)} image columns; expected exactly one Arrow tensor column."
        )
    for name in particles.columns:
        if not isinstance(name, str):
            raise TypeError(f"particles has a column named {name!r}; names must be strings.")
        dtype = particles[name].dtype
        if name != images[0] and (not pd.api.types.is_numeric_dtype(dtype) or dtype.kind == "c"):
            raise ValueError(
                f"Column {name!r} of particles has dtype {dtype}; every column "
                "beside the image must be numeric. Keep ids in the index and labels in y."
            )
