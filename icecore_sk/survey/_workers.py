"""Scores parts on the workers of a Dask cluster."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from icecore_sk.survey._answers import Answers
from icecore_sk.survey._parts import Parts
from icecore_sk.survey._sources import FileSource, Source

# How often a part is tried again that a worker failed at, for want of a file for instance.
RETRIES = 2
INSTALL = 'pip install "icecore_sk[scale]"'

try:
    from distributed import Client, KilledWorker, WorkerPlugin, as_completed, get_worker
except ImportError as error:
    raise ImportError(
        "Scoring on several machines needs dask.distributed, which is not installed. Install it "
        f"with: {INSTALL}"
    ) from error


def check_client(client) -> None:
    """Raise where `client` is none that waits for its results."""
    if not isinstance(client, Client) or client.asynchronous:
        what = "an asynchronous client" if isinstance(client, Client) else type(client).__name__
        raise TypeError(
            f"client is {what}; expected a dask.distributed.Client, such as "
            "Client('tcp://scheduler:8786')."
        )


def connect(address: str):
    """Return a client of the scheduler at an address, or raise an error of one line."""
    try:
        return Client(address, timeout="20s")
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"No Dask scheduler answers at {address!r} ({' '.join(str(error).split())[:200]}). "
            "Start one with: dask scheduler"
        ) from error


class Scoring(WorkerPlugin):
    """Gives each worker, also one that joins later, the model once and the open file."""

    def __init__(self, answers: Answers, source: FileSource, parts: Parts):
        self.name = f"icecore_sk-score-{secrets.token_hex(8)}"
        self.answers, self.parts = answers, parts
        self.path, self.size, self.checksum = source.path, source.size, source.checksum

    def setup(self, worker) -> None:
        # The threads of a worker would each hold a part, and each start threads of torch.
        self.lock = threading.Lock()
        self.threads = worker.state.nthreads
        # Opened with the first part: a worker that lacks the file then fails at this part, with an
        # error that says so, and not at its start.
        self.source: FileSource | None = None
        # Dask writes down a hundred times a second where its tasks are. A network is at the end of
        # a long chain of calls: following it took 8 % of the processor time of two workers.
        self.profiler = worker.periodic_callbacks.get("profile")
        if self.profiler is not None and self.profiler.is_running():
            self.profiler.stop()
        else:
            self.profiler = None

    def teardown(self, worker) -> None:
        if self.profiler is not None:
            self.profiler.start()

    def score(self, number: int) -> int:
        from icecore_sk.survey._score_particles import score_part

        with self.lock, torch_threads(self.threads):
            if self.source is None:
                self.source = self._opened()
            return score_part(self.answers, self.source, self.parts, number)

    def _opened(self) -> FileSource:
        source = FileSource(self.path, check=False)
        if (source.size, source.checksum) != (self.size, self.checksum):
            raise ValueError(
                f"{str(self.path)!r} is another file here than where score_particles was called. "
                "All machines must see the same file under this path."
            )
        return source


def score_on_workers(
    client: Client, answers: Answers, source: Source, parts: Parts, missing: list[int]
) -> Iterator[int]:
    """Have the workers write the missing parts; yield the number of rows of each as it is done."""
    if not missing:
        return
    assert isinstance(source, FileSource)
    plugin = Scoring(answers, source, parts)
    client.register_plugin(plugin)
    futures = []
    try:
        # Not pure: the result is a file, and not to be taken from what is remembered.
        futures = client.map(
            _score, missing, name=plugin.name, retries=RETRIES, pure=False, key=plugin.name
        )
        for _, n_rows in as_completed(futures, with_results=True):
            yield n_rows
    except KilledWorker as error:
        raise OSError(
            f"{error.allowed_failures + 1} workers died one after the other while they scored the "
            "same part, most likely for want of memory. Parts that are written are kept: call "
            f"again with workers of more memory. A smaller chunk_size={parts.chunk_size} needs "
            "less, and another folder."
        ) from error
    finally:
        client.cancel(futures)
        client.unregister_worker_plugin(plugin.name)


def _score(number: int, name: str) -> int:
    plugin = get_worker().plugins[name]
    assert isinstance(plugin, Scoring)
    return plugin.score(number)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Run torch on as many threads as the worker has."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
