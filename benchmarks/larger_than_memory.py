"""Particles larger than memory: time and resident memory of scoring and fitting, by their number.

Draws particle files (64x64, with scalars), scores them with `score_particles` in one process of two
threads and on two Dask workers of one thread each, compares what both wrote, and fits a network on
the mapped files. Each measurement is a process of its own and one JSON file; what is there is kept,
so a run that was stopped goes on.

    python benchmarks/larger_than_memory.py                      # all
    python benchmarks/larger_than_memory.py --rows 20000 --pairs 1 --out FOLDER   # to try it out
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from provenance import kept, peak_memory_mb

from icecore_sk import AutoEncoder, ResNet18Classifier, load, save
from icecore_sk.datasets import load_particles, make_particles, save_particles
from icecore_sk.survey import score_particles

RESULTS = Path(__file__).parent / "results" / "larger_than_memory"
SIZE = 64
DRAWN = 5000  # particles that are drawn at a time
WAYS = ONE, DASK = "one process of 2 threads", "two Dask workers of 1 thread"
METHODS = ["transform", "score_samples"]
MODEL = "model.safetensors"
# The time of an epoch is no matter here, and the memory for images is the same.
NARROW = {"net_params": {"encoder_width": 16, "decoder_width": 8}}


# -------------------------------------------------------------------- what is scored


def draw(number: int) -> pd.DataFrame:
    particles, _ = make_particles(DRAWN, image_size=SIZE, random_state=number)
    index = particles.index.to_frame().assign(run=f"draw {number}")
    particles.index = pd.MultiIndex.from_frame(index)
    return particles


def particle_file(n: int, work: Path) -> Path:
    """Return a file of n particles, drawn where it is not there yet."""
    path = work / f"particles_{n}.arrow"
    if not path.exists():
        print(f"drawing {n:,} particles", flush=True)
        tables = Parallel(n_jobs=2)(delayed(draw)(number) for number in range(-(-n // DRAWN)))
        save_particles(pd.concat(tables).iloc[:n], path)
    return path


def train_model(path: Path, precision: str) -> None:
    """Save a classifier of the usual width, trained for a moment."""
    X, y = make_particles(2000, image_size=SIZE, random_state=10**6)
    classifier = ResNet18Classifier(max_epochs=1, precision=precision, random_state=0)
    save(classifier.fit(X[["image"]], y), path)


# -------------------------------------------------------------------- what is measured


def proportional_mb() -> float:
    """Memory of this process now, shared pages divided by those who share, in 10^6 bytes."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("Pss:"))
    return int(line.split()[1]) * 1024 / 1e6


def score(way: str, path: Path, out: Path, work: Path) -> dict:
    """Score a file; return the time, and the largest memory of each process that took part."""
    shutil.rmtree(out, ignore_errors=True)
    model = load(work / MODEL)
    started = time.perf_counter()
    if way == ONE:
        torch.set_num_threads(2)
        before = peak_memory_mb()
        score_particles(model, path, out, methods=METHODS)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "before_mb": [before], "peak_mb": [peak_memory_mb()]}
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=None
    )
    with cluster, Client(cluster) as client:
        # Their imports are paid for once, not for each file.
        client.run(lambda: __import__("icecore_sk.survey"))
        before = list(client.run(peak_memory_mb).values())
        started = time.perf_counter()
        score_particles(model, path, out, methods=METHODS, client=client)
        seconds = time.perf_counter() - started
        return {
            "seconds": seconds,
            "before_mb": before,
            "peak_mb": list(client.run(peak_memory_mb).values()),
            "proportional_mb": list(client.run(proportional_mb).values()),
            "client_peak_mb": peak_memory_mb(),
        }


def digests(folder: Path) -> list[str]:
    """Identify the parts of a result, byte for byte."""
    parts = sorted(folder.glob("part-*.parquet"))
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in parts]


def scored(way: str, n: int, work: Path) -> dict:
    path, out = particle_file(n, work), work / f"scores of {way}, {n}"
    found = score(way, path, out, work)
    found |= {
        "rows": n,
        "per_second": n / found["seconds"],
        "file_mb": path.stat().st_size / 1e6,
        "scores_mb": sum(part.stat().st_size for part in out.iterdir()) / 1e6,
        "digests": digests(out),
    }
    shutil.rmtree(out)
    return found


