"""Particles to be scored: a file of which a chunk at a time is read, or a table."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icecore_sk._images import ImageRows, image_columns, tensor_chunks
from icecore_sk.datasets.particle_file import ParticleFile
from icecore_sk.datasets.particle_table import CHECKSUM, arrow_table, check_particle_table

# Images that are compared to tell one set from another. All of them would be read twice, and ids
# and scalars, which are measured on the images, are compared whole.
COMPARED = 1024


class TableSource:
    """A particle table in memory, or mapped by `load_particles`."""

    path: Path | None = None

    def __init__(self, particles: pd.DataFrame):
        check_particle_table(particles)
        self.particles = particles

    def __len__(self) -> int:
        return len(self.particles)

    def read(self, start: int, stop: int) -> pd.DataFrame:
        return self.particles.iloc[start:stop]

    def release(self) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        """Return what tells these particles from others."""
        (name,) = image_columns(self.particles)
        metadata = arrow_table(self.particles).schema.metadata
        chunks = tensor_chunks(self.particles[name])
        return _described(chunks, int(metadata[CHECKSUM]))


class FileSource(ParticleFile):
    """A particle file; what is held of it does not depend on its size."""

    def describe(self) -> dict[str, Any]:
        """Return what tells these particles from others, the same as of the table in the file."""
        described = _described(self.images(), self.checksum)
        self.release()
        return described


Source = TableSource | FileSource


def open_source(particles) -> Source:
    """Return particles, given as a table or as the path of a file, in a form to read by chunks."""
    if isinstance(particles, pd.DataFrame):
        return TableSource(particles)
    if isinstance(particles, str | Path):
        # Whoever opens it later may do so in another folder.
        return FileSource(Path(particles).resolve())
    raise TypeError(
        f"particles is a {type(particles).__name__}; expected a particle table, or the path of a "
        "file that icecore_sk.datasets.save_particles wrote."
    )


def _described(chunks: list[np.ndarray], checksum: int) -> dict[str, Any]:
    rows = ImageRows(chunks)
    # No row where there are none.
    some = np.unique(np.linspace(0, len(rows) - 1, COMPARED).astype(int))[: len(rows)]
    pixels = hashlib.blake2b(digest_size=16)
    for row in some:
        pixels.update(rows.gather(np.array([row])).tobytes())
    return {
        "n_particles": len(rows),
        "image_shape": list(rows.image_shape),
        "ids and scalars": checksum,
        "images": pixels.hexdigest(),
    }
