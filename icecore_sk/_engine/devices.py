"""Training on several devices: one process for each, started, watched and cleared away from here.

Each process (`icecore_sk._engine.worker`) takes its share of the rows of every batch. They are
started by the interpreter's name, not by multiprocessing, which would run the caller's script
anew and cannot do that for a notebook or for standard input.
"""

import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from icecore_sk._engine.checkpoint import CheckpointError, set_training_state
from icecore_sk._engine.net import ImageNet, NonFiniteLossError, Split
from icecore_sk._mapped_files import mapped_place, view_of_file

WORKER = "icecore_sk._engine.worker"
# Names within the folder that the processes share.
JOB, RESULT, LOG, FAILURE = "job", "result", "{}.log", "{}.failure"
SHIPPED_BYTES = 2**20  # arrays up to this size travel in the job, larger ones in files
GRACE_SECONDS = 3.0  # for processes to say why they ended


class DeviceProcessError(RuntimeError):
    """A process that trained on one of several devices failed, and all were stopped."""


def fit_on_devices(net: ImageNet, split: Split, devices: list[torch.device]) -> None:
    """Train `net`, by one process for each device where there are several.

    Parameters
    ----------
    net : ImageNet
        Not initialised; its device is the first of `devices`, where it is in the end.
    split : Split
        Its rows are on the host where there are several devices.
    devices : list of torch.device

    Raises
    ------
    NonFiniteLossError
        As `ImageNet.fit` does; `net` then has the last finite weights.
    CheckpointError
        As `ImageNet.fit` does.
    DeviceProcessError
        Where a process fails in another way.
    """
    if len(devices) == 1:
        net.fit(split)
        return
    folder = Path(tempfile.mkdtemp(prefix="icecore_"))
    processes: list[subprocess.Popen] = []
    try:
        write_job(folder, net, split, devices)
        for rank in range(len(devices)):
            processes.append(start(folder, rank, len(devices)))
        shows = any(name == "progress" for name, _ in net.callbacks)
        wait(folder, processes, devices, shows)
        state = torch.load(folder / RESULT, map_location="cpu", weights_only=True)
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate()
        shutil.rmtree(folder, ignore_errors=True)
    net.initialize()
    set_training_state(state, net, [])
    if state["nonfinite"] is not None:
        raise NonFiniteLossError(*state["nonfinite"])


# -------------------------------------------------------------------- what the processes are given


class JobPickler(pickle.Pickler):
    """Leaves large arrays in files, which all processes map: there is one copy, or none."""

    def __init__(self, file, folder: Path):
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.folder, self.n_arrays = folder, 0

    def reducer_override(self, obj):
        if not isinstance(obj, np.ndarray) or obj.nbytes <= SHIPPED_BYTES or obj.dtype.hasobject:
            return NotImplemented
        place = mapped_place(obj)
        if place is not None:
            return view_of_file, (*place, obj.dtype, obj.shape, obj.strides)
        path = self.folder / f"{self.n_arrays}.npy"
        self.n_arrays += 1
        np.save(path, np.asarray(obj))
        return np.load, (path, "r")


def write_job(folder: Path, net: ImageNet, split: Split, devices: list[torch.device]) -> None:
    job = {
        "net": net,
        "split": split,
        "devices": [str(device) for device in devices],
        "threads": threads_of_each(len(devices)),
        "matmul_precision": torch.get_float32_matmul_precision(),
    }
    try:
        with open(folder / JOB, "wb") as file:
            JobPickler(file, folder).dump(job)
    except OSError as error:
        raise OSError(
            error.errno,
            f"the images could not be written for the processes of device="
            f"{job['devices']} ({error.strerror}). Point TMPDIR to a folder with room, or map X "
            "from a file (icecore_sk.datasets.load_particles), which needs none",
            str(folder),
        ) from error


def threads_of_each(n_processes: int) -> int:
    return max(1, torch.get_num_threads() // n_processes)


# -------------------------------------------------------------------- the processes


def start(folder: Path, rank: int, n_processes: int) -> subprocess.Popen:
    # Its modules are to be those of this process, wherever it found them.
    paths = [path or os.getcwd() for path in sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment["OMP_NUM_THREADS"] = str(threads_of_each(n_processes))
    if "lo" in {name for _, name in socket.if_nameindex()}:
        # They talk within this machine, whose own name may lead anywhere or nowhere.
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with open(folder / LOG.format(rank), "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", WORKER, str(folder), str(rank)],
            stdin=subprocess.PIPE,  # closes with this process, however that ends
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # Ctrl-C is for this process, which then stops them
        )


def wait(folder: Path, processes: list[subprocess.Popen], devices, shows: bool) -> None:
    """Wait for all processes, or raise as soon as one has failed."""
    with open(folder / LOG.format(0), errors="replace", newline="") as log:
        while True:
            codes = [process.poll() for process in processes]
            if shows:
                sys.stderr.write(log.read())
                sys.stderr.flush()
            if any(codes):
                raise failure(folder, processes, devices)
            if None not in codes:
                return
            time.sleep(0.05)


def failure(folder: Path, processes: list[subprocess.Popen], devices) -> Exception:
    """Return the error of the process that failed first; the others fail for want of it."""
    until = time.monotonic() + GRACE_SECONDS
    while True:
        codes = [process.poll() for process in processes]
        paths = [folder / FAILURE.format(rank) for rank in range(len(processes))]
        said = {rank: path for rank, path in enumerate(paths) if path.exists()}
        for rank, code in enumerate(codes):
            if code and rank not in said:
                # It had no time to say why: what the others say follows from that.
                return describe(rank, devices, how_it_ended(folder, rank, code))
        if None not in codes or time.monotonic() > until:
            break
        time.sleep(0.05)
    reasons = {rank: json.loads(path.read_text()) for rank, path in said.items()}
    rank, reason = min(reasons.items(), key=lambda item: item[1]["time"])
    kind, message = reason["kind"], reason["message"]
    if kind == CheckpointError.__name__:
        return CheckpointError(message)
    error = describe(rank, devices, f"failed with {kind}: {message}")
    error.add_note(reason["traceback"])
    return error


def describe(rank: int, devices, what: str) -> DeviceProcessError:
    names = [str(device) for device in devices]
    return DeviceProcessError(
        f"device={names}: the process for {names[rank]!r} ({rank + 1} of {len(names)}) {what}. "
        f"All were stopped. A lower batch_size needs less memory; device={names[0]!r} trains in "
        "one process."
    )


def how_it_ended(folder: Path, rank: int, code: int) -> str:
    lines = (folder / LOG.format(rank)).read_text(errors="replace").strip().splitlines()
    last = f"; its last words: {lines[-1][-200:]}" if lines else ""
    if code > 0:
        return f"ended with status {code}{last}"
    name = signal.Signals(-code).name
    killed = ", as the system does where memory is short" if name == "SIGKILL" else ""
    return f"was ended by {name}{killed}{last}"
