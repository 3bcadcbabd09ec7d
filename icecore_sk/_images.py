"""X in its three forms, read as image rows and scalar rows without copying it whole.

The forms are those of the documentation: arrays of images, rows of flattened images, and the
particle table (a DataFrame with one Arrow tensor column). After reading, all three are the same
thing: views of shape (n, C, H, W) in their own dtype, and an array of scalars or None.
"""

import hashlib
import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa

from icecore_sk._mapped_files import FilePages

ImageShape = tuple[int, int, int]


@dataclass(frozen=True)
class ImageRows:
    """Images and scalars of the same particles.

    Attributes
    ----------
    chunks : list of ndarray (n_i, C, H, W)
        Views of the caller's memory; several where an Arrow column has several chunks.
    scalars : ndarray (n, n_scalars) or None
    scalar_names : list of str or None
    form : {"grey", "images", "rows", "table"}
        "grey" is (n, H, W), "images" is (n, C, H, W).
    """

    chunks: list[np.ndarray]
    scalars: np.ndarray | None = None
    scalar_names: list[str] | None = None
    form: str = "images"
    starts: np.ndarray = field(init=False)
    pages: FilePages = field(init=False)

    def __post_init__(self):
        ends = np.cumsum([len(chunk) for chunk in self.chunks])
        object.__setattr__(self, "pages", FilePages(self.chunks))
        object.__setattr__(self, "starts", np.concatenate([[0], ends]))

    def __reduce__(self):
        # The rest is made of these; the addresses that `pages` has are those of this process.
        return ImageRows, (self.chunks, self.scalars, self.scalar_names, self.form)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def image_shape(self) -> ImageShape:
        return tuple(int(side) for side in self.chunks[0].shape[1:])  # type: ignore[return-value]

    @property
    def dtype(self) -> np.dtype:
        return self.chunks[0].dtype

    @property
    def n_scalars(self) -> int:
        return 0 if self.scalars is None else self.scalars.shape[1]

    def gather(self, index: np.ndarray) -> np.ndarray:
        """Return the images at `index` as a new contiguous array in their own dtype."""
        self.pages.read(index, math.prod(self.image_shape) * self.dtype.itemsize)
        if len(self.chunks) == 1:
            return np.ascontiguousarray(self.chunks[0][index])
        out = np.empty((len(index), *self.image_shape), self.dtype)
        owner = np.searchsorted(self.starts, index, side="right") - 1
        for k in np.unique(owner):
            mine = owner == k
            out[mine] = self.chunks[k][index[mine] - self.starts[k]]
        return out

    def gather_scalars(self, index: np.ndarray) -> np.ndarray | None:
        if self.scalars is None:
            return None
        return np.ascontiguousarray(self.scalars[index], dtype=np.float32)


def is_tensor_dtype(dtype) -> bool:
    return isinstance(dtype, pd.ArrowDtype) and isinstance(
        dtype.pyarrow_dtype, pa.FixedShapeTensorType
    )


def image_columns(X) -> list:
    """Names of the Arrow tensor columns of a DataFrame; empty for anything else."""
    if not isinstance(X, pd.DataFrame):
        return []
    return [name for name, dtype in X.dtypes.items() if is_tensor_dtype(dtype)]


def tensor_chunks(series: pd.Series) -> list[np.ndarray]:
    """Return an Arrow tensor column as views of shape (n_i, C, H, W)."""
    column = series.array.__arrow_array__()
    if column.null_count:
        raise ValueError(
            f"The image column {series.name!r} has {column.null_count} missing image(s). "
            "Drop these rows first, for example with X[X[column].notna()]."
        )
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    shape = series.dtype.pyarrow_dtype.shape
    if len(shape) not in (2, 3):
        raise ValueError(
            f"The image column {series.name!r} holds tensors of shape {tuple(shape)}; "
            "expected [H, W] or [C, H, W]."
        )
    arrays = [chunk.to_numpy_ndarray() for chunk in chunks if len(chunk)]
    if not arrays:
        arrays = [np.empty((0, *shape), series.dtype.pyarrow_dtype.value_type.to_pandas_dtype())]
    return [array[:, None] if array.ndim == 3 else array for array in arrays]


