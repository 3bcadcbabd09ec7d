"""Leave digits out of MNIST, and measure whether each model shows them all the same.

Every model is trained on the training images without the held-out digits and then meets all test
images. A row is a model, a split and a seed; it is measured in a process of its own, so that its
peak memory is its own, and is one JSON file. A row that is there already is kept, so that a run
that was stopped goes on where it was.

    python benchmarks/leave_digits_out.py                       # [2, 6] out, one seed
    python benchmarks/leave_digits_out.py --full                # every split, up to three seeds
    python benchmarks/leave_digits_out.py --quick               # all parts, small and short
    python benchmarks/leave_digits_out.py --held-out 1 7 --models VAE --seeds 0 --force   # one row
    python benchmarks/leave_digits_out.py --show                # the page alone
    python benchmarks/leave_digits_out.py --choose --held-out 3 4 --models ResNet18Classifier \
        --epochs 4 --set outlier_exposure=0.5                   # a setting, on training images

What was chosen on which digits: see `CHOSEN` in `digits_models.py`.
"""

import argparse
import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import binarised
import digits_table
import numpy as np
from baselines import BASELINES, NEEDS_EXTRA
from digits_data import (
    BINARISED,
    FIVE,
    FULL,
    JUDGED,
    N_CHOOSING,
    ONE,
    PAIR,
    QUICK,
    Size,
    load,
    split_name,
)
from digits_map import METRIC, SETTINGS, WHITENING, draw, is_map_of, measure_map
from digits_models import OURS, TOGETHER, TWO, TWO_UNLABELLED, Estimator, Line
from novelty_scores import judge_all
from provenance import kept, peak_memory_mb
from sklearn.metrics import accuracy_score
from sklearn.neighbors import KNeighborsClassifier

RESULTS = Path(__file__).parent / "results"
LINES: dict[str, type[Line]] = {**OURS, **BASELINES}
# What the page is about has three seeds with --full; all else one, or no night would do.
OF_MANY_SEEDS = {
    "five": (TWO,),
    "pair": ("ResNet18Classifier", TWO, TWO_UNLABELLED),
    BINARISED: ("VAE", "FlowVAE"),
}
IN_FIVE = (TWO, "plain ResNet18", "raw pixels", "PCA + LOF")
IN_ONE = (TOGETHER, "raw pixels", "PCA + LOF")
# All lines together would be too small to see.
PICTURED = (TWO, TWO_UNLABELLED, "VAE", "FlowVAE", "plain ResNet18", "raw pixels")
# Parameters that estimators have got since there are rows, and what they did before.
SINCE = {"augmentation": "None"}
SPLITS = {"pair": [PAIR], "five": FIVE, "one": ONE, BINARISED: [()]}


# -------------------------------------------------------------------- one row


def measure(name: str, held_out: tuple[int, ...], seed: int, args, arrays: Path) -> dict:
    """Train one model and return its row; its map goes to `arrays`."""
    start_memory = peak_memory_mb()  # of what is imported, ours and the baselines' alike
    data = load(held_out, args.size)
    started = time.perf_counter()
    line = LINES[name](seed, args.size.epochs, args.set).fit(data.X, data.y)
    row = {
        "model": name,
        "held_out": list(held_out),
        "seed": seed,
        "epochs": line.epochs,
        "supervised": line.supervised,
        "training_images": len(data.X),
        "test_images": len(data.X_test),
        "fit_seconds": time.perf_counter() - started,
        "start_memory_mb": start_memory,
        "fit_peak_memory_mb": peak_memory_mb(),
    }
    started = time.perf_counter()
    H_test = line.look(data.X_test)
    row["transform_seconds"] = time.perf_counter() - started
    row |= closed_set(line, data, H_test)
    started = time.perf_counter()
    row["novelty"] = judge_all(data.known, line.scores(data))
    row["main_score"] = line.main_score
    row["scores_seconds"] = time.perf_counter() - started
    if H_test is not None and held_out not in ONE:  # ten maps more would show what one shows
        mapped, mapping = measure_map(line.map_space(data, H_test), data, line.metric, seed)
        row |= mapped
        arrays.parent.mkdir(parents=True, exist_ok=True)
        np.savez(arrays, mapping=mapping.astype(np.float32), y=data.y_test)
    row["history"] = line.history()
    row["parameters"] = parameters(held_out, name, seed, args)
    return {**row, "peak_memory_mb": peak_memory_mb()}


