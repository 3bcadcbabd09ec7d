"""One of several processes that train a network together: ``python -m`` this with folder and rank.

All hold the same weights. Each works on its share of every batch, and what belongs to the batch as
a whole is summed over all: gradients, the statistics of batch norms, and the terms of the loss.
"""

import json
import os
import pickle
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as summed
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from icecore_sk._engine.checkpoint import Checkpoint, training_state
from icecore_sk._engine.devices import FAILURE, JOB, RESULT
from icecore_sk._engine.net import EpochTotals, ImageNet, NonFiniteLossError, Split
from icecore_sk._engine.rows import place_rows
from icecore_sk._writing import replacing


class _NormaliseAll(torch.autograd.Function):
    """Batch norm by the mean and variance over the batches of all processes.

    Returns the result, mean, biased variance, and the number of values that these are over.
    """

    @staticmethod
    def forward(ctx, x, scale, shift, eps):
        n = x.numel() // x.shape[1]
        axes = [axis for axis in range(x.ndim) if axis != 1]
        own = torch.zeros(3, x.shape[1], device=x.device)
        if n:
            own[0] = n
            own[2], own[1] = torch.var_mean(x.float(), axes, correction=0)
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, own)
        counts, means, variances = torch.stack(parts, 1)  # (processes, channels) each
        # The variance of the whole, from those of its parts (Chan and others, 1983).
        share = counts / counts.sum(0)
        mean = (share * means).sum(0)
        variance = (share * (variances + (means - mean) ** 2)).sum(0)
        total = counts[:, 0].sum()
        ctx.save_for_backward(x, scale, mean, variance, total)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance, total)
        return F.batch_norm(x, mean, variance, scale, shift, eps=eps), mean, variance, total

    @staticmethod
    def backward(ctx, grad, *_):  # type: ignore[override]
        x, scale, mean, variance, total = ctx.saved_tensors
        by_channel = (1, -1) + (1,) * (x.ndim - 2)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        inverse = torch.rsqrt(variance + ctx.eps)
        grad32 = grad.float()
        normal = (x.float() - mean.view(by_channel)) * inverse.view(by_channel)
        # Of this process's rows: those of the others are added with all other gradients.
        own = torch.stack([(grad32 * normal).sum(axes), grad32.sum(axes)])
        sums = own.clone()
        dist.all_reduce(sums)
        slope, constant = (sums / total).view(2, *by_channel)
        rest = (grad32 - constant).sub_(normal.mul_(slope))
        return rest.mul_((scale * inverse).view(by_channel)).to(x.dtype), own[0], own[1], None


class _SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the batches of all processes, for the CPU; torch has one for CUDA."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        result, mean, variance, n = _NormaliseAll.apply(input, self.weight, self.bias, self.eps)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            # Without a momentum it keeps the plain mean over the batches that it has seen.
            momentum = self.momentum
            if momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * (n / (n - 1).clamp_min(1)), momentum)
        return result


class SharedBatchNorm1d(_SharedBatchNorm, nn.BatchNorm1d):
    pass


class SharedBatchNorm2d(_SharedBatchNorm, nn.BatchNorm2d):
    pass


def share_statistics(module: nn.Module, device: torch.device) -> None:
    """Make every batch norm of a network one over all processes; their weights stay what they are.

    The network that the caller of fit gets is another, with the norms that it always had.
    """
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return
    shared: dict[type, type] = {
        nn.BatchNorm1d: SharedBatchNorm1d,
        nn.BatchNorm2d: SharedBatchNorm2d,
    }
    for child in module.modules():
        if type(child) in shared:
            child.__class__ = shared[type(child)]


def mean_over_all(values: Tensor) -> Tensor:
    """Mean over the rows of all processes, with its gradient."""
    sums = torch.cat([values.sum(0), values.new_tensor([len(values)])])
    sums = summed.all_reduce(sums)
    return sums[:-1] / sums[-1]


