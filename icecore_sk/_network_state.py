"""Fitted networks as plain numbers, strings and arrays, and back."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch

from icecore_sk._engine import (
    GoOn,
    ImageNet,
    history_rows,
    module_arrays,
    moments_of,
    record_history,
    resolve_device,
    set_moments,
)


class NetworkStateMixin:
    """`__getstate__` without tensors, so that what a GPU trained loads on a laptop."""

    device: str
    lr: float
    net_: ImageNet
    _net_args: dict
    _make_module: Callable[..., Any]
    _make_net: Callable[..., ImageNet]
    _network: Callable[..., torch.nn.Module]

    def __getstate__(self):
        state = super().__getstate__().copy()  # type: ignore[misc]
        if "net_" in state:
            net = state.pop("net_")
            state["net_"] = {
                "weights": module_arrays(net.module_),
                "history": json.dumps(history_rows(net)),
            }
            moments = moments_of(net)
            if moments is not None:
                state["net_"]["moments"] = moments
            state["history_"] = {
                name: column.to_numpy() for name, column in state["history_"].items()
            }
        return state

    def __setstate__(self, state):
        state = dict(state)
        saved = state.pop("net_", None)
        if saved is not None:
            state["history_"] = pd.DataFrame(state["history_"])
        super().__setstate__(state)  # type: ignore[misc]
        if saved is not None:
            self._rebuild(saved)

    def _rebuild(self, saved: dict) -> None:
        """Make the net again from arrays, on the best device that is here."""
        device = resolve_device(self.device, fallback=True)
        self._check_weights(saved["weights"])
        module = self._make_module(self._net_args)
        weights = {name: torch.from_numpy(np.array(a)) for name, a in saved["weights"].items()}
        module.load_state_dict(weights)
        moments = saved.get("moments")
        go_on = None if moments is None else GoOn(self.lr)
        net = self._make_net(module.to(device), device, go_on=go_on)
        net.initialize()
        record_history(net, json.loads(saved["history"]))
        if moments is not None:
            set_moments(net, moments)
        self.net_ = net

    def _check_weights(self, weights: dict[str, np.ndarray]) -> None:
        """Raise where weights do not fit the network, before that takes any memory."""
        with torch.device("meta"):
            expected = self._network(**self._net_args).state_dict()
        for name in sorted(expected.keys() | weights.keys()):
            if name not in expected or name not in weights:
                what = "is missing" if name in expected else "belongs to no part of the network"
                raise ValueError(f"The saved weight {name!r} {what}.")
            array, shape = weights[name], tuple(expected[name].shape)
            if (
                array.shape != shape
                or (array.dtype.kind == "f") != expected[name].is_floating_point()
            ):
                raise ValueError(
                    f"The saved weight {name!r} is {array.dtype} of shape {array.shape}; the "
                    f"network needs {expected[name].dtype} of shape {shape}."
                )
            if not np.isfinite(array).all():
                raise ValueError(f"The saved weight {name!r} has NaN or infinity.")
