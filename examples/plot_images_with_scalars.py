"""
Images and scalars together
===========================

A crop that is stretched to the size of the others still shows what a particle is, but no longer how
large. A table of sizes tells how large, but hardly what. `ResNet18Classifier` reads both, and names
more particles rightly than it does from the image alone.
"""

# %%
# The question is chosen so that it needs both: which family, and is the diameter above 15
# micrometres? A quarter of the particles is kept for the test.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from icecore_sk import ResNet18Classifier, scalar_preprocessor
from icecore_sk.datasets import make_particles

particles, family = make_particles(
    1600, classes=["dust", "shard", "blob"], weights=[1, 1, 1], image_size=24, random_state=0
)
labels = np.where(particles["Diameter (ESD)"] > 15, "large ", "small ") + family
X_train, X_test, y_train, y_test = train_test_split(
    particles, labels, stratify=labels, random_state=0
)

# %%
# Columns are chosen by name. Where a table holds an image, the network reads it, and all scalars
# beside it. A forest stands for what the scalars are worth without an image.
network = ResNet18Classifier(
    max_epochs=8,
    batch_size=32,
    augmentation={"flip": True, "quarter_turns": True},
    net_params={"stem": "pooled", "encoder_width": 16},
    random_state=0,
)
forest = RandomForestClassifier(100, random_state=0)
sizes = ["Diameter (ESD)", "Length", "Width"]
scalars = list(particles.columns.drop("image"))
contenders = {
    "3 sizes": (forest, sizes),
    "images": (network, ["image"]),
    "images and 3 sizes": (make_pipeline(scalar_preprocessor(), network), ["image", *sizes]),
    "34 scalars": (forest, scalars),
    "images and 34 scalars": (make_pipeline(scalar_preprocessor(), network), list(particles)),
}
right = {}
for name, (model, columns) in contenders.items():
    said = model.fit(X_train[columns], y_train).predict(X_test[columns])
    parts = np.array([[label.split() for label in y] for y in (y_test, said)])  # (2, n, 2)
    size_right, family_right = (parts[0] == parts[1]).mean(axis=0)
    right[name] = family_right, size_right, (said == y_test).mean()
    print(f"{name}: family {family_right:.0%}, size {size_right:.0%}, both {right[name][-1]:.0%}")

# %%
# Sizes alone miss the family, images alone the size, though not always: a small particle that is
# enlarged looks soft. Together they lose little of either. The other 31 scalars measure shape and
# grey levels, which the image shows as well. They add next to nothing to it, and with the sizes do
# about as well without it. These particles are all of one run. Where runs differ, scalars shift
# with them, and such a gain has to be measured anew.
figure, ax = plt.subplots(figsize=(8, 5.6), layout="constrained")
places = np.arange(len(right))
for k, (what, color) in enumerate(
    {"family": "#88CCEE", "size": "#DDCC77", "both": "#332288"}.items()
):
    bars = ax.barh(places + 0.27 * k, [each[k] for each in right.values()], 0.25, color=color)
    ax.bar_label(bars, fmt="{:.0%}", padding=3, fontsize=11)
    bars.set_label(what)
ax.set_yticks(places + 0.27, list(right), fontsize=14)
ax.invert_yaxis()
ax.set_xlim(0, 1.12)
ax.set_xticks([0, 0.25, 0.5, 0.75, 1])
ax.xaxis.set_major_formatter("{x:.0%}")
ax.set_xlabel("test particles named rightly", fontsize=14)
ax.tick_params(axis="x", labelsize=12)
figure.legend(loc="outside upper center", ncols=3, fontsize=14)
plt.show()
