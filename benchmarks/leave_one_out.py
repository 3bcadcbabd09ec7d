"""Leave one digit out of MNIST at a time, without labels, and measure whether it shows."""

import argparse
import os
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "leave_one_out"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
os.environ.setdefault("ICECORE_DATA", str(SHARED))

import joblib  # noqa: E402
import numpy as np  # noqa: E402
from sklearn.base import BaseEstimator, TransformerMixin  # noqa: E402

from icecore_sk import VAE  # noqa: E402
from icecore_sk.datasets import fetch_mnist  # noqa: E402

N_TRAIN, N_VALID = 30_000, 4_000
VALID_FROM = 50_000


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

    def transform(self, X):
        return self._ask("transform", X)

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--digits", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    for digit in args.digits:
        represent(digit, args.seed, args.work)


if __name__ == "__main__":
    main()
