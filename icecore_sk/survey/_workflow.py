"""The survey: from particles to maps, clusters, explained outliers and how far they agree."""

import time
import warnings
from itertools import combinations
from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.cluster import HDBSCAN
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils._param_validation import Interval, validate_parameter_constraints

from icecore_sk._class_filter import ClassFilter, runs_of
from icecore_sk._classifier import ResNet18Classifier
from icecore_sk._images import image_columns
from icecore_sk._outlier_scorer import OutlierScorer
from icecore_sk._random import seeded
from icecore_sk._scalar_preprocessor import scalar_preprocessor
from icecore_sk._vae import VAE
from icecore_sk.metrics import cluster_stability, map_consistency
from icecore_sk.survey._inputs import (
    LEAST,
    check_is_no_pipeline,
    check_particles,
    check_pictures,
    fingerprint,
    read_labelled,
)
from icecore_sk.survey._maps import cluster, reduce, sample_to_cluster, spread, whitened
from icecore_sk.survey._results import Survey, versions
from icecore_sk.survey._steps import Steps
from icecore_sk.survey.report import need_bokeh

AUGMENTATION = {"flip": True, "quarter_turns": True, "shift": 0.05, "brightness": 0.1}
# Checked at once: what follows may take an hour.
CONSTRAINTS = {
    "max_miss": [Interval(Real, 0, 1, closed="neither")],
    "min_cluster_size": [Interval(Integral, 2, None, closed="left"), None],
    "contamination": [Interval(Real, 0, 0.5, closed="right")],
    "random_state": [Integral],
}
# For their stability the clusters are found a dozen times.
MOST_REPEATED = 5000
# In which the rows that `remove` is learned from are held out in turn.
FOLDS = 3


def survey(
    particles,
    labelled=None,
    *,
    out=None,
    remove=None,
    max_miss=0.01,
    model=None,
    classifier=None,
    min_cluster_size=None,
    contamination=0.01,
    random_state=0,
    verbose=1,
):
    """Map and cluster particles, list the outliers with reasons, and compare the maps.

    Where labels are known, a classifier is fitted on them, predicts the others and gives a map of
    its own; one class, such as dust, can be removed. An autoencoder learns all particles that are
    kept, without labels. Its latent space gives the map, the clusters and the outliers.

    Parameters
    ----------
    particles : DataFrame
        Particle table of at least 50 rows, as `load_flowcam` or `make_particles` return it.
    labelled : None, array-like of shape (n,), or (DataFrame, array-like), default=None
        Labels of the particles (None, NaN or -1 where there is none), or another particle table of
        the same columns with its labels. Labels are in the order of their particles, or a Series
        with the ids of these in its index. Particles that are in both tables, with the same id,
        images and scalars, count as labelled.
    out : str, path or None, default=None
        Folder for everything that was found, see `Survey.write_report`. Finished steps are kept
        in its folder ``steps``: the same call goes on from there after it was stopped.
    remove : label or None, default=None
        Class to be removed before anything else is learned, such as "dust"; needs `labelled`.
        Removed particles stay in the table, with the reason.
    max_miss : float, default=0.01
        Largest share of the other classes that `remove` may cost, see `ClassFilter`.
    model : estimator or None, default=None
        Autoencoder, unfitted; None is ``VAE(16, max_epochs=15)``. With
        ``encoder=ResNet18Classifier(max_epochs=2)`` it is given the labels to start from.
    classifier : estimator or None, default=None
        None is a `ResNet18Classifier` of images and scalars, every class drawn equally often.
    min_cluster_size : int or None, default=None
        Fewest particles of a cluster; None is one in a hundred of those kept, at least 10.
    contamination : float, default=0.01
        Share of the particles that is listed as outliers.
    random_state : int, default=0
        Governs everything random.
    verbose : int, default=1
        1 says what is being done and shows progress bars.

    Returns
    -------
    result : Survey

    Raises
    ------
    ValueError
        Where a parameter is unusable; the message names it and the way out.

    Examples
    --------
    >>> from icecore_sk.datasets import make_particles
    >>> from icecore_sk.survey import survey
    >>> X, y = make_particles(500, image_size=32, novel=1, random_state=0)
    >>> result = survey(X)  # doctest: +SKIP
    >>> result.table.sort_values("outlier_score")["reason"].head()  # doctest: +SKIP
    """
    return _Workflow(
        particles,
        labelled,
        out=out,
        remove=remove,
        max_miss=max_miss,
        model=model,
        classifier=classifier,
        min_cluster_size=min_cluster_size,
        contamination=contamination,
        random_state=random_state,
        verbose=verbose,
    ).run()


