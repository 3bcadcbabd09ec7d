"""Lets worker processes of joblib map the images of a particle file instead of copying them."""

import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
from joblib.externals.loky.backend.reduction import register

from icecore_sk._mapped_files import mapped_place

SMALL_BYTES = 2**20  # what travels with the job, as joblib's own arrays do


def let_workers_map() -> None:
    """From now on, columns that are views of a mapped file go to joblib's workers as its path.

    Otherwise every task of a grid search would be given all images: joblib maps numpy's arrays
    only.
    """
    register(pd.arrays.ArrowExtensionArray, reduce_column)
    register(pa.Buffer, reduce_buffer)


def reduce_column(column: pd.arrays.ArrowExtensionArray) -> tuple:
    """Say how to pickle a column: chunk by chunk where these lie in files.

    pandas would join the chunks, which copies what is mapped.
    """
    chunks = column.__arrow_array__()
    chunks = chunks if isinstance(chunks, pa.ChunkedArray) else pa.chunked_array([chunks])
    if any(place_of(buffer) for chunk in chunks.chunks for buffer in buffers_of(chunk)):
        return pd.arrays.ArrowExtensionArray, (chunks,)
    return column.__reduce_ex__(pickle.HIGHEST_PROTOCOL)


def reduce_buffer(buffer: pa.Buffer) -> tuple:
    place = place_of(buffer)
    if place is None:
        return buffer.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    return buffer_of_file, (*place, buffer.size)


def buffers_of(chunk: pa.Array) -> list[pa.Buffer]:
    return [buffer for buffer in chunk.buffers() if buffer is not None]


def place_of(buffer: pa.Buffer) -> tuple[str, int] | None:
    """Return the path and the place in the file of a large buffer that lies in one."""
    if buffer.size < SMALL_BYTES:
        return None
    return mapped_place(np.frombuffer(buffer, np.uint8))


def buffer_of_file(path: str, offset: int, size: int) -> pa.Buffer:
    return pa.py_buffer(np.memmap(path, np.uint8, "r", offset, (size,)))
