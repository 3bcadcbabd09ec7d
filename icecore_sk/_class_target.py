"""What a classifier reads in y: classes, their weights, and rows to hold out."""

from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length

from icecore_sk._chunks import Chunk
from icecore_sk._input import as_labels, n_missing_labels

BALANCED_SAMPLING = "balanced_sampling"


class ClassTargetMixin:
    """What makes numbers of the labels, in one go or chunk by chunk."""

    class_weight: Any
    classes_: np.ndarray
    _class_weights: list[float] | None

    def _read_target(self, rows, y, chunk: Chunk | None = None) -> np.ndarray:
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        n_missing = n_missing_labels(y)
        y = column_or_1d(y, warn=True) if not n_missing else y
        check_consistent_length(range(len(rows)), y)
        if n_missing:
            raise ValueError(
                f"Input y contains NaN or None in {n_missing} row(s). Drop the rows "
                "without a label; encoder= of an autoencoder takes partly labelled y."
            )
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise ValueError("Input y contains infinity.")
        check_classification_targets(y)
        if chunk is not None:
            return self._read_chunk_target(y, chunk)
        self.classes_, target = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes, but y holds 1 class: "
                f"{self.classes_.tolist()[0]!r}."
            )
        self._class_weights = None
        if self.class_weight not in (None, BALANCED_SAMPLING):
            weights = self._weights_of_classes(y)
            # Mean 1 over the rows: the learning rate then means the same with weights or without.
            self._class_weights = (weights / weights[target].mean()).tolist()
        return target.astype(np.int64)

    def _read_chunk_target(self, y: np.ndarray, chunk: Chunk) -> np.ndarray:
        """Return the numbers of the classes of a chunk's labels, and learn what they all are."""
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' is not supported by partial_fit: one chunk does not tell "
                "how frequent a class is in all. Pass class_weight=dict(zip(classes, "
                "sklearn.utils.compute_class_weight('balanced', classes=classes, y=labels))) with "
                "the labels of all chunks or of a large sample, or 'balanced_sampling'."
            )
        self.classes_ = self._classes_of_all_chunks(chunk)
        # numpy would compare text with numbers as text.
        number = {label: k for k, label in enumerate(self.classes_.tolist())}
        labels = y.tolist()
        strange = list(dict.fromkeys(label for label in labels if label not in number))
        if strange:
            raise ValueError(
                f"y has {strange[:5]}, which is not among the classes "
                f"{self.classes_.tolist()}. Name every label that will come in `classes` of the "
                "first call of partial_fit, or leave these rows out."
            )
        self._class_weights = None
        if isinstance(self.class_weight, dict):
            # As they are: a mean over the rows would differ from chunk to chunk.
            self._class_weights = self._weights_of_classes(y).tolist()
        return np.array([number[label] for label in labels], dtype=np.int64)

    def _weights_of_classes(self, y: np.ndarray) -> np.ndarray:
        weights = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        if not np.isfinite(weights).all() or weights.min() < 0 or not weights.any():
            raise ValueError(
                f"class_weight={self.class_weight!r} must have finite weights, none below 0 and "
                "one above. To train without a class, leave its rows out."
            )
        return weights

    def _classes_of_all_chunks(self, chunk: Chunk) -> np.ndarray:
        if chunk.classes is None:
            if not chunk.goes_on:
                raise ValueError(
                    "classes must be passed on the first call to partial_fit, because one chunk "
                    "need not have them all. Pass classes=numpy.unique(labels) of all chunks."
                )
            return self.classes_
        if n_missing_labels(chunk.classes):
            raise ValueError("classes holds NaN or None. Leave it out, and rows without a label.")
        named = column_or_1d(np.asarray(chunk.classes, dtype=object))
        classes = np.unique(as_labels(named, "classes"))
        if len(classes) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes, but `classes` holds "
                f"{classes.tolist()}."
            )
        if chunk.goes_on and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"classes={classes.tolist()} are not those of the calls before, "
                f"{self.classes_.tolist()}. Pass the same, or leave `classes` out; to learn "
                "others, start anew with sklearn.base.clone."
            )
        return classes

    def _splitter(self, target, n_valid: int, seed: int):
        counts = np.bincount(target)
        if counts.min() < 2:
            rare = self.classes_.tolist()[counts.argmin()]
            raise ValueError(
                f"early_stopping=True holds out rows of every class, but class {rare!r} has only "
                "1. Pass more rows of it, leave the class out, or early_stopping=False."
            )
        n_valid = max(n_valid, len(self.classes_))
        if len(target) - n_valid < len(self.classes_):
            raise ValueError(
                f"early_stopping=True needs at least {2 * len(self.classes_)} samples for "
                f"{len(self.classes_)} classes, but X has {len(target)}. Pass early_stopping=False."
            )
        return StratifiedShuffleSplit(1, test_size=n_valid, random_state=seed)
