"""
Save a model, and use it in another process
===========================================

A fitted Pipeline goes into a file and comes back in another process with the same numbers. The
file holds JSON and arrays, nothing that could run, so that it may come from anybody; and what was
trained on a GPU loads on a laptop without one.
"""

# %%
# A Pipeline that maps digits to two dimensions and finds ten clusters there. The pooled stem halves
# the images early, which makes the network three times as fast.
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline

from icecore_sk import AutoEncoder, save
from icecore_sk.datasets import load_digit_images
from icecore_sk.plotting import ParticleMapDisplay

X = load_digit_images().data
X_train, X_new = X[:300], X[300:600]
encoder = AutoEncoder(2, max_epochs=6, batch_size=32, net_params={"stem": "pooled"}, random_state=0)
model = make_pipeline(encoder, KMeans(10, random_state=0)).fit(X_train)

# %%
# The other process knows nothing but two files: the model and the new images.
script = """
import sys
import numpy as np
from icecore_sk import load
folder = sys.argv[1]
model, X = load(f"{folder}/model.safetensors"), np.load(f"{folder}/new.npy")
np.savez(f"{folder}/found.npz", places=model[:-1].transform(X), clusters=model.predict(X))
"""
with tempfile.TemporaryDirectory() as folder:
    path = save(model, Path(folder, "model.safetensors"))
    np.save(Path(folder, "new.npy"), X_new)
    size = path.stat().st_size
    subprocess.run([sys.executable, "-c", script, folder], check=True)
    found = np.load(Path(folder, "found.npz"))
    there, clusters_there = found["places"], found["clusters"]

# %%
# Coordinates are compared as they are, without a tolerance.
here, clusters_here = model[:-1].transform(X_new), model.predict(X_new)
print(f"The file has {size / 1e6:.0f} MB.")
print("Same coordinates:", np.array_equal(here, there))
print("Same clusters:", np.array_equal(clusters_here, clusters_there))

figure, axes = plt.subplots(1, 2, figsize=(10, 5), layout="constrained")
for ax, coordinates, clusters, where in (
    (axes[0], here, clusters_here, "in this process"),
    (axes[1], there, clusters_there, "from the file, in another"),
):
    ParticleMapDisplay.from_predictions(coordinates, clusters, ax=ax, legend=False)
    ax.set_title(where, fontsize=16)
plt.show()
