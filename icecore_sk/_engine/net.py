"""The skorch net that trains every estimator; the only module that imports skorch."""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import OneCycleLR
from tqdm.auto import tqdm

from icecore_sk._engine.batches import Batches
from icecore_sk._engine.memory import keep, kept_memory
from icecore_sk._engine.precision import autocast

# Variance over the training set above which a latent dimension counts as used: the definition of
# Burda, Grosse and Salakhutdinov (2016).
ACTIVE_VARIANCE = 0.01
HISTORY_COLUMNS = ("epoch", "train_loss", "valid_loss")


class NonFiniteLossError(FloatingPointError):
    """The loss or a weight became NaN or infinite; the network holds its last finite weights."""

    def __init__(self, value: float, epoch: int, batch: int, what: str = "the loss"):
        super().__init__(f"{what} became {value} in epoch {epoch}, batch {batch}")
        self.value, self.epoch, self.batch, self.what = value, epoch, batch, what


@dataclass
class Split:
    """What `ImageNet.fit` takes as X: training batches, and perhaps batches to validate on.

    `calibration` holds training rows on which the batch norms' statistics are measured; those that
    the network came with count for `norm_rows` rows beside them.
    """

    train: Batches
    valid: Batches | None = None
    calibration: Batches | None = None
    norm_rows: int = 0


