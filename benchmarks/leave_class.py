"""One class left out of a labelled run: does it show among the particles of another run?

A part of `particles.py`. The classifier sees images of one run without the class; every particle of
each other run is then ranked by each score of `novelty_scores`, and by neighbours among raw pixels
as a floor. What is new in the other run, its light and its preparation, looks novel too: that is
what makes it harder than digits.
"""

import novelty_scores
import numpy as np
import pandas as pd
from digits_rows import cell
from digits_rows import table as markdown

from icecore_sk import MeanCorrection


def measure(model, left_out: str, run: str, X: pd.DataFrame, y, runs) -> dict:
    """Train on one run without a class; judge every score on the particles of each other one.

    Parameters
    ----------
    model : unfitted ResNet18Classifier
    left_out : str
        A class in y; known are all others.
    run : str
        The run to train on, one of `runs`.
    X : particle table
    y, runs : ndarray of shape (n,)
        Class and run of each particle.
    """
    if left_out not in set(y):
        raise ValueError(f"--leave-out {left_out!r} is not a class; there are {sorted(set(y))}.")
    train = (runs == run) & (y != left_out)
    # Light differs from crop to crop: all come to the brightness of what is learned.
    X = MeanCorrection().fit(X[train]).transform(X)
    model.fit(X.loc[train, ["image"]], y[train])
    H, logits, pixels = representations(model, X[train])
    row: dict = {"left_out": left_out, "train": run, "seed": model.random_state, "tests": {}}
    row |= {"epochs": model.max_epochs, "training_rows": int(train.sum())}
    for other in sorted(set(runs) - {run}):
        test = runs == other
        H_new, logits_new, pixels_new = representations(model, X[test])
        scores = novelty_scores.of_classifier(
            H, logits, y[train], H_new, logits_new, model.random_state
        )
        scores |= novelty_scores.details(
            model, X.loc[train, ["image"]], y[train], X.loc[test, ["image"]], model.random_state
        )
        for metric in ("euclidean", "cosine"):
            near = novelty_scores.neighbours(pixels, pixels_new, metric, model.random_state)
            scores[f"raw pixels, {metric}"] = near[f"neighbours_{metric}"]
        known = y[test] != left_out
        row["tests"][other] = {
            "rows": int(test.sum()),
            "of_the_class": int((~known).sum()),
            "scores": novelty_scores.judge_all(known, scores),
        }
    return row


def representations(model, X: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, logits and pixels between 0 and 1, a row per particle."""
    X = X[["image"]]
    images = X["image"].array.__arrow_array__().combine_chunks().to_numpy_ndarray()
    pixels = images.reshape(len(X), -1) / np.float32(255)
    # Of three classes two are left, of which `decision_function` gives the difference alone; the
    # largest logit and the energy need both.
    return model.transform(X), model._logits(X), pixels


def table(rows: list[dict], image_size: int) -> list[str]:
    """AUROC of every score, a column for each class and pair of runs, as lines of Markdown."""
    groups: dict = {}
    for row in rows:
        for test, result in row["tests"].items():
            groups.setdefault((row["left_out"], row["train"], test), []).append(result)
    letters = [f"({chr(97 + i)})" for i in range(len(groups))]
    lines = [
        "",
        f"## A class left out of training ({image_size} px, images): AUROC in the other run",
        "",
        "Mean over seeds (least to most). Above 0.5 a score ranks the class below the others.",
        "",
    ]
    for letter, ((left_out, train, test), results) in zip(letters, groups.items(), strict=True):
        lines.append(
            f"- {letter} {left_out}, trained on {train}, looked for in {test}: "
            f"{results[0]['of_the_class']} of {results[0]['rows']} particles, {len(results)} seeds"
        )
    cells = [
        [score, *(cell(aurocs(results, score)) for results in groups.values())]
        for score in next(iter(groups.values()))[0]["scores"]
    ]
    return [*lines, "", markdown(["score", *letters], cells)]


def aurocs(results: list[dict], score: str) -> list[float]:
    figures = [result["scores"][score] for result in results]
    return [figure["auroc"] for figure in figures if "auroc" in figure]
