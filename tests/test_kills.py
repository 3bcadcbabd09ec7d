"""The hunt for kills that cost something finds what is planted, and nothing in fits and scores."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import kills
import kills_work

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


@pytest.fixture
def forked(monkeypatch):
    """Copies of this process, which know what is planted here."""
    monkeypatch.setattr(kills, "FRESH", "fork")
    monkeypatch.setattr(kills, "COPIED", "fork")


@pytest.fixture
def copied(monkeypatch):
    """Copies of a process that has imported everything and computed nothing.

    A copy of this one could wait forever for the threads that other tests have left in it.
    """
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))  # set back at the end
    monkeypatch.setattr(kills, "FRESH", "forkserver")


def work(inputs, folder):
    """Write a number three times, each time whole."""
    path = folder / "count.json"
    for number in range(json.loads(path.read_text()) if path.exists() else 0, 3):
        time.sleep(0.1)
        part = folder / "count.json.part"
        part.write_text(str(number + 1))
        part.replace(path)
    return {"count": path.read_text()}


def forget(inputs, folder):
    """Say whether it was the first to be here."""
    first = not (folder / "here.json").exists()
    (folder / "here.json").write_text("1")
    time.sleep(0.3)
    return {"first": str(first)}


def stumble(inputs, folder):
    """Fail where somebody was here before."""
    (folder / "here").mkdir()
    time.sleep(0.3)
    return {}


def litter(inputs, folder):
    """Remove the own temporary file, not that of one that was killed."""
    own = folder / f".here.{os.getpid()}"
    own.touch()
    time.sleep(0.3)
    own.unlink()
    return {}


def halve(inputs, folder):
    """Write a file under its own name bit by bit."""
    with (folder / "found.json").open("w") as file:
        file.write("[1, ")
        file.flush()
        time.sleep(0.3)
        file.write("2]")
    return {}


PLANTED = {"equal": work, "different": forget, "failed": stumble, "files": litter, "half": halve}


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("expected", kills.OUTCOMES)
def test_every_outcome_is_told(expected, monkeypatch, tmp_path):
    monkeypatch.setitem(kills_work.WORKS, "planted", PLANTED[expected])
    whole = kills.reference("planted", tmp_path, tmp_path / "whole.json")
    # Of the kills some come too late: the work has ended by itself.
    rows = [kills.run_case("planted", case, 0, 3, whole, tmp_path) for case in range(3)]
    killed = [row for row in rows if row["kills"]]
    assert killed
    assert {row["outcome"] for row in killed} == {expected}
    assert all(row["outcome"] == "equal" for row in rows if not row["kills"])
    assert all(len(row["resumed_after"]) == len(row["kills"]) for row in killed)


@pytest.mark.usefixtures("forked")
def test_a_work_that_fails_without_a_kill_is_no_reference(monkeypatch, tmp_path):
    def fail(inputs, folder):
        raise ValueError("always")

    monkeypatch.setitem(kills_work.WORKS, "planted", fail)
    with pytest.raises(RuntimeError, match="planted fails without a kill: ValueError: always"):
        kills.reference("planted", tmp_path, tmp_path / "whole.json")


@pytest.mark.usefixtures("copied")
def test_fits_and_scores_go_on_and_so_does_the_hunt(tmp_path):
    words = ["--kills", "2", "--out", str(tmp_path / "out"), "--only"]
    fits = kills.main([*words, "fit: VAE"])
    scores = kills.main([*words, "score"])
    for result in (fits, scores):
        assert result["kills"] == 2
        assert result["faults"] == 0
        assert result["outcomes"] == {"equal": result["cases"]}
    # What is in the log is not run again.
    started = time.perf_counter()
    assert kills.main([*words, "score"])["rows"] == scores["rows"]
    assert time.perf_counter() - started < 2
    assert not (tmp_path / "out" / "kills.json").exists()  # of all works only


def test_files_that_are_cut_are_found(tmp_path):
    for name in ("a.json", "b.parquet", "c.arrow", "d.joblib", "e.png", "f.pt", "g.html"):
        (tmp_path / name).write_bytes(b"[1, 2")
    (tmp_path / ".h.json.1234").write_bytes(b"[1, 2")
    (tmp_path / "i.part").write_bytes(b"[1, 2")
    (tmp_path / "j.json").write_bytes(b"[1, 2]")
    assert [name.split(".")[0] for name in kills_work.halves(tmp_path)] == list("abcdefg")


def test_kills_are_shared_among_all_works():
    assert kills.quotas(50, "") == kills.SHARES
    assert list(kills.SHARES) == list(kills_work.WORKS)
    assert sum(kills.quotas(7, "").values()) == 7
    assert set(kills.quotas(7, "score")) == {"score"}
