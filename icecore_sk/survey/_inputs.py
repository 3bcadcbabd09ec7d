"""What a survey is given: particles, and labels that belong to some of them."""

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from icecore_sk._images import digest, image_columns, read_table
from icecore_sk._input import as_labels, known_labels
from icecore_sk._outliers.reasons import COMPONENTS

LEAST = 50
# Columns of the results, which a scalar of the same name would be lost under.
OF_RESULTS = {
    "label", "kept", "predicted", "probability", "familiarity", "filter_reason", "outlier_score",
    "outlier", "score", "scalar", "reason", "neighbour_overlap", *COMPONENTS,
}  # fmt: skip


def fingerprint(X: pd.DataFrame) -> list:
    """Return what identifies a particle table: its names, ids, scalars and pixels."""
    ids = X.index.to_frame(index=False)
    return [list(X.columns), pd.util.hash_pandas_object(ids).to_numpy(), digest(read_table(X))]


def check_particles(particles) -> pd.DataFrame:
    """Return the particle table, or say why it is none."""
    images = image_columns(particles)
    if len(images) != 1:
        raise ValueError(
            f"particles has {len(images)} image columns; expected a particle table with one, as "
            "load_flowcam, load_icelearning, load_particles and make_particles return it."
        )
    if len(particles) < LEAST:
        raise ValueError(f"particles has {len(particles)} rows; a survey needs at least {LEAST}.")
    check_ids(particles, "particles")
    taken = [name for name in particles if name in OF_RESULTS]
    if taken:
        raise ValueError(
            f"particles has the column(s) {taken}, which are names of results. Rename them, such "
            f"as particles.rename(columns={{{taken[0]!r}: {'particle ' + taken[0]!r}}})."
        )
    return particles


def check_pictures(particles: pd.DataFrame) -> None:
    """Raise where the images are none that a report shows."""
    rows = read_table(particles)
    if rows.dtype != np.uint8 or rows.image_shape[0] not in (1, 3):
        raise ValueError(
            f"particles has images of dtype {rows.dtype} and shape {rows.image_shape}; a report "
            "shows uint8 of 1 or 3 channels. Pass such images, or out=None for a survey without a "
            "report."
        )


def check_ids(table: pd.DataFrame, name: str) -> None:
    if not table.index.is_unique:
        twice = table.index[table.index.duplicated()][0]
        raise ValueError(f"{name} has several rows with the id {twice!r}; expected one of each.")


def read_labelled(particles: pd.DataFrame, labelled):
    """Return labelled table, its labels, and the labels of the particles by their index."""
    if labelled is None:
        return None, None, None
    X, y = particles, labelled
    if isinstance(labelled, tuple) and len(labelled) == 2 and isinstance(labelled[0], pd.DataFrame):
        X, y = labelled
        if list(X.columns) != list(particles.columns):
            differ = sorted(set(X.columns) ^ set(particles.columns)) or "their order"
            raise ValueError(f"labelled has other columns than particles: {differ}.")
        check_ids(X, "labelled")
    y = np.asarray(in_order(y, X), dtype=object)
    if y.shape != (len(X),):
        raise ValueError(f"labelled holds labels of shape {y.shape} for {len(X)} particles.")
    known = known_labels(y)
    if not known.any():
        raise ValueError("labelled holds no label. Pass labels, or labelled=None.")
    of_index = pd.Series(y, index=X.index, dtype=object).where(known, None)
    label = of_index.reindex(particles.index)
    if X is not particles and not same_particles(X, particles):
        label[:] = None
    return X[known], as_labels(y[known], "labelled"), label.where(label.notna(), None)


def check_is_no_pipeline(**estimators) -> None:
    """Refuse Pipelines, which would fail after an hour, when their last step is asked for more."""
    for name, estimator in estimators.items():
        if isinstance(estimator, Pipeline):
            raise ValueError(
                f"{name} is a Pipeline of {', '.join(estimator.named_steps)}; expected one "
                "estimator, since a survey puts steps of its own before it. Pass "
                f"{name}={type(estimator[-1]).__name__}(...), and particles as the other steps "
                "leave them."
            )


def is_numbered(index: pd.Index) -> bool:
    """Whether an index is what pandas gives to rows without one."""
    if index.nlevels > 1 or index.name is not None:
        return False
    # A file keeps the numbers, and not that they were a range.
    return isinstance(index, pd.RangeIndex) or index.equals(pd.RangeIndex(len(index)))


def in_order(y, X: pd.DataFrame):
    """Return labels in the order of their particles, whose ids they may carry."""
    if not isinstance(y, pd.Series) or is_numbered(y.index) or y.index.equals(X.index):
        return y
    if y.index.is_unique and len(y) == len(X) and X.index.isin(y.index).all():
        return y.reindex(X.index)
    raise ValueError(
        f"labelled holds {len(y)} labels by id, and the ids are not those of its {len(X)} "
        "particles. Pass y.reindex(particles.index), which leaves a particle that has no label "
        "without one, or y.to_numpy() where the labels are in the order of the particles."
    )


def same_particles(X: pd.DataFrame, particles: pd.DataFrame) -> bool:
    """Whether ids that two tables share are of the same particles; raise where they clash."""
    shared = X.index.intersection(particles.index)
    if not len(shared):
        return True
    if digest(read_table(X.loc[shared])) == digest(read_table(particles.loc[shared])):
        return True
    if is_numbered(X.index) or is_numbered(particles.index):
        return False  # row numbers of two tables have nothing to do with each other
    raise ValueError(
        f"labelled and particles share {len(shared)} id(s), such as {shared[0]!r}, but not the "
        "images and scalars of these. Give one of the tables other ids in its index."
    )
