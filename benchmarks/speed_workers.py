"""What `speed.py` measures in a process of its own: peak memory, and a grid search.

    python benchmarks/speed_workers.py fit          # peak MB of fitting 20,000 images of 128x128
    python benchmarks/speed_workers.py transform    # growth in MB over 100,000 images of 64x64
    python benchmarks/speed_workers.py search 2 1500    # seconds with two workers, 1,500 images

`--device cuda` measures a GPU; resident memory is the host's there. The last line of each is JSON.
"""

import argparse
import json
import os
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from provenance import peak_memory_mb
from sklearn.model_selection import GridSearchCV

from icecore_sk import AutoEncoder, ResNet18Classifier


def resident_mb() -> float:
    """Resident memory of this process now, in units of 10^6 bytes, where the system tells."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def fit(device: str, n: int = 20_000, size: int = 128) -> dict:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (n, 1, size, size), dtype=np.uint8)
    y = rng.integers(0, 7, n)
    before = resident_mb()
    model = ResNet18Classifier(max_epochs=1, batch_size=128, random_state=0, device=device)
    model.fit(X, y)
    return {"images_mb": X.nbytes / 1e6, "before_mb": before, "peak_mb": peak_memory_mb()}


def transform(device: str, n: int = 100_000, size: int = 64) -> dict:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        X = np.lib.format.open_memmap(path, "w+", np.uint8, (n, 1, size, size))
        for start in range(0, n, 5000):
            X[start : start + 5000] = rng.integers(0, 256, X[start : start + 5000].shape)
        X.flush()
        del X
        X = np.load(path, mmap_mode="r")
        some = np.array(X[:256])
        model = ResNet18Classifier(max_epochs=1, batch_size=128, random_state=0, device=device)
        model.fit(some, rng.integers(0, 7, len(some)))
        model.transform(some[:1])
        before, peak_before = resident_mb(), peak_memory_mb()
        features = model.transform(X)
        return {
            "file_mb": path.stat().st_size / 1e6,
            "features_mb": features.nbytes / 1e6,
            "before_mb": before,
            # Fitting the small model may have peaked higher than anything after it.
            "peak_mb": max(peak_memory_mb(), resident_mb()),
            "peak_is_of_transform": peak_memory_mb() > peak_before,
            "growth_mb": peak_memory_mb() - before,
        }


def search(device: str, n_jobs: int, n: int) -> dict:
    """Seconds of a grid search, and of a second one that finds its workers there."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (n, 1, 28, 28), dtype=np.uint8)
    model = AutoEncoder(max_epochs=3, random_state=0, device=device)
    grid = GridSearchCV(model, {"latent_dim": [8, 16]}, cv=2, n_jobs=n_jobs)
    taken = {}
    for which in ("first", "again"):
        started = time.perf_counter()
        grid.fit(X)
        taken[which] = time.perf_counter() - started
    return taken


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    functions = {"fit": fit, "transform": transform, "search": search}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=functions)
    parser.add_argument("numbers", nargs="*", type=int)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    print(json.dumps(functions[args.what](args.device, *args.numbers)))