class EpochTotals:
    """Means over an epoch of the terms of the loss, and the spread of the latent means."""

    def __init__(self) -> None:
        self.n = 0
        self.terms: dict[str, Any] = {}
        self.latent: Any = 0.0
        self.latent_squared: Any = 0.0
        self.has_latent = False

    def add(self, terms: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
        self.n += len(terms["loss"])
        for name, values in terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + values.detach().double().sum()
        if "mean" in outputs:
            mean = outputs["mean"].detach().double()
            self.latent = self.latent + mean.sum(0)
            self.latent_squared = self.latent_squared + (mean**2).sum(0)
            self.has_latent = True

    def on_host(self) -> "EpochTotals":
        """Return a copy whose sums are on the CPU."""

        def moved(value):
            return value.cpu() if isinstance(value, Tensor) else value

        copied = EpochTotals()
        copied.__dict__.update({name: moved(value) for name, value in vars(self).items()})
        copied.terms = {name: moved(value) for name, value in self.terms.items()}
        return copied

    def merge(self, other: "EpochTotals") -> None:
        """Add the sums of other rows of the same epoch."""
        self.n += other.n
        for name, value in other.terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + value
        self.latent = self.latent + other.latent
        self.latent_squared = self.latent_squared + other.latent_squared
        self.has_latent |= other.has_latent

    def means(self) -> dict[str, float]:
        return {name: float(total) / self.n for name, total in self.terms.items()}

    def active_units(self) -> int:
        variance = self.latent_squared / self.n - (self.latent / self.n) ** 2
        return int((variance > ACTIVE_VARIANCE).sum())


class ImageNet(NeuralNet):
    """A skorch net over dictionaries of tensors, with mixed precision and epoch means.

    It differs from `skorch.NeuralNet` where images ask for it: batches are gathered, not
    collated; the criterion sees the whole batch and returns terms by row; the history keeps each
    term; Ctrl-C is passed on; and a loss that is not finite stops training on good weights.

    Parameters
    ----------
    module : torch.nn.Module
        Initialised network; called with the batch entries named in `inputs`.
    inputs : tuple of str
        Names of the batch entries that the module takes.
    amp_dtype : torch.dtype or None
        Autocast dtype; None is float32 throughout.
    """

    def __init__(self, module, *, inputs=("image",), amp_dtype=None, **kwargs):
        self.inputs = inputs
        self.amp_dtype = amp_dtype
        super().__init__(module, train_split=None, **kwargs)

    def get_default_callbacks(self):
        return []

    def get_split_datasets(self, X, y=None, **fit_params):
        return X.train, X.valid

    def get_iterator(self, dataset, training=False):
        return dataset

    def calibrate(self) -> None:
        """Measure the batch norms' statistics anew with the weights as they are.

        Running averages over the last steps lag behind the weights, and after a short training
        still hold the zeros and ones they began with: a net that fits its training rows then
        fails on the same rows in evaluation mode.
        """
        norms = [m for m in self.module_.modules() if isinstance(m, _BatchNorm)]
        if self.calibration_ is None or not norms:
            return
        momenta = [norm.momentum for norm in norms]
        before = [[value.clone() for value in running(norm)] for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        self._set_training(True)
        with torch.no_grad():
            for batch, _ in self.calibration_:
                self.infer(batch)
        n = len(self.calibration_.index)
        share = n / (n + self.norm_rows_)
        for norm, momentum, earlier in zip(norms, momenta, before, strict=True):
            norm.momentum = momentum
            if self.norm_rows_:
                for old, new in zip(earlier, running(norm), strict=True):
                    new.copy_(old.lerp(new, share))

    def infer(self, x, **fit_params):
        device = torch.device(self.device)
        with autocast(self.amp_dtype, device):
            return self.running_module()(**{name: x[name] for name in self.inputs if name in x})

    def running_module(self) -> torch.nn.Module:
        return self.module_

    def get_loss(self, y_pred, y_true, X=None, training=False):
        self.terms_ = self.criterion_(y_pred, X, progress=self.progress_)
        return self.terms_["loss"].mean()

    @property
    def progress_(self) -> float:
        """Epochs done, fractions included."""
        return len(self.history) - 1 + self.batch_fraction_

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        """Train on; unlike skorch's, an interrupt from the keyboard is passed on."""
        if not self.initialized_:
            self.initialize()
        self.calibration_, self.norm_rows_ = X.calibration, X.norm_rows
        try:
            self._train(X, y)
        finally:
            # A fitted net must not keep the training rows in memory, or on a GPU.
            self.calibration_ = self.good_weights_ = self.terms_ = None
        return self

    def _train(self, X: Split, y) -> None:
        self.notify("on_train_begin", X=X, y=y)
        done = sum(cb.restore(self) for _, cb in self.callbacks_ if hasattr(cb, "restore"))
        self.good_weights_ = None
        self.remember_weights()
        self.optimizer_.in_backward = self.device == "cpu" and not self.gradients_are_watched()
        try:
            if not self.stopped_early():
                with kept_memory(self.kernels(X.train)):
                    self.fit_loop(X, y, epochs=self.max_epochs - done)
        except KeyboardInterrupt:
            # skorch's EarlyStopping ends training by raising the same exception as Ctrl-C.
            if not self.stopped_early():
                raise
        except NonFiniteLossError:
            self.calibrate()  # for the weights that are kept, of the end of the epoch before
            raise
        if X.valid is None:  # else each validation has done it for the weights that it saw
            self.calibrate()
        self.notify("on_train_end", X=X, y=y)

    def kernels(self, batches: Batches) -> tuple:
        """What the kernels of a training step depend on."""
        n = min(batches.batch_size, len(batches.index))
        weights = (tuple(weight.shape) for weight in self.module_.parameters())
        return n, batches.rows.rows.image_shape, self.amp_dtype, *weights

    def stopped_early(self) -> bool:
        return any(
            isinstance(callback, EarlyStopping) and callback.misses_ >= callback.patience
            for _, callback in self.callbacks_
        )

    def gradients_are_watched(self) -> bool:
        return any(
            type(callback).on_grad_computed is not Callback.on_grad_computed
            for _, callback in self.callbacks_
        )

    def remember_weights(self) -> None:
        state = self.module_.state_dict()
        # Into the same memory each time, so that copies do not come to lie between maps.
        if self.good_weights_ is None:
            self.good_weights_ = {name: value.clone() for name, value in state.items()}
        for name, value in state.items():
            self.good_weights_[name].copy_(value)

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        if iterator is None:
            return
        started = time.perf_counter()
        if not training:
            self.calibrate()
        totals = EpochTotals()
        n_batches = len(iterator)
        for number, batch in enumerate(iterator):
            self.batch_fraction_ = number / n_batches
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch)
            if training and number == 0:
                keep()  # the step has made its kernels
            totals.add(self.terms_, step["y_pred"])
            # Reading the loss waits for a GPU, so there it is looked at once in a while.
            if training and (self.device == "cpu" or number % 50 == 0 or number == n_batches - 1):
                self.check_finite(step["loss"], number)
            self.notify("on_batch_end", batch=batch, training=training, **step)
            # The next step must not run beside this one's outputs and all that they keep.
            del step, batch
            self.terms_ = None
        totals = self.of_all_processes(totals)
        for name, value in totals.means().items():
            self.history.record(f"{prefix}_{name}", value)
        if totals.has_latent:
            self.history.record(f"{prefix}_active_units", totals.active_units())
        if training:
            self.history.record("lr", float(self.optimizer_.param_groups[0]["lr"]))
            # The loss is that of before the step: the last one may still have ruined the weights.
            self.check_weights(n_batches - 1)
            self.remember_weights()
        self.history.record(f"{prefix}_seconds", time.perf_counter() - started)

    def of_all_processes(self, totals: EpochTotals) -> EpochTotals:
        return totals

    def check_finite(self, loss: Tensor, number: int) -> None:
        value = float(loss.detach())
        if not math.isfinite(value):
            self.module_.load_state_dict(self.good_weights_)
            raise NonFiniteLossError(value, len(self.history), number + 1)

    def check_weights(self, number: int) -> None:
        norms = torch._foreach_norm([weight.detach() for weight in self.module_.parameters()])
        value = float(torch.stack([norm.float() for norm in norms]).sum())
        if not math.isfinite(value):
            self.module_.load_state_dict(self.good_weights_)
            raise NonFiniteLossError(value, len(self.history), number + 1, "a weight")


def running(norm) -> tuple[Tensor, Tensor]:
    """The statistics of a batch norm: mean and variance."""
    return norm.running_mean, norm.running_var


class ProgressBar(Callback):
    """One bar over all batches of all epochs, with the last epoch's losses."""

    def __init__(self, title: str):
        self.title = title

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.bar_ = tqdm(total=net.max_epochs * len(X.train), desc=self.title, unit="batch")

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        if training:
            self.bar_.update()

    def on_epoch_end(self, net, **kwargs):
        row = net.history[-1]
        losses = {k: f"{row[k]:.4g}" for k in ("train_loss", "valid_loss") if k in row}
        self.bar_.set_postfix(epoch=len(net.history), **losses)

    def on_train_end(self, net, **kwargs):
        self.bar_.close()


def make_schedule(lr: float, n_epochs: int, n_batches: int) -> LRScheduler:
    """One-cycle schedule (Smith and Topin, 2019) stepped after every batch."""
    # One more than there are, because the schedule moves on after the last one too; and at least
    # four, because torch wants room for a rise and a fall.
    steps = max(n_epochs * n_batches + 1, 4)
    return LRScheduler(
        policy=OneCycleLR, step_every="batch", event_name=None, max_lr=lr, total_steps=steps
    )


def say_nothing(*args, **kwargs) -> None:
    pass


def make_early_stopping(patience: int) -> EarlyStopping:
    """Stop when the validation loss has not improved, and go back to the best weights."""
    return EarlyStopping(
        monitor="valid_loss",
        patience=patience,
        # "rel" would take a slightly worse loss for a better one where losses are negative.
        threshold_mode="abs",
        threshold=1e-4,
        sink=say_nothing,
        load_best=True,
    )


def history_rows(net: ImageNet) -> list[dict[str, float]]:
    """Return the history's rows without skorch's own bookkeeping."""
    skip = ("batches", "dur")
    return [
        {k: v for k, v in row.items() if k not in skip and not k.startswith("event_")}
        for row in net.history
    ]


def history_table(net: ImageNet) -> pd.DataFrame:
    """Return the history as users see it: losses first, then their parts, then lr and seconds."""
    table = pd.DataFrame(history_rows(net))
    for name in (*HISTORY_COLUMNS[1:], "lr", "train_seconds"):
        if name not in table:
            table[name] = np.nan
    table = table.rename(columns={"train_seconds": "seconds"})
    if "valid_seconds" in table:
        # Epochs of partial_fit have no validation beside those of a fit before.
        table["seconds"] += table.pop("valid_seconds").fillna(0.0)
    # The parts of the training loss carry no prefix; those of the validation loss do.
    short = {
        name: name.removeprefix("train_")
        for name in table
        if name.startswith("train_") and name not in HISTORY_COLUMNS
    }
    table = table.rename(columns=short)
    last = ["lr", "seconds"]
    middle = [name for name in table if name not in (*HISTORY_COLUMNS, *last)]
    return table[[*HISTORY_COLUMNS, *middle, *last]] if len(table) else table


def module_arrays(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """Return weights and buffers as numpy arrays."""
    return {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}
