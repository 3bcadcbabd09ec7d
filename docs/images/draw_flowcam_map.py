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

from icecore_sk.plotting import ParticleMapDisplay
from icecore_sk.survey import cli


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw the map of the VAE by label, and by how unusual each particle is."""
    place = table[["VAE x", "VAE y"]].to_numpy()
    unusual = table["outlier"].to_numpy(dtype=bool)
    _, axes = plt.subplots(1, 2, figsize=(13, 4.6), layout="constrained")
    left = ParticleMapDisplay.from_predictions(
        place, table["label"], ax=axes[0], title="Labels, which the network never saw"
    )
    ParticleMapDisplay.from_predictions(
        place,
        table["outlier_score"],
        name="outlier score (low: unusual)",
        ax=axes[1],
        title=f"How usual each particle is; {unusual.sum()} outliers ringed",
    )
    axes[1].scatter(*place[unusual].T, s=60, facecolor="none", edgecolor="black", linewidth=1)
    left.figure_.savefig(path, dpi=110)


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
