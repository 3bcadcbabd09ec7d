"""Outliers planted among drawn particles, and the time and memory that `OutlierScorer` takes.

`planted` hides outliers of four kinds, whose truth is known, among drawn particles and ranks all
by each way of combining the component scores, and by detectors of PyOD and their combinations on
the same columns. `speed` fits and explains many rows in a process of its own. A row that is
measured already is kept.

    python benchmarks/outliers.py                                # both
    python benchmarks/outliers.py --parts speed --rows 100000
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "outliers"
N_PLANTED = 6
KINDS = ("disagreement", "size", "distance", "novel family")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from provenance import kept, peak_memory_mb  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.metrics import average_precision_score, roc_auc_score  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from icecore_sk import OutlierScorer  # noqa: E402
from icecore_sk._outliers.surprise import combine  # noqa: E402
from icecore_sk.datasets import make_particles  # noqa: E402

COMBINATIONS = {
    "mean": lambda s: s.mean(axis=0),
    "power mean 2": lambda s: (s**2).mean(axis=0) ** (1 / 2),
    "power mean 4": lambda s: (s**4).mean(axis=0) ** (1 / 4),
    "harmonic mean p (ours)": lambda s: combine(list(s)),
    "max": lambda s: s.max(axis=0),
}


# -------------------------------------------------------------------- planted outliers


def plant(seed: int, n: int):
    """Return latent columns and scalars of drawn particles, and the kind of each planted one."""
    rng = np.random.default_rng(seed)
    particles, family = make_particles(
        n, image_size=24, novel=["star"], novel_fraction=N_PLANTED / n, random_state=seed
    )
    pixels = particles["image"].array.__arrow_array__().combine_chunks().to_numpy_ndarray()
    latent = PCA(16, random_state=seed).fit_transform(pixels.reshape(n, -1) / 255.0)
    scalars = particles.drop(columns="image").reset_index(drop=True)
    kind = np.where(family == "star", "novel family", "").astype(object)
    free = rng.permutation(np.flatnonzero(kind == ""))
    round_ones = [i for i in free if scalars["Circularity (Hu)"][i] > 0.95][:N_PLANTED]
    kind[round_ones] = "disagreement"
    scalars.loc[round_ones, "Circularity (Hu)"] = (
        scalars["Circularity (Hu)"]
        .quantile(rng.uniform(0.01, 0.05, N_PLANTED), interpolation="nearest")
        .to_numpy()
    )
    free = [i for i in free if kind[i] == ""]
    large, far = free[:N_PLANTED], free[N_PLANTED : 2 * N_PLANTED]
    kind[large], kind[far] = "size", "distance"
    # Half as large again as the largest.
    scalars.loc[large, "Area (ABD)"] = 1.5 * scalars["Area (ABD)"].max() * rng.uniform(1, 1.3, 6)
    away = rng.normal(size=(N_PLANTED, latent.shape[1]))
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    latent[far] = away * 1.2 * np.linalg.norm(latent, axis=1).max()
    columns = [f"z{j}" for j in range(latent.shape[1])]
    return pd.DataFrame(latent, columns=columns).join(scalars), list(scalars), kind


def planted(seed: int, n: int) -> dict:
    """Rank the planted outliers by every method."""
    X, scalars, kind = plant(seed, n)
    scorer = OutlierScorer(scalars=scalars, contamination=0.02, random_state=seed).fit(X)
    surprises = np.stack(list(scorer._surprises(scorer._table(X)).values()))
    scores = {name: how(surprises) for name, how in COMBINATIONS.items()}
    table = scorer.explain(X)
    told = {
        "disagreement": table["reason"].str.contains("Circularity (Hu)", regex=False),
        "size": table["reason"].str.contains("largest: Area (ABD)", regex=False),
        "distance": table["reason"].str.contains("far from everything|dense group"),
    }
    right = {name: float(told[name][kind == name].mean()) for name in told}
    scores |= pyod_scores(StandardScaler().fit_transform(X), seed)
    return {
        "seed": seed,
        "rows": n,
        "planted": int((kind != "").sum()),
        "right reason": right,
        "scores": {name: ranked(score, kind) for name, score in scores.items()},
    }


def pyod_scores(X, seed: int) -> dict[str, np.ndarray]:
    """Scores of PyOD's detectors with their defaults, and of its two combinations of them."""
    from pyod.models.ecod import ECOD
    from pyod.models.iforest import IForest
    from pyod.models.knn import KNN
    from pyod.models.lof import LOF

    models = {"KNN": KNN(), "LOF": LOF(), "ECOD": ECOD(), "IForest": IForest(random_state=seed)}
    scores = {name: model.fit(X).decision_scores_ for name, model in models.items()}
    # What pyod.models.combination does, which needs one more package: z-scores, mean or maximum.
    together = StandardScaler().fit_transform(np.stack(list(scores.values()), axis=1))
    scores |= {"average": together.mean(axis=1), "maximization": together.max(axis=1)}
    return {f"PyOD {name}": score for name, score in scores.items()}


