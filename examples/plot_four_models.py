"""
The four models side by side
============================

A classifier and three autoencoders learn the same images. How well do neighbours in the latent
space of each tell a digit, and how does its map look? Only the classifier is told the digits of the
training images.
"""

# %%
# All four have a ResNet18 as encoder, here an eighth as wide as published, and the same methods, so
# that one loop serves them all.
import time

import matplotlib.pyplot as plt
from sklearn.manifold import TSNE
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from icecore_sk import VAE, AutoEncoder, FlowVAE, ResNet18Classifier
from icecore_sk.datasets import load_digit_images
from icecore_sk.plotting import ParticleMapDisplay

X, y = load_digit_images(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=700, test_size=500, stratify=y, random_state=0
)
options = {
    "max_epochs": 15,
    "batch_size": 32,
    "lr": 5e-3,
    "net_params": {"encoder_width": 8},
    "random_state": 0,
}
models = [
    ResNet18Classifier(**options),
    AutoEncoder(16, **options),
    VAE(16, **options),
    FlowVAE(16, **options),
]

# %%
# Test images are placed by `transform` as training images are. Their five nearest training images
# vote on the digit.
latent = {}
for model in models:
    name = type(model).__name__
    start = time.perf_counter()
    model.fit(X_train, y_train if name == "ResNet18Classifier" else None)
    seconds = time.perf_counter() - start
    latent[name] = model.transform(X_test)
    neighbours = KNeighborsClassifier(5).fit(model.transform(X_train), y_train)
    accuracy = neighbours.score(latent[name], y_test)
    print(f"{name}: {latent[name].shape[1]} dimensions, {seconds:.0f} s;", end=" ")
    print(f"neighbours name the digit of {accuracy:.1%} of the test images.")

# %%
# The classifier's map shows what it was told. The autoencoders keep what it takes to draw an image,
# and digits part all the same. The two VAEs pay for what their vectors tell, and tell less after so
# few epochs. After longer training on MNIST the four come close to each other: see
# :doc:`/benchmarks`.
maps = {name: TSNE(random_state=0).fit_transform(Z) for name, Z in latent.items()}
for name, display in ParticleMapDisplay.compare(maps, y_test, name="digit", n_columns=2).items():
    display.ax_.set_title(name, fontsize=18)
plt.show()
