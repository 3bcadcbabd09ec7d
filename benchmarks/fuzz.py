"""Damage files at random and see what the readers do.

Every case has a seed of its own, runs in a child process under limits of time and memory, and ends
as one of OUTCOMES. Those in FAULTS are faults of the library. A run that was stopped goes on.
"""

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import warnings
from collections import Counter
from pathlib import Path

from fuzz_corpus import RowsMissingError, Target, targets, write
from fuzz_mutations import seeded
from provenance import peak_memory_mb, provenance

RESULTS = Path(__file__).parent / "results"
SECONDS = 5
# Beyond what the process has when it starts. A picture may have 2**27 pixels of three bytes.
MEMORY_MB = 1024
OUTCOMES = {
    "error": "a ValueError or OSError that names the file",
    "equal": "read, with the result of the whole file",
    "different": "read, every row kept or counted; numbers, texts or pixels are the damaged ones",
    "use raises": "a model made to mislead, under a right checksum, loads, and says so in use",
    "unnamed error": "a ValueError or OSError that names no file",
    "foreign exception": "any other exception",
    "rows missing": "fewer rows than in the file, and no count of the others",
    "silent": "read with another result, where damage has to be noticed",
    "memory": f"more than {MEMORY_MB} MB",
    "hang": f"more than {SECONDS} s, twice",
    "crash": "the process ended",
}
FAULTS = list(OUTCOMES)[4:]


def run_case(target: Target, whole: str, folder: Path, seed: int, name: str, case: int):
    """Return outcome and detail of one case; `folder` holds the whole files before and after."""
    rng = seeded(seed, name, case)
    damaged = str(rng.choice(sorted(target.damage)))
    content = target.damage[damaged](rng, target.files[damaged])
    if content == target.files[damaged]:
        return "equal", "the damage changed nothing"
    (folder / damaged).write_bytes(content)
    before = peak_memory_mb()
    try:
        outcome, detail = outcome_of(target, whole, folder, damaged)
    finally:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        write(folder, target.files)
    if peak_memory_mb() - before > MEMORY_MB:
        outcome = "memory"
    return outcome, detail


def outcome_of(target: Target, whole: str, folder: Path, damaged: str):
    try:
        found = target.read(folder)
    except RowsMissingError as error:
        return "rows missing", str(error)
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
        if isinstance(error, MemoryError) or "MemoryError" in detail or "allocate" in detail:
            return "memory", detail
        if not isinstance(error, ValueError | OSError):
            return "foreign exception", detail
        named = str(folder) in detail or Path(damaged).name in detail
        return ("error" if named else "unnamed error"), detail
    if found == whole:
        return "equal", ""
    if found.startswith("use raises"):
        return "use raises", found
    return ("silent" if target.strict else "different"), ""


def work(pipe, target: Target, whole: str, seed: int, name: str) -> None:
    """Run cases as they come until there are no more."""
    warnings.simplefilter("ignore")
    # libtiff complains there, whatever becomes of the error that it also returns.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_MB * 2**20, resource.RLIM_INFINITY))
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), target.files)
        while (case := pipe.recv()) is not None:
            pipe.send(run_case(target, whole, Path(folder), seed, name, case))


class Worker:
    """A child process that runs cases, and is replaced where one ends or never ends."""

    def __init__(self, *arguments):
        self.arguments = arguments
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, *self.arguments), daemon=True)
        self.process.start()
        theirs.close()

    def run(self, case: int):
        self.pipe.send(case)
        try:
            if self.pipe.poll(SECONDS):
                return self.pipe.recv()
            outcome = "hang", f"after {SECONDS} s"
        except (EOFError, ConnectionError):
            self.process.join()
            outcome = "crash", f"exit code {self.process.exitcode}"
        self.process.kill()
        self.process.join()
        self.start()
        return outcome

    def stop(self) -> None:
        self.pipe.send(None)
        self.process.join()


def fuzz(name: str, target: Target, n: int, seed: int, log: Path) -> None:
    """Run the cases of one target that are not in its log yet."""
    done = sum(1 for _ in log.open()) if log.exists() else 0
    if done >= n:
        return
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(Path(folder), target.files)
        whole = target.read(Path(folder))
    worker = Worker(target, whole, seed, name)
    with log.open("a") as file:
        for case in range(done, n):
            outcome, detail = worker.run(case)
            if outcome == "hang":
                # A busy machine can stop any process for seconds: what hangs does so again.
                outcome, detail = worker.run(case)
            row = {"case": case, "outcome": outcome, "detail": detail[:600]}
            file.write(json.dumps(row) + "\n")
            file.flush()
    worker.stop()


def table(counts: dict[str, Counter]) -> str:
    """Return the counts of outcomes as a Markdown table."""
    total = sum(counts.values(), Counter())
    columns = [name for name in OUTCOMES if total[name] or name in FAULTS]
    lines = [["damaged file", "cases", *columns], ["---", *["---:"] * (len(columns) + 1)]]
    for name, own in [*counts.items(), ("**all**", total)]:
        lines.append([name, f"{own.total():,}", *(f"{own[column]:,}" for column in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(result: dict) -> str:
    counts = {name: Counter(own) for name, own in result["counts"].items()}
    text = (
        "# Damaged files\n\n"
        f"Written by `benchmarks/fuzz.py --seed {result['seed']} --cases {result['cases']}` at "
        f"commit {result['commit']}. Every case is damaged by a seed of its own.\n\n"
        + table(counts)
        + "\n\n"
    )
    meanings = [
        f"- **{name}**{' (a fault)' if name in FAULTS else ''}: {meaning}"
        for name, meaning in OUTCOMES.items()
    ]
    notes = RESULTS / "fuzz" / "faults.md"
    return text + "\n".join(meanings) + "\n\n" + (notes.read_text() if notes.exists() else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=600, help="of each kind of file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds of files whose name has this text")
    parser.add_argument("--show", action="store_true", help="list the faults of the log")
    options = parser.parse_args()
    logs = RESULTS / "work" / f"fuzz_{options.seed}"
    logs.mkdir(parents=True, exist_ok=True)
    chosen = {name: own for name, own in targets().items() if options.only in name}
    commit, counts = provenance()["commit"], {}
    for name, target in chosen.items():
        log = logs / f"{name.replace(' ', '_').replace(':', '')}.jsonl"
        fuzz(name, target, options.cases, options.seed, log)
        rows = [json.loads(line) for line in log.open()][: options.cases]
        counts[name] = dict(Counter(row["outcome"] for row in rows))
        faults = [row for row in rows if row["outcome"] in FAULTS]
        print(name, counts[name], flush=True)
        for row in faults[: None if options.show else 3]:
            print("   ", row["outcome"], row["case"], row["detail"][:300], flush=True)
    if options.only:
        return
    result = {
        "seed": options.seed,
        "cases": options.cases,
        "counts": counts,
        **provenance(),
        "commit": commit,
    }
    (RESULTS / "fuzz").mkdir(exist_ok=True)
    (RESULTS / "fuzz" / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "fuzz" / "README.md").write_text(page(result))


if __name__ == "__main__":
    main()
