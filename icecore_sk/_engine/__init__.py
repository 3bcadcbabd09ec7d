"""How a network is trained and run, once, for all estimators."""

from icecore_sk._engine.batches import Batches, prepare_images
from icecore_sk._engine.checkpoint import Checkpoint, CheckpointError
from icecore_sk._engine.net import (
    ImageNet,
    NonFiniteLossError,
    ProgressBar,
    Split,
    history_rows,
    make_early_stopping,
    make_schedule,
    module_arrays,
)
from icecore_sk._engine.precision import autocast, autocast_dtype, resolve_device

__all__ = [
    "Batches",
    "Checkpoint",
    "CheckpointError",
    "ImageNet",
    "NonFiniteLossError",
    "ProgressBar",
    "Split",
    "autocast",
    "autocast_dtype",
    "history_rows",
    "make_early_stopping",
    "make_schedule",
    "module_arrays",
    "prepare_images",
    "resolve_device",
]
