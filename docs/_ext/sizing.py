"""Reckons what many particles need, from what was measured, for the page on sizes."""

import json
from pathlib import Path
from statistics import median

from parts import write_part

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
SIZES = {"1 million": 10**6, "3 million": 3 * 10**6, "100 million": 10**8}
CORES = 2  # of the machine that everything was measured on
SAMPLE, EPOCHS = 200_000, 20
REFERENCE = 100_000  # rows that `OutlierScorer` was fitted on
# Per core and hour, in no currency: what renting costs changes.
PRICE = 0.05


def measured() -> dict[str, float]:
    """Return what the rest is reckoned from."""
    scored = read("larger_than_memory/score_one_300000.json")
    # Of several machines the slowest: who plans rather ends early.
    trained = min(
        median(json.loads(path.read_text())["images_per_second"]["ours"]["fit"])
        for path in RESULTS.glob("speed/2_cores*/fit_ResNet18Classifier_64.json")
    )
    outliers = read(f"outliers/speed_{REFERENCE}.json")
    n = scored["rows"]
    return {
        "file_bytes": scored["file_mb"] * 1e6 / n,
        "score_bytes": scored["scores_mb"] * 1e6 / n,
        "scored_per_second": scored["per_second"],
        "peak_mb": max(scored["peak_mb"]),
        "trained_per_second": trained,
        "explained_per_second": outliers["rows"] / outliers["explain_seconds"],
        "explaining_cores": outliers["explain_cpu_seconds"] / outliers["explain_seconds"],
        "reference_seconds": outliers["fit_seconds"],
        "reference_mb": outliers["peak_memory_mb"],
    }


def read(name: str) -> dict:
    return json.loads((RESULTS / name).read_text())


def reckon(n: int, given: dict[str, float]) -> dict[str, str]:
    """Return the rows of the table for n particles."""
    scoring = n / given["scored_per_second"] / 3600 * CORES
    explaining = n / given["explained_per_second"] / 3600 * given["explaining_cores"]
    training = SAMPLE * EPOCHS / given["trained_per_second"] / 3600 * CORES
    epoch = n / given["trained_per_second"] / 3600 * CORES
    total = training + scoring + explaining
    return {
        "particle file, 64x64 and 34 scalars": gigabytes(n * given["file_bytes"]),
        "embedding and scores, Parquet": gigabytes(n * given["score_bytes"]),
        "memory of each process that embeds": f"{given['peak_mb'] / 1000:.1f} GB",
        "memory of each process that explains": f"{given['reference_mb'] / 1000:.1f} GB",
        f"train {EPOCHS} epochs on a sample of {SAMPLE:,}": hours(training),
        "embed and score all": hours(scoring),
        "explain all by `OutlierScorer`": hours(explaining),
        "sum": hours(total),
        f"price of the sum, at {PRICE} per core and hour": f"{total * PRICE:,.2f}",
        "the sum on 2 cores": duration(total / 2),
        "all but the training, on 64 cores": duration((scoring + explaining) / 64),
        "beside it, one epoch on all (`partial_fit`)": hours(epoch),
    }


def gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:,.1f} GB"


def hours(core_hours: float) -> str:
    return f"{core_hours:,.1f} core hours"


def duration(n_hours: float) -> str:
    return f"{n_hours / 24:,.1f} days" if n_hours > 48 else f"{n_hours:,.1f} h"


def make_part() -> str:
    """Return what was measured, the arithmetic and the table as reStructuredText."""
    given = measured()
    columns = {name: reckon(n, given) for name, n in SIZES.items()}
    lines = [
        "Measured on two cores",
        "=====================",
        "",
        ".. list-table::",
        "   :widths: 40 15 45",
        "",
    ]
    for what, value, where in (
        ("particle file", f"{given['file_bytes']:,.0f} bytes", "per particle"),
        ("embedding and scores", f"{given['score_bytes']:,.0f} bytes", "per particle, Parquet"),
        (
            "embed and score",
            f"{given['scored_per_second']:,.0f} per second",
            "`ResNet18Classifier`: transform and score_samples of 300,000 particles",
        ),
        ("its memory", f"{given['peak_mb']:,.0f} MB", "the largest, whatever the number"),
        (
            "train",
            f"{given['trained_per_second']:,.0f} per second",
            "`ResNet18Classifier`, each particle of each epoch",
        ),
        (
            "fit `OutlierScorer`",
            f"{given['reference_seconds']:,.0f} s, {given['reference_mb']:,.0f} MB",
            f"once, on {REFERENCE:,} rows of 64 latent dimensions",
        ),
        ("explain outliers", f"{given['explained_per_second']:,.0f} per second", "against them"),
    ):
        lines += [f"   * - {what}", f"     - {value}", f"     - {where}"]
    lines += ["", "What more of them need", "======================", ""]
    lines += [".. list-table::", "   :header-rows: 1", "   :widths: 40 20 20 20", "", "   * -"]
    lines += [f"     - {name}" for name in SIZES]
    for what in next(iter(columns.values())):
        lines += [f"   * - {what}", *(f"     - {column[what]}" for column in columns.values())]
    return "\n".join([*lines, ""])


def write_sizes(app) -> None:
    """Write the tables as a part of the page."""
    write_part("sizing.rst", make_part())


def setup(app):
    app.connect("builder-inited", write_sizes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