def read_table(X: pd.DataFrame) -> ImageRows:
    """Read a particle table: one image column, every other column a numeric scalar."""
    images = image_columns(X)
    if len(images) > 1:
        raise ValueError(
            f"X has {len(images)} image columns ({', '.join(map(repr, images))}); expected exactly "
            "one. Drop the others with X.drop(columns=...)."
        )
    names = [name for name in X.columns if name != images[0]]
    for name in names:
        if not pd.api.types.is_numeric_dtype(X[name].dtype):
            raise ValueError(
                f"Column {name!r} of X has dtype {X[name].dtype}; every column beside the image "
                "must be numeric. Keep ids and runs in the index (X.set_index) and labels in y."
            )
    scalars = X[names].to_numpy(dtype=np.float64, na_value=np.nan) if names else None
    if scalars is not None and not np.isfinite(scalars).all():
        bad = {
            name: int(n) for name, n in zip(names, (~np.isfinite(scalars)).sum(0), strict=True) if n
        }
        raise ValueError(
            "Input X contains NaN or infinity in scalar columns "
            + ", ".join(f"{name!r} ({n} rows)" for name, n in bad.items())
            + ". Impute them (sklearn.impute.SimpleImputer) or drop these rows."
        )
    chunks = tensor_chunks(X[images[0]])
    if chunks[0].dtype.kind == "f" and not all(map(_is_finite, chunks)):
        raise ValueError(f"Input X contains NaN or infinity in the image column {images[0]!r}.")
    return ImageRows(chunks, scalars, names or None, "table")


def _is_finite(images: np.ndarray) -> bool:
    # Their sum would overflow, in half precision soon; NaN is both the least and the most.
    return bool(np.isfinite(images.min(initial=0)) and np.isfinite(images.max(initial=0)))


def check_image_shape(image_shape) -> ImageShape:
    """Return the parameter `image_shape` as a tuple of three positive integers, or raise."""
    try:
        shape = tuple(int(side) for side in image_shape)
        if len(shape) == 3 and shape == tuple(image_shape) and min(shape) >= 1:
            return shape  # type: ignore[return-value]
    except (TypeError, ValueError):
        pass
    hint = ""
    if isinstance(image_shape, tuple | list) and len(image_shape) == 2:
        hint = f" For grey images pass image_shape=(1, {image_shape[0]}, {image_shape[1]})."
    raise ValueError(
        f"image_shape={image_shape!r} must be three positive integers (C, H, W) or None.{hint}"
    )


def read_rows(X: np.ndarray, image_shape: ImageShape | None) -> ImageRows:
    """Read rows of flattened images; columns beyond C*H*W are scalars."""
    n, p = X.shape
    shape = (1, 1, p) if image_shape is None else image_shape
    n_pixels = math.prod(shape)
    if p < n_pixels:
        raise ValueError(
            f"image_shape={shape} needs at least {n_pixels} columns, but X has {p}. "
            "Pass the shape of the images in X as (C, H, W)."
        )
    # Splitting the last axis never copies, whatever the strides of X.
    images = X[:, :n_pixels].reshape(n, *shape)
    return ImageRows([images], X[:, n_pixels:] if p > n_pixels else None, None, "rows")


def read_images(X: np.ndarray, image_shape: ImageShape | None) -> ImageRows:
    """Read an array (n, H, W) or (n, C, H, W), guarding against channels last."""
    form = "images"
    if X.ndim == 3:
        X, form = X[:, None], "grey"
    shape = X.shape[1:]
    if image_shape is not None and tuple(shape) != image_shape:
        raise ValueError(
            f"image_shape={image_shape}, but the images in X have shape {tuple(shape)}. "
            + (channels_last_hint(X.shape, image_shape) or "Pass image_shape=None to read it off.")
        )
    if image_shape is None and shape[0] > 4 and shape[2] in (1, 2, 3, 4):
        raise ValueError(
            f"X of shape {X.shape} has {shape[0]} channels. {channels_last_hint(X.shape)} "
            f"If it really has, pass image_shape={tuple(shape)}."
        )
    return ImageRows([X], form=form)


def channels_last_hint(shape: tuple[int, ...], expected: ImageShape | None = None) -> str:
    """Advice for an array (n, H, W, C) where (n, C, H, W) was wanted; empty if it is not one."""
    moved = (shape[3], shape[1], shape[2])
    if expected is not None and moved != expected:
        return ""
    return (
        f"Its last axis looks like the channels: pass X.transpose(0, 3, 1, 2), "
        f"of shape {(shape[0], *moved)}."
    )


def warn_if_flattened(p: int) -> str | None:
    """Message for rows that look like square images read as strips, else None."""
    side = math.isqrt(p)
    if p < 64 or side * side != p:
        return None
    return (
        f"X has {p} = {side} x {side} columns and image_shape=None, so each row is read as a "
        f"strip of 1 x {p} pixels. If the rows are flattened images, pass "
        f"image_shape=(1, {side}, {side}); if not, silence this with image_shape=(1, 1, {p})."
    )


