"""The scalars that VisualSpreadsheet measures on a particle, from its mask and grey levels."""

import math
from itertools import pairwise

import numpy as np
from scipy import ndimage

from icecore_sk.datasets.lst import COLUMNS, DERIVED
from icecore_sk.datasets.particle_table import FLOWCAM_SCALARS

# What `measure` returns, in this order: lengths and areas in pixels, then what has no length in it
# and is a field of the `.lst` files as it is.
FEATURES = (
    "area",
    "filled_area",
    "hull_area",
    "perimeter",
    "feret_mean",
    "feret_max",
    "feret_min",
    "minor",
    "major",
    "feret_max_angle",
    "feret_min_angle",
    "circularity_hu",
    "circle_fit",
    "symmetry",
    "ppc",
    "intensity",
    "sigma_intensity",
    "edge_gradient",
)
ANGLES = np.arange(-90, 90, 5)
# Rows of images count downwards, angles upwards.
DIRECTIONS = np.stack([np.cos(np.deg2rad(ANGLES)), -np.sin(np.deg2rad(ANGLES))], axis=1)
SECTORS = 36
EIGHT = np.ones((3, 3), bool)
# Offsets of a pixel's neighbourhood, and Sobel's weights for it: (9, 2).
ROWS, COLS = (offsets.ravel() for offsets in np.mgrid[0:3, 0:3])
SOBEL_X = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
SOBEL = np.stack([SOBEL_X.ravel(), SOBEL_X.T.ravel()], axis=1)


def _crofton() -> np.ndarray:
    """Return the length of outline that each of the 16 patterns of 2x2 pixels adds.

    Crofton's formula with the four directions of the pixel grid, as in Legland, Kieu and Devaux
    (2007), Image Analysis and Stereology 26, 83-92.
    """
    a, b, c, d = (np.arange(16) >> bit & 1 for bit in range(4))
    # Every horizontal or vertical pair of pixels is part of two patterns, a diagonal one of one.
    straight = ((a ^ b) + (c ^ d) + (a ^ c) + (b ^ d)) / 2
    return np.pi / 8 * (straight + ((a ^ d) + (b ^ c)) / np.sqrt(2))


CROFTON = _crofton()
# What each pattern adds to the Euler number of eight-connected pixels, parts less holes: corners
# that turn outwards count 1/4, those that turn inwards -1/4, and crossings join two parts.
EULER = np.array([0, 1, 1, 0, 1, 0, -2, -1, 1, -2, 0, -1, 0, -1, -1, 0]) / 4


def measure(mask: np.ndarray, grey: np.ndarray) -> tuple[float, ...]:
    """Measure one particle.

    Parameters
    ----------
    mask : ndarray of bool, shape (height, width)
        Pixels of the particle; at least one, and none in the outermost rows and columns.
    grey : ndarray of uint8, shape (height, width)

    Returns
    -------
    features : tuple of float
        As `FEATURES` names them. Ferets are extents along 36 directions, 5 degrees apart from -90;
        angles are counterclockwise from the image's horizontal.
    """
    bits = mask.view(np.uint8)
    patterns = bits[:-1, :-1] + 2 * bits[:-1, 1:] + 4 * bits[1:, :-1] + 8 * bits[1:, 1:]
    counts = np.bincount(patterns.ravel(), minlength=16)
    parts = ndimage.label(mask, EIGHT)[1]
    y, x = np.nonzero(mask)
    n = len(x)
    filled = n
    if parts > counts @ EULER:
        background = ndimage.label(~mask)[0]
        filled = int(np.count_nonzero(background != background[0, 0]))
    x_mean, y_mean = x.sum() / n, y.sum() / n
    dx, dy = x - x_mean, y - y_mean
    xx, yy, xy = dx @ dx / n, dy @ dy / n, dx @ dy / n
    spread = math.hypot(xx - yy, 2 * xy)
    ends = _row_ends(mask)
    reach = DIRECTIONS @ ends
    ferets = reach.max(axis=1) - reach.min(axis=1) + 1
    edge = _edge(mask)
    circle_fit, symmetry = _roundness(edge, x_mean, y_mean)
    inside = grey[mask].astype(np.float64)
    intensity = inside.sum() / n
    return (
        n,
        filled,
        _hull_area(ends),
        counts @ CROFTON,
        ferets.sum() / len(ferets),
        ferets.max(),
        ferets.min(),
        4 * math.sqrt(max(0.0, (xx + yy - spread) / 2)),
        # A single pixel has a major axis too: that of a square.
        4 * math.sqrt(max(1 / 12, (xx + yy + spread) / 2)),
        ANGLES[ferets.argmax()],
        ANGLES[ferets.argmin()],
        min(1.0, n / (2 * np.pi * max(xx + yy, 1 / 12))),
        circle_fit,
        symmetry,
        parts,
        intensity,
        math.sqrt(max(0.0, inside @ inside / n - intensity**2)),
        _edge_gradient(grey, edge),
    )


