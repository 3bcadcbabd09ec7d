"""AdamW that updates every weight in the order in which it lies in memory."""

import torch
from torch import Tensor


def lies_channels_last(tensor: Tensor) -> bool:
    return tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)


class MemoryOrderAdamW(torch.optim.AdamW):
    """`torch.optim.AdamW` without the copies that it makes of channels-last weights.

    The fused kernel copies every tensor whose strides are not those of a plain array, which
    doubles the time of a step. The update is elementwise, so it may as well walk over views that
    share the weights' memory and have its order.

    The weights must stay where they are: build the optimizer after the module has been moved.
    """

    def __init__(self, params, **kwargs):
        groups = [dict(group) for group in params]
        self.weights = [list(group["params"]) for group in groups]
        for group in groups:
            group["params"] = [
                torch.nn.Parameter(w.detach().permute(0, 2, 3, 1) if lies_channels_last(w) else w)
                for w in group["params"]
            ]
        super().__init__(groups, **kwargs)

    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group, weights in zip(self.param_groups, self.weights, strict=True):
            for view, weight in zip(group["params"], weights, strict=True):
                grad = weight.grad
                if grad is not None and lies_channels_last(weight):
                    grad = grad.permute(0, 2, 3, 1).contiguous()
                view.grad = grad
        super().step()
        return loss

    def zero_grad(self, set_to_none=True):
        for weights in self.weights:
            for weight in weights:
                weight.grad = None
        super().zero_grad(set_to_none=True)
