"""Where the images of a training set lie: on the host, batch by batch, or whole on the device."""

import numpy as np
import torch
from torch import Tensor

TORCH_DTYPES = tuple(map(np.dtype, ("uint8", "float32", "float64", "float16", "int64")))
# Share of the free memory of a GPU that the images may take; the rest is for the network.
RESIDENT_SHARE = 0.5
UPLOAD_BYTES = 64 * 2**20


def to_tensor(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to `device` in its own dtype; to a GPU without waiting for it."""
    if array.dtype not in TORCH_DTYPES or not array.dtype.isnative:
        array = array.astype(np.float32)
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        # Only from pinned memory does a copy overlap with what the GPU is computing.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class HostRows:
    """Images that stay where they are; each batch is gathered and sent.

    Parameters
    ----------
    rows : object with gather(index), gather_scalars(index), len, image_shape and dtype
    device : torch.device
    """

    def __init__(self, rows, device: torch.device):
        self.rows, self.device = rows, device

    def take(self, index: np.ndarray) -> Tensor:
        """Return the images at `index` on the device, in their own dtype."""
        return to_tensor(self.rows.gather(index), self.device)

    def take_scalars(self, index: np.ndarray) -> Tensor | None:
        scalars = self.rows.gather_scalars(index)
        return None if scalars is None else to_tensor(scalars, self.device)


class DeviceRows(HostRows):
    """Images that were copied to the device once, where batches are gathered by index."""

    def __init__(self, rows, device: torch.device):
        super().__init__(rows, device)
        step = max(1, UPLOAD_BYTES // bytes_per_row(rows))
        blocks = np.split(np.arange(len(rows)), range(step, len(rows), step))
        first = to_tensor(rows.gather(blocks[0]), device)
        # Block by block into their place: joined afterwards they would need twice the memory.
        self.images = torch.empty((len(rows), *first.shape[1:]), dtype=first.dtype, device=device)
        self.images[: len(first)] = first
        for block in blocks[1:]:
            self.images[block[0] : block[-1] + 1] = to_tensor(rows.gather(block), device)

    def take(self, index: np.ndarray) -> Tensor:
        return self.images.index_select(0, to_tensor(index, self.device))


def bytes_per_row(rows) -> int:
    """Bytes of an image on the device: a dtype that torch lacks becomes float32 there."""
    itemsize = rows.dtype.itemsize if rows.dtype in TORCH_DTYPES else 4
    return int(np.prod(rows.image_shape)) * itemsize


def place_rows(rows, device: torch.device) -> HostRows:
    """Put the images on a GPU if they fit there beside a network; else leave them where they are.

    On the CPU there is nothing to gain: a batch is gathered in a thousandth of a step's time.
    """
    if device.type != "cuda":
        return HostRows(rows, device)
    free, _ = torch.cuda.mem_get_info(device)
    # What torch holds for later is free as well: of the fit before, for example.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if len(rows) * bytes_per_row(rows) >= RESIDENT_SHARE * free:
        return HostRows(rows, device)
    try:
        return DeviceRows(rows, device)
    except torch.OutOfMemoryError:  # free in pieces, or taken by another process meanwhile
        return HostRows(rows, device)