def ranked(score: np.ndarray, kind: np.ndarray) -> dict:
    """How far up a score ranks what was planted."""
    is_planted = kind != ""
    top = score >= np.sort(score)[-2 * is_planted.sum()]
    return {
        "average precision": float(average_precision_score(is_planted, score)),
        "AUROC": float(roc_auc_score(is_planted, score)),
        "found": {name: float(top[kind == name].mean()) for name in KINDS},
    }


def planted_table(rows: list[dict]) -> str:
    lines = [
        "| ranked by | average precision (least, most) | AUROC | "
        + " | ".join(f"found: {kind}" for kind in KINDS)
        + " |",
        "|---|---|---|" + "---|" * len(KINDS),
    ]
    for name in rows[0]["scores"]:
        parts = [row["scores"][name] for row in rows]
        precision = [part["average precision"] for part in parts]
        found = [np.mean([part["found"][kind] for part in parts]) for kind in KINDS]
        lines.append(
            f"| {name} | {np.mean(precision):.3f} ({min(precision):.3f}, {max(precision):.3f}) "
            f"| {np.mean([part['AUROC'] for part in parts]):.3f} | "
            + " | ".join(f"{share:.2f}" for share in found)
            + " |"
        )
    return "\n".join(lines)


# -------------------------------------------------------------------- speed


def speed(rows: int) -> dict:
    """Fit and explain rows in 64 dimensions with 10 scalars, in clusters of several densities."""
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(8, 64))
    member = rng.integers(8, size=rows)
    latent = centres[member] + rng.normal(size=(rows, 64)) * rng.uniform(0.5, 2, 8)[member, None]
    X = pd.DataFrame(latent.astype(np.float32), columns=[f"z{j}" for j in range(64)])
    names = ["Area (ABD)", *(f"s{j}" for j in range(9))]
    for j, name in enumerate(names):
        X[name] = np.exp(0.3 * latent[:, j] + 0.3 * rng.normal(size=rows))
    before = peak_memory_mb()
    started, started_cpu = time.perf_counter(), time.process_time()
    scorer = OutlierScorer(scalars=names, random_state=0).fit(X)
    fitted, fitted_cpu = time.perf_counter(), time.process_time()
    table = scorer.explain(X)
    return {
        "rows": rows,
        "fit_seconds": fitted - started,
        "explain_seconds": time.perf_counter() - fitted,
        # Tells what it takes where other work slowed it down.
        "fit_cpu_seconds": fitted_cpu - started_cpu,
        "explain_cpu_seconds": time.process_time() - fitted_cpu,
        "approximate": scorer._neighbours.approximate,
        "outliers": int(table["outlier"].sum()),
        "peak_memory_mb": peak_memory_mb(),
        "peak_memory_mb_before": before,
    }


def speed_table(rows: list[dict]) -> str:
    lines = [
        "| rows | search | fit s (of processor) | explain s (of processor) | peak MB |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['rows']:,} | {'approximate' if row['approximate'] else 'exact'} "
        f"| {row['fit_seconds']:.0f} ({row['fit_cpu_seconds']:.0f}) "
        f"| {row['explain_seconds']:.0f} ({row['explain_cpu_seconds']:.0f}) "
        f"| {row['peak_memory_mb']:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=["planted", "speed"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--particles", type=int, default=3000, help="among them the planted ones")
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--force", action="store_true", help="measure again what is there")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if "planted" in args.parts:
        rows = [
            kept(
                args.out / f"planted_seed{seed}.json",
                args.force,
                lambda seed=seed: planted(seed, args.particles),
            )
            for seed in args.seeds
        ]
        save(args.out / "planted.md", planted_table(rows))
    if "speed" in args.parts:
        files = {n: args.out / f"speed_{n}.json" for n in args.rows}
        for n, file in files.items():
            if args.worker:
                kept(file, args.force, lambda n=n: speed(n))
            else:
                # In a process of its own: a peak is of all that ran before.
                words = [*sys.argv[1:], "--worker", "--parts", "speed", "--rows", str(n)]
                subprocess.run([sys.executable, __file__, *words], check=True)
        if not args.worker:
            rows = [json.loads(file.read_text()) for file in files.values()]
            save(args.out / "speed.md", speed_table(rows))


def save(path: Path, table: str) -> None:
    path.write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    main()