def fitted(n: int, work: Path) -> dict:
    """Fit a narrow autoencoder for one epoch on a mapped file; return its peak memory."""
    mapped = load_particles(particle_file(n, work))[["image"]]
    AutoEncoder(2, max_epochs=1, random_state=0, **NARROW).fit(mapped.iloc[:256])
    before = peak_memory_mb()
    AutoEncoder(2, max_epochs=1, random_state=0, **NARROW).fit(mapped)
    return {"rows": n, "before_mb": before, "peak_mb": peak_memory_mb()}


# -------------------------------------------------------------------- the table


def table(args) -> str:
    def read(name: str) -> dict:
        return json.loads((args.out / f"{name}.json").read_text())

    lines = [
        "# Particles larger than memory",
        "",
        "Written by `benchmarks/larger_than_memory.py`. Memory in units of 10^6 bytes, of each "
        "process: before the first particle, and the largest.",
        "",
        "| what | particles | file MB | seconds | per second | before MB | peak MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for n in args.rows:
        for way in WAYS:
            row = read(name_of(way, n))
            before, peak = (
                " and ".join(f"{mb:.0f}" for mb in row[key]) for key in ("before_mb", "peak_mb")
            )
            lines.append(
                f"| embed and score: {way} | {n:,} | {row['file_mb']:.0f} | {row['seconds']:.0f} "
                f"| {row['per_second']:.0f} | {before} | {peak} |"
            )
    for n in args.rows:
        row = read(f"fit_{n}")
        lines.append(
            f"| fit a narrow network for an epoch | {n:,} |  |  |  | {row['before_mb']:.0f} "
            f"| {row['peak_mb']:.0f} |"
        )
    lines.append("")
    for n in args.rows:
        one, dask = (read(name_of(way, n)) for way in WAYS)
        same = sum(a == b for a, b in zip(one["digests"], dask["digests"], strict=True))
        lines.append(
            f"- {n:,} particles: {same} of {len(one['digests'])} Parquet files of the Dask workers "
            f"equal those of one process byte for byte. Of the workers' memory "
            f"{sum(dask['proportional_mb']):.0f} MB in all, where pages of libraries that both "
            "have are counted once."
        )
    if args.pairs:
        pairs = [
            [read(f"pair{p}_{name_of(way, args.paired)}") for way in WAYS]
            for p in range(args.pairs)
        ]
        ratios = [one["seconds"] / dask["seconds"] for one, dask in pairs]
        told = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        lines.append(
            f"- Throughput of two Dask workers of one thread over one process of two threads, "
            f"{args.paired:,} particles, one after the other {args.pairs} times: median "
            f"{np.median(ratios):.2f} ({told})."
        )
    row = read(name_of(ONE, args.rows[-1]))
    lines += ["", f"Machine: {row['machine']}; commit {row['commit']}.", ""]
    return "\n".join(lines)


def name_of(way: str, n: int) -> str:
    return f"score_{'one' if way == ONE else 'dask'}_{n}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[75_000, 300_000])
    parser.add_argument("--pairs", type=int, default=7, help="repeats of the ratio")
    parser.add_argument("--paired", type=int, default=30_000, help="particles of each repeat")
    parser.add_argument("--precision", default="auto", help="of the network that scores")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--force", action="store_true", help="measure again what is there")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    work = args.out.parent / "work" / args.out.name
    work.mkdir(parents=True, exist_ok=True)
    if args.one:
        what, n, name = args.one
        way = ONE if what == "one" else DASK
        measure = fitted if what == "fit" else lambda n, work: scored(way, n, work)
        kept(args.out / f"{name}.json", args.force, lambda: measure(int(n), work))
        return
    ways = ("one", ONE), ("dask", DASK)
    jobs = [
        (what, args.paired, f"pair{pair}_{name_of(way, args.paired)}")
        for pair in range(args.pairs)
        # Each goes first in every other pair: a machine that slows down favours neither.
        for what, way in (ways if pair % 2 == 0 else ways[::-1])
    ]
    for n in args.rows:
        jobs += [("one", n, name_of(ONE, n)), ("dask", n, name_of(DASK, n)), ("fit", n, f"fit_{n}")]
    if args.force or not (work / MODEL).exists():  # what is there may be scores of its own
        train_model(work / MODEL, args.precision)
    for _, n, _ in jobs:
        particle_file(n, work)
    for what, n, name in jobs:
        words = ["--one", what, str(n), name, "--out", str(args.out)]
        words += ["--force"] if args.force else []
        # A peak is of all that ran in a process. Dask's workers find these modules by the path.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, __file__, *words], check=True, env=environment)
    (args.out / "README.md").write_text(table(args))
    print(table(args))


if __name__ == "__main__":
    main()
