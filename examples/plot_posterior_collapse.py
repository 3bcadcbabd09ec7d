"""
A posterior collapses, and is cured
===================================

A VAE pays for what its latent vector tells of an image: the KL divergence. Where that price is too
high it tells nothing, and the decoder paints the same mean image whatever it is shown. The history
of the training shows it, a warning says it, and three parameters act against it.
"""

# %%
# A weight of 20 on the KL, from the first step on, is such a price. Each of the other three fits
# changes one parameter. The pooled stem halves the images early: it is quick, and good enough here.
import warnings

import matplotlib.pyplot as plt
from sklearn.exceptions import ConvergenceWarning

from icecore_sk import VAE
from icecore_sk.datasets import load_digit_images
from icecore_sk.plotting import LossCurveDisplay

X = load_digit_images().data[:256]
costly = {"beta": 20.0, "kl_warmup": 0.0, "lr": 3e-3, "max_epochs": 6, "batch_size": 32}
changes = {
    "beta=20": {},
    "beta=1": {"beta": 1.0},
    "free_bits=1": {"free_bits": 1.0},
    "kl_warmup=60": {"kl_warmup": 60.0},
}
models = {}
for name, change in changes.items():
    model = VAE(8, net_params={"stem": "pooled"}, random_state=0, **costly | change)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        models[name] = model.fit(X)
    last = model.history_.iloc[-1]
    print(f"{name}: KL {last['kl']:.2f} nats, {last['active_units']:.0f} of 8 dimensions active")
    for warning in caught:
        print("  warning:", warning.message)

# %%
# The KL and the active units fall to nothing together. Losses of different weights do not compare.
# Free bits make the first nat of each dimension free. A warm-up lets the price grow slowly: over 60
# epochs, of which only 6 are run, so that it ends at a tenth of `beta`.
LossCurveDisplay.from_predictions({name: model.history_ for name, model in models.items()})

# %%
# What each has kept of an image shows in its reconstruction. The collapsed one gives the same
# picture for every digit. Free bits bring half of the dimensions back, but their pictures hardly
# differ after so few epochs: active units say that a latent vector varies, the KL how much it
# tells.
shown = X[:10]
rows = {"image": shown} | {name: model.reconstruct(shown) for name, model in models.items()}
figure, axes = plt.subplots(len(rows), len(shown), figsize=(9, 4.6), layout="constrained")
for line, (name, images) in zip(axes, rows.items(), strict=True):
    line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=13)
    for ax, image in zip(line, images, strict=True):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255 if image.dtype == "uint8" else 1)
        ax.set(xticks=[], yticks=[])
plt.show()

# sphinx_gallery_thumbnail_number = 2
