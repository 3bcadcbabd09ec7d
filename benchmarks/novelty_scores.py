"""Scores that say how well an image is known, and figures that say how good such a score is.

Every score is of normality: the higher, the more the image resembles what was trained on. Some of
them are of logits alone, others of the features before them, or of any latent space.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp, softmax
from scipy.stats import rankdata
from sklearn.covariance import LedoitWolf
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from icecore_sk import OutlierScorer

N_NEIGHBORS = 10


# -------------------------------------------------------------------- scores


def max_softmax(logits: np.ndarray) -> np.ndarray:
    """Probability of the most probable class.

    Hendrycks and Gimpel (2017). A baseline for detecting misclassified and out-of-distribution
    examples in neural networks. ICLR.
    """
    # In float32 a confident network says 1 to thousands of images, whose order would be lost.
    return softmax(logits.astype(np.float64), axis=1).max(axis=1)


def max_logit(logits: np.ndarray) -> np.ndarray:
    """Largest logit.

    Hendrycks, Basart, Mazeika, Zou, Kwon, Mostajabi, Steinhardt and Song (2022). Scaling
    out-of-distribution detection for real-world settings. ICML.
    Vaze, Han, Vedaldi and Zisserman (2022). Open-set recognition: a good closed-set classifier is
    all you need. ICLR.
    """
    return logits.max(axis=1)


def energy(logits: np.ndarray) -> np.ndarray:
    """Minus the energy, the log of the sum of the exponentials of the logits, in nats.

    Liu, Wang, Owens and Li (2020). Energy-based out-of-distribution detection. NeurIPS.
    """
    return logsumexp(logits.astype(np.float64), axis=1)


def mahalanobis(H: np.ndarray, y: np.ndarray, H_new: np.ndarray) -> np.ndarray:
    """Minus the squared distance to the nearest class mean under a shared, shrunk covariance.

    Lee, Lee, Lee and Shin (2018). A simple unified framework for detecting out-of-distribution
    samples and adversarial attacks. NeurIPS. (The last layer alone, no perturbed input.)
    """
    classes = np.unique(y)
    means = np.stack([H[y == c].mean(axis=0) for c in classes])
    # Shrunk because hundreds of features that hardly vary leave the plain covariance singular.
    shared = LedoitWolf(assume_centered=True).fit(H - means[np.searchsorted(classes, y)])
    return -np.min([shared.mahalanobis(H_new - mean) for mean in means], axis=0)


def vim(H: np.ndarray, logits: np.ndarray, H_new: np.ndarray, logits_new: np.ndarray) -> np.ndarray:
    """Energy of the logits less a virtual logit: what of a feature lies off the main directions.

    Wang, Li, Feng and Zhang (2022). ViM: out-of-distribution with virtual-logit matching. CVPR.
    Half as many main directions as features, as there for networks of fewer than 768 features.
    """
    ones = np.ones((len(H), 1))
    # Logits are linear in the features, so that least squares gives the last layer back.
    layer = np.linalg.lstsq(np.hstack([H, ones]).astype(np.float64), logits, rcond=None)[0]
    origin = -np.linalg.pinv(layer[:-1].T) @ layer[-1]  # where all logits are zero
    centred = H - origin
    _, directions = np.linalg.eigh(centred.T @ centred)  # the least important first
    rest = directions[:, : H.shape[1] - H.shape[1] // 2]
    residual = np.linalg.norm(centred @ rest, axis=1)
    # On training images the virtual logit is on average as large as the largest true one.
    scale = logits.max(axis=1).mean() / max(float(residual.mean()), 1e-12)
    return energy(logits_new) - scale * np.linalg.norm((H_new - origin) @ rest, axis=1)


def neighbours(H: np.ndarray, H_new: np.ndarray, metric: str, seed: int, algorithm="auto") -> dict:
    """Three scores of the nearest training images.

    `neighbours` is minus the mean distance to them: Sun, Ming, Zhu and Li (2022).
    Out-of-distribution detection with deep nearest neighbors. ICML (there the distance to the
    k-th). `density` is minus that distance relative to the neighbours' own, in the spirit of
    Breunig, Kriegel, Ng and Sander (2000). LOF: identifying density-based local outliers. SIGMOD.
    `outlier_scorer` is what `OutlierScorer` makes of both.
    """
    k = min(N_NEIGHBORS, len(H) - 1)
    scorer = OutlierScorer(n_neighbors=k, metric=metric, algorithm=algorithm, random_state=seed)
    parts = scorer.fit(H).explain(H_new)
    return {
        f"neighbours_{metric}": -parts["distance"].to_numpy(),
        f"density_{metric}": -parts["sparsity"].to_numpy(),
        f"outlier_scorer_{metric}": parts["score"].to_numpy(),
    }


def details(
    model, X, y, X_new, seed: int, beside: Sequence[str] = ("classes", "neighbours")
) -> dict[str, np.ndarray]:
    """Scores of `OutlierScorer` from a classifier's third stage, its last layer and its classes.

    `details` is minus the mean distance to the nearest training images in the third stage,
    `classes` minus the Mahalanobis distance to the nearest class in the last layer.
    `details_and_classes` is what `OutlierScorer` makes of both, `details_and_neighbours` of the
    first and of neighbours in the last layer by angle.
    """
    scores = {}
    kinds = {"classes": ("class_distance", "euclidean"), "neighbours": ("distance", "cosine")}
    for name in beside:
        other, metric = kinds[name]
        scorer = OutlierScorer(
            FrozenEstimator(model),
            n_neighbors=min(N_NEIGHBORS, len(X) - 1),
            metric=metric,
            components=["detail_distance", other],
            random_state=seed,
        )
        table = scorer.fit(X, y).explain(X_new)
        scores["details"] = -table["detail_distance"].to_numpy()
        if name == "classes":
            scores["classes"] = -table["class_distance"].to_numpy()
        scores[f"details_and_{name}"] = table["score"].to_numpy()
    return scores


def of_classifier(H, logits, y, H_new, logits_new, seed: int) -> dict[str, np.ndarray]:
    """Every score of a classifier's features and logits; y are the classes of the training rows."""
    scores = {
        "max_softmax": max_softmax(logits_new),
        "max_logit": max_logit(logits_new),
        "energy": energy(logits_new),
        "mahalanobis": mahalanobis(H, y, H_new),
        "vim": vim(H, logits, H_new, logits_new),
    }
    return scores | of_space(H, H_new, seed)


