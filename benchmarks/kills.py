"""Kill fits, surveys and scoring at random, start them again, and compare with an unbroken run.

Every case has a seed of its own. The process of a piece of work is killed (SIGKILL) one to three
times, at moments drawn between its start and the time that an unbroken run takes, half of them
put off until a file is being written; started once more, it must end with the same results bit for
bit, and leave the same files. A run of this program that was stopped goes on.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from fuzz_mutations import seeded
from kills_work import do, halves, prepare, unfinished
from provenance import commit, provenance

RESULTS = Path(__file__).parent / "results" / "kills"
# In which a piece of work that takes a minute must have ended, on a busy machine too.
MOST_SECONDS = 1200
# Of 50 kills; a survey takes half a minute to get going, a fit a few seconds.
SHARES = {
    "fit: ResNet18Classifier": 7,
    "fit: AutoEncoder": 7,
    "fit: VAE": 7,
    "fit: FlowVAE": 7,
    "score": 10,
    "survey": 12,
}
OUTCOMES = {
    "equal": "the same results and files as without a kill",
    "different": "other results",
    "failed": "an error when it was started again",
    "files": "files missing, or left over from what was killed",
    "half": "after a kill, a file that was not whole under its final name",
}
FAULTS = list(OUTCOMES)[1:]
# How processes are started: as a user would, and as copies of one that has imported everything,
# which takes a second instead of ten. The two differ in the seed of Python's hashes.
FRESH, COPIED = "spawn", "forkserver"


class Run:
    """One process that does a piece of work in a folder.

    Parameters
    ----------
    name : str
        Of the work, see `kills_work.WORKS`.
    inputs, folder : Path
    method : {"spawn", "forkserver", "fork"}
    """

    def __init__(self, name: str, inputs: Path, folder: Path, method: str):
        context = multiprocessing.get_context(method)
        if method == "forkserver":
            # The server imports from its own path, not from that of this process.
            os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
            context.set_forkserver_preload(["kills_work"])
        self.folder = folder
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=do, args=(theirs, name, inputs, folder))
        self.process.start()
        theirs.close()
        self.done = self.pipe.recv()["done"]
        self.began = time.perf_counter()

    def kill_after(self, seconds: float, writing: bool) -> bool:
        """Kill it that long after the work began; return False where it had ended by itself.

        With `writing`, kill it then at the first moment at which a file is being written.
        """
        if self.pipe.poll(seconds):
            return False
        while writing and not is_writing(self.folder):
            if self.pipe.poll():
                return False
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()
        return True

    def finish(self) -> dict:
        """Wait for the end; return what was found, and how long the work took."""
        if self.pipe.poll(MOST_SECONDS):
            try:
                said = self.pipe.recv()
            except EOFError:
                said = {"error": "the process ended"}
        else:
            said = {"error": f"no end after {MOST_SECONDS} s"}
            os.killpg(self.process.pid, signal.SIGKILL)
        seconds = time.perf_counter() - self.began
        self.process.join()
        return {"seconds": seconds, **said}


def is_writing(folder: Path) -> bool:
    """Whether there is a file that is not yet under its final name, or nothing was in it yet."""
    for place in (folder, folder / "steps"):
        # What was seen may be gone again.
        with contextlib.suppress(FileNotFoundError), os.scandir(place) as entries:
            for entry in entries:
                if unfinished(entry.name) or (entry.is_file() and not entry.stat().st_size):
                    return True
    return False


def judge(ending: dict, whole: dict, half: list[str]) -> tuple[str, str]:
    """Return outcome and detail of a run that was killed and started again.

    `half` are the files that were not whole after a kill.
    """
    if "error" in ending:
        return "failed", ending["error"]
    names = sorted(ending["found"].keys() | whole["found"].keys())
    differ = [name for name in names if ending["found"].get(name) != whole["found"].get(name)]
    left, missing = (
        sorted(set(one["files"]) - set(other["files"]))
        for one, other in ((ending, whole), (whole, ending))
    )
    if half:
        return "half", ", ".join(half[:5])
    if left or missing:
        return "files", f"left over: {left[:5]}, missing: {missing[:5]}"
    return ("different", ", ".join(differ)) if differ else ("equal", "")


def run_case(name: str, case: int, seed: int, most: int, whole: dict, inputs: Path) -> dict:
    """Kill a piece of work up to `most` times, let it end, and compare."""
    rng = seeded(seed, name, case)
    n_kills = min(int(rng.integers(1, 4)), most)
    moments = [round(float(rng.random()) * whole["seconds"] / (i + 1), 3) for i in range(n_kills)]
    writing = [bool(rng.integers(2)) for _ in range(n_kills)]
    kills, resumes, half = [], [], []
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "work"
        for moment, at_write in zip([*moments, None], [*writing, None], strict=True):
            run = Run(name, inputs, folder, FRESH if moment is None else COPIED)
            if kills:
                resumes.append(run.done)
            if moment is None or not run.kill_after(moment, at_write):
                ending = run.finish()
                break
            kills.append({"after_seconds": moment, "while_writing": at_write})
            half += halves(folder)
    outcome, detail = judge(ending, whole, half)
    return {
        "work": name,
        "case": case,
        "kills": kills,
        "resumed_after": resumes,
        "outcome": outcome,
        "detail": detail,
    }


def reference(name: str, inputs: Path, path: Path) -> dict:
    """Return results, files and seconds of an unbroken run, measured once for all."""
    if not path.exists():
        with tempfile.TemporaryDirectory() as parent:
            whole = Run(name, inputs, Path(parent) / "work", FRESH).finish()
        if "error" in whole:
            raise RuntimeError(f"{name} fails without a kill: {whole['error']}")
        path.write_text(json.dumps(whole))
    return json.loads(path.read_text())


def hunt(name: str, n_kills: int, seed: int, work: Path) -> list[dict]:
    """Return the cases of one piece of work, those of its log and further ones."""
    inputs = work / "inputs"
    if not inputs.exists():
        part = work / "inputs.part"
        shutil.rmtree(part, ignore_errors=True)
        prepare(part)
        part.rename(inputs)
    label = name.replace(": ", "_")
    whole = reference(name, inputs, work / f"{label}.json")
    log = work / f"{label}.jsonl"
    rows = [json.loads(line) for line in log.open()] if log.exists() else []
    while (left := n_kills - sum(len(row["kills"]) for row in rows)) > 0:
        if len(rows) > 3 * n_kills:
            raise RuntimeError(f"{name} ends before it can be killed; it needs to take longer.")
        row = run_case(name, len(rows), seed, left, whole, inputs)
        rows.append(row)
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
    return rows


def quotas(n_kills: int, only: str) -> dict[str, int]:
    """Share kills among the works whose name has the text `only`."""
    chosen = {name: share for name, share in SHARES.items() if only in name}
    total = sum(chosen.values())
    bounds = np.round(np.cumsum(list(chosen.values())) * n_kills / total).astype(int)
    counts = np.diff(bounds, prepend=0).tolist()
    return {name: n for name, n in zip(chosen, counts, strict=True) if n}


def table(result: dict) -> str:
    """Return kills, cases and outcomes of each work as a page of Markdown."""
    lines = [
        "# Kills",
        "",
        f"Written by `benchmarks/kills.py --kills {result['kills']} --seed {result['seed']}` at "
        f"commit {result['commit']}, on {result['machine']}. A case is a run that is killed one to "
        "three times and started again each time.",
        "",
        f"| work | kills | while writing | cases | {' | '.join(OUTCOMES)} |",
        f"| --- |{' ---: |' * (3 + len(OUTCOMES))}",
    ]
    for name in [*SHARES, ""]:
        rows = [row for row in result["rows"] if name in ("", row["work"])]
        kills = [kill for row in rows for kill in row["kills"]]
        counts = Counter(row["outcome"] for row in rows)
        figures = [
            len(kills),
            sum(kill["while_writing"] for kill in kills),
            len(rows),
            *(counts[outcome] for outcome in OUTCOMES),
        ]
        lines.append(f"| {name or '**all**'} | {' | '.join(map(str, figures))} |")
    lines += ["", *(f"- **{outcome}**: {meaning}" for outcome, meaning in OUTCOMES.items()), ""]
    return "\n".join(lines)


def main(argv=None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="works whose name has this text")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    options = parser.parse_args(argv)
    measured = commit()
    # Of another commit the same results need not come: it begins anew.
    work = options.out.parent / "work" / f"kills_{options.seed}_{measured}"
    work.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, n_kills in quotas(options.kills, options.only).items():
        rows += hunt(name, n_kills, options.seed, work)
    result = {
        "seed": options.seed,
        "kills": sum(len(row["kills"]) for row in rows),
        "cases": len(rows),
        "resumes": sum(len(row["resumed_after"]) for row in rows),
        "outcomes": dict(Counter(row["outcome"] for row in rows)),
        "faults": sum(row["outcome"] in FAULTS for row in rows),
        "meanings": OUTCOMES,
        "rows": rows,
        **provenance(),
        "commit": measured,
    }
    print({key: result[key] for key in ("kills", "cases", "outcomes")}, flush=True)
    if not options.only:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "kills.json").write_text(json.dumps(result, indent=1) + "\n")
        (options.out / "README.md").write_text(table(result))
    return result


if __name__ == "__main__":
    main()
