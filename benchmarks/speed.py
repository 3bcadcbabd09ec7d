"""How fast the estimators train and run, beside the ways in which people do it today.

    python benchmarks/speed.py                          # everything: two to five hours on two cores
    python benchmarks/speed.py --parts fit --sizes 64   # one table
    python benchmarks/speed.py --quick                  # a look at it: about 5 minutes

Contenders take turns (A B C, A B C, ...), because the speed of a machine drifts; the table gives
medians and ratios, the JSON files every single time. Each part is one file in `results/speed/`
and is not measured again unless `--force` asks for it. The same command measures a GPU where torch
finds one. What the contenders are: see `contenders.py`. pythae and PyOD are left out where they
are not installed (`pip install pythae pyod`).
"""

import argparse
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
os.environ.setdefault("ICECORE_DATA", str(SHARED))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from contenders import CONTENDERS, takes_part  # noqa: E402
from plain_networks import N_CLASSES, TorchvisionClassifier  # noqa: E402
from provenance import cpu_name, kept  # noqa: E402
from speed_table import FORMATS, show  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from icecore_sk._engine import autocast_dtype  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "speed"
LOOKS = Path(__file__).parent / "results" / "work" / "speed"  # quick ones, which git ignores
MODELS = ["ResNet18Classifier", "AutoEncoder", "VAE", "FlowVAE"]
PACKAGES = {"(d) pythae": "pythae", "(e) PyOD": "pyod"}
# Per image size: rows and epochs of a classifier's fit, and of an autoencoder's, for about ten
# seconds of ours on two cores that multiply 900 GFLOP/s in bfloat16, and eight steps at least. In
# less, the start of a fit and the measuring of the norms at its end would count for too much.
FITS = {28: (8192, 3, 2048, 5), 64: (2048, 2, 768, 4), 128: (1024, 2, 256, 4)}
QUICK = {28: (512, 1, 512, 1), 64: (256, 1, 256, 1), 128: (128, 1, 128, 1)}
BATCH_SIZE = 128  # our default
INFERENCE_ROWS = {28: 8192, 64: 2048, 128: 512}
SCALING_ROWS = (5_000, 20_000, 80_000)


def make_data(n: int, size: int, seed: int = 0):
    """Random pixels: no contender is quicker or slower for what is drawn."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 256, (n, 1, size, size), dtype=np.uint8)
    return X, rng.integers(0, N_CLASSES, n)


def formats(device: torch.device) -> tuple[str, ...]:
    """Number formats that the hardware multiplies; the first is what "auto" takes."""
    return FORMATS[1:] if autocast_dtype("auto", device) is None else FORMATS


def seconds(function, *args) -> float:
    started = time.perf_counter()
    function(*args)
    return time.perf_counter() - started


def synchronized(function, device):
    def call():
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return call


# -------------------------------------------------------------------- the machine's own limit


def measure_rates(device: torch.device, repeats: int) -> dict:
    """Products of square matrices, in GFLOP/s: the best of three sizes.

    Of the formats that the hardware multiplies: elsewhere bfloat16 is a hundred times slower.
    """
    rates = {}
    sides = (1024, 2048, 4096) if device.type == "cpu" else (4096, 8192, 16384)
    for name in formats(device):
        dtype = getattr(torch, name)
        best = 0.0
        for side in sides:
            a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
            multiply = synchronized(lambda a=a, b=b: a @ b, device)
            multiply()
            times = [seconds(multiply) for _ in range(max(5, repeats))]
            best = max(best, 2 * side**3 / statistics.median(times) / 1e9)
        rates[name] = best
    return rates


def training_gflop(size: int) -> float:
    """Billions of operations of one training step per image, counted on torchvision's ResNet18."""
    net = TorchvisionClassifier()
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(2, 1, size, size)).sum().backward()
    return counter.get_total_flops() / 2 / 1e9


# -------------------------------------------------------------------- fit, transform, score


def installed(contender: str) -> bool:
    package = PACKAGES.get(contender)
    return package is None or importlib.util.find_spec(package) is not None


