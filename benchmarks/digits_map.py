"""The map of all test images: how it is made, what it shows of the digits, and its picture."""

import math
import time
import warnings
from pathlib import Path

import numpy as np
from digits_data import Digits
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.manifold import trustworthiness
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.neighbors import KNeighborsClassifier

from icecore_sk import ClusterTransformer
from icecore_sk.metrics import clustering_accuracy, novel_class_report

# A fifth of a digit's share of the test images. On six maps of 4,000 training images (three seeds
# of UMAP, 10 and 15 neighbours) by a classifier without 3 and 4, ten clusters were found each time,
# as with 0.03 and 0.05; with 0.01 there were eleven or twelve.
SMALLEST_SHARE = 0.02
# Not as many as the smallest cluster has, which is HDBSCAN's default: a density so smooth joins two
# digits that touch. With it nine to eleven clusters were found on those maps; on three of an
# AutoEncoder, seven to nine with either.
MIN_SAMPLES = 5
SETTINGS = {"map, SMALLEST_SHARE": repr(SMALLEST_SHARE), "map, MIN_SAMPLES": repr(MIN_SAMPLES)}
METRIC, WHITENING = "map, metric", "map, whitening"  # settings of each line
N_MAP_NEIGHBORS = 15


def measure_map(H: np.ndarray, data: Digits, metric: str, seed: int) -> tuple[dict, np.ndarray]:
    """Reduce to two dimensions, cluster twice, and compare with the digits."""
    from umap import UMAP

    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value")
        mapping = UMAP(min_dist=0.0, metric=metric, random_state=seed).fit_transform(H)
    row = {"umap_metric": metric, "umap_seconds": time.perf_counter() - started}
    smallest = max(5, int(SMALLEST_SHARE * len(H)))
    for name, clusterer in {
        "kmeans10": KMeans(10, n_init=10, random_state=seed),
        "hdbscan": HDBSCAN(min_cluster_size=smallest, min_samples=MIN_SAMPLES, copy=True),
    }.items():
        row[name] = compare(ClusterTransformer(clusterer).fit(mapping), data)
    k = N_MAP_NEIGHBORS
    # Of the space that was mapped, and of the pixels, as published figures are.
    row["trustworthiness"] = trustworthiness(H, mapping, n_neighbors=k, metric=metric)
    pixels = data.X_test.reshape(len(H), -1).astype(np.float32)
    row["pixel_trustworthiness"] = trustworthiness(pixels, mapping, n_neighbors=k)
    row["knn15_accuracy"] = knn_accuracy(mapping, data.y_test)
    return row, mapping


def knn_accuracy(mapping: np.ndarray, y: np.ndarray) -> float:
    """Share of every other image whose digit most of its neighbours among the rest have."""
    vote = KNeighborsClassifier(N_MAP_NEIGHBORS).fit(mapping[::2], y[::2])
    return vote.score(mapping[1::2], y[1::2])


def is_map_of(row: dict, file: Path) -> bool:
    """Whether the coordinates in a file are those that a row was measured on."""
    if not file.exists():
        return False
    arrays = np.load(file)
    # A file may be left over from an earlier row, whose figure is hardly the same.
    return knn_accuracy(arrays["mapping"], arrays["y"]) == row.get("knn15_accuracy")


def compare(model: ClusterTransformer, data: Digits) -> dict:
    """Compare clusters with all ten digits; noise is wrong in ACC and a cluster elsewhere."""
    y, labels = data.y_test, model.labels_
    report = novel_class_report(y, labels, list(data.held_out))
    return {
        "clusters": model.n_clusters_,
        "noise": model.n_noise_,
        "ACC": clustering_accuracy(y, labels),
        "NMI": normalized_mutual_info_score(y, labels),
        "ARI": adjusted_rand_score(y, labels),
        "held_out": {
            str(c): {"recall": r["recall"], "purity": r["purity"]} for c, r in report.iterrows()
        },
    }


def draw(maps: dict[str, Path], title: str, path: Path) -> None:
    """Draw maps from the files of their coordinates, coloured by digit."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from icecore_sk.plotting import ParticleMapDisplay

    n_columns = min(3, math.ceil(math.sqrt(len(maps))))
    n_rows = -(-len(maps) // n_columns)
    size = (5 * n_columns, 5 * n_rows)
    figure, axes = plt.subplots(n_rows, n_columns, figsize=size, layout="constrained")
    for ax in np.ravel(axes)[len(maps) :]:
        ax.set_axis_off()
    for ax, (name, file) in zip(np.ravel(axes), maps.items(), strict=False):
        arrays = np.load(file)
        ParticleMapDisplay.from_predictions(arrays["mapping"], arrays["y"], ax=ax, title=name)
    figure.suptitle(title)
    figure.savefig(path, dpi=60)
    plt.close(figure)
