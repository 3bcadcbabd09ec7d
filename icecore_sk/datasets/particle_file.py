"""A particle file of which some rows at a time are read."""

import mmap
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from icecore_sk._images import image_columns, tensor_chunks
from icecore_sk.datasets.particle_table import (
    CHECKSUM,
    check_particle_table,
    check_sum,
    data_frame,
    mapped_table,
    read_notes,
    validate,
)


class ParticleFile:
    """Reads particle tables of some rows from a file that `save_particles` wrote.

    `load_particles` reads ids and scalars of all rows, and the images that were used stay resident
    until the system runs short of memory. Here nothing is held but the rows that were read last,
    so that the memory does not depend on the size of the file.

    Parameters
    ----------
    path : str or path
    check : bool, default=True
        Compare ids and scalars with their checksum, which reads them once. Pixels are not.

    Attributes
    ----------
    path : Path
    size : int
        Of the file in bytes.
    checksum : int
        Of ids and scalars, as it stands in the file.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where the file is damaged, or none that `save_particles` wrote.
    """

    def __init__(self, path, check: bool = True):
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"There is no particle file {str(path)!r}.")
        self.size = self.path.stat().st_size
        try:
            # Damage shows in many ways, and all of them mean that the file is of no use.
            with open(self.path, "rb") as file:
                # Not Arrow's own map, which cannot let pages go.
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._table = mapped_table(pa.py_buffer(self._map))
            self._notes = read_notes(self._table)
            self.checksum = int(self._table.schema.metadata[CHECKSUM])
            check_particle_table(self.read(0, 0))
            if check:
                validate(self._table, self.release)
                check_sum(self._table, self.release)
        except Exception as error:
            raise ValueError(
                f"{str(path)!r} is damaged, or no particle file of this version ({error}). "
                "Write it again with icecore_sk.datasets.save_particles."
            ) from error
        self.release()

    def __len__(self) -> int:
        return self._table.num_rows

    def read(self, start: int, stop: int) -> pd.DataFrame:
        """Return the rows from `start` to before `stop` as a particle table."""
        rows = self._table.slice(start, stop - start)
        validate(rows)
        return data_frame(rows, self._notes)

    @property
    def image_name(self) -> str:
        """Name of the image column."""
        (name,) = image_columns(self.read(0, 0))
        return name

    def images(self) -> list[np.ndarray]:
        """Return all images as views of the file, (n_i, C, H, W) each."""
        column = self._table[f"image:{self.image_name}"]
        return tensor_chunks(pd.Series(pd.arrays.ArrowExtensionArray(column)))

    def release(self) -> None:
        """Let go of the pages that were read; they come back where a row is used again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
