"""
A survey of particles
=====================

`survey` does in one call what other examples show in parts: it learns the labelled particles,
removes the dust, maps and clusters the rest, lists outliers with reasons, and writes a report that
opens in any browser. The command ``icecore survey`` does the same from FlowCam exports.
"""

# %%
# Two runs are drawn: one with labels, and a new one in which there are a few stars, too, which have
# none. The networks are narrow and trained briefly; by default they are neither.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from icecore_sk import AutoEncoder, ResNet18Classifier
from icecore_sk.datasets import make_particles
from icecore_sk.plotting import ParticleMapDisplay
from icecore_sk.survey import survey

labelled = make_particles(600, image_size=24, random_state=0)
particles, truth = make_particles(
    800, image_size=24, novel=["star"], novel_fraction=0.01, random_state=1
)

# %%
# About one in twenty of the particles that are no dust may be lost with the dust. What was found
# comes as an object, and in a folder for everyone else: ``report.html`` with maps, a lasso and the
# images, the table, the fitted models, and a record of what was done. A survey that is stopped goes
# on where it was when it is called again.
#
# The autoencoder sees the images, and by ``scalar_weight`` has to tell the scalars as well from its
# latent vector, so that its map shows both.
net_params = {"stem": "pooled", "encoder_width": 16}
classifier = ResNet18Classifier(
    max_epochs=10,
    batch_size=32,
    lr=5e-3,
    class_weight="balanced_sampling",
    net_params=net_params,
)
model = AutoEncoder(
    8, max_epochs=15, batch_size=32, lr=5e-3, scalar_weight=10.0, net_params=net_params
)
with tempfile.TemporaryDirectory() as folder:
    found = survey(
        particles,
        labelled,
        remove="dust",
        max_miss=0.05,
        classifier=classifier,
        model=model,
        contamination=0.04,
        out=folder,
        verbose=0,
    )
    print("Files:", ", ".join(sorted(path.name for path in Path(folder).iterdir())))
print(found.summary(n_outliers=3))

# %%
# The survey was not told the families of the new particles, so that they can judge it. The stated
# rate of losses holds on average, not in each sample.
table = found.table
kept, outlier = (table[name].to_numpy(dtype=bool) for name in ("kept", "outlier"))
dust, star = (truth.to_numpy() == name for name in ("dust", "star"))
print(f"Removed: {(dust & ~kept).sum()} of {dust.sum()} particles of dust,", end=" ")
print(f"{(~dust & ~kept).sum()} of {(~dust).sum()} others.")
print(f"Stars: {(star & kept).sum()} of {star.sum()} kept, {(star & outlier).sum()} listed.")
print(f"Families named rightly: {(table['predicted'] == truth)[kept & ~star].mean():.0%}.")

# %%
# The map of the particles that were kept, as the autoencoder made it without labels: on the left
# with the families of which it was not told, on the right with the outliers. The report shows the
# maps of the classifier and of the scalars beside it. What is listed is large, far from the others,
# or odd in a scalar. A family that nobody has labelled need not be that: look for it in the areas
# of the map, with the lasso of the report or
# `icecore_sk.plotting.MapAreaDisplay`.
place = table.loc[kept, list(found.maps["AutoEncoder"])].to_numpy()
figure, axes = plt.subplots(1, 2, figsize=(12, 5.6), layout="constrained")
ParticleMapDisplay.from_predictions(place, truth[kept], ax=axes[0])
ParticleMapDisplay.from_predictions(
    place, table["outlier_score"][kept], name="outlier score (low: unusual)", ax=axes[1]
)
ring = {"s": 90, "facecolor": "none", "edgecolor": "black", "linewidth": 1.5}
axes[1].scatter(*place[outlier[kept]].T, **ring)
axes[0].set_title("families", fontsize=18)
axes[1].set_title("outliers ringed", fontsize=18)
plt.show()
