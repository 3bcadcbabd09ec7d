"""Metrics with known answers, and displays that draw what they are given."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from icecore_sk.metrics import clustering_accuracy, novel_class_report
from icecore_sk.plotting import ParticleMapDisplay

mpl.use("Agg")


@pytest.mark.parametrize(
    ("y", "labels", "expected"),
    [
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0),
        ([0, 0, 1, 1], [0, 0, 0, 0], 0.5),
        ([0, 0, 1, 1], [0, 1, 2, 3], 0.5),  # a split class counts once
        ([0, 0, 1, 1], [0, 0, -1, -1], 0.5),  # noise is never right
        (["a", "b", "c"], [-1, -2, -3], 0.0),
        ([5, 5, 9, 9, 9], [7, 7, 7, 2, 2], 0.8),
    ],
)
def test_clustering_accuracy(y, labels, expected):
    assert clustering_accuracy(y, labels) == expected


def test_clustering_accuracy_does_not_care_for_names():
    rng = np.random.RandomState(0)
    y, labels = rng.randint(10, size=500), rng.randint(12, size=500)
    assert clustering_accuracy(y, labels) == clustering_accuracy(
        rng.permutation(10)[y], rng.permutation(12)[labels]
    )


def test_novel_class_report():
    y = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    labels = np.array([0, 0, 0, 1, 1, 0, -1, -1])
    scores = np.array([9, 9, 9, 1, 2, 3, 9.5, 9.5])
    report = novel_class_report(y, labels, [1, 2], scores)
    assert report.equals(novel_class_report(y, labels, {1, 2}, scores))
    assert report.loc[1].to_dict() == pytest.approx(
        {"n": 3, "cluster": 1, "recall": 2 / 3, "purity": 1.0, "auroc": 1.0}
    )
    assert report.loc[2, ["cluster", "recall", "purity", "auroc"]].tolist() == [-1, 0, 0, 0]


def test_metrics_refuse_nonsense():
    with pytest.raises(ValueError, match="labels has dtype float64"):
        clustering_accuracy([0, 1], [0.5, 1.5])
    found = pd.Series([1, 0, None], dtype="Int64")
    assert clustering_accuracy([0, 1], found[:2]) == 1
    with pytest.raises(ValueError, match=r"no label in 1 row\(s\).*labels.fillna\(-1\)"):
        clustering_accuracy([0, 1, 1], found)
    with pytest.raises(ValueError, match="labels is empty"):
        clustering_accuracy([], [])
    with pytest.raises(ValueError, match="inconsistent"):
        clustering_accuracy([0, 1], [0])
    with pytest.raises(ValueError, match=r"holds \[3\], not in y_true"):
        novel_class_report([0, 1], [0, 1], [3])


@pytest.mark.parametrize("kind", ["category", "scalar", "plain"])
def test_map_draws_every_point(kind):
    Z = np.random.RandomState(0).normal(size=(120, 2))
    values = {"category": np.arange(120) % 12 - 1, "scalar": Z[:, 0], "plain": None}[kind]
    display = ParticleMapDisplay.from_predictions(Z, values, title="a map")
    drawn = np.vstack([points.get_offsets() for points in display.ax_.collections])
    assert len(drawn) == 120
    assert {tuple(row) for row in drawn} == {tuple(row) for row in Z}
    assert display.ax_.get_title() == "a map"
    assert display.figure_ is display.ax_.figure
    if kind == "category":
        # Eleven names would cover each other: they stand beside the map, with their counts.
        texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
        assert texts == [*(f"{k} (10)" for k in range(11)), "noise (10)"]
    mpl.pyplot.close("all")


def test_map_from_an_estimator_on_given_axes():
    X = np.random.RandomState(0).normal(size=(30, 5))
    X[::2] += 20
    _, ax = mpl.pyplot.subplots()
    display = ParticleMapDisplay.from_estimator(PCA(2).fit(X), X, ["a", "b"] * 15, ax=ax)
    assert display.ax_ is ax
    assert {text.get_text() for text in ax.texts} == {"a", "b"}
    mpl.pyplot.close("all")


def test_map_refuses_nonsense():
    with pytest.raises(ValueError, match="coordinates has 3 columns; expected 2"):
        ParticleMapDisplay.from_predictions(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="kind='colour' must be"):
        ParticleMapDisplay.from_predictions(np.zeros((4, 2)), kind="colour")
    with pytest.raises(ValueError, match="values has 2 rows; expected 4"):
        ParticleMapDisplay.from_predictions(np.zeros((4, 2)), [1, 2])


def test_rows_without_a_class_do_not_count():
    y = np.array(["a", "a", "b", "b", None, None], dtype=object)
    labels, scores = [0, 0, 1, 1, 1, 1], [3, 4, 1, 2, 0, 9]
    report = novel_class_report(y, labels, ["b"], scores)
    assert report.loc["b", ["purity", "auroc"]].tolist() == [1.0, 1.0]
    assert clustering_accuracy(y, labels) == 1.0
    assert clustering_accuracy([1, float("nan"), 2], [0, 0, 1]) == 1.0
    with pytest.raises(ValueError, match="y_true has no label"):
        clustering_accuracy([None, None], [0, 1])