def closed_set(line: Line, data, H_test) -> dict:
    """How many known test images get their digit, by the model or by its nearest neighbours."""
    known = data.known
    if hasattr(line, "predict"):
        accuracy = accuracy_score(data.y_test[known], line.predict(data.X_test[known]))
        return {"closed_set_accuracy": accuracy, "closed_set_accuracy_by": "predict"}
    if H_test is None:
        return {}
    vote = KNeighborsClassifier(5, metric=line.metric).fit(line.look(data.X), data.y)
    return {
        "closed_set_accuracy": vote.score(H_test[known], data.y_test[known]),
        "closed_set_accuracy_by": "5 nearest neighbours in the latent space",
    }


# -------------------------------------------------------------------- which rows


def plan(args) -> list[tuple[tuple[int, ...], str, int]]:
    """Return the rows to measure: split (empty for binarised), model, seed."""
    if args.held_out:
        splits = [tuple(sorted(set(args.held_out)))]
    else:
        chosen = args.splits or (list(SPLITS) if args.full else ["pair"])
        splits = [split for name in chosen for split in SPLITS[name]]
    rows = []
    for split in splits:
        for name in binarised.MODELS if split == () else LINES:
            seeds = usual_seeds(split, name, args.seeds)
            if args.models and (name not in args.models or args.seeds_named or args.held_out):
                seeds = args.seeds if name in args.models else []
            rows += [(split, name, seed) for seed in seeds]
    # Of every row its first seed first: a run that is stopped early has most of the table.
    return sorted(rows, key=lambda row: args.seeds.index(row[2]))


def usual_seeds(split: tuple[int, ...], name: str, seeds: list[int]) -> list[int]:
    """Return the seeds of a model where none is named: all would take a week."""
    kind = next((kind for kind, splits in SPLITS.items() if split in splits), "pair")
    if kind == "five":
        # They are about labels: networks without are measured on the pair.
        left_out = name not in IN_FIVE
    elif kind == "one":
        left_out = name not in IN_ONE
    else:
        # Of what stands together where one digit is left out, both have rows of their own.
        left_out = name == TOGETHER
    if left_out:
        return []
    return seeds if name in OF_MANY_SEEDS.get(kind, ()) else seeds[:1]


def quick_plan(args) -> list[tuple[tuple[int, ...], str, int]]:
    """One row of every kind."""
    wanted = args.models or [*LINES, *binarised.MODELS]
    seed = args.seeds[0]
    rows = [(PAIR, name, seed) for name in LINES if name != TOGETHER]
    rows += [(FIVE[0], "ResNet18Classifier", seed), (ONE[0], TOGETHER, seed)]
    rows += [((), name, seed) for name in binarised.MODELS]
    return [row for row in rows if row[1] in wanted]


def row_file(out: Path, split, name: str, seed: int) -> Path:
    stem = name.replace(",", "").replace(" + ", "_").replace(" ", "_")
    return out / split_name(split) / f"{stem}_seed{seed}.json"


def lacks(name: str) -> str | None:
    """The package that a baseline needs and this environment has not."""
    package = name.split()[0]
    needed = package in NEEDS_EXTRA and importlib.util.find_spec(package.lower()) is None
    return package if needed else None


# -------------------------------------------------------------------- running


def run(rows, args) -> list[str]:
    """Measure what is missing, each row in a new process; return what failed."""
    missing = [row for row in rows if args.force or not is_there(row, args)]
    with ThreadPoolExecutor(args.jobs) as pool:
        return [problem for problem in pool.map(lambda row: start(row, args), missing) if problem]


def is_there(row, args) -> bool:
    """Whether a row was measured, by this script and with the settings of now."""
    path = row_file(args.out, *row)
    if not path.exists():
        return False
    stored = json.loads(path.read_text())
    now = parameters(*row, args)
    if "parameters" in stored and settings_of(stored, now) == now:
        return True
    print(f"{path.parent.name}/{path.name} is of other settings: measured again", flush=True)
    return False


def parameters(split, name: str, seed: int, args) -> dict:
    """What is stored with a row that is measured now."""
    if split == ():
        return binarised.parameters(args.size)
    line = LINES[name](seed, args.size.epochs, args.set)
    if split in ONE:  # no maps there
        return line.parameters()
    whitening = {WHITENING: "within the known classes"} if line.whitens else {}
    return line.parameters() | SETTINGS | {METRIC: repr(line.metric)} | whitening


