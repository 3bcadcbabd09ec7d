"""
Which scalars does a classifier need?
=====================================

A flow-imaging microscope measures 34 scalars of every particle, and many of them say the same. Here
a classifier that sees the scalars alone is asked which of them it uses, and which few would do.
"""

# %%
# Drawn particles of seven classes, in three parts: to learn from, to inspect the classifier, and to
# check what came of it.
import matplotlib.pyplot as plt
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split

from icecore_sk.datasets import make_particles
from icecore_sk.metrics import scalar_importance, sufficient_scalars

particles, labels = make_particles(4000, random_state=0)
scalars = particles.drop(columns="image")
X_train, X_rest, y_train, y_rest = train_test_split(
    scalars, labels, stratify=labels, random_state=0
)
X_inspect, X_test, y_inspect, y_test = train_test_split(
    X_rest, y_rest, stratify=y_rest, test_size=0.5, random_state=0
)
classifier = RandomForestClassifier(50, class_weight="balanced", random_state=0)
classifier.fit(X_train, y_train)
options = {"scoring": "balanced_accuracy", "n_repeats": 5, "random_state": 0}
importance = scalar_importance(classifier, X_inspect, y_inspect, **options)

# %%
# Shuffled one by one, scalars that say the same cover for each other. Shuffled together, their
# groups show what they are worth.
groups = importance.groupby("group", sort=False)
names = [
    f"{rows.index[0]} and {len(rows) - 1} alike" if len(rows) > 1 else rows.index[0]
    for _, rows in groups
]
joint = groups[["group_mean", "group_std"]].first()

plt.style.use("tableau-colorblind10")
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 8), layout="constrained", sharex=True)
left.barh(
    importance.index,
    importance["mean"],
    xerr=importance["std"],
    color=[f"C{group % 10}" for group in importance["group"]],
)
left.set_title("shuffled one by one")
right.barh(
    names,
    joint["group_mean"],
    xerr=joint["group_std"],
    color=[f"C{group % 10}" for group in joint.index],
)
right.set_title("shuffled with all that are alike")
for ax in (left, right):
    ax.invert_yaxis()
    ax.margins(y=0.01)
    ax.set_xlabel("drop of balanced accuracy")

# %%
# The short list holds one scalar of each group that the score needs. It is a proposal: classifiers
# that are fitted on nothing else, and scored on particles that had no say, are the check.
short = sufficient_scalars(
    classifier, X_inspect, y_inspect, importance=importance, tolerance=0.02, **options
)
score = get_scorer("balanced_accuracy")
refitted = []
for n in range(1, len(short.scalars) + 1):
    few = short.scalars[:n]
    refitted.append(score(clone(classifier).fit(X_train[few], y_train), X_test[few], y_test))
before = score(classifier, X_test, y_test)
print(f"Balanced accuracy: {before:.3f} with all {scalars.shape[1]} scalars,", end=" ")
print(f"{refitted[-1]:.3f} when fitted on {n}: {', '.join(short.scalars)}.")

figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
curve = short.curve
ax.axhline(before, color="black", linestyle=":", label="all scalars")
ax.plot(short.scalars, refitted, "s-", label="fitted on these alone")
ax.errorbar(short.scalars, curve["score"][1:], curve["std"][1:], fmt="o-", label="others shuffled")
ax.set(ylabel="balanced accuracy", xlabel="scalars on the list, up to this one")
ax.tick_params(axis="x", rotation=30, rotation_mode="xtick")
ax.legend()
plt.show()

# sphinx_gallery_thumbnail_number = 2
