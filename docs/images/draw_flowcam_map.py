"""Draws flowcam_map.png from a survey of three FlowCam runs.

    python docs/images/draw_flowcam_map.py SURVEY

SURVEY is the folder of a survey. Where it does not exist, the survey is made first, from the runs
in the folder that ICECORE_DATA names (VickoT/FlowCam_Image_Classifier on GitHub, MIT licence).
"""

import os
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.cm import ScalarMappable

from icecore_sk.plotting import ParticleMapDisplay
from icecore_sk.survey import cli


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw the map of the VAE by label, and by how unusual each particle is."""
    place = table[["VAE x", "VAE y"]].to_numpy()
    unusual = table["outlier"].to_numpy(dtype=bool)
    # One below the other, with large letters: a telephone shows the picture at half its size.
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 11), layout="constrained")
    ParticleMapDisplay.from_predictions(place, table["label"], ax=top)
    beside = top.get_legend()
    top.legend(
        beside.legend_handles,
        [text.get_text() for text in beside.get_texts()],
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        ncols=2,
        fontsize=15,
        markerscale=1.5,
        frameon=False,
    )
    top.set_title("Labels, which the network never saw", fontsize=17)
    ParticleMapDisplay.from_predictions(place, table["outlier_score"], ax=bottom, legend=False)
    bottom.scatter(*place[unusual].T, s=60, facecolor="none", edgecolor="black", linewidth=1)
    bottom.set_title(f"How usual; {unusual.sum()} outliers ringed", fontsize=17)
    # Of its own, because the points are translucent.
    colours = ScalarMappable(bottom.collections[0].norm, bottom.collections[0].cmap)
    bar = figure.colorbar(colours, ax=bottom, location="bottom", extend="both")
    bar.set_label("outlier score (low: unusual)", fontsize=15)
    bar.ax.tick_params(labelsize=14)
    figure.savefig(path, dpi=100)


def main(folder: Path) -> None:
    """Make the survey where it is missing, and draw."""
    if not (folder / "particles.parquet").is_file():
        runs = Path(os.environ["ICECORE_DATA"]) / "flowcam"
        cli.main(
            [
                *("survey", str(runs / "labelled"), str(runs / "unlabelled")),
                *("--labels", str(runs / "labels.csv"), "--out", str(folder)),
            ]
        )
    table = pd.read_parquet(folder / "particles.parquet")
    draw(table, Path(__file__).with_name("flowcam_map.png"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