def measure_fits(model: str, size: int, args, device: torch.device) -> dict:
    """Fit, transform and score in turns; images per second, every repeat."""
    clf_rows, clf_epochs, ae_rows, ae_epochs = (QUICK if args.quick else FITS)[size]
    is_classifier = model == "ResNet18Classifier"
    n, epochs = (clf_rows, clf_epochs) if is_classifier else (ae_rows, ae_epochs)
    X, y = make_data(n, size)
    X_new, _ = make_data(INFERENCE_ROWS[size] // (8 if args.quick else 1), size, seed=1)
    # An ELBO is a mean over many draws, each of which runs the decoder.
    few = X_new if is_classifier else X_new[: len(X_new) // 4]
    new = {"transform": X_new, "score_samples": few}
    names = [c for c in CONTENDERS if takes_part(c, model) and installed(c)]
    rates: dict = {name: {"fit": [], "transform": [], "score_samples": []} for name in names}

    def one_round(record: bool, X, y, epochs: int, first: int = 0) -> None:
        for name in names[first:] + names[:first]:
            contender = CONTENDERS[name](model, (1, size, size), BATCH_SIZE, epochs, device)
            taken = {"fit": len(X) * epochs / seconds(contender.fit, X, y)}
            for method, rows in new.items():
                if getattr(contender, method, None) is not None:
                    taken[method] = len(rows) / seconds(getattr(contender, method), rows)
            for method, rate in taken.items() if record else ():
                rates[name][method].append(rate)

    one_round(False, X[: 2 * BATCH_SIZE], y[: 2 * BATCH_SIZE], 1)  # imports, caches, first calls
    for number in range(args.repeats):
        one_round(True, X, y, epochs, number % len(names))  # each is the first one in its turn
    return {
        "model": model,
        "size": size,
        "rows": n,
        "epochs": epochs,
        "batch_size": BATCH_SIZE,
        "images_per_second": rates,
        "training_gflop_per_image": training_gflop(size) if is_classifier else None,
    }


# -------------------------------------------------------------------- in other processes


def worker(*words: str, device: torch.device, environment: dict | None = None):
    """Run a function of `speed_workers.py` in a fresh process."""
    script = str(Path(__file__).parent / "speed_workers.py")
    done = subprocess.run(
        [sys.executable, script, *words, "--device", str(device)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    return json.loads(done.stdout.splitlines()[-1])


# -------------------------------------------------------------------- time against rows


def measure_scaling(args, device: torch.device) -> dict:
    """Seconds of fit and transform against the number of rows, and the exponent of the growth."""
    from icecore_sk import ResNet18Classifier

    sizes = [n // 20 for n in SCALING_ROWS] if args.quick else list(SCALING_ROWS)
    X, y = make_data(max(sizes), 28)
    times: dict = {"fit": {n: [] for n in sizes}, "transform": {n: [] for n in sizes}}
    model = ResNet18Classifier(max_epochs=2, random_state=0, device=str(device))
    model.fit(X[:512], y[:512])
    for _ in range(args.repeats):
        for n in sizes:
            times["fit"][n].append(seconds(model.fit, X[:n], y[:n]))
            times["transform"][n].append(seconds(model.transform, X[:n]))
    exponents = {
        method: float(
            np.polyfit(np.log(sizes), np.log([statistics.median(t[n]) for n in sizes]), 1)[0]
        )
        for method, t in times.items()
    }
    return {"size": 28, "epochs": 2, "seconds": times, "exponent": exponents}


# -------------------------------------------------------------------- quality


def measure_quality(args, device: torch.device) -> dict:
    """Accuracy and ELBO on MNIST's test images after equal training in each number format."""
    from icecore_sk import VAE, ResNet18Classifier
    from icecore_sk.datasets import fetch_mnist

    n, n_test, epochs = (1000, 500, 1) if args.quick else (12_000, 10_000, 3)
    X, y = fetch_mnist(subset="train", return_X_y=True)
    X_test, y_test = fetch_mnist(subset="test", return_X_y=True)
    X, y, X_test, y_test = X[:n], y[:n], X_test[:n_test], y_test[:n_test]
    rows: dict = {"accuracy": {}, "ELBO": {}}
    for seed in range(3):
        for precision in formats(device):
            options = {
                "max_epochs": epochs,
                "precision": precision,
                "random_state": seed,
                "device": str(device),
            }
            clf = ResNet18Classifier(**options).fit(X, y)
            rows["accuracy"].setdefault(precision, []).append(float(clf.score(X_test, y_test)))
            vae = VAE(16, likelihood="bernoulli", **options).fit(X)
            elbo = vae.score(X_test)
            rows["ELBO"].setdefault(precision, []).append(elbo)
    return {"rows": n, "epochs": epochs, **rows}


# -------------------------------------------------------------------- grid search


def measure_search(args, device: torch.device) -> dict:
    """Seconds of the same GridSearchCV with one worker and with two, in fresh processes.

    The first search there starts the workers, which import everything; the next finds them. Once
    as a user starts it, and once with OMP_NUM_THREADS set to all cores, which workers inherit.
    """
    out: dict = {}
    for setting in ("unset", str(os.cpu_count())):
        for _ in range(args.repeats):
            for n_jobs in ("1", "2"):
                environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
                if setting != "unset":
                    environment["OMP_NUM_THREADS"] = setting
                n = "300" if args.quick else "1500"
                taken = worker("search", n_jobs, n, device=device, environment=environment)
                for which, value in taken.items():
                    key = f"OMP_NUM_THREADS {setting}, n_jobs={n_jobs}, {which}"
                    out.setdefault(key, []).append(value)
    return out


# -------------------------------------------------------------------- files and tables


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    # One name is sold with several instruction sets, and the figures hang on these.
    native = " with bfloat16" if "bfloat16" in formats(device) else ""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{os.cpu_count()} cores of {cpu_name()}, {capability}{native}"


def main() -> None:
    parts = ["fit", "memory", "scaling", "quality", "search"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(FITS), choices=list(FITS))
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--force", action="store_true", help="measure again what is there")
    parser.add_argument("--quick", action="store_true", help="small and short; not for the table")
    args = parser.parse_args()
    if args.quick:
        args.repeats = 1
    args.out = args.out or (LOOKS if args.quick else RESULTS)
    warnings.filterwarnings("ignore")
    device = torch.device(args.device)
    slug = re.sub(r"\W+", "_", device_name(device)).strip("_") + ("_quick" if args.quick else "")
    folder = args.out / slug

    def part(name: str, measure) -> dict:
        # Shared machines are twice as fast on one day as on another, so each part has its own.
        def with_products() -> dict:
            return {"products": measure_rates(device, args.repeats), **measure()}

        return kept(folder / f"{name}.json", args.force, with_products)

    results: dict = {}
    if "fit" in args.parts:
        for size in args.sizes:
            for model in args.models:
                results[f"{model}_{size}"] = part(
                    f"fit_{model}_{size}",
                    lambda m=model, s=size: measure_fits(m, s, args, device),
                )
    measures = {
        "memory": lambda: {w: worker(w, device=device) for w in ("fit", "transform")},
        "scaling": lambda: measure_scaling(args, device),
        "quality": lambda: measure_quality(args, device),
        "search": lambda: measure_search(args, device),
    }
    for name, measure in measures.items():
        if name in args.parts:
            results[name] = part(name, measure)
    stored = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    table = show(device_name(device), stored)
    (args.out / f"{slug}.md").write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    main()
