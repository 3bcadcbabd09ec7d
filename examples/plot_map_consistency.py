"""
Do two maps agree?
==================

Two methods give two maps, and the eye finds likenesses in any two clouds. `map_consistency` counts
how many neighbours of a particle are its neighbours on both, and says what chance would give. An
area chosen on one map is followed to the other.
"""

# %%
# One map is made of the images, by an autoencoder; the other of the 34 scalars.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.manifold import TSNE

from icecore_sk import AutoEncoder, scalar_preprocessor
from icecore_sk.datasets import make_particles
from icecore_sk.metrics import map_consistency
from icecore_sk.plotting import ConsistencyDisplay

particles, labels = make_particles(500, weights=[1] * 7, image_size=20, random_state=0)
scalars = scalar_preprocessor().fit_transform(particles.drop(columns="image"))
encoder = AutoEncoder(8, max_epochs=6, batch_size=32, random_state=0)
latent = encoder.fit_transform(particles[["image"]])
of_images, of_scalars = (TSNE(random_state=0).fit_transform(X) for X in (latent, scalars))
of_scalars_again = TSNE(init="random", random_state=0).fit_transform(scalars)

# %%
# Chance is one end of the scale. The other is the map of the same scalars from another start, which
# is drawn at random.
for name, other in {"scalars again": of_scalars_again, "images": of_images}.items():
    found = map_consistency(of_scalars, other, random_state=0)
    print(f"Scalars and {name}: {found.overlap:.0%} of the neighbours are shared", end=" ")
    print(f"({found.chance:.1%} by chance); {len(found.moved)} particles lost theirs.")

# %%
# Where on the two maps neighbours are shared:
ConsistencyDisplay.from_predictions(of_scalars, of_images, names=("scalars", "images"))

# %%
# The area around the fibres on the map of the scalars, and what becomes of it on that of the
# images.
centre = np.median(of_scalars[labels == "fibre"], axis=0)
box = [centre - 8, centre + 8]
display = ConsistencyDisplay.from_predictions(
    of_scalars, of_images, box, names=("scalars", "images")
)
inside = labels[display.area].value_counts()
print("In the area:", ", ".join(f"{n} {name}" for name, n in inside.items()))
print(f"Together on the other map: {display.consistency.share:.0%}", end=" ")
print(f"({display.consistency.chance:.0%} by chance).")
plt.show()

# sphinx_gallery_thumbnail_number = 2
