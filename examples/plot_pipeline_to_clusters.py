"""
From images to clusters in one Pipeline
=======================================

Network, scaling, map and clusters are the steps of one Pipeline. It is fitted in one call, and new
images get their place on the map and their cluster from it in another, although HDBSCAN itself
cannot label what it was not fitted on.
"""

# %%
# `ClusterTransformer` gives HDBSCAN the method `predict`. The pooled stem halves the images early,
# which makes the network three times as fast.
import matplotlib.pyplot as plt
from sklearn.cluster import HDBSCAN
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from umap import UMAP

from icecore_sk import VAE, ClusterTransformer
from icecore_sk.datasets import load_digit_images
from icecore_sk.metrics import clustering_accuracy
from icecore_sk.plotting import ParticleMapDisplay

X, y = load_digit_images(return_X_y=True)
X_train, X_new, y_train, y_new = train_test_split(X, y, train_size=700, stratify=y, random_state=0)
pipeline = make_pipeline(
    VAE(8, max_epochs=8, batch_size=32, net_params={"stem": "pooled"}, random_state=0),
    StandardScaler(),
    UMAP(min_dist=0.0, n_jobs=1, random_state=0),
    ClusterTransformer(HDBSCAN(min_cluster_size=25, copy=True)),
)
pipeline.fit(X_train)  # no labels

# %%
# The digits are only used now, to see what the clusters are worth. Noise counts as wrong.
clusters = pipeline.predict(X_new)
print(f"{pipeline[-1].n_clusters_} clusters found among {len(X_train)} images.")
print(f"New images in the cluster of their digit: {clustering_accuracy(y_new, clusters):.0%}")
print(f"New images in no cluster: {(clusters < 0).mean():.0%}")

# %%
# All steps but the last are the map. The numbers of the clusters, on the left, mean nothing by
# themselves; several find one digit each.
mapping = pipeline[:-1].transform(X_new)
figure, axes = plt.subplots(1, 2, figsize=(11, 5.5), layout="constrained")
ParticleMapDisplay.from_predictions(mapping, clusters, ax=axes[0])
ParticleMapDisplay.from_predictions(mapping, y_new, ax=axes[1])
axes[0].set_title("clusters of new images", fontsize=16)
axes[1].set_title("their digits", fontsize=16)
plt.show()
