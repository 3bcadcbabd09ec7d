"""
Save a model, and use it in another process
===========================================

A fitted Pipeline goes into a file with joblib and comes back in another process with the same
numbers. The networks put plain numbers and arrays into the file, so that what was trained on a GPU
loads on a laptop without one.
"""

# %%
# A Pipeline that maps digits to two dimensions and finds ten clusters there. The pooled stem halves
# the images early, which makes the network three times as fast.
import subprocess
import sys
import tempfile
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline

from icecore_sk import AutoEncoder
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
import joblib
folder = sys.argv[1]
model, X = joblib.load(f"{folder}/model.joblib"), joblib.load(f"{folder}/new.joblib")
joblib.dump((model[:-1].transform(X), model.predict(X)), f"{folder}/found.joblib")
"""
with tempfile.TemporaryDirectory() as folder:
    joblib.dump(model, f"{folder}/model.joblib")
    joblib.dump(X_new, f"{folder}/new.joblib")
    size = Path(folder, "model.joblib").stat().st_size
    subprocess.run([sys.executable, "-c", script, folder], check=True)
    there, clusters_there = joblib.load(f"{folder}/found.joblib")

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
