"""How a network is trained and run, once, for all estimators."""

from icecore_sk._engine.batches import Batches, balanced, permutation, prepare_images
from icecore_sk._engine.checkpoint import Checkpoint, CheckpointError
from icecore_sk._engine.devices import DeviceProcessError, fit_on_devices
from icecore_sk._engine.go_on import (
    NORM_ROWS,
    GoOn,
    moments_of,
    record_history,
    set_moments,
)
from icecore_sk._engine.memory import kept_memory
from icecore_sk._engine.net import (
    ImageNet,
    NonFiniteLossError,
    ProgressBar,
    Split,
    history_rows,
    history_table,
    make_early_stopping,
    make_schedule,
    module_arrays,
)
from icecore_sk._engine.optimizer import MemoryOrderAdamW
from icecore_sk._engine.precision import autocast, autocast_dtype, resolve_device, resolve_devices
from icecore_sk._engine.rows import DeviceRows, HostRows, place_rows
from icecore_sk._engine.threads import settle_threads, side_by_side

__all__ = [
    "NORM_ROWS",
    "Batches",
    "Checkpoint",
    "CheckpointError",
    "DeviceProcessError",
    "DeviceRows",
    "GoOn",
    "HostRows",
    "ImageNet",
    "MemoryOrderAdamW",
    "NonFiniteLossError",
    "ProgressBar",
    "Split",
    "autocast",
    "autocast_dtype",
    "balanced",
    "fit_on_devices",
    "history_rows",
    "history_table",
    "kept_memory",
    "make_early_stopping",
    "make_schedule",
    "module_arrays",
    "moments_of",
    "permutation",
    "place_rows",
    "prepare_images",
    "record_history",
    "resolve_device",
    "resolve_devices",
    "set_moments",
    "settle_threads",
    "side_by_side",
]
