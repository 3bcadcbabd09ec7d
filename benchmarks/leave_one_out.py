"""Leave one digit out of MNIST at a time, without labels, and measure whether it shows.

For each of the ten digits a VAE is trained on 30,000 training images without it, `OutlierScorer` is
fitted on the same images, and all 10,000 test images are ranked: by the ELBO alone, by each
component, by the scorer as it comes, and, as a floor for anything learned, by neighbours among raw
pixels. No label is used but to leave the digit out and to judge.

    python benchmarks/leave_one_out.py --work FOLDER            # all ten, about an hour of one core
    python benchmarks/leave_one_out.py --work FOLDER --digits 1 --force

A digit that is measured already is kept, and so is what was trained, in FOLDER. Settings are
compared with `--choose` on 4,000 training images that nothing was trained on, never on the test
images.
"""

import argparse
import json
import os
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "leave_one_out"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
os.environ.setdefault("ICECORE_DATA", str(SHARED))

import joblib  # noqa: E402
import numpy as np  # noqa: E402
from provenance import kept, peak_memory_mb  # noqa: E402
from scipy.stats import rankdata  # noqa: E402
from sklearn.base import BaseEstimator, TransformerMixin  # noqa: E402
from sklearn.frozen import FrozenEstimator  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402

from icecore_sk import VAE, OutlierScorer  # noqa: E402
from icecore_sk.datasets import fetch_mnist  # noqa: E402

N_TRAIN, N_VALID = 30_000, 4_000
VALID_FROM = 50_000
N_NEIGHBORS = 20


class Kept(TransformerMixin, BaseEstimator):
    """A fitted VAE whose answers are kept in a folder, so that a score can be tried again.

    Parameters
    ----------
    model : fitted VAE
    name : str
        Stands for the model in the keys, so that its weights need not be hashed each time.
    folder : path
    """

    def __init__(self, model, name, folder):
        self.model = model
        self.name = name
        self.folder = folder

    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True

    @property
    def image_shape_(self):
        return self.model.image_shape_

    def transform(self, X):
        return self._ask("transform", X)

    def reconstruct(self, X):
        return self.model.reconstruct(X)

    def score_samples(self, X):
        return self._ask("score_samples", X)

    def _ask(self, method, X):
        path = Path(self.folder) / f"{self.name}_{method}_{joblib.hash(X)}.npy"
        if not path.exists():
            answer = getattr(self.model, method)(X)
            part = path.with_suffix(".part.npy")
            np.save(part, answer)
            part.replace(path)
        return np.load(path)


def split(digit: int) -> dict:
    """Training images without the digit; training images to choose on; all test images."""
    X, y = fetch_mnist(subset="train", return_X_y=True)
    known = np.flatnonzero(y[:VALID_FROM] != digit)[:N_TRAIN]
    valid = slice(VALID_FROM, VALID_FROM + N_VALID)
    X_test, y_test = fetch_mnist(subset="test", return_X_y=True)
    return {"train": (X[known], y[known]), "valid": (X[valid], y[valid]), "test": (X_test, y_test)}


def make_model(seed: int) -> VAE:
    # One pass over many images teaches more than several over few, at the same cost; the KL must
    # have its full weight well before that pass ends.
    return VAE(
        16,
        likelihood="gaussian",
        max_epochs=1,
        batch_size=64,
        kl_warmup=0.3,
        net_params={"decoder_width": 16},
        random_state=seed,
    )


def represent(digit: int, seed: int, work: Path) -> Kept:
    """Train without the digit, or load what was trained, and run all images through once."""
    name = f"digit{digit}_seed{seed}"
    path = work / f"{name}.joblib"
    data = split(digit)
    if not path.exists():
        started = time.perf_counter()
        model = make_model(seed).fit(data["train"][0])
        part = path.with_suffix(".part")
        joblib.dump(model, part)
        part.replace(path)
        print(f"digit {digit}: {time.perf_counter() - started:.0f} s of training", flush=True)
    kept = Kept(joblib.load(path), name, work)
    for X, _ in data.values():
        kept.transform(X)
        kept.score_samples(X)
    return kept