def scalars_from(features: np.ndarray, micrometres: float) -> dict[str, np.ndarray]:
    """Return the columns of `FLOWCAM_SCALARS` from rows of `FEATURES`.

    Parameters
    ----------
    features : ndarray of shape (n, 18)
    micrometres : float
        Side of a pixel.
    """
    f = dict(zip(FEATURES, features.T, strict=True))
    compactness = np.maximum(1, f["perimeter"] ** 2 / (4 * np.pi * f["filled_area"]))
    # Sides of the rectangle that has this perimeter and this area; of a disc there is none.
    half = f["perimeter"] / 2
    root = np.sqrt(np.maximum(0, half**2 - 4 * f["filled_area"]))
    fields = {
        "abd_area": f["area"] * micrometres**2,
        "filled_area": f["filled_area"] * micrometres**2,
        "abd_diameter": np.sqrt(4 / np.pi * f["area"]) * micrometres,
        "esd_diameter": f["feret_mean"] * micrometres,
        "length": f["feret_max"] * micrometres,
        "width": f["feret_min"] * micrometres,
        "perimeter": f["perimeter"] * micrometres,
        # Cauchy: the mean width of a convex outline is its length over pi.
        "convex_perimeter": np.pi * f["feret_mean"] * micrometres,
        "roughness": f["perimeter"] / (np.pi * f["feret_mean"]),
        "sum_intensity": f["intensity"] * f["area"],
        "compactness": compactness,
        "elongation": (half + root) / (half - root),
        "raw_legendre_minor": f["minor"],
        "raw_legendre_major": f["major"],
        "raw_filled_area": f["filled_area"],
        "raw_convex_hull_area": f["hull_area"],
    } | {name: f[name] for name in FEATURES[FEATURES.index("feret_max_angle") :]}
    columns = {COLUMNS[name]: values for name, values in fields.items() if name in COLUMNS}
    for name, (formula, inputs) in DERIVED.items():
        if name in FLOWCAM_SCALARS:
            columns[name] = formula(*(fields[key] for key in inputs))
    tube = columns["Geodesic Thickness"] ** 2 * columns["Geodesic Length"]
    columns["Biovolume (Cylinder)"] = np.pi / 4 * tube
    columns["Biovolume (P. Spheroid)"] = np.pi / 6 * tube
    return {name: np.asarray(columns[name], float) for name in FLOWCAM_SCALARS}


def _row_ends(mask: np.ndarray) -> np.ndarray:
    """Return x and y of the first and the last pixel of each row, shape (2, 2 rows)."""
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    return np.array([np.concatenate([first, last]), np.concatenate([rows, rows])])


def _hull_area(ends: np.ndarray) -> float:
    """Return the area of the convex hull of the pixels, which are squares."""
    n = ends.shape[1] // 2
    x, y = ends.tolist()
    return _side(x[n:], y[n:], 1) + _side([-left for left in x[:n]], y[:n], 0)


def _side(reach: list[int], rows: list[int], width: int) -> float:
    """Return the area between x = 0 and the hull's right side (Andrew's monotone chain).

    A loop over few corners, several times as fast as a call of a hull for any points.
    """
    hull: list[tuple[int, int]] = []
    for x, row in zip(reach, rows, strict=True):
        for y in (row, row + 1):
            while len(hull) > 1:
                (x0, y0), (x1, y1) = hull[-2:]
                if (x1 - x0) * (y - y0) > (x + width - x0) * (y1 - y0):
                    break
                hull.pop()
            hull.append((x + width, y))
    return sum((a[0] + b[0]) * (b[1] - a[1]) for a, b in pairwise(hull)) / 2


def _edge(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return y and x of the particle's pixels that have a neighbour outside."""
    centre = mask[1:-1, 1:-1]
    inner = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    y, x = np.nonzero(centre & ~inner)
    return y + 1, x + 1


def _roundness(edge, x_mean: float, y_mean: float) -> tuple[float, float]:
    """Return circle fit and symmetry, both in [0, 1] with 1 for a disc.

    VisualSpreadsheet does not say how it computes them. Circle fit is 1 minus the relative standard
    deviation of the edge's distance from its own centre. Symmetry compares the reach of the
    particle to opposite sides of its centre of mass, in sectors of 10 degrees.
    """
    y, x = edge
    n = len(x)
    distance = np.hypot(x - x.sum() / n, y - y.sum() / n)
    mean = distance.sum() / n
    variance = max(0.0, distance @ distance / n - mean**2)
    fit = max(0.0, 1 - math.sqrt(variance) / max(mean, 0.5))
    dx, dy = x - x_mean, y - y_mean
    sector = ((np.arctan2(dy, dx) / (2 * np.pi) + 0.5) * SECTORS).astype(int) % SECTORS
    reach = np.zeros(SECTORS)
    np.maximum.at(reach, sector, np.hypot(dx, dy) + 0.5)
    opposite = np.sort(reach.reshape(2, -1), axis=0)
    shorter, longer = opposite[:, opposite[1] > 0]
    return fit, (shorter / longer).sum() / len(longer)


def _edge_gradient(grey: np.ndarray, edge) -> float:
    """Return the mean length of Sobel's gradient along the edge, at most 255."""
    y, x = edge
    around = grey[y[:, None] + ROWS - 1, x[:, None] + COLS - 1].astype(np.float64)
    gradient = around @ SOBEL
    return np.minimum(255, np.hypot(gradient[:, 0], gradient[:, 1])).sum() / len(x)
