"""
Outliers, each with its reason
==============================

A score alone makes the reader ask why. `OutlierScorer` measures several ways in which a particle
can be unusual, brings them to one scale, and says in words which of them it was.
"""

# %%
# Seven known families, and a few stars and springs among them. The same seed draws the same
# particles in any size: small ones for the network, larger ones for the figure.
import matplotlib.pyplot as plt
from sklearn.pipeline import make_pipeline

from icecore_sk import VAE, OutlierScorer, scalar_preprocessor
from icecore_sk.datasets import make_particles
from icecore_sk.plotting import OutlierDisplay

options = {"novel": ["star", "spring"], "novel_fraction": 0.01, "random_state": 0}
particles, labels = make_particles(500, image_size=20, **options)
pictures, _ = make_particles(500, image_size=64, **options)

# %%
# The scorer fits its embedder, finds each particle's neighbours in the latent space, and compares
# with theirs what the microscope measured. No label is used.
embedder = make_pipeline(scalar_preprocessor(), VAE(8, max_epochs=6, batch_size=32, random_state=0))
scorer = OutlierScorer(embedder, contamination=0.03, random_state=0).fit(particles)
table = scorer.explain(particles)
print("Components:", ", ".join(scorer.components_))
novel = labels.isin(["star", "spring"])
print(f"{table['outlier'].sum()} outliers, {(table['outlier'] & novel).sum()} of them", end=" ")
print(f"among the {novel.sum()} stars and springs.")

# %%
# The most unusual first. The families are written beside them for the reader; the scorer does not
# know them. A particle of a known family can be unusual, too, in its size or darkness: the reason
# tells whether it is worth a look.
table.index = [f"{name} {row}" for row, name in enumerate(labels)]
print(table.sort_values("score")["reason"].head(12).to_string())
OutlierDisplay.from_predictions(table, pictures, n_outliers=5, n_columns=1)
plt.show()
