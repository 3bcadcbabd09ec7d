"""
Leave two digits out, and see them on the map
=============================================

A classifier that learns eight of scikit-learn's ten digits places the two it never saw apart from
the others: they form places of their own on the map of its next-to-last layer.
"""

# %%
# Two digits go away before training; all ten come back to be mapped.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split
from umap import UMAP

from icecore_sk import OutlierScorer, ResNet18Classifier
from icecore_sk.datasets import leave_digits_out, load_digit_images
from icecore_sk.plotting import ParticleMapDisplay

X, y = load_digit_images(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
X_known, _, y_known, _ = leave_digits_out(X_train, y_train, digits=[2, 6])
classifier = ResNet18Classifier(max_epochs=10, random_state=0).fit(X_known, y_known)

# %%
# The map knows nothing of the labels that colour it on the left. On the right, the distance to
# the nearest training images says which images are new.
features = classifier.transform(X_test)
scorer = OutlierScorer(n_neighbors=10, components=["distance"], metric="cosine")
normality = scorer.fit(classifier.transform(X_known)).score_samples(features)
mapping = UMAP(min_dist=0.0, n_jobs=1, random_state=0).fit_transform(features)

figure, axes = plt.subplots(1, 2, figsize=(12, 6), layout="constrained")
ParticleMapDisplay.from_predictions(mapping, y_test, ax=axes[0], title="digit (2, 6 never seen)")
ParticleMapDisplay.from_predictions(mapping, -normality, ax=axes[1], title="novelty")
novel = np.isin(y_test[normality.argsort()[:50]], [2, 6])
print(f"{novel.sum()} of the 50 most novel images are digits that were never seen.")
plt.show()
