"""AdamW that updates every weight in the order in which it lies in memory."""

import inspect

import torch
from torch import Tensor

# torch decorates these with calls of its compiler, whose import takes seconds and 160 MB and has
# no use here. What is called is what the decorators would call.
_add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
_adamw_step = inspect.unwrap(torch.optim.AdamW.step)
_state_dict = inspect.unwrap(torch.optim.AdamW.state_dict)
_load_state_dict = inspect.unwrap(torch.optim.AdamW.load_state_dict)


def lies_channels_last(tensor: Tensor) -> bool:
    return tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)


class MemoryOrderAdamW(torch.optim.AdamW):
    """`torch.optim.AdamW` without the copies that it makes of channels-last weights.

    The fused kernel copies every tensor whose strides are not those of a plain array, which
    doubles the time of a step. The update is elementwise, so it may as well walk over views that
    share the weights' memory and have its order.

    The weights must stay where they are: build the optimizer after the module has been moved.

    Parameters
    ----------
    params : iterable of dict
        Parameter groups.
    in_backward : bool
        Update each weight as soon as the closure's backward pass has its gradient, which is then
        let go. All gradients together are as large as the weights, and lie where the backward
        pass could have put its maps. Nothing sees the gradients then.
    **kwargs
        As of `torch.optim.AdamW`.
    """

    def __init__(self, params, in_backward=False, **kwargs):
        groups = [dict(group) for group in params]
        self.in_backward = in_backward
        self.weights = [list(group["params"]) for group in groups]
        for group in groups:
            group["params"] = [
                torch.nn.Parameter(w.detach().permute(0, 2, 3, 1) if lies_channels_last(w) else w)
                for w in group["params"]
            ]
        super().__init__(groups, **kwargs)
        # Before the first batch, so that they do not come to lie between its maps.
        for group in self.param_groups:
            for view in group["params"]:
                self.state[view] = {
                    "step": torch.zeros((), device=view.device if group["fused"] else None),
                    "exp_avg": torch.zeros_like(view),
                    "exp_avg_sq": torch.zeros_like(view),
                }

    def add_param_group(self, param_group):
        _add_param_group(self, param_group)

    def state_dict(self):
        return _state_dict(self)

    def load_state_dict(self, state_dict):
        _load_state_dict(self, state_dict)

    def step(self, closure=None):
        handles = []
        try:
            for group, view, weight in self._triples() if self.in_backward else ():
                if not weight.requires_grad:  # frozen, by a callback
                    continue

                def update(weight, group=group, view=view):
                    self._update(group, view, weight)

                handles.append(weight.register_post_accumulate_grad_hook(update))
            with torch.enable_grad():
                loss = closure() if closure is not None else None
        finally:
            for handle in handles:
                handle.remove()
        # Those that no hook has seen to.
        for _, view, weight in self._triples():
            view.grad = None if weight.grad is None else _gradient(weight, weight.grad)
        with torch.no_grad():
            _adamw_step(self)
        return loss

    def _triples(self):
        for group, weights in zip(self.param_groups, self.weights, strict=True):
            for view, weight in zip(group["params"], weights, strict=True):
                yield group, view, weight

    @torch.no_grad()
    def _update(self, group, view: Tensor, weight: Tensor) -> None:
        """Update one weight as `torch.optim.AdamW` does, and drop its gradient."""
        assert weight.grad is not None
        state = self.state[view]
        state["step"] += 1
        beta1, beta2 = group["betas"]
        torch._fused_adamw_(
            [view],
            [_gradient(weight, weight.grad)],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )
        weight.grad = None

    def moments(self, kind: str) -> list[Tensor]:
        """Return views of "exp_avg" or "exp_avg_sq", each of the shape of its weight."""
        return [
            self.state[view][kind].permute(0, 3, 1, 2)
            if lies_channels_last(weight)
            else self.state[view][kind]
            for _, view, weight in self._triples()
        ]

    def steps(self) -> list[float]:
        """Return how often each weight was updated."""
        return [float(self.state[view]["step"]) for _, view, _ in self._triples()]

    def set_steps(self, steps: list[float]) -> None:
        for (_, view, _), step in zip(self._triples(), steps, strict=True):
            self.state[view]["step"].fill_(step)

    def zero_grad(self, set_to_none=True):
        for _, view, weight in self._triples():
            weight.grad = None
            view.grad = None


def _gradient(weight: Tensor, grad: Tensor) -> Tensor:
    """The gradient in the order in which the weight lies in memory."""
    return grad.permute(0, 2, 3, 1).contiguous() if lies_channels_last(weight) else grad
