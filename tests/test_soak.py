"""The soak tells what grows from what does not, and a few rounds of it run."""

import json
import mmap
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import soak

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells what is held"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


@pytest.fixture
def let_go():
    """What a test planted, to be let go at its end."""
    held: list = []
    yield held
    for entry in held:
        getattr(entry, "close", getattr(entry, "set", lambda: None))()


def test_what_grows_is_told(tmp_path, let_go):
    def waste(number):
        held = mmap.mmap(-1, 2**20)  # not of what the process has free already
        held.write(b"1" * 2**20)
        let_go.append(held)
        let_go.append((tmp_path / f"file {number}").open("w"))
        stop = threading.Event()
        let_go.append(stop)
        threading.Thread(target=stop.wait, daemon=True).start()

    rows = soak.soak(25, waste, tmp_path)
    judged = soak.judge(rows, warm=5)
    assert all(found["grows"] for found in judged.values())
    assert judged["open_files"]["slope_per_round"] == pytest.approx(1)
    assert judged["memory_mb"]["slope_per_round"] == pytest.approx(2**20 / 1e6, rel=0.2)


def test_steps_at_the_start_and_noise_are_no_growth():
    rng = np.random.default_rng(0)
    rows = [
        {
            "memory_mb": 300 + 100 * (number > 20) + 5 * rng.normal(),
            "threads": 4 + (number > 10),
            "open_files": 9 + number % 2,
            "temporary_files": 0,
        }
        for number in range(200)
    ]
    assert not any(found["grows"] for found in soak.judge(rows, warm=50).values())
    leak = [{**row, "memory_mb": row["memory_mb"] + 0.2 * n} for n, row in enumerate(rows)]
    assert soak.judge(leak, warm=50)["memory_mb"]["grows"]


def test_a_few_rounds_run(tmp_path, capsys):
    result = soak.main(["--rounds", "3", "--warm", "0", "--out", str(tmp_path)])
    assert json.loads((tmp_path / "soak.json").read_text()) == result
    assert [row["round"] for row in result["rows"]] == [0, 1, 2]
    # Three rounds tell little of memory; nothing else may grow at all.
    assert set(result["faults"]) <= {"memory_mb"}
    assert {row["temporary_files"] for row in result["rows"]} == {0}
    with pytest.raises(SystemExit):
        soak.main(["--rounds", "50", "--out", str(tmp_path)])
    assert "leaves fewer than 3" in capsys.readouterr().err