def settings_of(stored: dict, now: dict) -> dict:
    """Return what a row says of its settings; two of them stood beside the others at first."""
    beside = {key: SINCE[name] for key in now if (name := key.split(", ")[-1]) in SINCE}
    beside["epochs"] = repr(stored.get("epochs"))
    if "umap_metric" in stored:
        beside[METRIC] = repr(stored["umap_metric"])
    return beside | stored["parameters"]


def is_current(stored: dict, args) -> bool:
    """Whether a row may share a mean with those of now: one of other settings may not.

    Rows of before settings were stored, or one of them, are shown until they are measured again.
    """
    split = tuple(stored.get("held_out", ()))
    if "parameters" not in stored or stored["model"] not in (LINES if split else binarised.MODELS):
        return True
    now = parameters(split, stored["model"], stored["seed"], args)
    if settings_of(stored, now).items() <= now.items():
        return True
    print(f"left out, of other settings: {split_name(split)} {stored['model']} {stored['seed']}")
    return False


def start(row, args) -> str | None:
    """Start this script for one row and wait for it; return what went wrong."""
    split, name, seed = row
    label = f"{split_name(split)}/{row_file(args.out, *row).stem}"
    if lacks(name):
        return f"{label}: {lacks(name)} is not installed (the extra 'benchmark')"
    words = ["--worker", "--models", name, "--seeds", str(seed), "--out", str(args.out)]
    words += ["--held-out", *map(str, split)] if split else ["--splits", BINARISED]
    words += ["--work", str(args.work)] + ["--quick"] * args.quick
    words += ["--nll-images", str(args.nll_images)] if args.nll_images else []
    words += ["--nll-samples", str(args.nll_samples)] if args.nll_samples else []
    words += ["--epochs", str(args.epochs)] if args.epochs else []
    words += ["--choose"] * args.choose
    words += ["--set", *(f"{k}={v!r}" for k, v in args.set.items())] if args.set else []
    environment = dict(os.environ)
    if args.jobs > 1:
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // args.jobs))
    done = subprocess.run([sys.executable, __file__, *words], check=False, env=environment)
    return f"{label}: exit status {done.returncode}" if done.returncode else None


def work_on(rows, args) -> None:
    """Measure one row in this process."""
    ((split, name, seed),) = rows
    path = row_file(args.out, split, name, seed)
    arrays = row_file(args.work, split, name, seed).with_suffix(".npz")
    if split == ():
        kept(path, True, lambda: binarised.measure(name, seed, args.size))
    else:
        kept(path, True, lambda: measure(name, split, seed, args, arrays))


def write_page(args) -> None:
    """Write tables and maps of all rows that are there, measured now or before."""
    paths = sorted(args.out.glob("*/*_seed*.json"))
    rows = [row for row in map(json.loads, map(Path.read_text, paths)) if is_current(row, args)]
    args.out.mkdir(parents=True, exist_ok=True)
    maps = maps_at_hand(rows, args)
    title = f"Test images of MNIST, {' and '.join(map(str, PAIR))} never seen in training"
    # Of some models alone it would stand in place of a picture of all.
    if len(maps) == len(PICTURED):
        draw(maps, title, args.out / "maps.png")
    has_maps = (args.out / "maps.png").exists()
    page = digits_table.page(rows, list(LINES), list(OURS), has_maps, banner(args))
    (args.out / "README.md").write_text(page + "\n")
    print(page)


def banner(args) -> str:
    """Say of a page that is not the table what it is."""
    if args.quick:
        return "**A quick look: 1,000 images, one epoch. These figures say nothing.**"
    if args.choose:
        return (
            f"**Settings are chosen here, on training images alone: {N_CHOOSING:,} to learn from, "
            f"and {JUDGED.stop - JUDGED.start:,} others where the page says test images. Settings: "
            f"{args.set or 'those of the code'}.**"
        )
    return "" if args.is_table else f"**Not the table: {args.out.name.replace('_', ' ')}.**"


def maps_at_hand(rows: list[dict], args) -> dict[str, Path]:
    """Return by model and seed, for each model that is pictured, the map of its first row."""
    maps = {}
    for name in PICTURED:
        for row in rows:
            if row.get("held_out") != list(PAIR) or row["model"] != name:
                continue
            file = row_file(args.work, PAIR, name, row["seed"]).with_suffix(".npz")
            if is_map_of(row, file):
                maps[f"{name}, seed {row['seed']}"] = file
                break
    return maps


