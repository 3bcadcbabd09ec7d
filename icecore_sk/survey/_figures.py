"""The pictures of a survey, for slides and papers; the report shows the same to explore."""

import re
from pathlib import Path

import pandas as pd

from icecore_sk._writing import rewriting
from icecore_sk.plotting import (
    CategoryDisplay,
    ConsistencyDisplay,
    LossCurveDisplay,
    OutlierDisplay,
    ParticleMapDisplay,
)

DPI = 130
KINDS = ("clusters", "score", "label", "predicted")  # of maps


def write_figures(
    folder, table: pd.DataFrame, images, maps: dict, histories: dict, scalars: list[str]
) -> list[Path]:
    """Draw maps, loss curves, categories, outliers and the agreement of the first two maps.

    Parameters
    ----------
    folder : str or path
        Made where it is missing.
    table : DataFrame of n rows
        `Survey.table` of the particles that were kept.
    images : ndarray of shape (n, C, H, W)
    maps : dict of str to (str, str)
        Columns of each map's coordinates.
    histories : dict of str to DataFrame
    scalars : list of str
        Columns of the table that were measured on the particles.

    Returns
    -------
    paths : list of Path
    """
    import matplotlib.pyplot as plt

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    first = next(iter(maps))
    places = {name: table[list(columns)].to_numpy(float) for name, columns in maps.items()}
    clusters = table[f"{first} cluster"].to_numpy(dtype=int)
    varying = [name for name in scalars if table[name].nunique() > 1]
    displays = {
        **_maps(table, images, places),
        "loss_curves": LossCurveDisplay.from_predictions(histories),
        "outliers": OutlierDisplay.from_predictions(
            table.rename(columns={"outlier_score": "score"}), images
        ),
        "agreement": ConsistencyDisplay.from_predictions(
            *list(places.values())[:2], names=tuple(places)[:2]
        ),
    }
    if (clusters >= 0).any():
        displays["categories"] = CategoryDisplay.from_predictions(
            places[first], clusters, images, scalars=table[varying] if varying else None
        )
    # Those of an earlier survey in this folder, which may have had other maps and labels.
    for old in [path for kind in KINDS for path in folder.glob(f"map_*_{kind}.png")]:
        old.unlink()
    (folder / "categories.png").unlink(missing_ok=True)
    paths = []
    for name, display in displays.items():
        # Maps may have any name, such as one with a slash.
        paths.append(folder / (re.sub(r"[^\w.-]+", "_", name) + ".png"))
        with rewriting(paths[-1]) as part:
            display.figure_.savefig(part, dpi=DPI, format="png")
        plt.close(display.figure_)
    return paths


def _maps(table: pd.DataFrame, images, places: dict) -> dict:
    displays = {}
    for name, Z in places.items():
        clusters = table[f"{name} cluster"].to_numpy(dtype=int)
        displays[f"map_{name}_clusters"] = ParticleMapDisplay.from_predictions(
            Z, clusters, name="cluster", images=images, title=f"{name}: clusters found"
        )
        displays[f"map_{name}_score"] = ParticleMapDisplay.from_predictions(
            Z,
            table["outlier_score"].to_numpy(float),
            name="outlier score (low: unusual)",
            title=f"{name}: how usual each particle is",
        )
        for column in KINDS[2:]:
            if column in table and table[column].notna().any():
                displays[f"map_{name}_{column}"] = ParticleMapDisplay.from_predictions(
                    Z, table[column].to_numpy(object), name=column, title=f"{name}: {column}"
                )
    return displays
