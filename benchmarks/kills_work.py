"""The pieces of work that `kills.py` kills: each goes on where it was, and says what it found."""

import contextlib
import hashlib
import io
import json
import os
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.frozen import FrozenEstimator

from icecore_sk import (
    VAE,
    AutoEncoder,
    FlowVAE,
    OutlierScorer,
    ResNet18Classifier,
    save,
)
from icecore_sk._engine.checkpoint import check_archive
from icecore_sk.datasets import (
    load_digit_images,
    load_particles,
    make_particles,
    save_particles,
)
from icecore_sk.survey import survey
from icecore_sk.survey.cli import main as icecore

NARROW = {"net_params": {"encoder_width": 8, "stem": "pooled"}}
COMMON = {"max_epochs": 12, "batch_size": 32, "random_state": 0, **NARROW}
STOPPING = {"early_stopping": True, "n_iter_no_change": 6}
# What a checkpoint must hold differs: views, composites, noise, and where early stopping is.
NETWORKS = {
    "ResNet18Classifier": ResNet18Classifier(
        augmentation={"rotate": 10}, outlier_exposure=0.3, **STOPPING, **COMMON
    ),
    "AutoEncoder": AutoEncoder(4, **COMMON),
    "VAE": VAE(4, kl_warmup=4.0, **STOPPING, **COMMON),
    "FlowVAE": FlowVAE(4, n_flows=2, **COMMON),
}
N_PARTICLES, CHUNK = 640, 16
PARTICLES, MODEL = "particles.arrow", "model.safetensors"


def prepare(inputs: Path) -> None:
    """Write what the works read: particles, and a fitted model."""
    inputs.mkdir(parents=True, exist_ok=True)
    particles, _ = make_particles(N_PARTICLES, image_size=16, random_state=0)
    particles = particles[["image", "Length", "Area (ABD)", "Circularity"]]
    save_particles(particles, inputs / PARTICLES)
    network = AutoEncoder(2, max_epochs=1, random_state=0, **NARROW).fit(particles)
    scorer = OutlierScorer(FrozenEstimator(network), contamination=0.1, random_state=0)
    save(scorer.fit(particles), inputs / MODEL)


# -------------------------------------------------------------------- the works


def fit(name: str, inputs: Path, folder: Path) -> dict[str, str]:
    """Fit a network with checkpoints in `folder`."""
    X, y = load_digit_images(return_X_y=True)
    model = NETWORKS[name].set_params(checkpoint_dir=folder).fit(X[:160], y[:160])
    weights = {k: v.numpy() for k, v in model.net_.module_.state_dict().items()}
    return {
        "weights": digest(weights),
        "history": digest(model.history_.drop(columns="seconds")),
        "outputs": digest({"transform": model.transform(X[160:260])}),
    }


def score(inputs: Path, folder: Path) -> dict[str, str]:
    """Score particles with a model from a file, by the command line."""
    words = ["score", str(inputs / MODEL), str(inputs / PARTICLES), "--out", str(folder)]
    code = icecore([*words, "--chunk-size", str(CHUNK), "--quiet"])
    if code:
        raise SystemExit(code)
    return {path.name: sha(path.read_bytes()) for path in sorted(folder.iterdir())}


def run_survey(inputs: Path, folder: Path) -> dict[str, str]:
    """Survey particles, of which half are labelled; one class is removed."""
    particles, labels = make_particles(120, classes=2, image_size=16, random_state=0)
    known = labels.astype(object).where(np.arange(len(labels)) % 2 == 0, None)
    result = survey(
        particles,
        known,
        out=folder,
        remove=labels.value_counts().index[0],
        max_miss=0.2,
        model=VAE(3, max_epochs=6, **NARROW),
        classifier=ResNet18Classifier(max_epochs=2, class_weight="balanced_sampling", **NARROW),
        min_cluster_size=6,
        contamination=0.04,
        verbose=0,
    )
    models = joblib.load(folder / "pipeline.joblib")
    found = json.loads((folder / "survey.json").read_text())
    return {
        "table": digest(result.table),
        "table in the folder": digest(pd.read_parquet(folder / "particles.parquet")),
        "images": digest({"image": stacked(load_particles(folder / "images.arrow"))}),
        "latent": digest({"latent": models["embedding"].transform(particles)}),
        "stability": digest({"labels": result.stability["labels"]})
        + digest(result.stability["clusters"])
        + digest(result.stability["pairs"])
        + digest(result.stability["runs"].drop(columns="seconds")),
        "agreement": sha(repr(found["record"]["consistency"]).encode()),
        "histories": digest(
            {
                f"{name} {column}": np.array(values)
                for name, columns in found["histories"].items()
                for column, values in columns.items()
                if column != "seconds"
            }
        ),
        "report ends": str((folder / "report.html").read_text().rstrip().endswith("</html>")),
    }


WORKS = {
    **{
        f"fit: {name}": lambda inputs, folder, name=name: fit(name, inputs, folder)
        for name in NETWORKS
    },
    "score": score,
    "survey": run_survey,
}


def state(name: str, folder: Path) -> int:
    """Count what is done already: epochs of a fit, parts of a score, steps of a survey."""
    if name.startswith("fit"):
        path = folder / "checkpoint.pt"
        return len(torch.load(path, weights_only=True)["history"]) if path.exists() else 0
    if name == "score":
        return len(list(folder.glob("part-*.parquet")))
    return len(list((folder / "steps").glob("*.joblib")))


READERS = {
    ".arrow": load_particles,
    ".html": lambda path: path.read_text().rstrip().index("</html>"),
    ".joblib": joblib.load,
    ".json": lambda path: json.loads(path.read_text()),
    ".parquet": pd.read_parquet,
    ".png": lambda path: Image.open(path).load(),
    ".pt": lambda path: (check_archive(path), torch.load(path, weights_only=True)),
}


def unfinished(name: str) -> bool:
    """Whether a file's name says that it is being written."""
    return name.startswith(".") or name.endswith(".part")


def halves(folder: Path) -> list[str]:
    """Return the files that are not whole, though their names do not say so."""
    found = []
    for name in files(folder):
        path = folder / name
        if unfinished(path.name):
            continue
        try:
            READERS[path.suffix](path)
        except Exception as error:
            found.append(f"{name} ({type(error).__name__})")
    return found


# -------------------------------------------------------------------- what is compared


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def digest(columns) -> str:
    """Return what identifies a table, or arrays by name, bit for bit."""
    found = hashlib.sha256()
    for name in columns:
        values = np.asarray(columns[name])
        found.update(f"{name} {values.dtype} {values.shape}".encode())
        plain = values.dtype.kind in "fiub"
        found.update(values.tobytes() if plain else repr(values.tolist()).encode())
    return found.hexdigest()[:16]


def stacked(particles) -> np.ndarray:
    return particles["image"].array.__arrow_array__().combine_chunks().to_numpy_ndarray()


def files(folder: Path) -> list[str]:
    """Return the files of a folder by their relative paths."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def do(pipe, name: str, inputs: Path, folder: Path) -> None:
    """Do one piece of work in a process of its own; send what was done before, and what is found.

    The process leads a group, so that what it starts can be killed with it.
    """
    os.setsid()
    torch.set_num_threads(1)  # a copied process has none of the others'
    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    pipe.send({"done": state(name, folder)})
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            found = WORKS[name](inputs, folder)
    except BaseException as error:
        pipe.send({"error": f"{type(error).__name__}: {error} {said.getvalue()}"[:600]})
    else:
        pipe.send({"found": found, "files": files(folder)})