def setting(text: str) -> tuple[str, object]:
    """Read NAME=VALUE, where the value is written as in Python."""
    name, _, value = text.partition("=")
    return name, ast.literal_eval(value)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--held-out", type=int, nargs="+", metavar="DIGIT")
    parser.add_argument("--splits", nargs="+", choices=list(SPLITS))
    parser.add_argument("--models", nargs="+", choices=list({**LINES, **binarised.MODELS}))
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 0; 0 1 2 with --full")
    parser.add_argument("--full", action="store_true", help="all splits, up to three seeds")
    parser.add_argument("--quick", action="store_true", help="1,000 images; not for the table")
    parser.add_argument("--epochs", type=int, help="for a quick look; not for the table")
    parser.add_argument("--choose", action="store_true", help="on training images alone")
    parser.add_argument(
        "--set", nargs="+", type=setting, default=[], metavar="NAME=VALUE", help="with --choose"
    )
    parser.add_argument("--nll-images", type=int, help="test images whose NLL is estimated")
    parser.add_argument("--nll-samples", type=int, help="posterior samples for each")
    parser.add_argument("--out", type=Path, help="folder of rows and page")
    parser.add_argument("--work", type=Path, help="folder of the maps' coordinates")
    parser.add_argument("--jobs", type=int, help="rows at once: their seconds mean less; default 1")
    parser.add_argument("--force", action="store_true", help="measure again what is there")
    parser.add_argument("--show", action="store_true", help="write the page, measure nothing")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    problem = problem_with(args)
    if problem:
        parser.error(problem)
    base = QUICK if args.quick else FULL
    args.size = Size(
        base.images,
        args.epochs or base.epochs,
        args.nll_images or base.nll_images,
        args.nll_samples or base.nll_samples,
        args.choose,
    )
    # What is short or tried must not be taken for a row of the table, nor kept in its place.
    kind = "_quick" if args.quick else ""
    kind += "_choosing" if args.choose else ""
    kind += f"_{args.epochs}_epochs" if args.epochs else ""
    if args.nll_images or args.nll_samples:
        kind += f"_nll_{args.size.nll_images}_{args.size.nll_samples}"
    kind += "".join(f"_{k}_" + re.sub(r"\W+", "_", repr(v)) for k, v in args.set)
    args.set = dict(args.set)
    args.is_table = not kind
    if args.out and not args.work:
        args.work = args.out / "work"
    args.work = args.work or RESULTS / "work" / f"leave_digits_out{kind}"
    args.out = args.out or (args.work if kind else RESULTS / "leave_digits_out")
    # Most of a quick row is imports and compilation, which take one core.
    args.jobs = args.jobs or (2 if args.quick else 1)
    args.seeds_named = args.seeds is not None
    args.seeds = args.seeds or ([0, 1, 2] if args.full else [0])
    args.force |= args.quick  # it is for seeing that all parts work, as they are now
    return args


def problem_with(args) -> str | None:
    """Say what of the arguments does not go together."""
    held_out = set(args.held_out or ())
    if not held_out <= set(range(10)) or len(held_out) > 7:
        return f"--held-out {args.held_out} must be at most seven of the digits 0 to 9"
    if held_out and (args.splits or args.full):
        return "--held-out is one split; leave --splits and --full away, or measure them apart"
    if args.set and not args.choose:
        return "--set is for --choose: rows of the table have the settings of the code"
    if args.choose and (args.quick or not held_out or held_out & set(PAIR)):
        return "--choose takes 12,000 images and --held-out, with other digits than 2 and 6"
    settable = [name for name, line in OURS.items() if issubclass(line, Estimator)]
    if args.set and not set(args.models or ()) <= set(settable):
        return f"--set is for --models among {', '.join(settable)}"
    if args.set and not args.models:
        return "--set is of one estimator; name it with --models"
    return None


def main() -> None:
    args = parse()
    chosen = args.held_out or args.splits or args.full
    rows = quick_plan(args) if args.quick and not chosen else plan(args)
    if args.worker:
        work_on(rows, args)
        return
    if not (rows or args.show):
        sys.exit(f"Of --splits {args.splits} no row has --models {args.models}.")
    failed = [] if args.show else run(rows, args)
    write_page(args)
    if failed:
        sys.exit("Not measured:\n" + "\n".join(failed))


if __name__ == "__main__":
    main()
