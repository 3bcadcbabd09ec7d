"""
Two runs under different light
==============================

The lamp of a microscope fades, or a filter is changed, and the images of one run are darker than
those of another. An autoencoder learns that like any other feature, and its map shows the runs.
`MeanCorrection` brings each image to one mean brightness first.
"""

# %%
# Particles of one and the same kind of sample are dealt out to two runs. The second gets 80 % of
# the light.
import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
from sklearn.manifold import TSNE
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from icecore_sk import AutoEncoder, MeanCorrection
from icecore_sk.datasets import make_particles
from icecore_sk.plotting import ParticleMapDisplay

particles, labels = make_particles(400, image_size=20, random_state=0)
images = pa.array(particles["image"]).to_numpy_ndarray()  # (400, 20, 20), uint8
run = np.repeat(["run 1", "run 2"], 200)
images = np.where((run == "run 2")[:, None, None], 0.8 * images, images).round().astype(np.uint8)

# %%
# The same autoencoder learns them as they came and corrected. Neither is told of the runs. If ten
# neighbours in the latent space can name the run of a particle, the latent space tells of it; half
# right is what guessing gives.
encoder = AutoEncoder(8, max_epochs=6, batch_size=32, random_state=0)
pipelines = {"as they came": encoder, "mean corrected": make_pipeline(MeanCorrection(), encoder)}
maps = {}
for name, pipeline in pipelines.items():
    Z = pipeline.fit_transform(images)
    told = {
        what: cross_val_score(KNeighborsClassifier(10), Z, y, cv=5).mean()
        for what, y in (("run", run), ("family", labels))
    }
    print(f"{name}: neighbours name the run of {told['run']:.0%} of the particles", end=" ")
    print(f"and the family of {told['family']:.0%}")
    maps[name] = TSNE(random_state=0).fit_transform(Z)

# %%
# In a Pipeline the brightness is learned with the training set, and new images are brought to it.
figure, axes = plt.subplots(1, 2, figsize=(10, 5), layout="constrained")
for ax, (name, mapping) in zip(axes, maps.items(), strict=True):
    ParticleMapDisplay.from_predictions(mapping, run, ax=ax, legend=ax is axes[1])
    ax.set_title(name, fontsize=16)
plt.show()
