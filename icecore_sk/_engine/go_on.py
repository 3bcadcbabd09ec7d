"""Training that goes on, one chunk of the data after another."""

from typing import Any

import numpy as np
import torch

from icecore_sk._engine.net import Callback, ImageNet

# Steps in which the learning rate rises to its constant value: AdamW's second moments are means
# over too few gradients before.
RISE_STEPS = 5
# Rows that the statistics of the batch norms from earlier chunks count for, beside those of the
# new chunk on which they are measured anew.
NORM_ROWS = 128


class GoOn(Callback):
    """Start a net where another one stopped, at a constant learning rate.

    How many chunks there will be is not known, so the rate can follow no cycle.

    Parameters
    ----------
    lr : float
        Learning rate after the rise.
    history : list of dict
        Rows of the epochs that were done.
    moments : dict or None
        Of the optimizer, from `moments_of`; None where it begins anew.
    """

    def __init__(self, lr: float, history: list[dict] | None = None, moments: dict | None = None):
        self.lr, self.history, self.moments = lr, history, moments

    def restore(self, net: ImageNet) -> int:
        """Put history and moments into `net`; return 0, as this call's epoch is yet to do."""
        record_history(net, self.history or [])
        if self.moments is not None:
            set_moments(net, self.moments)
        self.steps_ = int(max(net.optimizer_.steps(), default=0))
        self.history = self.moments = None
        return 0

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            self.steps_ += 1
            for group in net.optimizer_.param_groups:
                group["lr"] = self.lr * min(1.0, self.steps_ / RISE_STEPS)


def record_history(net: ImageNet, rows: list[dict]) -> None:
    """Append rows to the history of a net."""
    for row in rows:
        net.history.new_epoch()
        for name, value in row.items():
            net.history.record(name, value)


def moments_of(net: ImageNet) -> dict[str, Any] | None:
    """Return AdamW's moments as arrays by the weights' names; None unless the net is to go on.

    Without copies where the net is on the CPU. A fit's moments are not kept: they belong to the
    end of its cycle, and three times the size of a file would be the price.
    """
    if not any(isinstance(callback, GoOn) for _, callback in net.callbacks):
        return None
    names = [name for name, _ in net.module_.named_parameters()]
    found: dict[str, Any] = {
        kind: {
            name: moment.cpu().numpy()
            for name, moment in zip(names, net.optimizer_.moments(kind), strict=True)
        }
        for kind in ("exp_avg", "exp_avg_sq")
    }
    return {"step": np.array(net.optimizer_.steps()), **found}


def set_moments(net: ImageNet, moments: dict[str, Any]) -> None:
    """Copy moments from `moments_of` into the optimizer of `net`; raise where they do not fit."""
    parameters = dict(net.module_.named_parameters())
    if set(moments) != {"step", "exp_avg", "exp_avg_sq"}:
        raise ValueError(f"The saved moments are {sorted(map(str, moments))[:5]}.")
    steps = np.asarray(moments["step"])
    if steps.shape != (len(parameters),) or steps.dtype.kind not in "fiu":
        raise ValueError("The saved moments do not count the steps of each weight.")
    if not (np.isfinite(steps).all() and (steps >= 0).all()):
        raise ValueError("The saved moments have steps that are no counts.")
    for kind in ("exp_avg", "exp_avg_sq"):
        theirs = moments[kind]
        for name, weight in parameters.items():
            array = theirs.get(name)
            if array is None or len(theirs) != len(parameters):
                raise ValueError(f"The saved moments {kind!r} are not those of the weights.")
            if array.shape != tuple(weight.shape) or array.dtype != np.float32:
                raise ValueError(
                    f"The saved moment {kind!r} of {name!r} is {array.dtype} of shape "
                    f"{array.shape}; the network needs float32 of shape {tuple(weight.shape)}."
                )
            if not np.isfinite(array).all() or (kind == "exp_avg_sq" and (array < 0).any()):
                raise ValueError(f"The saved moment {kind!r} of {name!r} is none that can be.")
        ours = net.optimizer_.moments(kind)
        for name, moment in zip(parameters, ours, strict=True):
            moment.copy_(torch.from_numpy(np.array(theirs[name])))
    net.optimizer_.set_steps(steps.tolist())