class SharedNet(ImageNet):
    """An `ImageNet` that trains on its share of every batch."""

    def initialize(self):
        super().initialize()
        device = torch.device(self.device)
        share_statistics(self.module_, device)
        if hasattr(self.criterion_, "batch_mean"):
            self.criterion_.batch_mean = mean_over_all
        parallel = DistributedDataParallel(
            self.module_,
            device_ids=[device] if device.type == "cuda" else None,
            broadcast_buffers=False,  # all have the same statistics already
        )
        vars(self)["parallel_"] = parallel  # skorch would take it for a component of the user's
        return self

    def running_module(self) -> nn.Module:
        # Only this way its gradients are summed; weights and states go by the network's own names.
        if self.module_.training and torch.is_grad_enabled():
            return self.parallel_
        return self.module_

    def get_loss(self, y_pred, y_true, X=None, training=False):
        super().get_loss(y_pred, y_true, X=X, training=training)
        # Gradients are averaged over processes: so that this makes the mean over all rows, shares
        # of other sizes included.
        return self.terms_["loss"].sum() * (dist.get_world_size() / y_true)

    def gradients_are_watched(self) -> bool:
        return True  # by what sums them: no weight may be updated before

    def check_finite(self, loss: Tensor, number: int) -> None:
        loss = loss.detach().clone()
        dist.all_reduce(loss)
        super().check_finite(loss / dist.get_world_size(), number)

    def of_all_processes(self, totals: EpochTotals) -> EpochTotals:
        parts: list = [None] * dist.get_world_size()
        dist.all_gather_object(parts, totals.on_host())
        whole = EpochTotals()
        for part in parts:  # in the same order everywhere, so that all decide alike
            whole.merge(part)
        return whole


def train(folder: Path, rank: int) -> None:
    with open(folder / JOB, "rb") as file:
        job = pickle.load(file)
    torch.set_num_threads(job["threads"])
    torch.set_float32_matmul_precision(job["matmul_precision"])
    net, split = job["net"], job["split"]
    device = torch.device(job["devices"][rank])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    n_processes = len(job["devices"])
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=(folder / "rendezvous").absolute().as_uri(),
        rank=rank,
        world_size=n_processes,
    )
    take_share(split, device, rank, n_processes)
    net.__class__ = SharedNet
    net.device = str(device)
    if rank:
        net.callbacks = [(name, callback) for name, callback in net.callbacks if name != "progress"]
    for _, callback in net.callbacks:
        if isinstance(callback, Checkpoint):
            callback.writes = rank == 0
    nonfinite = None
    try:
        net.fit(split)
    except NonFiniteLossError as error:
        nonfinite = [error.value, error.epoch, error.batch, error.what]
    if rank == 0:
        torch.save(training_state(net, []) | {"nonfinite": nonfinite}, folder / RESULT)
    dist.destroy_process_group()


def take_share(split: Split, device: torch.device, rank: int, n_processes: int) -> None:
    sets = [s for s in (split.train, split.valid, split.calibration) if s is not None]
    placed = place_rows(sets[0].rows.rows, device)
    for batches in sets:
        batches.rows, batches.device = placed, device
        batches.process = (rank, n_processes)


def end_with_parent(folder: Path) -> None:
    """End this process where the one that started it is gone, and clear up in its place."""
    os.read(0, 1)  # of sys.stdin the interpreter wants the lock when it ends
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def main(folder: Path, rank: int) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, args=(folder,), daemon=True).start()
    try:
        train(folder, rank)
    except BaseException as error:
        said = {
            "time": time.time_ns(),
            "kind": type(error).__name__,
            "message": str(error),
            "traceback": traceback.format_exc(),
        }
        with replacing(folder / FAILURE.format(rank)) as part:
            Path(part).write_text(json.dumps(said))
        # Not by way of what waits for the others at the end of a process.
        os._exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
