"""Maps and clusters of what was learned, of as many rows as their methods can take."""

import warnings

import numpy as np
import pandas as pd
from sklearn.cluster import HDBSCAN
from sklearn.manifold import TSNE

from icecore_sk._cluster_transformer import ClusterTransformer
from icecore_sk._within_class_whitening import WithinClassWhitening

# HDBSCAN of scikit-learn takes a time that grows with the square of the rows.
MOST_CLUSTERED = 30_000


def whitened(classifier, X_labelled, y_labelled: np.ndarray, X) -> np.ndarray:
    """Return a classifier's features of X, in which the members of each class spread alike."""
    features = np.asarray(classifier.transform(X))
    if len(set(y_labelled)) == len(y_labelled):
        return features  # one particle of each class says nothing of their spread
    known = np.asarray(classifier.transform(X_labelled))
    return WithinClassWhitening().fit(known, y_labelled).transform(features)


def reduce(features: np.ndarray, method: str, seed: int):
    """Return a fitted UMAP or t-SNE and its map."""
    from umap import UMAP

    near = min(15, len(features) - 1)
    if method == "UMAP":
        reducer = UMAP(min_dist=0.0, n_neighbors=near, random_state=seed)
    else:
        reducer = TSNE(random_state=seed)
    with warnings.catch_warnings():
        # UMAP says each time that a seed costs it the second core; the seed is wanted.
        warnings.filterwarnings("ignore", message="n_jobs value")
        mapping = reducer.fit_transform(features)
    return reducer, mapping


def cluster(mapping: np.ndarray, min_cluster_size: int, seed: int):
    """Return fitted clusters and the label of each row.

    Of many rows a sample is clustered, whose nearest member names the others' cluster.
    """
    rows, size = sample_to_cluster(len(mapping), min_cluster_size, MOST_CLUSTERED, seed)
    model = ClusterTransformer(HDBSCAN(min_cluster_size=size, copy=True)).fit(mapping[rows])
    labels = model.labels_ if len(rows) == len(mapping) else model.predict(mapping)
    return model, labels


def sample_to_cluster(n: int, min_cluster_size: int, most: int, seed: int):
    """Return all row numbers, or `most` of them in order, and the cluster size for as many."""
    if n <= most:
        return np.arange(n), min_cluster_size
    rows = np.sort(np.random.RandomState(seed).permutation(n)[:most])
    return rows, max(5, round(min_cluster_size * most / n))


def spread(values, keep: np.ndarray, missing, dtype=None):
    """Put values of the kept rows among all rows."""
    if keep.all() and dtype is None:
        return values
    full = pd.Series(missing, index=range(len(keep)), dtype=dtype or object)
    full[keep] = values
    return full.array if dtype else full.infer_objects().to_numpy()