def aurocs(digit: int, seed: int, work: Path, subset: str) -> dict[str, float]:
    """Return how well each score tells the digit from the nine others."""
    data = split(digit)
    X, X_new, y_new = data["train"][0], *data[subset]
    model = represent(digit, seed, work)
    scores = {"ELBO alone": -model.score_samples(X_new)}
    for metric in ("euclidean", "cosine"):
        scorer = OutlierScorer(
            FrozenEstimator(model), n_neighbors=N_NEIGHBORS, metric=metric, random_state=seed
        )
        table = scorer.fit(X).explain(X_new)
        for name in scorer.components_:
            if name != "corrected_reconstruction" or metric == "euclidean":
                where = "" if name == "corrected_reconstruction" else f", {metric}"
                scores[f"VAE, {name}{where}"] = table[name].to_numpy()
        scores[f"OutlierScorer(VAE), {metric}"] = -table["score"].to_numpy()
    scores |= pixel_scores(X, X_new)
    novel = y_new == digit
    return {name: float(roc_auc_score(novel, score)) for name, score in scores.items()}


def pixel_scores(X: np.ndarray, X_new: np.ndarray) -> dict[str, np.ndarray]:
    """Scores without a network: 5 neighbours among the same training images, pixel by pixel."""
    rows, new = (images.reshape(len(images), -1) / np.float32(255) for images in (X, X_new))
    scores = {}
    for metric in ("euclidean", "cosine"):
        scorer = OutlierScorer(n_neighbors=5, metric=metric, algorithm="exact").fit(rows)
        table = scorer.explain(new)
        for name in ("distance", "sparsity"):
            scores[f"raw pixels, {name}, {metric}"] = table[name].to_numpy()
    both = "raw pixels, distance, cosine", "raw pixels, sparsity, euclidean"
    scores["raw pixels, rank mean of distance, cosine, and sparsity, euclidean"] = sum(
        rankdata(scores[name]) for name in both
    )
    return scores


def measure(digit: int, seed: int, work: Path, subset: str) -> dict:
    return {
        "digit": digit,
        "seed": seed,
        "subset": subset,
        "training_images": N_TRAIN,
        "n_neighbors": N_NEIGHBORS,
        "parameters": {k: repr(v) for k, v in make_model(seed).get_params(deep=False).items()},
        "auroc": aurocs(digit, seed, work, subset),
        "peak_memory_mb": peak_memory_mb(),
    }


def show(rows: list[dict]) -> str:
    """Return the table as Markdown."""
    digits = [row["digit"] for row in rows]
    lines = [
        "| score | mean | worst | " + " | ".join(map(str, digits)) + " |",
        "|---|---|---|" + "---|" * len(digits),
    ]
    for name in rows[0]["auroc"]:
        values = [row["auroc"][name] for row in rows]
        lines.append(
            f"| {name} | {np.mean(values):.3f} | {digits[int(np.argmin(values))]}: "
            f"{min(values):.2f} | " + " | ".join(f"{value:.3f}" for value in values) + " |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--digits", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True, help="folder for models and latents")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--choose", action="store_true", help="on training images held out")
    parser.add_argument("--force", action="store_true", help="measure again what is there")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    subset, out = ("valid", args.work) if args.choose else ("test", args.out)
    rows = []
    for digit in args.digits:
        path = out / f"{subset}_digit{digit}_seed{args.seed}.json"
        rows.append(
            kept(path, args.force, lambda d=digit: measure(d, args.seed, args.work, subset))
        )
    # Of all digits that are there, so that a run of one leaves the others in the table.
    found = sorted(out.glob(f"{subset}_digit*_seed{args.seed}.json"))
    table = show([json.loads(path.read_text()) for path in found])
    (out / f"{subset}_seed{args.seed}.md").write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    main()
