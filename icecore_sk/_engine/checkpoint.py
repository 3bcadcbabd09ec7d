"""Atomic checkpoints after every epoch, and an exact way back into a fit that was stopped."""

import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch

from icecore_sk._engine.net import Callback, EarlyStopping, LRScheduler
from icecore_sk._writing import replacing, tidy

FILE_NAME = "checkpoint.pt"


class CheckpointError(ValueError):
    """A checkpoint that belongs to another fit, or that cannot be read or written."""


class Checkpoint(Callback):
    """Write everything a fit needs to go on, and put it back.

    Parameters
    ----------
    folder : str or path
        Where `checkpoint.pt` lives; made if it is missing.
    identity : dict of str to str
        What the fit depends on: parameters, data, versions. A checkpoint with another identity is
        refused with the names of the entries that differ.
    generators : list of torch.Generator
        Their states are part of the checkpoint.
    """

    def __init__(self, folder, identity: dict[str, str], generators: list[torch.Generator]):
        self.folder = Path(folder)
        self.identity = identity
        self.generators = generators
        self.writes = True  # of several processes only one does

    @property
    def path(self) -> Path:
        return self.folder / FILE_NAME

    def check_writable(self) -> None:
        """Find out before training, not after the first epoch."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".{FILE_NAME}.probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise CheckpointError(
                f"checkpoint_dir={str(self.folder)!r} cannot be written ({error.strerror}). "
                "Pass a folder that can, or checkpoint_dir=None."
            ) from error

    def on_epoch_end(self, net, **kwargs):
        if not self.writes:
            return
        state = training_state(net, self.generators) | {
            "identity": json.dumps(self.identity, sort_keys=True),
            "callbacks": {name: callback_state(callback) for name, callback in net.callbacks_},
        }
        try:
            with replacing(self.path) as part, open(part, "xb") as file:
                torch.save(state, file)
        # torch.save makes a RuntimeError of some of what the system says of a full disk.
        except (OSError, RuntimeError) as error:
            why = getattr(error, "strerror", None) or error
            warnings.warn(
                f"The checkpoint {str(self.path)!r} could not be written ({why}) after epoch "
                f"{len(net.history)}. Training goes on, and the checkpoint before is untouched: a "
                "fit that is stopped now goes on from there. Make room for the next one.",
                RuntimeWarning,
                stacklevel=2,
            )

    def restore(self, net) -> int:
        """Put `net` where the checkpoint left it; return the number of epochs done, 0 if none."""
        tidy(self.path)
        if not self.path.exists():
            return 0
        state = self._read()
        theirs = state["identity"]
        names = sorted(theirs.keys() | self.identity.keys())
        differ = [name for name in names if theirs.get(name) != self.identity.get(name)]
        if differ:
            raise CheckpointError(
                f"The checkpoint {str(self.path)!r} was written by a fit that differs in "
                f"{', '.join(differ)}. Use another checkpoint_dir, or delete it to start anew."
            )
        try:
            self._apply(state, net)
        except Exception as error:
            raise self._unreadable(error) from error
        return len(state["history"])

    def _read(self) -> dict:
        """Return what the file holds; whatever is wrong with it, it is of no use."""
        try:
            check_archive(self.path)
            # weights_only: a checkpoint can hold tensors and plain values, never code.
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            state["identity"] = dict(json.loads(state["identity"]))
            return state
        except Exception as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> CheckpointError:
        why = f"{type(error).__name__}: {error}" if isinstance(error, ValueError) else ""
        return CheckpointError(
            f"The checkpoint {str(self.path)!r} cannot be read ({why or type(error).__name__}). "
            "Delete it to start anew."
        )

    def _apply(self, state: dict, net) -> None:
        """Put `net` where `state` left it."""
        set_training_state(state, net, self.generators)
        # By name: the fit that goes on may have other callbacks of the user's than the one before.
        for name, callback in net.callbacks_:
            set_callback_state(callback, state["callbacks"].get(name, {}))


def training_state(net, generators: list[torch.Generator]) -> dict:
    """Return what training has changed, but for its callbacks, as tensors and plain values."""
    return {
        "module": net.module_.state_dict(),
        "criterion": net.criterion_.state_dict(),
        "optimizer": net.optimizer_.state_dict(),
        "generators": [generator.get_state() for generator in generators],
        "history": [dict(row, batches=[]) for row in net.history],
    }


def set_training_state(state: dict, net, generators: list[torch.Generator]) -> None:
    net.module_.load_state_dict(state["module"])
    net.criterion_.load_state_dict(state["criterion"])
    net.optimizer_.load_state_dict(state["optimizer"])
    check_moments(net.optimizer_)
    for generator, saved in zip(generators, state["generators"], strict=True):
        generator.set_state(saved)
    for row in state["history"]:
        net.history.new_epoch()
        for name, value in row.items():
            if name != "batches":
                net.history.record(name, value)


def check_archive(path: Path) -> None:
    """Raise where a file of `torch.save` is damaged, or would unpack to more than it is.

    torch.load checks neither sizes nor sums of what it reads.
    """
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise CheckpointError(f"its part {entry.filename[:40]!r} is compressed")
        damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"its part {damaged[:40]!r} is damaged")


def check_moments(optimizer) -> None:
    """Raise where the moments of a weight are not of its shape: torch looks only when it steps."""
    for weight, moments in optimizer.state.items():
        for name in ("exp_avg", "exp_avg_sq"):
            if moments[name].shape != weight.shape:
                raise CheckpointError(f"{name} of a weight has shape {tuple(moments[name].shape)}")


def callback_state(callback) -> dict:
    """Return what a callback of the engine must remember; user callbacks keep nothing."""
    if isinstance(callback, EarlyStopping):
        names = ("misses_", "dynamic_threshold_", "best_epoch_", "best_model_weights_")
        return {name: plain(getattr(callback, name, None)) for name in names}
    if isinstance(callback, LRScheduler):
        schedule = callback.lr_scheduler_.state_dict()
        keep = {k: v for k, v in schedule.items() if isinstance(v, int | float | bool | list)}
        return {"schedule": keep, "batch_idx_": callback.batch_idx_}
    return {}


def set_callback_state(callback, saved: dict) -> None:
    saved = dict(saved)
    schedule = saved.pop("schedule", None)
    if schedule is not None:
        callback.lr_scheduler_.load_state_dict(schedule)
    for name, value in saved.items():
        setattr(callback, name, value)


def plain(value):
    return value.item() if isinstance(value, np.generic) else value