def of_space(H, H_new, seed: int) -> dict[str, np.ndarray]:
    """Neighbours' scores in a latent space."""
    scores = {}
    for metric in ("euclidean", "cosine"):
        scores |= neighbours(H, H_new, metric, seed)
    return scores


def of_pixels(X: np.ndarray, X_new: np.ndarray) -> dict[str, np.ndarray]:
    """Scores without a network: the 5 nearest training images, pixel by pixel.

    `rank_mean` is the mean rank of cosine distance and Euclidean density among the new images: the
    best that is known without learning anything.
    """
    rows, new = (images.reshape(len(images), -1) / np.float32(255) for images in (X, X_new))
    scores = {}
    for metric in ("euclidean", "cosine"):
        scorer = OutlierScorer(n_neighbors=5, metric=metric, algorithm="exact").fit(rows)
        table = scorer.explain(new)
        scores[f"neighbours_{metric}"] = -table["distance"].to_numpy()
        scores[f"density_{metric}"] = -table["sparsity"].to_numpy()
    return scores | {
        "rank_mean": rank_mean(scores["neighbours_cosine"], scores["density_euclidean"])
    }


def rank_mean(*scores: np.ndarray) -> np.ndarray:
    """Mean rank of each row by several scores: it depends on which rows are ranked together."""
    return np.mean([rankdata(score) for score in scores], axis=0)


# -------------------------------------------------------------------- how good a score is


def judge(known: np.ndarray, score: np.ndarray) -> dict[str, float]:
    """Return how well a score of normality tells known rows from novel ones.

    Parameters
    ----------
    known : ndarray of bool, shape (n,)
    score : ndarray of shape (n,)
        The higher, the more normal.

    Returns
    -------
    figures : dict
        `auroc`: share of the pairs of a known and a novel row in which the known one scores
        higher. `aupr`: average precision of finding the novel rows by the lowest scores (novel is
        the positive class). `aupr_known`: that of finding the known ones by the highest. `fpr95`:
        share of the novel rows that pass a threshold which 95 % of the known ones pass (known is
        the positive class), as in Liang, Li and Srikant (2018). Enhancing the reliability of
        out-of-distribution image detection in neural networks. ICLR.
    """
    passed_by_novel, passed_by_known, _ = roc_curve(known, score, drop_intermediate=False)
    return {
        "auroc": float(roc_auc_score(known, score)),
        "aupr": float(average_precision_score(~known, -score)),
        "aupr_known": float(average_precision_score(known, score)),
        "fpr95": float(passed_by_novel[np.argmax(passed_by_known >= 0.95)]),
    }


def judge_all(known: np.ndarray, scores: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Judge every score; one with NaN says so instead of a figure."""
    return {
        name: judge(known, score) if np.isfinite(score).all() else {"problem": "not finite"}
        for name, score in scores.items()
    }
