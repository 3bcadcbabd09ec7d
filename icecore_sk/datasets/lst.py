"""The `.lst` files of VisualSpreadsheet, with the names of its CSV export.

The file describes itself: a version number, ``num-fields|N``, N lines ``name|type``, then one line
of N values for each particle. Versions differ in their fields, so fields are found by name. Those
with 57 (names listed at https://github.com/fawda123/rflowcam) have ``aspect_ratio``, and no ids;
those with 65 have ``image_id``, and the axes that the aspect ratio is computed from.
"""

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

# Column of the CSV export for each field. Compared on three exports of version 4.19, value by
# value, as were the formulas below.
COLUMNS = {
    "id": "Particle ID",
    "image_x": "Image X",
    "image_y": "Image Y",
    "image_w": "Image Width",
    "image_h": "Image Height",
    "src_x": "Capture X",
    "src_y": "Capture Y",
    "src_image": "Source Image",
    "cal_image": "Calibration Image",
    "ppc": "Particles Per Chain",
    "camera": "Camera",
    "cal_const": "Calibration Factor",
    "sphere_count": "Sphere Count",
    "raw_sphere_volume": "Sphere Volume",
    "raw_sphere_complement": "Sphere Complement",
    "raw_sphere_unknown": "Sphere Unknown",
    "abd_area": "Area (ABD)",
    "filled_area": "Area (Filled)",
    "abd_diameter": "Diameter (ABD)",
    "esd_diameter": "Diameter (ESD)",
    "fd_diameter": "Diameter (FD)",
    "aspect_ratio": "Aspect Ratio",
    "length": "Length",
    "width": "Width",
    "perimeter": "Perimeter",
    "convex_perimeter": "Convex Perimeter",
    "intensity": "Intensity",
    "sigma_intensity": "Sigma Intensity",
    "sum_intensity": "Sum Intensity",
    "compactness": "Compactness",
    "elongation": "Elongation",
    "roughness": "Roughness",
    "edge_gradient": "Edge Gradient",
    "elapsed_time": "Elapsed Time",
    "circle_fit": "Circle Fit",
    "symmetry": "Symmetry",
    "circularity_hu": "Circularity (Hu)",
    "feret_max_angle": "Feret Angle Max",
    "feret_min_angle": "Feret Angle Min",
    "avg_red": "Average Red",
    "avg_green": "Average Green",
    "avg_blue": "Average Blue",
    "ch1_peak": "Ch1 Peak",
    "ch1_width": "Ch1 Width",
    "ch1_area": "Ch1 Area",
    "ch2_peak": "Ch2 Peak",
    "ch2_width": "Ch2 Width",
    "ch2_area": "Ch2 Area",
    "timestamp": "Timestamp",
    "collage_file": "Image File",
    "image_id": "Original Reference ID",
}


def _geodesic_length(perimeter, elongation):
    # Length and thickness are the sides of a rectangle with this perimeter and this elongation.
    return perimeter / 2 * elongation / (1 + elongation)


# Scalars that the CSV has and the file leaves to be computed, from fields of the file.
DERIVED: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "Aspect Ratio": (
        lambda minor, major: minor / major,
        ("raw_legendre_minor", "raw_legendre_major"),
    ),
    "Circularity": (lambda compactness: 1 / compactness, ("compactness",)),
    "Convexity": (
        lambda filled, hull: np.minimum(1, filled / hull),
        ("raw_filled_area", "raw_convex_hull_area"),
    ),
    "Volume (ABD)": (lambda d: np.pi / 6 * d**3, ("abd_diameter",)),
    "Volume (ESD)": (lambda d: np.pi / 6 * d**3, ("esd_diameter",)),
    "Transparency": (lambda abd, esd: 1 - abd / esd, ("abd_diameter", "esd_diameter")),
    "Ratio Red/Green": (lambda red, green: red / green, ("avg_red", "avg_green")),
    "Ratio Blue/Green": (lambda blue, green: blue / green, ("avg_blue", "avg_green")),
    "Ratio Red/Blue": (lambda red, blue: red / blue, ("avg_red", "avg_blue")),
    "Ch2/Ch1 Ratio": (
        # Without a signal in channel 1 the export writes 0.
        lambda ch2, ch1: np.where(ch1 == 0, 0.0, ch2 / np.where(ch1 == 0, 1.0, ch1)),
        ("ch2_peak", "ch1_peak"),
    ),
    "Geodesic Length": (_geodesic_length, ("perimeter", "elongation")),
    "Geodesic Thickness": (
        lambda perimeter, elongation: perimeter / 2 / (1 + elongation),
        ("perimeter", "elongation"),
    ),
    "Geodesic Aspect Ratio": (lambda elongation: 1 / elongation, ("elongation",)),
    "Fiber Curl": (
        lambda p, e, length: np.maximum(0, _geodesic_length(p, e) / length - 1),
        ("perimeter", "elongation", "length"),
    ),
    "Fiber Straightness": (
        lambda p, e, length: length / _geodesic_length(p, e),
        ("perimeter", "elongation", "length"),
    ),
}


def read_lst(path: Path, text: str) -> tuple[pd.DataFrame, int]:
    """Return the particles with the CSV's column names, and the count of bad lines.

    Cells are strings; those of columns that are derived here are numbers, or NaN.

    Parameters
    ----------
    path : Path
        Named in messages.
    text : str
        What the file holds.

    Raises
    ------
    ValueError
        Where the header is not that of a `.lst` file.
    """
    # Not splitlines(), which also breaks at characters that stand in a name in Latin-1.
    lines = [line.rstrip("\n") for line in io.StringIO(text, newline=None)]
    try:
        word, count = lines[1].split("|")
        n_fields = int(count)
        if word != "num-fields" or not 1 <= n_fields <= len(lines) - 2:
            raise ValueError
    except (IndexError, ValueError):
        raise ValueError(
            f"{path} is no .lst file that can be read: its second line should be 'num-fields|N' "
            "with N field names below it. Export the run as CSV and pass that."
        ) from None
    fields_of = [line.split("|") for line in lines[2 : 2 + n_fields]]
    odd = [line for line, parts in zip(lines[2:], fields_of, strict=False) if len(parts) != 2]
    if odd:
        # A particle may have come to stand among the fields, and would be lost.
        raise ValueError(
            f"{path} has {odd[0][:60]!r} among its {n_fields} fields; expected 'name|type'. Export "
            "the run as CSV and pass that."
        )
    names = [parts[0].strip() for parts in fields_of]
    repeated = [name for name, n in Counter(names).items() if n > 1]
    if repeated:
        raise ValueError(f"{path} has several fields named {repeated}. Export the run as CSV.")
    rows = [line.split("|") for line in lines[2 + n_fields :] if line.strip()]
    whole = [row for row in rows if len(row) == n_fields]
    fields = pd.DataFrame(whole, columns=names, dtype=object)
    known = [name for name in names if name in COLUMNS]
    table = fields[known].rename(columns=COLUMNS)
    for column, (formula, inputs) in DERIVED.items():
        if column not in table and set(inputs) <= set(names):
            numbers = [
                pd.to_numeric(fields[name], errors="coerce").to_numpy(float) for name in inputs
            ]
            with np.errstate(divide="ignore", invalid="ignore"):
                table[column] = formula(*numbers)
    return table, len(rows) - len(whole)
