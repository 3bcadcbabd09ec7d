"""
Remove the dust, and little else
================================

Most particles of an ice core are dust. `ClassFilter` removes what a classifier takes for dust, at a
stated risk for everything else: here at most one in twenty of the other particles may be lost. What
looks like nothing that the classifier knows is kept.
"""

# %%
# The labelled particles are of seven families. Among the new ones there are stars, too, which
# nobody has labelled.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline

from icecore_sk import ClassFilter, ResNet18Classifier, scalar_preprocessor
from icecore_sk.datasets import make_particles

X, y = make_particles(450, image_size=20, random_state=0)
X_new, y_new = make_particles(
    700, image_size=20, novel=["star"], novel_fraction=0.03, random_state=1
)

# %%
# The threshold comes from held-out rows: the classifier is fitted three times on two thirds, and in
# the end on all.
network = ResNet18Classifier(
    max_epochs=5, batch_size=32, class_weight="balanced_sampling", random_state=0
)
classifier = make_pipeline(scalar_preprocessor(), network)
dust_filter = ClassFilter(classifier, remove="dust", max_miss=0.05, cv=3, random_state=0)
dust_filter.fit(X, y)

# %%
# `explain` says of each particle why it stays or goes.
table = dust_filter.explain(X_new)
dust, star = y_new == "dust", y_new == "star"
others = ~dust & ~star
print(f"Removed: {1 - table['kept'][dust].mean():.1%} of the dust,", end=" ")
print(f"{1 - table['kept'][others].mean():.1%} of the other families,", end=" ")
print(f"{(~table['kept'][star]).sum()} of {star.sum()} stars.")
for reason in table.groupby(["kept", "rescued"])["reason"].first():
    print("For example:", reason)

# %%
# The log-odds of being dust. Right of the line a particle is removed, unless it is rescued.
threshold = dust_filter.threshold_
line = np.log(threshold / (1 - threshold))
bins = np.linspace(*np.percentile(table["score"], [0.5, 99.5]), 40)
figure, ax = plt.subplots(figsize=(8, 5.6), layout="constrained")
ax.hist(
    [table["score"][mask].clip(bins[0], bins[-1]) for mask in (dust, others, star)],
    bins,
    stacked=True,
    label=["dust", "other families", "stars, never seen"],
    color=["#DDCC77", "#332288", "#CC6677"],
)
ax.axvline(line, color="black", ls="--", label="threshold")
ax.set_xlabel("log-odds of dust", fontsize=14)
ax.set_ylabel("particles", fontsize=14)
ax.tick_params(labelsize=13)
ax.legend(fontsize=13)
plt.show()
