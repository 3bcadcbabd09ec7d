"""Synthetic particles: a data set that anyone can have, of any size, with the truth known."""

import warnings
from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np
import pandas as pd

from icecore_sk._random import draw_seed
from icecore_sk.datasets.crops import (
    check_crop_options,
    check_image_size,
    image_array,
    resize_crop,
    shrunk_message,
)
from icecore_sk.datasets.measure import FEATURES, measure, scalars_from
from icecore_sk.datasets.particle_table import particle_table
from icecore_sk.datasets.shapes import KNOWN, NOVEL, Family

MICROMETRES = 0.55
# Pixels that a crop leaves around the particle, as the FlowCam does.
BORDER = 3
# A pixel is the particle's where this share of the light is missing.
THRESHOLD = 0.1


def make_particles(
    n_samples=1000,
    *,
    classes=7,
    weights=None,
    image_size=64,
    resize="stretch",
    novel=0,
    novel_fraction=0.005,
    random_state=None,
):
    """Draw particles as a flow-imaging microscope shows them, and measure their scalars.

    Dark particles on a bright, slightly uneven and noisy background are drawn at their true size,
    cropped tightly, measured, and only then brought to one size, as `load_flowcam` does. The longer
    side of a crop has about 12 to 200 pixels, rarely more than 60; a pixel is 0.55 micrometres
    wide.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of particles.
    classes : int or list of str, default=7
        Families of the known particles, by number or by name: "dust", "shard" (volcanic glass),
        "blurred" (any of the others out of focus), "pollen", "fibre", "blob" (aggregates), "diatom"
        and "bubble".
    weights : dict, list or None, default=None
        Share of each class, by name or in the order of `classes`, scaled to sum to 1. None is
        unbalanced like an ice core: dust is 60 %, diatoms 3 %.
    image_size : int or tuple of (int, int), default=64
        Side, or height and width, of the images in pixels.
    resize : {"stretch", "pad"}, default="stretch"
        As in `load_flowcam`: "stretch" fits every crop to `image_size`, "pad" keeps its scale.
    novel : int or list of str, default=0
        Families that are never among `classes`: "star", "spring", "chain" and "dumbbell".
    novel_fraction : float, default=0.005
        Share of each novel family in `n_samples`.
    random_state : int, RandomState instance or None, default=None
        An int makes the same particles on every call.

    Returns
    -------
    particles : DataFrame
        Particle table: ``image`` (uint8, grey) and the 34 scalars of `FLOWCAM_SCALARS`, lengths in
        micrometres and angles in degrees. The index has the levels run, id, width and height: of
        the crop, in pixels. ``particles.attrs`` is as `load_flowcam` fills it, nothing dropped.
    labels : Series
        Name of each particle's family, by the same index. The order is random. Counts are exact:
        shares are rounded by largest remainders, and no class is left without a particle.

    Warns
    -----
    UserWarning
        Where ``resize="pad"`` shrank crops larger than `image_size`.

    Raises
    ------
    ValueError
        Where a family is unknown or named twice, a weight is missing or not positive, nothing is
        left for the known classes, or there are fewer particles than classes.

    Notes
    -----
    Scalars have the meaning that the FlowCam's manual [1]_ gives them, and relate to each other as
    in its exports. Areas, mean Feret diameter, aspect ratio, circularity (Hu) and particles per
    chain are those that VisualSpreadsheet 4.19 finds in the same mask; perimeters follow Crofton's
    formula [2]_ and are about 3 pixels longer. Circle fit, symmetry and edge gradient, whose exact
    formulas are not published, and the two biovolumes, taken from geodesic length and thickness,
    agree in meaning only. Sizes are of the whole mask, with no correction for fringes.

    References
    ----------
    .. [1] Fluid Imaging Technologies. FlowCAM Manual, particle properties.
    .. [2] Legland, Kieu and Devaux (2007). Computation of Minkowski measures on 2D and 3D binary
           images. Image Analysis and Stereology 26, 83-92.

    Examples
    --------
    >>> from icecore_sk.datasets import make_particles
    >>> particles, labels = make_particles(200, novel=["star"], random_state=0)
    >>> particles.shape
    (200, 35)
    >>> labels.value_counts().to_dict()["dust"], int((labels == "star").sum())
    (119, 1)
    """
    size = check_image_size(image_size)
    check_crop_options(resize, min_side=1)
    names = _check_names("classes", classes, KNOWN, at_least=1)
    strange = _check_names("novel", novel, NOVEL, at_least=0)
    shares = _check_shares(names, weights, strange, novel_fraction)
    counts = _counts(n_samples, shares)
    seed = draw_seed(random_state)
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.array([*names, *strange], dtype=object), counts))
    images = image_array(n_samples, size, color=False)
    features = np.empty((n_samples, len(FEATURES)))
    sides = np.empty((n_samples, 2), np.int64)
    n_shrunk = 0
    for row, name in enumerate(labels):
        crop, mask = _photograph(KNOWN.get(name) or NOVEL[name], rng)
        features[row] = measure(mask, crop)
        sides[row] = crop.shape
        images[row], kept_scale = resize_crop(crop, size, resize)
        n_shrunk += resize == "pad" and not kept_scale
    if n_shrunk:
        message = shrunk_message(n_shrunk, n_samples, sides.max())
        warnings.warn(message, UserWarning, stacklevel=2)
    # The seed in their names keeps the particles of different calls apart.
    run = f"synthetic-{seed}"
    index = pd.MultiIndex.from_arrays(
        [
            np.full(n_samples, run, dtype=object),
            np.array([f"{run}-{row:06d}" for row in range(n_samples)], dtype=object),
            sides[:, 1],
            sides[:, 0],
        ],
        names=["run", "id", "width", "height"],
    )
    attrs = {
        "dropped": {},
        "runs": {run: {"read": int(n_samples), "kept": int(n_samples), "dropped": {}}},
        "left_out": {},
        "shrunk": int(n_shrunk),
        "image_size": list(size),
        "resize": resize,
        "min_side": 1,
    }
    particles = particle_table(images, scalars_from(features, MICROMETRES), index, attrs)
    return particles, pd.Series(labels, index=index, name="label", dtype=object)