def blocks(n: int, image_shape: ImageShape, values: int = 2**22):
    """Yield index arrays that cover n rows in blocks of about `values` pixels."""
    step = max(1, values // math.prod(image_shape))
    for start in range(0, n, step):
        yield np.arange(start, min(start + step, n))


def map_images(rows: ImageRows, function, dtype=None) -> np.ndarray:
    """Apply `function` to the images block by block; the results have `dtype`, or that of X."""
    out = np.empty((len(rows), *rows.image_shape), dtype or rows.dtype)
    for index in blocks(len(rows), rows.image_shape):
        out[index[0] : index[-1] + 1] = function(rows.gather(index))
    return out


def image_mean_and_scale(rows: ImageRows) -> tuple[float, float]:
    """Mean and standard deviation of all pixels together, uint8 divided by 255.

    Block by block in float64; a constant set has scale 1.
    """
    n = len(rows) * math.prod(rows.image_shape)
    if rows.dtype == np.uint8:
        counts = np.zeros(256)
        for index in blocks(len(rows), rows.image_shape):
            counts += np.bincount(rows.gather(index).ravel(), minlength=256)
        grey = np.arange(256) / 255.0
        mean = float(counts @ grey) / n
        variance = float(counts @ (grey - mean) ** 2) / n
        return mean, math.sqrt(variance) or 1.0
    mean = (
        math.fsum(rows.gather(i).sum(dtype=np.float64) for i in blocks(len(rows), rows.image_shape))
        / n
    )
    square = math.fsum(
        np.square(rows.gather(i).astype(np.float64) - mean).sum()
        for i in blocks(len(rows), rows.image_shape)
    )
    return mean, math.sqrt(square / n) or 1.0


def edge_grey(rows: ImageRows, sample: int = 1000) -> float:
    """Median grey level of the outermost pixels, on the scale that the networks see."""
    images = rows.gather(np.linspace(0, len(rows) - 1, min(sample, len(rows))).astype(int))
    edges = [images[:, :, [0, -1]].ravel(), images[:, :, :, [0, -1]].ravel()]
    grey = float(np.median(np.concatenate(edges)))
    return grey / 255.0 if rows.dtype == np.uint8 else grey


def pixel_range(rows: ImageRows) -> tuple[float, float]:
    """Smallest and largest pixel on the scale that the networks see."""
    if rows.dtype == np.uint8:
        return 0.0, 1.0
    low = min(chunk.min() for chunk in rows.chunks)
    return float(low), float(max(chunk.max() for chunk in rows.chunks))


def is_black_and_white(rows: ImageRows) -> bool:
    """Whether every pixel is 0 or 1 (uint8: 0 or 255); stops at the first block that tells."""
    white = 255 if rows.dtype == np.uint8 else 1
    return all(
        bool(np.isin(rows.gather(index), (0, white)).all())
        for index in blocks(len(rows), rows.image_shape)
    )


def digest(rows: ImageRows) -> str:
    """Hash all pixels and scalars, so that a checkpoint knows its data."""
    digest = hashlib.blake2b(f"{rows.image_shape}{rows.dtype}".encode())
    for index in blocks(len(rows), rows.image_shape):
        digest.update(rows.gather(index).tobytes())
        if rows.scalars is not None:
            digest.update(np.ascontiguousarray(rows.scalars[index]).tobytes())
    return digest.hexdigest()


def replace_images(X, rows: ImageRows, images: np.ndarray):
    """Return X in its own form with other `images` (n, C, H, W); scalars stay as they are."""
    if rows.form in ("grey", "images"):
        return images.reshape(np.shape(X))
    if rows.form == "rows":
        flat = images.reshape(len(images), -1)
        if rows.scalars is None:
            return flat
        return np.hstack([flat, rows.scalars.astype(flat.dtype, copy=False)])
    (name,) = image_columns(X)
    dtype = X[name].dtype.pyarrow_dtype
    return X.assign(**{name: tensor_column(images.reshape(len(images), *dtype.shape))})


def tensor_column(images) -> pd.arrays.ArrowExtensionArray:
    """Return images (n, H, W) or (n, C, H, W), or a list of such, as one column of a table."""
    chunks = images if isinstance(images, list) else [images]
    return pd.arrays.ArrowExtensionArray(
        pa.chunked_array(
            [pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(c)) for c in chunks]
        )
    )
