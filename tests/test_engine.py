"""The engine's parts that make training fast must change nothing but the time and memory."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import make_table
from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky import get_reusable_executor
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback, Freezer
from torch import nn
from umap import UMAP

from icecore_sk import AutoEncoder, _mapped_files
from icecore_sk._engine import (
    DeviceRows,
    HostRows,
    MemoryOrderAdamW,
    kept_memory,
    memory,
    place_rows,
)
from icecore_sk._engine import rows as rows_module
from icecore_sk._images import ImageRows, read_table
from icecore_sk._mapped_files import mapped_place
from icecore_sk.datasets import load_particles, save_particles
from icecore_sk.nn import ClassifierNet
from icecore_sk.nn.resnet import SmallMapConv2d

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("in_backward", [False, True])
def test_optimizer_is_adamw_bit_for_bit(in_backward):
    torch.manual_seed(0)
    theirs = ClassifierNet((1, 20, 20), 3).to(memory_format=torch.channels_last)
    ours = copy.deepcopy(theirs)
    optimizers = [
        torch.optim.AdamW(theirs.parameters(), lr=1e-3, weight_decay=0.1, fused=True),
        MemoryOrderAdamW(
            [{"params": list(ours.parameters())}],
            in_backward=in_backward,
            lr=1e-3,
            weight_decay=0.1,
            fused=True,
        ),
    ]
    x, y = torch.rand(6, 1, 20, 20), torch.tensor([0, 1, 2, 0, 1, 2])
    for net, optimizer in zip((theirs, ours), optimizers, strict=True):
        for _ in range(3):

            def closure(net=net, optimizer=optimizer):
                optimizer.zero_grad()
                loss = F.cross_entropy(net(x)["logits"], y)
                loss.backward()
                return loss

            assert optimizer.step(closure) > 0
            # Kept for whoever looks at gradients after the step, or let go within it.
            kept = [parameter.grad is not None for parameter in net.parameters()]
            assert not any(kept) if in_backward and net is ours else all(kept)
    for (name, a), b in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        assert torch.equal(a, b), name
    optimizers[1].zero_grad()
    assert all(parameter.grad is None for parameter in ours.parameters())


class GradientNorms(Callback):
    """What a user writes to watch training."""

    def initialize(self):
        self.norms_ = []

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.norms_.append(sum(float(p.grad.norm()) for _, p in named_parameters))
        LOOKED_AT.append(self.norms_[-1])


LOOKED_AT: list[float] = []


def test_a_callback_that_looks_at_gradients_finds_them():
    LOOKED_AT.clear()
    X = np.random.default_rng(0).random((12, 1, 17, 17), dtype=np.float32)
    settings = dict(latent_dim=2, max_epochs=2, batch_size=6, random_state=0)
    watched = AutoEncoder(**settings, callbacks=[GradientNorms()]).fit(X)
    assert len(LOOKED_AT) == 4
    assert min(LOOKED_AT) > 0
    alone = AutoEncoder(**settings).fit(X)
    assert_array_equal(watched.transform(X), alone.transform(X))


def test_a_callback_may_freeze_weights(digits):
    freezer = Freezer("encoder.*")
    start = AutoEncoder(2, max_epochs=1, random_state=0, callbacks=[freezer]).fit(digits[0])
    longer = AutoEncoder(2, max_epochs=2, random_state=0, callbacks=[freezer]).fit(digits[0])
    one, two = (dict(model.net_.module_.named_parameters()) for model in (start, longer))
    frozen = {name for name in one if torch.equal(one[name], two[name])}
    assert frozen == {name for name in one if name.startswith("encoder.")}


def test_a_processor_with_a_number_is_the_processor(digits):
    named, numbered = (
        AutoEncoder(2, max_epochs=1, random_state=0, device=name).fit(digits[0])
        for name in ("cpu", "cpu:0")
    )
    assert numbered.net_.optimizer_.in_backward
    assert_array_equal(numbered.transform(digits[0]), named.transform(digits[0]))


def test_optimizer_goes_on_from_its_state():
    def make(net):
        return MemoryOrderAdamW([{"params": list(net.parameters())}], lr=1e-2)

    def step(net, optimizer):
        optimizer.zero_grad()
        net(x).square().sum().backward()
        optimizer.step()

    torch.manual_seed(0)
    x = torch.rand(2, 3, 5, 5)
    one = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    first = make(one)
    step(one, first)
    two = copy.deepcopy(one)
    second = make(two)
    second.load_state_dict(copy.deepcopy(first.state_dict()))  # else they share it
    step(one, first)
    step(two, second)
    assert torch.equal(one.weight, two.weight)


def test_centre_tap_has_the_gradients_of_the_convolution():
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 5, 3, padding=1, bias=False).double()
    short = SmallMapConv2d(4, 5, 3).double()
    short.load_state_dict(plain.state_dict())
    grads = []
    for conv in (plain, short):
        x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4, 1, 1).requires_grad_()
        conv(x).square().sum().backward()
        grads.append((x.grad, conv.weight.grad))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_neither_import_nor_fit_loads_what_they_do_not_need():
    code = """
