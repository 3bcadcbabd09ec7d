"""Scores of particles on a cluster of Dask, whose workers may die."""

import os
import signal
import sys

import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from icecore_sk import AutoEncoder, save
from icecore_sk.datasets import make_particles, save_particles
from icecore_sk.survey import cli, score_particles

distributed = pytest.importorskip("distributed")
CHUNK = 8


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    X, _ = make_particles(60, image_size=16, random_state=0)
    return save_particles(X, tmp_path_factory.mktemp("particles") / "particles.arrow")


@pytest.fixture(scope="module")
def network(path):
    X, _ = make_particles(60, image_size=16, random_state=0)
    return AutoEncoder(2, max_epochs=1, net_params={"encoder_width": 4}, random_state=0).fit(X)


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(2)
        yield client


def failing(flag, failure):
    """Return a step that fails once, and then passes everything on."""

    def step(X):
        try:
            os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return X
        return failure(X)

    return FunctionTransformer(step)


def die(X):
    os.kill(os.getpid(), signal.SIGKILL)


def raise_error(X):
    raise OSError("the disk was away")


def bytes_of(out):
    return {part.name: part.read_bytes() for part in sorted(out.glob("part-*"))}


def test_killed_worker_and_failed_part(client, path, network, tmp_path, monkeypatch):
    """What another worker made of them is what one process makes, byte for byte."""
    # Steps are pickled with this file's functions, which no worker can import.
    distributed_pickle = pytest.importorskip("cloudpickle")
    distributed_pickle.register_pickle_by_value(sys.modules[__name__])
    steps = [failing(str(tmp_path / "killed"), die), failing(str(tmp_path / "failed"), raise_error)]
    model = make_pipeline(*steps, network)
    pids = set(client.run(os.getpid).values())
    out = score_particles(model, path, tmp_path / "out", chunk_size=CHUNK, client=client)
    distributed_pickle.unregister_pickle_by_value(sys.modules[__name__])
    client.wait_for_workers(2)
    assert len(pids - set(client.run(os.getpid).values())) == 1
    assert (tmp_path / "failed").exists()
    here = score_particles(model, path, tmp_path / "here", chunk_size=CHUNK)
    assert len(bytes_of(out)) == 8
    assert bytes_of(out) == bytes_of(here)
    assert not client.run(lambda dask_worker: [p for p in dask_worker.plugins if "icecore" in p])[
        next(iter(client.scheduler_info()["workers"]))
    ]


def test_workers_are_profiled_again_afterwards(client, path, network, tmp_path):
    """Profiling a network takes time, but it is the cluster's, and others' tasks may need it."""

    def is_running(dask_worker):
        return dask_worker.periodic_callbacks["profile"].is_running()

    def seen(X):
        running = distributed.get_worker().periodic_callbacks["profile"].is_running()
        (tmp_path / f"profiled {running}").touch()
        return X

    assert all(client.run(is_running).values())
    model = make_pipeline(FunctionTransformer(seen), network)
    score_particles(model, path, tmp_path / "out", client=client)
    assert [each.name for each in tmp_path.glob("profiled *")] == ["profiled False"]
    assert all(client.run(is_running).values())


def test_command_and_errors_of_workers(client, path, network, tmp_path, capsys):
    model = save(network, tmp_path / "model.safetensors")
    out = tmp_path / "out"
    words = ["score", str(model), str(path), "--out", str(out), "--quiet"]
    assert cli.main([*words, "--scheduler", client.scheduler.address]) == 0
    assert len(pd.read_parquet(out)) == 60
    capsys.readouterr()
    words += ["--methods", "reconstruct"]
    words[4] = str(tmp_path / "other")
    assert cli.main([*words, "--scheduler", client.scheduler.address]) == 1
    assert "Particles 0 to 59: methods has 'reconstruct'" in capsys.readouterr().err


def test_wants_a_client_and_a_path(client, network, tmp_path):
    X, _ = make_particles(20, image_size=16, random_state=0)
    with pytest.raises(TypeError, match="client is str; expected a dask"):
        score_particles(network, X, tmp_path / "out", client="tcp://127.0.0.1:1")
    with pytest.raises(TypeError, match="with client the workers open a file"):
        score_particles(network, X, tmp_path / "out", client=client)


def test_without_dask(network, path, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "icecore_sk.survey._workers", raising=False)
    with pytest.raises(ImportError, match=r'pip install "icecore_sk\[scale\]"'):
        score_particles(network, path, tmp_path / "out", client=object())
    words = ["score", "model", str(path), "--out", str(tmp_path), "--scheduler", "tcp://a:1"]
    assert cli.main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert 'pip install "icecore_sk[scale]"' in line
