"""How well particles of one run are known on the next, and the unknown found among them.

    python benchmarks/particles.py                          # everything
    python benchmarks/particles.py --parts across --seeds 0
    python benchmarks/particles.py --runs FOLDER --labels labels.csv    # other labelled runs

Parts: `across` trains on each labelled FlowCam run and tests on each other one, where "adapted"
finds the shares of the classes without its labels; `filter` removes one class from the other run;
`leave_class` trains on a run without one class and looks for that class in the other run; `novel`
looks for particles of families that no label names among drawn ones; `loading` measures how many
particles a second are read. Each row is one JSON file in `results/particles/` and is not measured
again unless `--force` asks for it. But for "adapted", what is fitted sees one run alone.
The recipe (image size, stem, augmentation, sampling, epochs) is not free of the runs that are
tested: it was compared with a dozen others on both, which `benchmarks/README.md` lists, so a
third run may be known a little less well.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
DATA = Path(os.environ.setdefault("ICECORE_DATA", str(SHARED)))

import leave_class  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from digits_table import cell, origins  # noqa: E402
from provenance import kept  # noqa: E402
from sklearn.ensemble import GradientBoostingClassifier  # noqa: E402
from sklearn.feature_selection import VarianceThreshold  # noqa: E402
from sklearn.metrics import f1_score, roc_auc_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.class_weight import compute_sample_weight  # noqa: E402

from icecore_sk import (  # noqa: E402
    VAE,
    ClassFilter,
    LabelShiftCorrection,
    MeanCorrection,
    OutlierScorer,
    ResNet18Classifier,
)
from icecore_sk.datasets import load_flowcam, make_particles  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "particles"
# Most crops are 24 pixels wide. Shown at 32 pixels junk was told less well on the next run.
IMAGE_SIZE = 64
# Drawn particles are as large as asked for: nothing is gained by more of the same line.
DRAWN_SIZE = 32
AUGMENTATION = {"flip": True, "quarter_turns": True, "shift": 0.05, "brightness": 0.1}
REMOVE = "Junk"
LEAVE_OUT = ("Protist", "Missed")
MAX_MISS = 0.01
MODELS = (
    "images",
    "images and scalars",
    "images and scalars, adapted",
    "boosting on scalars",
    "boosting, balanced",
)


def make_classifier(seed: int, epochs: int):
    """Return a classifier of images and, where there are some, scalars.

    Scalars are standardised only, which the network's first batch norm does by itself. Behind the
    power transform of `scalar_preprocessor` Junk was told less well on the next run: AUROC .971 to
    .979 over three seeds (train NITRATE, 32 pixels), images alone .952 to .971. Their branch is
    narrow, since they shift from run to run: at the default width of 64 macro-F1 fell by .01.
    """
    return ResNet18Classifier(
        max_epochs=epochs,
        batch_size=64,
        class_weight="balanced_sampling",
        augmentation=AUGMENTATION,
        average_views=True,
        net_params={"stem": "pooled", "encoder_width": 32, "scalar_width": 8},
        random_state=seed,
    )


def fit(model: str, X: pd.DataFrame, y: np.ndarray, seed: int, epochs: int):
    """Fit one of `MODELS` on its columns of a particle table."""
    X = columns_of(model, X)
    if "image" in X:
        classifier = make_classifier(seed, epochs)
        if model.endswith("adapted"):
            classifier = LabelShiftCorrection(classifier, random_state=seed)
        return classifier.fit(X, y)
    boosting = make_pipeline(VarianceThreshold(), GradientBoostingClassifier(random_state=seed))
    weight = compute_sample_weight("balanced", y) if model == "boosting, balanced" else None
    return boosting.fit(X, y, gradientboostingclassifier__sample_weight=weight)


def columns_of(model: str, X: pd.DataFrame) -> pd.DataFrame:
    if model == "images":
        return X[["image"]]
    return X if model.startswith("images and scalars") else X.drop(columns="image")


def load(args) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return the labelled particles, their labels and their runs."""
    X, y = load_flowcam(args.runs, IMAGE_SIZE, min_side=1, labels=args.labels, verbose=0)
    known = y.notna().to_numpy()
    X, y = X[known], y[known].to_numpy()
    return X, y, X.index.get_level_values("run").to_numpy()


# -------------------------------------------------------------------- from one run to another