import sys, tempfile
import numpy as np
import icecore_sk
X = np.zeros((8, 20, 20), np.uint8)
icecore_sk.ResNet18Classifier(max_epochs=1).fit(X, np.arange(8) % 2).transform(X)
with tempfile.TemporaryDirectory() as folder:
    model = icecore_sk.AutoEncoder(2, max_epochs=1, checkpoint_dir=folder, random_state=0)
    model.fit(X).fit(X)  # the second goes on from the checkpoint
model.set_params(checkpoint_dir=None).partial_fit(X)
print([name for name in ("torch._dynamo", "sympy", "torchvision", "umap", "matplotlib")
       if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(memory._glibc() is None, reason="only glibc has these settings")
def test_memory_is_kept_inside_and_given_back_at_the_end():
    # In a process of its own: where other tests have left a hole in the heap, a block is put there.
    code = """
import os
from pathlib import Path
import torch
from icecore_sk._engine import kept_memory, memory

def grown_by(mebibytes):
    before = resident()
    torch.ones(mebibytes * 2**20, dtype=torch.uint8)
    return resident() - before > mebibytes * 2**19

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

grown_by(160)  # threads, and pages of torch
with kept_memory("a step of training"):
    first = grown_by(16)
    memory.keep()
    print(first, grown_by(16))
with kept_memory("a step of training"):  # whose kernels are there
    print(grown_by(16))
before = resident()
with kept_memory(), kept_memory():  # nested: an estimator may fit another
    kept = grown_by(160)
print(kept, resident() - before > 80 * 2**20, memory._users)
print(grown_by(320))  # mapped again, so gone at once; larger than any hole that was left
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True", "True", "False", "0", "False"]


@pytest.mark.skipif(memory._glibc() is None, reason="only glibc has these settings")
def test_memory_is_kept_once_the_kernels_of_a_step_are_made(monkeypatch):
    monkeypatch.setattr(memory, "_kernels_made", {None})
    applied = []
    monkeypatch.setattr(memory, "_apply", lambda library, options: applied.append(options))
    X = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    for _ in range(2):
        model = AutoEncoder(2, max_epochs=2, batch_size=4, random_state=0)
        model.fit(X)
    epochs = [memory.KEEP] * 2
    usual = memory.usual(os.environ)
    assert applied == [memory.APART, *epochs, usual, memory.KEEP, *epochs, usual]


def test_memory_settings_are_restored_after_an_error():
    with pytest.raises(RuntimeError, match="on purpose"), kept_memory():
        raise RuntimeError("on purpose")
    assert memory._users == 0


def test_memory_is_handed_back_as_the_environment_asks():
    """Dask's workers start with MALLOC_TRIM_THRESHOLD_, for example."""
    usual = memory.usual({})
    assert usual == {option: value for option, (value, _) in memory.USUAL.items()}
    asked = memory.usual(
        {
            "MALLOC_TRIM_THRESHOLD_": "65536",
            "MALLOC_TOP_PAD_": "rubbish",
            "GLIBC_TUNABLES": "glibc.malloc.mmap_max=0x10:glibc.malloc.tcache_count=0",
        }
    )
    changed = {memory.M_TRIM_THRESHOLD: 65536, memory.M_MMAP_MAX: 16}
    assert asked == usual | changed


def test_images_stay_on_the_host_where_a_gpu_has_no_room(monkeypatch):
    """Without a GPU: what `place_rows` asks of one is made up."""
    images = ImageRows([np.zeros((10, 1, 4, 4), np.uint16)])  # 320 bytes, on the device 640
    cuda = torch.device("cuda")
    free = {"free": 10_000, "reserved": 0}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free["free"], 10**6))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: free["reserved"])
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    monkeypatch.setattr(rows_module, "DeviceRows", lambda rows, device: "on the device")
    assert place_rows(images, cuda) == "on the device"
    free["free"] = 1000
    assert isinstance(place_rows(images, cuda), HostRows)
    free["reserved"] = 1000
    assert place_rows(images, cuda) == "on the device"

    def full(rows, device):
        raise torch.OutOfMemoryError("none left")

    monkeypatch.setattr(rows_module, "DeviceRows", full)
    assert isinstance(place_rows(images, cuda), HostRows)


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    with kept_memory():
        assert memory._users == 0


