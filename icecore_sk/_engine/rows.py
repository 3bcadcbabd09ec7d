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
        per_row = int(np.prod(rows.image_shape)) * rows.dtype.itemsize
        step = max(1, UPLOAD_BYTES // per_row)
        blocks = np.split(np.arange(len(rows)), range(step, len(rows), step))
        parts = [to_tensor(rows.gather(block), device) for block in blocks]
        self.images = torch.cat(parts) if len(parts) > 1 else parts[0]

    def take(self, index: np.ndarray) -> Tensor:
        return self.images.index_select(0, to_tensor(index, self.device))


def place_rows(rows, device: torch.device) -> HostRows:
    """Put the images on a GPU if they fit there beside a network; else leave them where they are.

    On the CPU there is nothing to gain: a batch is gathered in a thousandth of a step's time.
    """
    if device.type != "cuda":
        return HostRows(rows, device)
    n_bytes = len(rows) * int(np.prod(rows.image_shape)) * rows.dtype.itemsize
    free, _ = torch.cuda.mem_get_info(device)
    return (DeviceRows if n_bytes < RESIDENT_SHARE * free else HostRows)(rows, device)