def smallest_cluster(min_cluster_size: int | None, n_kept: int) -> int:
    """Return the fewest particles of a cluster, by default one in a hundred of those kept."""
    if min_cluster_size is None:
        return max(10, n_kept // 100)
    if min_cluster_size > n_kept // 2:
        raise ValueError(
            f"min_cluster_size={min_cluster_size} is more than half of the {n_kept} particles that "
            "are kept. Pass a smaller one."
        )
    return min_cluster_size


class _Workflow:
    """One survey while it runs."""

    def __init__(
        self, particles, labelled, *, out, remove, max_miss, model, classifier, min_cluster_size,
        contamination, random_state, verbose,
    ):  # fmt: skip
        self.started = time.time()
        given = {
            "max_miss": max_miss,
            "min_cluster_size": min_cluster_size,
            "contamination": contamination,
            "random_state": random_state,
        }
        validate_parameter_constraints(CONSTRAINTS, given, "survey")
        if out is not None:
            need_bokeh()  # now, not after everything else is done
        self.particles = check_particles(particles)
        if out is not None:
            check_pictures(particles)
        self.X_labelled, self.y_labelled, self.label = read_labelled(particles, labelled)
        if remove is not None and self.y_labelled is None:
            raise ValueError(
                f"remove={remove!r} needs labels to learn the class from. Pass labelled=."
            )
        if remove is not None and remove not in set(self.y_labelled):
            names = sorted(map(str, set(self.y_labelled)))
            raise ValueError(f"remove={remove!r} is none of the labels; these are {names}.")
        self.out, self.remove, self.max_miss = out, remove, max_miss
        self.seed, self.verbose = int(random_state), verbose
        check_is_no_pipeline(model=model, classifier=classifier)
        self.autoencoder = self._set(VAE(16, max_epochs=15) if model is None else model)
        self.classifier = self._set(default_classifier(15) if classifier is None else classifier)
        self.min_cluster_size = min_cluster_size
        self.contamination = contamination
        self.has_scalars = particles.shape[1] > 1
        self.name = type(self.autoencoder).__name__
        folder = None if out is None else f"{out}/steps"
        self.steps = Steps(folder, self._identity(), self._n_steps(), self._say)
        self.result = Survey(
            table=particles.drop(columns=image_columns(particles)),
            particles=particles,
        )

    def _set(self, estimator):
        """Give seed and verbosity to an estimator that has none of its own."""
        estimator = seeded(estimator, self.seed)
        if "verbose" in estimator.get_params():
            estimator.set_params(verbose=self.verbose)
        return estimator

    @staticmethod
    def _params(estimator) -> dict:
        """Return what a result depends on: everything but how much is said about it."""
        return {k: v for k, v in estimator.get_params().items() if k != "verbose"}

    def _say(self, text: str) -> None:
        if self.verbose:
            print(text, flush=True)

    def _read_record(self) -> list[dict]:
        """Return what was left out when the particles were read, as the first step."""
        dropped = {why: n for why, n in self.particles.attrs.get("dropped", {}).items() if n}
        n = len(self.particles)
        why = ", ".join(f"{why}: {count:,}" for why, count in dropped.items())
        return [
            {"name": "read", "does": "read particles", "kept": n, "dropped": sum(dropped.values()),
             "why": why}
        ]  # fmt: skip

    def _n_steps(self) -> int:
        has_classifier = self.y_labelled is not None
        n_maps = max(2, 1 + has_classifier + self.has_scalars)
        # The autoencoder, stability, outliers, agreement.
        return has_classifier + n_maps + 4

    def _identity(self):
        parts = [sorted(versions().items()), self.seed, fingerprint(self.particles)]
        if self.y_labelled is not None:
            parts += [fingerprint(self.X_labelled), [str(label) for label in self.y_labelled]]
        return parts

    # ---------------------------------------------------------------- the steps

    def run(self) -> Survey:
        table = self.result.table
        if self.label is not None:
            table["label"] = self.label
        keep = self._classify() if self.y_labelled is not None else np.ones(len(table), bool)
        table["kept"] = keep
        kept = self.particles[keep]
        if len(kept) < LEAST:
            raise ValueError(
                f"{len(kept)} particles are left after remove={self.remove!r}; a survey needs "
                f"{LEAST}. Lower max_miss={self.max_miss}, or remove nothing."
            )
        self.min_cluster_size = smallest_cluster(self.min_cluster_size, len(kept))
        embedding = self._embed(kept)
        self._map(embedding, kept, keep)
        self._stability()
        self._outliers(embedding, kept, keep)
        self._consistency(keep)
        self._write_record()
        return self.result

    def _classify(self) -> np.ndarray:
        """Fit the classifier, predict all particles, and say which are to be kept."""
        what = f", calibrate the removal of {self.remove!r}" if self.remove is not None else ""
        n_classes = len(set(self.y_labelled))
        model, predictions = self.steps.run(
            "classifier",
            f"learn {n_classes} classes from {len(self.y_labelled):,} labelled particles{what}",
            [self._params(self.classifier), self.remove, self.max_miss],
            self._fit_and_predict,
        )
        if self.remove is not None:
            self.result.models["filter"] = model
        classifier = self._classifier_of(model)
        self.result.models["classifier"] = classifier
        self.result.histories["classifier"] = classifier[-1].history_
        keep = predictions.pop("kept")
        for name, column in predictions.items():
            self.result.table[name] = column
        n_dropped = int((~keep).sum())
        why = f"looks like {self.remove}" if n_dropped else ""
        self.steps.count(int(keep.sum()), n_dropped, why)
        return keep

    def _classifier_of(self, model):
        return model.classifier_ if self.remove is not None else model

    def _fit_and_predict(self):
        """Return the fitted classifier or filter, and what it says of all particles."""
        model = self._fit_classifier()
        classifier = self._classifier_of(model)
        probability = classifier.predict_proba(self.particles)
        predictions = {
            "predicted": classifier.classes_[probability.argmax(axis=1)],
            "probability": probability.max(axis=1),
            "familiarity": classifier.score_samples(self.particles),
            "kept": np.ones(len(self.particles), bool),
        }
        if self.remove is not None:
            predictions["kept"], predictions["filter_reason"] = self._filter(model)
        return model, predictions

    def _filter(self, model: ClassFilter):
        """Return which particles to keep, and why. Where a label is known, it decides."""
        explained = model.explain(self.particles)
        keep, reason = explained["kept"].to_numpy(copy=True), explained["reason"]
        known = self.label.notna().to_numpy()
        keep[known] = (self.label[known] != self.remove).to_numpy()
        named = "labelled " + self.label.astype(str)
        return keep, reason.where(~known, named)

    def _fit_classifier(self):
        model = make_pipeline(*self._scalars_first(), self.classifier)
        if self.remove is not None:
            model = ClassFilter(
                model,
                remove=self.remove,
                max_miss=self.max_miss,
                cv=self._folds(),
                random_state=self.seed,
            )
        return model.fit(self.X_labelled, self.y_labelled)

    def _folds(self):
        """Hold out whole runs or, where that would leave nothing to learn from, rows."""
        runs = runs_of(self.X_labelled)
        if runs is None:
            return FOLDS
        removed = np.asarray(self.y_labelled) == self.remove
        parts = GroupKFold(min(FOLDS, len(pd.unique(runs)))).split(removed, groups=runs)
        if all(removed[train].any() and not removed[train].all() for train, _ in parts):
            return FOLDS
        warnings.warn(
            f"{self.remove!r} is labelled in too few runs to hold out whole runs: rows are held "
            "out, and max_miss knows nothing of how runs differ. Label some in another run.",
            UserWarning,
            stacklevel=2,
        )
        return StratifiedKFold(FOLDS, shuffle=True, random_state=self.seed)

    def _scalars_first(self) -> list:
        return [scalar_preprocessor()] if self.has_scalars else []

    def _embed(self, kept: pd.DataFrame) -> Pipeline:
        params = self._params(self.autoencoder)
        pipeline = make_pipeline(*self._scalars_first(), clone(self.autoencoder))
        if "checkpoint_dir" in self.autoencoder.get_params():
            folder = self.steps.checkpoints(self.name)
            pipeline.set_params(**{f"{pipeline.steps[-1][0]}__checkpoint_dir": folder})
        embedding = self.steps.run(
            self.name,
            f"{self.name}: learn {len(kept):,} particles without labels",
            params,
            lambda: pipeline.fit(kept, self._labels_of(kept)),
        )
        self.steps.count(len(kept), 0)
        self.result.models["embedding"] = embedding
        self.result.histories[self.name] = embedding[-1].history_
        return embedding

    def _labels_of(self, kept: pd.DataFrame):
        return None if self.label is None else self.label[kept.index].to_numpy(dtype=object)

    def _map(self, embedding: Pipeline, kept: pd.DataFrame, keep: np.ndarray) -> None:
        # Functions, so that a map that is kept from before needs no network to run again.
        spaces = {self.name: lambda: np.asarray(embedding.transform(kept))}
        if "classifier" in self.result.models:
            labelled = self.result.models["classifier"], self.X_labelled, self.y_labelled
            spaces["classifier"] = lambda: whitened(*labelled, kept)
        if self.has_scalars:
            scalars = kept.drop(columns=image_columns(kept))
            spaces["scalars"] = lambda: scalar_preprocessor().fit_transform(scalars).to_numpy()
        if len(spaces) == 1:
            # One map alone cannot be checked: the same space by another method.
            spaces[f"{self.name} t-SNE"] = spaces[self.name]
        for name, space in spaces.items():
            method = "t-SNE" if name.endswith("t-SNE") else "UMAP"
            how = ", whitened within its classes" if name == "classifier" else ""
            reducer, mapping, clusterer, labels = self.steps.run(
                f"map_{name}",
                f"map of {name.removesuffix(' t-SNE')}{how}: {method}, then HDBSCAN",
                [self.min_cluster_size, how],
                lambda s=space, m=method: self._map_and_cluster(s(), m),
            )
            n_noise = int((labels < 0).sum())
            self.steps.record[-1] |= {"clusters": clusterer.n_clusters_, "noise": n_noise}
            self._add_map(name, mapping, labels, keep)
            if name == self.name:
                self.main_map = mapping
                self.result.model = Pipeline(
                    [*embedding.steps, ("map", reducer), ("clusters", clusterer)]
                )

    def _map_and_cluster(self, features: np.ndarray, method: str):
        reducer, mapping = reduce(features, method, self.seed)
        return reducer, mapping, *cluster(mapping, self.min_cluster_size, self.seed)

    def _add_map(self, name: str, mapping, labels, keep: np.ndarray) -> None:
        table = self.result.table
        for axis, column in zip("xy", mapping.T, strict=True):
            table[f"{name} {axis}"] = spread(column, keep, np.nan)
        table[f"{name} cluster"] = spread(labels, keep, pd.NA, "Int64")
        self.result.maps[name] = (f"{name} x", f"{name} y")

    def _stability(self) -> None:
        n = len(self.main_map)
        rows, size = sample_to_cluster(n, self.min_cluster_size, MOST_REPEATED, self.seed)
        self.result.stability = self.steps.run(
            "stability",
            f"stability of the clusters of {self.name} over subsamples",
            [self.min_cluster_size],
            lambda: cluster_stability(
                HDBSCAN(min_cluster_size=size, copy=True),
                self.main_map[rows],
                random_state=self.seed,
            ),
        )

    def _outliers(self, embedding: Pipeline, kept: pd.DataFrame, keep: np.ndarray) -> None:
        scorer = OutlierScorer(
            FrozenEstimator(embedding), contamination=self.contamination, random_state=self.seed
        )

        def score():
            scorer.fit(kept, self._labels_of(kept))
            return scorer, scorer.explain(kept)

        scorer, explained = self.steps.run(
            "outliers", "outliers and their reasons", [self.contamination], score
        )
        self.result.models["outliers"] = scorer
        explained = explained.rename(columns={"score": "outlier_score"})
        table = self.result.table
        for name, column in explained.items():
            missing = "" if name in ("reason", "scalar") else np.nan
            if name == "outlier":
                table[name] = spread(column.to_numpy(), keep, False, bool)
            else:
                table[name] = spread(column.to_numpy(), keep, missing)

    def _consistency(self, keep: np.ndarray) -> None:
        table = self.result.table[keep]
        of = {name: table[list(columns)].to_numpy() for name, columns in self.result.maps.items()}
        clusters = {name: table[f"{name} cluster"].to_numpy(dtype=int) for name in of}

        def compare():
            return {
                (a, b): map_consistency(
                    of[a], of[b], labels_a=clusters[a], labels_b=clusters[b], random_state=self.seed
                )
                for a, b in combinations(of, 2)
            }

        self.result.consistency = self.steps.run(
            "consistency", "agreement of the maps, two at a time", [], compare
        )
        first = next(iter(self.result.consistency.values()), None)
        if first is not None:
            overlap = spread(first["per_particle"], keep, np.nan)
            self.result.table["neighbour_overlap"] = overlap

    def _write_record(self) -> None:
        self.result.record = {
            "versions": versions(),
            "seed": self.seed,
            "parameters": {
                "model": repr(self.autoencoder),
                "classifier": None if self.y_labelled is None else repr(self.classifier),
                "remove": None if self.remove is None else str(self.remove),
                "max_miss": self.max_miss,
                "min_cluster_size": self.min_cluster_size,
                "contamination": self.contamination,
            },
            "read": {
                name: value
                for name, value in self.particles.attrs.items()
                if name in ("dropped", "runs", "left_out", "shrunk", "labels", "image_size")
            },
            "particles": len(self.particles),
            "consistency": {
                f"{a} and {b}": {k: v for k, v in found.items() if np.isscalar(v)}
                for (a, b), found in self.result.consistency.items()
            },
            "steps": [*self._read_record(), *self.steps.record],
            "started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.started)),
            "seconds": time.time() - self.started,
        }
        if self.out is not None:
            self._say(f"[{self.steps.n_steps}/{self.steps.n_steps}] report")
            self.result.write_report(self.out)


# -------------------------------------------------------------------- parts


def default_classifier(max_epochs: int) -> ResNet18Classifier:
    """Return a classifier that suits particles: no up or down, and some classes rare."""
    return ResNet18Classifier(
        max_epochs=max_epochs,
        batch_size=64,
        class_weight="balanced_sampling",
        augmentation=AUGMENTATION,
    )
