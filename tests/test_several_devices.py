"""One network on several devices: the same as on one, to rounding."""

import copy
import json
import pickle
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import make_network, outputs
from sklearn.base import clone
from skorch.callbacks import Callback

from icecore_sk import ResNet18Classifier, load, save
from icecore_sk._engine import Batches, CheckpointError, DeviceProcessError, HostRows, devices
from icecore_sk._images import ImageRows, read_table
from icecore_sk._mapped_files import mapped_place
from icecore_sk.datasets import (
    load_digit_images,
    load_particles,
    make_particles,
    save_particles,
)
from icecore_sk.nn.augment import Augment
from icecore_sk.nn.composites import Composites

TWO = ["cpu", "cpu"]
# AdamW moves weights by the learning rate whatever the size of the gradient: from step to step it
# makes more of differences in rounding (at the usual rate one process of two threads differs from
# one of a single thread by 1e-5 after an epoch and by 8e-3 after two). At this rate they stay below
# 4e-6, while the network moves by 3e-2.
PARAMS = {"batch_size": 32, "max_epochs": 3, "precision": "float32", "lr": 1e-4}
DECODER = {"net_params": {"encoder_width": 8, "decoder_width": 4}}
# Between them they have what needs the whole batch, or all devices to agree.
CASES = {
    "ResNet18Classifier": {
        "image_shape": (1, 8, 8),
        "augmentation": {"flip": True, "rotate": 10, "brightness": 0.1},
        "outlier_exposure": 0.3,
        "class_weight": "balanced",
        "early_stopping": True,
        "n_iter_no_change": 1,
    },
    "AutoEncoder": {
        "image_shape": (1, 8, 8),
        "scalar_weight": 1.0,
        "augmentation": {"flip": True, "shift": 0.2},
        **DECODER,
    },
    "FlowVAE": {
        "encoder": ResNet18Classifier(
            **PARAMS | {"max_epochs": 1}, net_params={"encoder_width": 8}
        ),
        "early_stopping": True,
        "free_bits": 0.3,
        "kl_warmup": 2,
        **DECODER,
    },
}


def data(name):
    """Digits and their labels; rows with two scalars for the first two networks."""
    X, y = load_digit_images(return_X_y=True)
    # 3 * 32 + 1 rows in training: the last batch is odd. With three devices, 2 rows are too few.
    n = {"ResNet18Classifier": 105, "FlowVAE": 112}.get(name, 101)
    X, y = X[:n], y[:n] % 3
    if name in ("ResNet18Classifier", "AutoEncoder"):
        scalars = np.random.default_rng(0).normal(size=(n, 2))
        return np.hstack([X.reshape(n, -1) / 16, scalars]), y
    return X, y


@pytest.fixture(scope="module", params=["ResNet18Classifier", "FlowVAE"])
def pair(request):
    """Each network fitted on one device and on several, and its data."""
    name = request.param
    params = {**PARAMS, **CASES[name]}
    several = ["cpu"] * 3 if name == "ResNet18Classifier" else TWO
    X, y = data(name)
    return (
        make_network(name, device="cpu", **params).fit(X, y),
        make_network(name, device=several, **params).fit(X, y),
        X,
    )


def assert_same_weights(one, other, atol=1e-5):
    one, other = (model.net_.module_.state_dict() for model in (one, other))
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=atol, msg=name)


def test_weights_and_history_are_those_of_one_device(pair):
    one, several, _ = pair
    assert_same_weights(one, several)
    history = one.history_.drop(columns="seconds")
    assert list(several.history_.drop(columns="seconds")) == list(history)
    np.testing.assert_allclose(several.history_[history.columns], history, rtol=1e-5, atol=1e-5)
    assert several.history_["seconds"].gt(0).all()


def test_the_fitted_network_is_a_plain_one(pair, tmp_path):
    one, several, X = pair
    modules = [[type(m) for m in model.net_.module_.modules()] for model in (one, several)]
    assert modules[0] == modules[1]
    states = [model.net_.optimizer_.state_dict()["state"] for model in (one, several)]
    assert states[0].keys() == states[1].keys()
    assert states[0][0]["step"] == states[1][0]["step"] > 0
    loaded = load(save(several, tmp_path / "model.safetensors"))
    assert loaded.device == several.device == clone(several).device
    for name, values in outputs(several, X).items():
        np.testing.assert_array_equal(outputs(loaded, X)[name], values, err_msg=name)


