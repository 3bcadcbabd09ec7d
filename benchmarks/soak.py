"""Fit, save, load and score again and again in one process, and see whether anything grows.

Each round fits the four networks with checkpoints, trains one on by a chunk, saves them, loads
them, and scores particles with what was loaded. After each round resident memory, threads, open
files and temporary files are counted. What grows by more than its limit in each of the later
rounds, by the slope of a line through them, is a fault.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from kills_work import files
from provenance import commit, provenance

RESULTS = Path(__file__).parent / "results" / "soak"
# The first rounds fill caches and pools, once for all.
WARM = 50
# What may be added in each round. The allocator moves a process's memory up and down by megabytes;
# what stays counts, and a network of this size has half a megabyte of weights.
LIMITS = {"memory_mb": 0.05, "threads": 0.01, "open_files": 0.01, "temporary_files": 0.01}
NARROW = {"net_params": {"encoder_width": 8, "stem": "pooled"}}


def make_round(folder: Path):
    """Return a function that does one round in `folder`."""
    from sklearn.frozen import FrozenEstimator

    from icecore_sk import (
        VAE,
        AutoEncoder,
        FlowVAE,
        OutlierScorer,
        ResNet18Classifier,
        load,
        save,
    )
    from icecore_sk.datasets import load_particles, make_particles, save_particles
    from icecore_sk.survey import score_particles

    drawn, labels = make_particles(160, classes=3, image_size=16, random_state=0)
    particles = drawn[["image", "Length", "Area (ABD)"]]
    networks = [ResNet18Classifier, AutoEncoder, VAE, FlowVAE]

    def do(number: int) -> None:
        place = folder / "round"
        place.mkdir()
        path = save_particles(particles, place / "particles.arrow")
        mapped = load_particles(path)
        for kind in networks:
            model = kind(max_epochs=2, batch_size=32, random_state=number, **NARROW)
            model.set_params(checkpoint_dir=place / kind.__name__).fit(mapped, labels)
            model.set_params(checkpoint_dir=None).partial_fit(mapped, labels)
            loaded = load(save(model, place / f"{kind.__name__}.safetensors"))
            same = np.array_equal(loaded.transform(mapped), model.transform(mapped))
            if not (same and np.isfinite(loaded.score_samples(mapped)).all()):
                raise RuntimeError(f"{kind.__name__} of round {number} is not what was saved.")
        scorer = OutlierScorer(FrozenEstimator(loaded), random_state=0).fit(mapped)
        saved = save(scorer, place / "outliers.safetensors")
        score_particles(load(saved), path, place / "scores", chunk_size=50)
        shutil.rmtree(place)

    return do


def look(temporary: Path) -> dict[str, float]:
    """Count what this process holds now."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "memory_mb": int(status["VmRSS"].split()[0]) * 1024 / 1e6,
        "threads": int(status["Threads"]),
        # Less the one that lists them.
        "open_files": len(os.listdir("/proc/self/fd")) - 1,
        "temporary_files": len(files(temporary)),
    }


def soak(n_rounds: int, do, temporary: Path, log=None) -> list[dict[str, float]]:
    """Do rounds and look after each; `log` is called with each row."""
    rows = []
    for number in range(n_rounds):
        started = time.perf_counter()
        do(number)
        row = {"round": number, "seconds": time.perf_counter() - started, **look(temporary)}
        rows.append(row)
        if log is not None:
            log(row)
    return rows


def judge(rows: list[dict[str, float]], warm: int = WARM) -> dict[str, dict]:
    """Return the slope of each count per round after the first `warm`, and whether it grows.

    It grows where the slope, less twice its standard error, is above the limit.
    """
    later = rows[warm:]
    found = {}
    for name, limit in LIMITS.items():
        x, y = np.arange(len(later)), np.array([row[name] for row in later], dtype=float)
        slope, start = np.polyfit(x, y, 1)
        rest = y - (slope * x + start)
        error = np.sqrt((rest**2).sum() / max(1, len(x) - 2) / ((x - x.mean()) ** 2).sum())
        found[name] = {
            "first": y[0],
            "last": y[-1],
            "slope_per_round": float(slope),
            "standard_error": float(error),
            "limit": limit,
            "grows": bool(slope - 2 * error > limit),
        }
    return found


def table(result: dict) -> str:
    """Return what was counted as a page of Markdown."""
    lines = [
        "# Leaks",
        "",
        f"Written by `benchmarks/soak.py --rounds {result['rounds']}` at commit "
        f"{result['commit']}, on {result['machine']}. Judged are the rounds after the first "
        f"{result['judged_after']}: what grows by more than its limit in each, by the slope of a "
        "line less twice its standard error.",
        "",
        "| what | at first | at last | slope per round | standard error | limit | grows |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, found in result["judged"].items():
        lines.append(
            f"| {name.replace('_', ' ')} | {found['first']:.0f} | {found['last']:.0f} "
            f"| {found['slope_per_round']:.4f} | {found['standard_error']:.4f} | {found['limit']} "
            f"| {'yes' if found['grows'] else 'no'} |"
        )
    return "\n".join([*lines, ""])


def main(argv=None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--warm", type=int, default=WARM, help="rounds that are not judged")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    options = parser.parse_args(argv)
    if options.rounds < options.warm + 3:
        parser.error(f"--rounds={options.rounds} leaves fewer than 3 after --warm={options.warm}")
    warnings.simplefilter("ignore")
    measured, before = commit(), tempfile.tempdir
    with tempfile.TemporaryDirectory() as temporary:
        # Whatever asks for a temporary file gets it where they are counted.
        tempfile.tempdir = temporary
        try:
            do = make_round(Path(temporary))
            rows = soak(options.rounds, do, Path(temporary), lambda row: print(row, flush=True))
        finally:
            tempfile.tempdir = before
    judged = judge(rows, options.warm)
    result = {
        "rounds": options.rounds,
        "judged_after": options.warm,
        "faults": [name for name, found in judged.items() if found["grows"]],
        "judged": judged,
        "rows": [
            {
                name: round(value, 3) if isinstance(value, float) else value
                for name, value in row.items()
            }
            for row in rows
        ],
        **provenance(),
        "commit": measured,
    }
    print(json.dumps({"faults": result["faults"], "judged": judged}, indent=1), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "soak.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "README.md").write_text(table(result))
    return result


if __name__ == "__main__":
    main()
