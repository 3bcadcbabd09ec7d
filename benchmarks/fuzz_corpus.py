"""What `fuzz.py` damages: small pieces of real files, and what reads each."""

import csv
import gzip
import hashlib
import io
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from fuzz_mutations import (
    either,
    mutate_bytes,
    mutate_json,
    mutate_sealed,
    mutate_text,
    mutate_zipped,
)
from PIL import Image
from sklearn.cluster import HDBSCAN
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from icecore_sk import (
    ClassFilter,
    ClusterTransformer,
    MeanCorrection,
    OutlierScorer,
    ResNet18Classifier,
    load,
    save,
)
from icecore_sk.datasets import (
    FLOWCAM_SCALARS,
    load_digit_images,
    load_flowcam,
    load_icelearning,
    load_particles,
    save_particles,
)
from icecore_sk.datasets.flowcam_export import decode
from icecore_sk.datasets.mnist import read_idx

DATA = Path(os.environ.get("ICECORE_DATA", Path(__file__).parents[2] / "shared" / "data"))
SMALL = {"max_epochs": 1, "random_state": 0, "net_params": {"encoder_width": 1}}
N_PARTICLES = 12
REGION = (400, 700)  # height, width of the piece of a collage
BLANKS = ", \t\v\f\0\x1c\x1d\x1e\x1f\x85\xa0\u2028\u2029\u3000\ufeff"


class RowsMissingError(AssertionError):
    """A reader returned fewer rows than the file has, and did not count the others."""


@dataclass
class Target:
    """Files of which one is damaged, and what reads them.

    Attributes
    ----------
    files : dict of bytes
        By name, with folders.
    damage : dict of functions
        How each of some files is damaged.
    read : function of the folder
        Returns a text that is the same where the result is; raises where the files are refused.
    strict : bool
        Whether damaged files that are read must give the result of whole ones.
    """

    files: dict[str, bytes]
    damage: dict[str, Callable]
    read: Callable[[Path], str]
    strict: bool = False


def digest(*things) -> str:
    """Return a text that is equal for equal results."""
    found = hashlib.sha256()
    for thing in things:
        if isinstance(thing, pd.DataFrame | pd.Series | pd.Index):
            found.update(repr([list(thing.index), thing.to_dict()]).encode("utf-8", "replace"))
        elif isinstance(thing, np.ndarray):
            found.update(repr((thing.shape, thing.dtype)).encode() + thing.tobytes())
        else:
            found.update(repr(thing).encode("utf-8", "replace"))
    return found.hexdigest()


def table_digest(particles, *more) -> str:
    column = particles["image"].array.__arrow_array__()
    chunks = column.chunks if hasattr(column, "chunks") else [column]
    pixels = [chunk.to_numpy_ndarray() for chunk in chunks]
    return digest(particles.drop(columns="image"), particles.attrs, *pixels, *more)


def lines_of(path: Path) -> list[str]:
    """Return the lines of a text file that hold more than separators."""
    # What str.splitlines breaks at beyond these may stand in a cell.
    lines = re.split("\r\n|\r|\n", decode(path))
    return [line for line in lines if line.strip(BLANKS)]


# ---------------------------------------------------------------- tables and pictures


def flowcam_files() -> dict[str, bytes]:
    """Return a small run: real rows, and the piece of the real collage that shows them."""
    table = sorted((DATA / "flowcam" / "labelled").glob("*/*NITRATE*2024.csv"))[0]
    rows = list(csv.DictReader(io.StringIO(table.read_text("latin-1"))))
    height, width = REGION
    few = [
        row
        for row in rows
        if row["Image File"] == rows[0]["Image File"]
        and int(row["Image X"]) + int(row["Image Width"]) <= width
        and int(row["Image Y"]) + int(row["Image Height"]) <= height
    ][:N_PARTICLES]
    name = few[0]["Image File"]
    with Image.open(table.parent / name) as collage:
        piece = np.asarray(collage.convert("RGB"))[:height, :width]
    picture = io.BytesIO()
    Image.fromarray(piece).save(picture, "TIFF", compression="tiff_lzw")
    out = io.StringIO()
    writer = csv.DictWriter(out, list(few[0]))
    writer.writeheader()
    writer.writerows(few)
    labels = "Original Reference ID,label,run\n" + "".join(
        f"{row['Original Reference ID']},{'Junk' if k % 2 else 'Protist'},run\n"
        for k, row in enumerate(few)
    )
    lines = table.with_suffix(".lst").read_text("latin-1").splitlines()
    n_fields = int(lines[1].split("|")[1])
    names = [line.split("|")[0] for line in lines[2 : 2 + n_fields]]
    wanted = {row["Original Reference ID"] for row in few}
    own = [
        line for line in lines[2 + n_fields :] if line.split("|")[names.index("image_id")] in wanted
    ]
    return {
        "run.csv": out.getvalue().encode("latin-1"),
        "run.lst": "\n".join([*lines[: 2 + n_fields], *own, ""]).encode("latin-1"),
        name: picture.getvalue(),
        "labels.csv": labels.encode(),
    }