@pytest.mark.parametrize("dtype", ["uint8", "float32", ">f4"])
def test_rows_on_the_device_are_the_rows_on_the_host(dtype, monkeypatch):
    monkeypatch.setattr("icecore_sk._engine.rows.UPLOAD_BYTES", 100)  # several uploads
    images = np.arange(11 * 12, dtype=dtype).reshape(11, 1, 3, 4)
    rows = ImageRows([images[:4], images[4:]], np.arange(11.0)[:, None])
    index = np.array([7, 0, 3, 3, 10])
    host, device = HostRows(rows, CPU), DeviceRows(rows, CPU)
    assert torch.equal(host.take(index), device.take(index))
    np.testing.assert_array_equal(host.take(index).numpy(), images[index])
    assert torch.equal(host.take_scalars(index), device.take_scalars(index))


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_pages_of_a_mapped_file_are_let_go(mode, tmp_path, monkeypatch):
    monkeypatch.setattr(_mapped_files, "MAPPED_BYTES", 1000)
    images = np.random.default_rng(0).integers(0, 256, (50, 1, 16, 16), dtype=np.uint8)
    np.save(tmp_path / "x.npy", images)
    X = np.load(tmp_path / "x.npy", mmap_mode=mode)
    if mode == "c":  # a change that lives in memory alone
        X[3] = images[3] = 7
    rows = ImageRows([np.asarray(X)])
    if sys.platform == "linux":
        assert (mapped_place(X) is None) == (mode == "c")
    for index in (np.arange(50), np.arange(50)[::-1], np.array([3])):
        np.testing.assert_array_equal(rows.gather(index), images[index])


def mapped_by_numpy(images, folder):
    np.save(folder / "many.npy", images)
    return ImageRows([np.load(folder / "many.npy", mmap_mode="r")]), "many.npy"


def mapped_by_arrow(images, folder):
    save_particles(make_table(images), folder / "many.arrow")
    return read_table(load_particles(folder / "many.arrow")), "many.arrow"


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux tells what is resident")
@pytest.mark.parametrize("mapped", [mapped_by_numpy, mapped_by_arrow])
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_mapped_file_does_not_become_resident(shuffled, mapped, tmp_path, monkeypatch):
    monkeypatch.setattr(_mapped_files, "MAPPED_BYTES", 2**22)
    images = np.zeros((2**14, 1, 64, 64), np.uint8)  # 64 MB
    images[:, 0, 0, 0] = np.arange(len(images)) % 251
    rows, name = mapped(images, tmp_path)
    order = np.arange(len(images))
    if shuffled:
        order = np.random.default_rng(0).permutation(order)
    for index in order.reshape(-1, 4):  # each may bring a huge page along
        np.testing.assert_array_equal(rows.gather(index)[:, 0, 0, 0], index % 251)
    lines = Path("/proc/self/smaps").read_text().splitlines()
    places = [i for i, line in enumerate(lines) if line.endswith(name)]
    assert places
    resident = [
        int(line.split()[1])
        for place in places
        for line in lines[place : place + 8]
        if line.startswith("Rss:")
    ]
    assert sum(resident) < 16 * 1024  # kB; the system maps neighbours along


def test_fit_of_a_mapped_file_is_fit_of_the_array(tmp_path, digits):
    X = digits[0]
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    a = AutoEncoder(2, max_epochs=1, random_state=0).fit(X).transform(X)
    b = AutoEncoder(2, max_epochs=1, random_state=0).fit(mapped).transform(mapped)
    np.testing.assert_array_equal(a, b)


def threads_of_a_fit(X) -> int:
    AutoEncoder(2, max_epochs=1, random_state=0).fit(X)
    return torch.get_num_threads()


def test_workers_take_no_more_than_their_share_of_the_cores(digits, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", str(2 * cpu_count()))  # workers inherit it
    get_reusable_executor().shutdown()  # else those of another test are used
    threads = Parallel(n_jobs=2)(delayed(threads_of_a_fit)(digits[0][:20]) for _ in range(2))
    get_reusable_executor().shutdown()
    assert threads == [max(1, cpu_count() // 2)] * 2


def test_outside_a_worker_the_number_of_threads_is_the_users(digits):
    before = torch.get_num_threads()  # not after numba, whose number would then outlast the test
    UMAP(n_neighbors=5, n_epochs=5).fit(digits[0][:20].reshape(20, -1))  # numba has started
    try:
        for threads in (cpu_count() + 1, cpu_count()):  # the last is what numba sets
            torch.set_num_threads(threads)
            assert threads_of_a_fit(digits[0][:20]) == threads
    finally:
        torch.set_num_threads(before)


def test_a_fit_after_umap_is_the_fit_before():
    """numba sets the threads of the OpenMP that it shares with torch."""
    code = """
import warnings; warnings.simplefilter("ignore")
import numpy as np, torch
from umap import UMAP
from icecore_sk import VAE
X = np.random.RandomState(0).randint(256, size=(60, 8, 8), dtype=np.uint8)
def fit():
    model = VAE(2, max_epochs=2, random_state=0, net_params={"encoder_width": 16}).fit(X)
    return model.transform(X), torch.get_num_threads()
(before, threads), _ = fit(), UMAP(n_neighbors=5, n_epochs=5).fit(X.reshape(60, -1))
after, threads_after = fit()
print(threads, threads_after, (before == after).all())
"""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": str(max(2, cpu_count()))}
    run = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["1", "1", "True"]


def test_speed_benchmark_runs(tmp_path):
    words = ["--quick", "--parts", "fit", "--sizes", "28", "--models", "VAE", "--out"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "speed.py"), *words, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "| 28 | VAE |" in done.stdout
    assert "(c) bare loop" in done.stdout
    assert list(tmp_path.glob("*_quick.md"))