def across(model: str, run: str, seed: int, epochs: int, X, y, runs) -> dict:
    """Train on one run; return how well each other one is classified."""
    train = runs == run
    started = time.perf_counter()
    fitted = fit(model, X[train], y[train], seed, epochs)
    row: dict = {"model": model, "train": run, "seed": seed, "epochs": epochs, "tests": {}}
    row["fit_seconds"] = time.perf_counter() - started
    classes = fitted.classes_.tolist()
    for other in sorted(set(runs) - {run}):
        test = runs == other
        X_test = columns_of(model, X[test])
        is_adapted = hasattr(fitted, "adapt")
        if is_adapted:
            fitted.adapt(X_test)
        probabilities = fitted.predict_proba(X_test)
        predicted = fitted.classes_[probabilities.argmax(axis=1)]
        each = f1_score(y[test], predicted, average=None, labels=classes, zero_division=0)
        row["tests"][other] = {
            "macro_f1": float(each.mean()),
            "f1": dict(zip(classes, each.tolist(), strict=True)),
            "rows": int(test.sum()),
        }
        if is_adapted:
            shares = [float((y[test] == label).mean()) for label in classes]
            row["tests"][other]["shares"] = dict(zip(classes, shares, strict=True))
            row["tests"][other]["shares_found"] = dict(
                zip(classes, fitted.shares_.tolist(), strict=True)
            )
        if REMOVE in classes:
            truth = y[test] == REMOVE
            score = probabilities[:, classes.index(REMOVE)]
            row["tests"][other]["auroc"] = float(roc_auc_score(truth, score))
    return row


def filtered(run: str, seed: int, epochs: int, X, y, runs) -> dict:
    """Calibrate a filter on one run; return what it does to each other one."""
    train = runs == run
    model = ClassFilter(
        make_classifier(seed, epochs),
        remove=REMOVE,
        max_miss=MAX_MISS,
        cv=3,
        random_state=seed,
    )
    model.fit(X[train], y[train])
    row: dict = {
        "train": run,
        "seed": seed,
        "max_miss": MAX_MISS,
        "held_out": {"missed": model.miss_rate_, "removed": model.removed_rate_},
        "tests": {},
    }
    for other in sorted(set(runs) - {run}):
        test = runs == other
        removed = ~model.predict(X[test])
        junk = y[test] == REMOVE
        row["tests"][other] = {
            "missed": float(removed[~junk].mean()),
            "removed": float(removed[junk].mean()),
            "others": int((~junk).sum()),
        }
    return row


# -------------------------------------------------------------------- novel families