def _photograph(family: Family, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the crop of one particle, uint8, and its mask, both with a border around it."""
    # The walls and spines of the largest reach to the edge of their canvas.
    ink = np.pad(family.paint(rng) * rng.uniform(0.3, 0.8), BORDER)
    mask = ink > THRESHOLD
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.s_[
        rows[0] - BORDER : rows[-1] + BORDER + 1,
        cols[0] - BORDER : cols[-1] + BORDER + 1,
    ]
    ink, mask = ink[box], mask[box]
    height, width = ink.shape
    tilt = 0.04 * rng.standard_normal(2, np.float32)
    light = rng.uniform(155, 195) * (
        1
        + tilt[0] * (np.arange(height, dtype=np.float32)[:, None] / height - 0.5)
        + tilt[1] * (np.arange(width, dtype=np.float32) / width - 0.5)
    )
    noise = rng.uniform(1, 2.5) * rng.standard_normal(ink.shape, np.float32)
    grey = light * (1 - ink) + noise
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8), np.ascontiguousarray(mask)


def _check_names(parameter: str, value, families: dict, at_least: int) -> list[str]:
    """Return the names that a number or a list stands for."""
    known = list(families)
    if isinstance(value, Integral) and not isinstance(value, bool):
        if at_least <= int(value) <= len(known):
            return known[: int(value)]
    elif isinstance(value, list | tuple | np.ndarray) and len(value) >= at_least:
        names = [str(name) for name in value]
        strangers = [name for name in names if name not in families]
        if strangers:
            raise ValueError(f"{parameter} has {strangers[0]!r}; expected names among {known}.")
        if len(set(names)) < len(names):
            raise ValueError(f"{parameter}={names} names a family twice.")
        return names
    raise ValueError(
        f"{parameter}={value!r} must be an integer from {at_least} to {len(known)}, or a list of "
        f"names among {known}."
    )


def _check_shares(names: list[str], weights, strange: list[str], fraction) -> np.ndarray:
    """Return the share of each known and each novel class; they sum to 1."""
    if not isinstance(fraction, Real) or not 0 < float(fraction) < 1 / max(1, len(strange)):
        raise ValueError(
            f"novel_fraction={fraction!r} must be a number above 0 and below "
            f"{1 / max(1, len(strange)):.3g}, so that {len(strange)} novel families leave some "
            "particles to the known ones."
        )
    if weights is None:
        values = [KNOWN[name].share for name in names]
    elif isinstance(weights, Mapping):
        if set(weights) != set(names):
            raise ValueError(
                f"weights has the classes {list(weights)}; expected one share for each of {names}."
            )
        values = [weights[name] for name in names]
    else:
        if not isinstance(weights, list | tuple | np.ndarray):
            raise ValueError(
                f"weights={weights!r} must be a dict of shares by class, a list of shares, or None."
            )
        values = list(weights)
        if len(values) != len(names):
            raise ValueError(
                f"weights has {len(values)} shares; expected {len(names)}, one for each of {names}."
            )
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, Real) or not 0 < value < np.inf:
            raise ValueError(
                f"weights gives {name!r} the share {value!r}; expected a positive number. Leave a "
                "family out by leaving it out of classes."
            )
    known = np.array(values, float)
    known *= (1 - float(fraction) * len(strange)) / known.sum()
    return np.concatenate([known, np.full(len(strange), float(fraction))])


def _counts(n_samples, shares: np.ndarray) -> np.ndarray:
    """Round shares of `n_samples` by largest remainders, with at least one of each class."""
    if (
        not isinstance(n_samples, Integral)
        or isinstance(n_samples, bool)
        or n_samples < len(shares)
    ):
        raise ValueError(
            f"n_samples={n_samples!r} must be an integer of at least {len(shares)}: one particle "
            "for each class."
        )
    n = int(n_samples)
    exact = n * shares
    counts = np.floor(exact).astype(int)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: n - counts.sum()]] += 1
    for empty in np.flatnonzero(counts == 0):
        counts[counts.argmax()] -= 1
        counts[empty] = 1
    return counts