def test_an_interrupted_fit_goes_on_exactly(tmp_path, monkeypatch):
    X, _ = data("AutoEncoder")
    params = {**PARAMS, **CASES["AutoEncoder"], "device": TWO}
    started = []

    def interrupt(folder, processes, *_):
        started.append((folder, processes))
        while not (tmp_path / "stopped" / "checkpoint.pt").exists():
            assert all(process.poll() is None for process in processes)
            time.sleep(0.01)
        raise KeyboardInterrupt

    stopped = make_network("AutoEncoder", checkpoint_dir=tmp_path / "stopped", **params)
    with monkeypatch.context() as patch:
        patch.setattr(devices, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            stopped.fit(X)
    ((folder, processes),) = started
    assert not folder.exists()
    assert all(process.returncode is not None for process in processes)
    assert not hasattr(stopped, "net_")
    unbroken = make_network("AutoEncoder", checkpoint_dir=tmp_path / "unbroken", **params).fit(X)
    assert_same_weights(stopped.fit(X), unbroken, atol=0)
    assert stopped.n_iter_ == unbroken.n_iter_ == 3

    # A process that fails says why; here it is of no use to have more of them.
    other = make_network("AutoEncoder", checkpoint_dir=tmp_path / "stopped", **params)
    with pytest.raises(CheckpointError, match="differs in X"):
        other.fit(X[:50])


def test_a_loss_that_is_not_finite_stops_all_on_the_last_finite_weights():
    X, _ = data("VAE")
    one, several = (
        make_network("VAE", device=device, **PARAMS | {"lr": 1e9}, **DECODER)
        for device in ("cpu", TWO)
    )
    messages = []
    for model in (one, several):
        with pytest.raises(FloatingPointError, match="keeps the finite weights") as error:
            model.fit(X)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert_same_weights(one, several)


def test_a_process_that_dies_ends_the_fit(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    start, processes = devices.start, []

    def start_and_kill(folder, rank, n):
        processes.append(start(folder, rank, n))
        if rank == 1:
            processes[1].kill()
        return processes[rank]

    monkeypatch.setattr(devices, "start", start_and_kill)
    model = make_network("AutoEncoder", device=TWO, **DECODER)
    with pytest.raises(
        DeviceProcessError, match=r"process for 'cpu' \(2 of 2\) was ended by SIGKILL.*device='cpu'"
    ):
        model.fit(data("VAE")[0])
    assert not hasattr(model, "net_")
    assert all(process.returncode is not None for process in processes)
    assert not list(tmp_path.iterdir())


def test_the_process_that_failed_first_is_named(tmp_path):
    for rank, (kind, moment) in enumerate([("ConnectionError", 2), ("OutOfMemoryError", 1)]):
        said = {"time": moment, "kind": kind, "message": "alas", "traceback": "line 1"}
        (tmp_path / devices.FAILURE.format(rank)).write_text(json.dumps(said))
    processes = [SimpleNamespace(poll=lambda: 1)] * 2
    error = devices.failure(tmp_path, processes, ["cuda:0", "cuda:1"])
    assert "'cuda:1' (2 of 2) failed with OutOfMemoryError: alas. All were stopped" in str(error)
    assert error.__notes__ == ["line 1"]


@pytest.mark.parametrize(
    ("device", "match"),
    [
        ([], r"device=\[\] must name at least one device"),
        (["cpu", 1], r"must name at least one device, each as 'cpu'"),
        (["auto", "auto"], r"for several GPUs pass device=\['cuda:0', 'cuda:1'\]"),
        (["cpu", "abacus"], r"device='abacus' is no device name"),
        (["cuda:98", "cuda:99"], r"device='cuda:98', but this machine has"),
    ],
)
def test_lists_that_name_no_devices(device, match, digits):
    with pytest.raises(ValueError, match=match):
        ResNet18Classifier(device=device).fit(*digits)


@pytest.mark.parametrize(
    ("device", "match"),
    [
        (["cpu", "cuda:0"], "names devices of several kinds.*Leave 'cpu' out"),
        (["cuda:1", "cuda:1"], "names a CUDA device twice"),
        (["cuda", "cuda:0"], "names a CUDA device twice"),
    ],
)
def test_lists_that_name_devices_wrongly(device, match, digits, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=match):
        ResNet18Classifier(device=device).fit(*digits)


def test_chunks_are_trained_on_several_devices_too():
    X, _ = data("AutoEncoder")
    params = {**PARAMS, **CASES["AutoEncoder"]}
    one = make_network("AutoEncoder", device="cpu", **params).partial_fit(X[:64])
    several = copy.deepcopy(one).set_params(device=TWO)
    for model in (one, several):
        model.partial_fit(X[64:])
        assert model.n_iter_ == 2
    assert_same_weights(one, several)


def test_callbacks_need_one_device(digits):
    model = ResNet18Classifier(device=TWO, callbacks=[Callback()])
    with pytest.raises(ValueError, match=r"callbacks=.*several devices.*callbacks=None"):
        model.fit(*digits)


def test_a_list_of_one_is_that_device(digits, monkeypatch):
    monkeypatch.setattr(devices, "start", None)
    X, y = digits[0][:40], digits[1][:40]
    one, listed = (make_network("ResNet18Classifier", device=d) for d in ("cpu", ["cpu"]))
    assert_same_weights(one.fit(X, y), listed.fit(X, y), atol=0)


@pytest.mark.parametrize("n_rows", [2, 7])
@pytest.mark.parametrize("composed", [False, True])
def test_shares_of_a_batch_make_up_the_batch(n_rows, composed):
    rng = np.random.default_rng(0)
    rows = ImageRows([rng.random((9, 1, 6, 5), np.float32)], rng.random((9, 2)))
    index, y = rng.permutation(9)[:n_rows], np.arange(9) % 3

    def batch(process):
        generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
        batches = Batches(
            HostRows(rows, torch.device("cpu")),
            index,
            9,
            y=y,
            noise=(2, generators[0]),
            augment=Augment(generators[1], rotate=20, brightness=0.2, flip=True),
            composites=Composites(generators[2], 0.5) if composed else None,
        )
        batches.process = process
        return batches.batch(index)

    whole, n = batch((0, 1))
    parts = [batch((rank, 3)) for rank in range(3)]
    assert {n, *(part[1] for part in parts)} == {n_rows}
    assert [len(part["y"]) for part, _ in parts] == [-(-(n_rows - rank) // 3) for rank in range(3)]
    for name in ("y", "noise"):
        assert torch.equal(torch.cat([part[name] for part, _ in parts]), whole[name])
    for name in ("image", "scalars"):
        # Further images come after each process's own rows.
        own = [part[name][: len(part["y"])] for part, _ in parts]
        further = [part[name][len(part["y"]) :] for part, _ in parts]
        torch.testing.assert_close(torch.cat(own + further), whole[name])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_mapped_files_are_not_copied(tmp_path):
    copied = np.arange(4e5)
    np.save(tmp_path / "X.npy", copied.reshape(1000, 400))
    X = np.load(tmp_path / "X.npy", "r")[::-2, 7:]
    particles = make_particles(300, image_size=64, random_state=0)[0]
    save_particles(particles, tmp_path / "particles.arrow")
    table = read_table(load_particles(tmp_path / "particles.arrow"))
    folder = tmp_path / "job"
    folder.mkdir()
    with open(folder / "job", "wb") as file:
        devices.JobPickler(file, folder).dump([X, table, copied])
    assert sorted(path.name for path in folder.iterdir()) == ["0.npy", "job"]
    assert (folder / "job").stat().st_size < 100_000
    again = pickle.loads((folder / "job").read_bytes())
    np.testing.assert_array_equal(again[0], X)
    np.testing.assert_array_equal(again[1].gather(np.arange(300)), table.gather(np.arange(300)))
    np.testing.assert_array_equal(again[2], copied)
    changed = np.load(tmp_path / "X.npy", "c")
    assert mapped_place(changed) is None