def read_flowcam(folder: Path) -> str:
    particles = load_flowcam(folder / "run", 16, verbose=0)
    (run,) = particles.attrs["runs"].values()
    accounted(run["read"], run["kept"] + sum(run["dropped"].values()))
    table = folder / "run" / "run.csv"
    if table.exists():
        accounted(len(lines_of(table)) - 1, run["read"])
    else:
        particles_of = [line for line in lines_of(folder / "run" / "run.lst") if is_particle(line)]
        accounted(len(particles_of), run["read"])
    accounted(run["kept"], len(particles))
    return table_digest(particles)


def is_particle(line: str) -> bool:
    """Whether a line of a .lst file has more than a name and its type, or a number and its name."""
    return line.count("|") > 1


def read_labels(folder: Path) -> str:
    particles, labels = load_flowcam(folder / "run", 16, labels=folder / "labels.csv", verbose=0)
    counts = particles.attrs["labels"]
    accounted(len(particles), counts["matched"] + counts["unlabelled"])
    accounted(len(particles), len(labels))
    return table_digest(particles, labels)


def accounted(expected: int, found: int) -> None:
    if found < expected:
        raise RowsMissingError(f"{expected} rows, of which {found} are accounted for")


def icelearning_files() -> dict[str, bytes]:
    """Return the real crops and a table of them; the scalars are drawn."""
    rng = np.random.default_rng(0)
    classes = {"camp": "camp", "corylus": "corylus", "focustest": "dust", "GRIP": "cont",
               "grim": "grim", "qrob": "qrob", "qsub": "qsub"}  # fmt: skip
    files, lines = {}, []
    for path in sorted((DATA / "icelearning" / "train_examples").glob("*.png")):
        own = next(name for prefix, name in classes.items() if path.name.startswith(prefix))
        hot = [int(own == name) for name in classes.values()]
        lines.append([f"crops/{path.name}", *rng.random(len(FLOWCAM_SCALARS)).round(4), *hot])
        files[f"root/crops/{path.name}"] = path.read_bytes()
    out = io.StringIO()
    csv.writer(out).writerows([["imgpaths", *FLOWCAM_SCALARS, *classes.values()], *lines])
    return {**files, "root/train.csv": out.getvalue().encode()}


def read_icelearning(folder: Path) -> str:
    particles, labels = load_icelearning(folder / "root", image_size=16, verbose=0)
    read = len(particles) + sum(particles.attrs["dropped"].values())
    accounted(len(lines_of(folder / "root" / "train.csv")) - 1, read)
    return table_digest(particles, labels)


# ---------------------------------------------------------------- files of arrays


def particle_file() -> bytes:
    files = flowcam_files()
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), in_run(files))
        particles = load_flowcam(Path(folder) / "run", 16, verbose=0)
        return save_particles(particles, Path(folder) / "x.arrow").read_bytes()


def read_particles(folder: Path) -> str:
    """All but the pixels, to which damage is known to go unnoticed; they must be readable."""
    particles = load_particles(folder / "x.arrow")
    table_digest(particles)
    return digest(particles.drop(columns="image"), particles.attrs, particles.dtypes.astype(str))


def idx_files() -> dict[str, bytes]:
    packed = (DATA / "mnist" / "t10k-labels-idx1-ubyte.gz").read_bytes()
    return {"labels.gz": packed, "labels": gzip.decompress(packed)}


def idx_reader(name: str):
    md5 = hashlib.md5(idx_files()["labels"], usedforsecurity=False).hexdigest()
    return lambda folder: digest(read_idx(folder / name, md5, (10_000,)))