def novel(seed: int, quick: bool) -> dict:
    """Rank particles of two novel families of 0.5 % each among all, with labels and without."""
    n_labelled, n, epochs = (600, 2000, 2) if quick else (6000, 20_000, 8)
    X_known, y_known = make_particles(n_labelled, image_size=DRAWN_SIZE, random_state=seed)
    X, y = make_particles(n, image_size=DRAWN_SIZE, novel=2, random_state=seed + 1000)
    is_novel = ~np.isin(y, y_known.unique())
    classifier = make_classifier(seed, epochs).fit(X_known[["image"]], y_known)
    vae = VAE(16, max_epochs=max(2, epochs // 2), random_state=seed).fit(X[["image"]])
    row: dict = {"seed": seed, "rows": n, "novel": sorted(set(y[is_novel])), "scores": {}}

    def judge(name: str, scores) -> None:
        row["scores"][name] = ranked(is_novel, np.asarray(scores), y)

    # Nothing is known to be normal: the particles are compared with each other.
    latent = vae.transform(X[["image"]])
    judge("VAE, score_samples", vae.score_samples(X[["image"]]))
    judge("VAE, OutlierScorer", OutlierScorer(n_neighbors=10).fit(latent).score_samples(latent))

    # The known families are normal. Three views of a particle, each with the distance to them.
    judge("classifier, score_samples", classifier.score_samples(X[["image"]]))
    spaces = {
        "last layer": classifier.transform,
        "third stage": classifier.intermediate_features,
        "scalars": StandardScaler().fit(X_known.drop(columns="image")).transform,
    }
    together = np.zeros(n)
    for name, space in spaces.items():
        columns = ["image"] if name != "scalars" else X_known.columns.drop("image")
        known, new = space(X_known[columns]), space(X[columns])
        for component in ("distance", "class_distance"):
            scorer = OutlierScorer(components=[component], n_neighbors=10).fit(known, y_known)
            table = scorer.explain(new)
            judge(f"{name}, {component}", -table[component])
        together += table["score"].to_numpy()  # by class_distance, the last
    judge("sum of the scores by class_distance in all three", together)
    for name in ("Area (ABD)", "Intensity"):
        row["scores"][f"{name} alone"] = ranked(is_novel, -np.abs(centred(X[name])), y)
    return row


def centred(values: pd.Series) -> np.ndarray:
    return (values - values.median()).to_numpy()


def ranked(is_novel, score, y) -> dict:
    """How far down a score of normality ranks what is novel."""
    lowest = score <= np.quantile(score, 0.05)
    return {
        "auroc": float(roc_auc_score(~is_novel, score)),
        "in_lowest_5_percent": {
            name: float(lowest[(y == name).to_numpy()].mean()) for name in sorted(set(y[is_novel]))
        },
    }


# -------------------------------------------------------------------- reading


def loading(args) -> dict:
    """Particles per second, read from files that are in the system's cache."""
    rates = []
    for _ in range(6):
        started = time.perf_counter()
        X = load_flowcam(args.runs, 128, min_side=1, verbose=0)
        rates.append(len(X) / (time.perf_counter() - started))
    return {"rows": len(X), "image_size": 128, "particles_per_second": rates[1:]}


# -------------------------------------------------------------------- table


def show(rows: dict[str, dict]) -> str:
    lines = ["# Particles", ""]

    def of(part: str) -> list[dict]:
        return [row for name, row in rows.items() if name.startswith(part)]

    if of("across"):
        lines += [
            f"## From one run to another ({IMAGE_SIZE} px): mean over seeds (least to most)",
            "",
            f"| model | train | test | macro-F1 | {REMOVE} AUROC | seeds |",
            "|---|---|---|---|---|---|",
        ]
    table: dict = {}
    for row in of("across"):
        for test, result in row["tests"].items():
            table.setdefault((row["model"], row["train"], test), []).append(result)
    for (model, train, test), results in table.items():
        cells = [cell([r[key] for r in results]) for key in ("macro_f1", "auroc")]
        lines.append(f"| {model} | {train} | {test} | {' | '.join(cells)} | {len(results)} |")
    if of("filter"):
        lines += [
            "",
            f"## A filter for {REMOVE!r}, of images and scalars, at max_miss={MAX_MISS}",
            "",
            "Mean over seeds (least to most). A threshold rests on a single held-out row.",
            "",
            "| train | test | others | missed | removed | held out: missed | removed | seeds |",
            "|---|---|---|---|---|---|---|---|",
        ]
    pairs: dict = {}
    for row in of("filter"):
        for test, result in row["tests"].items():
            pairs.setdefault((row["train"], test), []).append((result, row["held_out"]))
    for (train, test), both in pairs.items():
        cells = [
            cell([of_run[key] for of_run in results])
            for results in zip(*both, strict=True)
            for key in ("missed", "removed")
        ]
        others = both[0][0]["others"]
        lines.append(f"| {train} | {test} | {others} | {' | '.join(cells)} | {len(both)} |")
    if of("leave_class"):
        lines += leave_class.table(of("leave_class"), IMAGE_SIZE)
    for row in of("novel"):
        lines += [
            "",
            f"## Novel families {', '.join(row['novel'])}, 0.5 % each of {row['rows']:,}",
            "",
            "| score | AUROC | share of each in the lowest 5 % |",
            "|---|---|---|",
        ]
        for name, r in row["scores"].items():
            shares = ", ".join(f"{k} {v:.0%}" for k, v in r["in_lowest_5_percent"].items())
            lines.append(f"| {name} | {r['auroc']:.3f} | {shares} |")
    for row in of("loading"):
        rate = statistics.median(row["particles_per_second"])
        lines += ["", f"load_flowcam at {row['image_size']} px: {rate:.0f} particles per second."]
    lines += ["", "## Where the rows come from", "", origins(list(rows.values()))]
    return "\n".join(lines)


def main() -> None:
    parts = ["across", "filter", "leave_class", "novel", "loading"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--runs", type=Path, default=DATA / "flowcam" / "labelled")
    parser.add_argument("--labels", type=Path, default=DATA / "flowcam" / "labels.csv")
    parser.add_argument("--leave-out", nargs="+", default=LEAVE_OUT, metavar="CLASS")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--force", action="store_true", help="measure again what is there")
    parser.add_argument("--quick", action="store_true", help="small and short; not for the table")
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.epochs = args.seeds[:1], 1
        args.out = args.out.parent / "work" / args.out.name
    labelled = {"across", "filter", "leave_class"} & set(args.parts)
    X, y, runs = load(args) if labelled else (None, None, [])

    def row(name: str, measure):
        kept(args.out / f"{name.replace(' ', '_').replace(',', '')}.json", args.force, measure)

    for run in sorted(set(runs)):
        # Light differs from crop to crop: all come to the brightness of the run that is learned.
        even = MeanCorrection().fit(X[runs == run]).transform(X)
        for seed in args.seeds:
            for model in args.models if "across" in args.parts else ():
                row(
                    f"across_{run}_{model}_{seed}",
                    lambda m=model, r=run, s=seed, X=even: across(m, r, s, args.epochs, X, y, runs),
                )
        for seed in args.seeds if "filter" in args.parts else ():
            row(
                f"filter_{run}_{seed}",
                lambda r=run, s=seed, X=even: filtered(r, s, args.epochs, X, y, runs),
            )
        for left_out in args.leave_out if "leave_class" in args.parts else ():
            for seed in args.seeds:
                row(
                    f"leave_class_{run}_{left_out}_{seed}",
                    lambda c=left_out, r=run, s=seed, X=even: leave_class.measure(
                        make_classifier(s, args.epochs), c, r, X, y, runs
                    ),
                )
    if "novel" in args.parts:
        row(f"novel_{args.seeds[0]}", lambda: novel(args.seeds[0], args.quick))
    if "loading" in args.parts:
        row("loading", lambda: loading(args))
    stored = {path.stem: json.loads(path.read_text()) for path in sorted(args.out.glob("*.json"))}
    table = show(stored)
    (args.out / "README.md").write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    main()
