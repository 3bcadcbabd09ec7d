"""The fuzzer tells faults from what may be: each kind is planted, and has to be found."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import fuzz
import fuzz_mutations
from fuzz_corpus import RowsMissingError, Target


def refuse(folder):
    raise ValueError(f"{folder / 'x'} is damaged")


def refuse_without_a_name(folder):
    raise ValueError("damaged")


def fail(folder):
    raise KeyError(str(folder / "x"))


def lose_rows(folder):
    raise RowsMissingError("3 rows, of which 2 are accounted for")


def allocate(folder):
    return str(np.ones(fuzz.MEMORY_MB * 2**18).sum())  # twice the limit


READERS = {
    "error": refuse,
    "unnamed error": refuse_without_a_name,
    "foreign exception": fail,
    "rows missing": lose_rows,
    "equal": lambda folder: "whole",
    "different": lambda folder: (folder / "x").read_bytes().hex(),
    "silent": lambda folder: (folder / "x").read_bytes().hex(),
    "use raises": lambda folder: "use raises KeyError",
    "memory": allocate,
    "hang": lambda folder: time.sleep(60),
    "crash": lambda folder: os._exit(3),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")
@pytest.mark.parametrize("expected", fuzz.OUTCOMES)
def test_every_outcome_is_told(expected, monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    target = Target(
        {"x": bytes(range(200))},
        {"x": lambda rng, content: content[:-1]},
        READERS[expected],
        strict=expected == "silent",
    )
    worker = fuzz.Worker(target, "whole", 0, "planted")
    # Twice, because a worker that is gone has to be replaced.
    found = [worker.run(case)[0] for case in range(2)]
    worker.stop()
    assert found == [expected] * 2


def test_a_case_depends_on_its_seed_alone():
    content = bytes(range(256)) * 8
    damaged = [
        fuzz_mutations.mutate_bytes(fuzz_mutations.seeded(0, "name", case), content)
        for case in (*range(20), *range(20))
    ]
    assert damaged[:20] == damaged[20:]
    assert len(set(damaged)) == 20
    assert content not in damaged