def model_files() -> dict[str, tuple[bytes, np.ndarray]]:
    """Return saved models with data for each."""
    X, y = load_digit_images(return_X_y=True)
    X, y = X[:60], y[:60]
    F = X.reshape(60, -1) / 16
    classifier = ResNet18Classifier(**SMALL)
    forest = RandomForestClassifier(3, random_state=0)
    models = {
        "mean correction": (MeanCorrection().fit(X), X),
        "classifier": (classifier.fit(X, y), X),
        "outliers": (OutlierScorer(n_neighbors=5).fit(F, y), F),
        "filter of a forest": (ClassFilter(forest, remove=1, max_miss=0.2, cv=2).fit(F, y), F),
        "boosting": (HistGradientBoostingClassifier(max_iter=2).fit(F, y), F),
        "pipeline": (
            make_pipeline(
                FunctionTransformer(np.sqrt),
                StandardScaler(),
                ClusterTransformer(HDBSCAN(copy=True)),
            ).fit(F),
            F,
        ),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        return {name: (save(model, path).read_bytes(), X) for name, (model, X) in models.items()}


def model_reader(X: np.ndarray):
    """Load a model and use it: what loads must not bring the process down either."""

    def read(folder: Path) -> str:
        model = load(folder / "model.safetensors")
        try:
            used = [
                getattr(model, method)(X)
                for method in ("predict", "transform", "score_samples")
                if hasattr(model, method)
            ]
        except Exception as error:
            # Of a model that was made to mislead, by whoever could make the checksum.
            return f"use raises {type(error).__name__}"
        return digest(*used)

    return read


def checkpoint_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        read_checkpoint(Path(folder))
        return (Path(folder) / "checkpoint.pt").read_bytes()


def read_checkpoint(folder: Path) -> str:
    """Go on with a fit that is complete."""
    X, y = load_digit_images(return_X_y=True)
    model = ResNet18Classifier(checkpoint_dir=folder, **SMALL).fit(X[:20], y[:20])
    state = model.__getstate__()["net_"]
    return digest(*state["weights"].values(), state["history"])


# ---------------------------------------------------------------- all of them


def in_run(files: dict[str, bytes], *names: str) -> dict[str, bytes]:
    """Put the files of a run into its folder; of the tables only the one that is named."""
    names = names or ("run.csv",)
    return {
        name if name == "labels.csv" else f"run/{name}": content
        for name, content in files.items()
        if name in names or name.endswith(".tif")
    }


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def targets() -> dict[str, Target]:
    """Return everything that is damaged, by name."""
    run, ice, idx = flowcam_files(), icelearning_files(), idx_files()
    picture = next(f"run/{name}" for name in run if name.endswith(".tif"))
    pngs = {name: mutate_bytes for name in ice if name.endswith(".png")}
    text = either(mutate_text, mutate_text, mutate_bytes)
    found = {
        "FlowCam table": Target(in_run(run), {"run/run.csv": text}, read_flowcam),
        "FlowCam .lst": Target(in_run(run, "run.lst"), {"run/run.lst": text}, read_flowcam),
        "FlowCam collage": Target(in_run(run), {picture: mutate_bytes}, read_flowcam),
        "FlowCam labels": Target(
            in_run(run, "run.csv", "labels.csv"), {"labels.csv": text}, read_labels
        ),
        "ICELEARNING table": Target(ice, {"root/train.csv": text}, read_icelearning),
        "ICELEARNING crop": Target(ice, pngs, read_icelearning),
        "IDX": Target(idx, {"labels": mutate_bytes}, idx_reader("labels"), strict=True),
        "IDX, gzip": Target(idx, {"labels.gz": mutate_bytes}, idx_reader("labels.gz"), strict=True),
        "particle file": Target(
            {"x.arrow": particle_file()}, {"x.arrow": mutate_bytes}, read_particles, strict=True
        ),
        "checkpoint": Target(
            {"checkpoint.pt": checkpoint_file()},
            {"checkpoint.pt": mutate_bytes},
            read_checkpoint,
            strict=True,
        ),
        "checkpoint, packed anew": Target(
            {"checkpoint.pt": checkpoint_file()},
            {"checkpoint.pt": mutate_zipped},
            read_checkpoint,
        ),
    }
    for name, (content, X) in model_files().items():
        files, reader = {"model.safetensors": content}, model_reader(X)
        found[f"model: {name}"] = Target(
            files, {"model.safetensors": either(mutate_bytes, mutate_json)}, reader, strict=True
        )
        found[f"model, sealed anew: {name}"] = Target(
            files, {"model.safetensors": mutate_sealed}, reader
        )
    return found
