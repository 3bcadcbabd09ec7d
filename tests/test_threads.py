"""Passes over data: every batch is computed by one thread, whatever their number."""

import threading

import numpy as np
import pytest
import torch

from icecore_sk import AutoEncoder, ResNet18Classifier
from icecore_sk._engine import settle_threads, side_by_side
from icecore_sk.datasets import make_particles

N = 600  # rows: three batches


@pytest.fixture
def with_threads():
    settle_threads()  # what numba may have set in an earlier test is not to be gone back to
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
    settle_threads()


@pytest.fixture(scope="module")
def particles():
    return make_particles(N, image_size=16, random_state=0)


@pytest.fixture(scope="module")
def fitted(particles):
    X, y = particles
    return {
        "classifier": ResNet18Classifier(max_epochs=1, random_state=0).fit(X[:64], y[:64]),
        "autoencoder": AutoEncoder(2, max_epochs=1, random_state=0).fit(X[:64]),
    }


@pytest.mark.parametrize("name", ["classifier", "autoencoder"])
def test_a_batch_has_one_thread_and_the_outputs_are_the_same_for_any_number(
    fitted, particles, with_threads, name
):
    X, _ = particles
    model, seen = fitted[name], []
    encoder = model.net_.module_.encoder
    hook = encoder.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    try:
        outputs = []
        for threads in (1, 2, 3):
            with_threads(threads)
            outputs.append(model.transform(X))
            assert torch.get_num_threads() == threads
    finally:
        hook.remove()
    assert set(seen) == {1}
    for other in outputs[1:]:
        np.testing.assert_array_equal(outputs[0], other)


def test_every_item_is_worked_on_once_by_as_many_threads_as_torch_has(with_threads):
    with_threads(3)
    together = threading.Barrier(3, timeout=30)
    done = []

    def work(items):
        together.wait()
        done.extend((item, torch.get_num_threads()) for item in items)

    side_by_side(work, range(200))
    assert sorted(done) == [(item, 1) for item in range(200)]
    assert torch.get_num_threads() == 3


def test_an_error_in_one_thread_ends_the_others_and_is_raised(with_threads):
    with_threads(2)
    failed = threading.Event()
    done = []

    def work(items):
        for item in items:
            if item == 0:
                failed.set()
                raise ValueError("the first")
            failed.wait(30)
            done.append(item)
            threading.Event().wait(0.001)

    with pytest.raises(ValueError, match="the first"):
        side_by_side(work, range(10_000))
    assert len(done) < 5_000
    assert torch.get_num_threads() == 2


def test_a_fit_that_begins_during_a_pass_has_its_threads(with_threads):
    with_threads(2)
    settle_threads()
    found = []

    def fit():
        settle_threads()
        found.append(torch.get_num_threads())

    def work(items):
        for _ in items:
            thread = threading.Thread(target=fit)
            thread.start()
            thread.join()

    side_by_side(work, range(4))
    assert found == [2] * 4
    settle_threads()
    assert torch.get_num_threads() == 2
