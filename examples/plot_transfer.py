"""
Start from a classifier, but not from an over-trained one
=========================================================

Where some labels are known, the encoder of an autoencoder can start from a classifier of them.
After a few epochs of the classifier the training stays as calm as from random weights. From a
classifier that was trained until nothing was left of its loss, the KL divergence of a VAE with many
flows can explode where the learning rate is high.
"""

# %%
# Three starts for the same FlowVAE, at twenty times the usual learning rate: random weights, a
# classifier after three epochs, and one after sixty, at a high learning rate and without weight
# decay, of the same forty labelled digits.
import warnings

import matplotlib.pyplot as plt
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator

from icecore_sk import FlowVAE, ResNet18Classifier
from icecore_sk.datasets import load_digit_images
from icecore_sk.plotting import LossCurveDisplay

X, y = load_digit_images(return_X_y=True)
X_labelled, y_labelled, X_train = X[:40], y[:40], X[:128]
options = {"net_params": {"stem": "pooled"}, "precision": "float32"}
brief = ResNet18Classifier(max_epochs=3, random_state=1, **options)
over_trained = ResNet18Classifier(
    max_epochs=60, lr=0.05, weight_decay=0.0, random_state=2, **options
)
starts = {"random": None}
for name, classifier in {"3 epochs": brief, "60 epochs": over_trained}.items():
    classifier.fit(X_labelled, y_labelled)
    print(f"Classifier after {name}: training loss {classifier.loss_curve_[-1]:.4f}")
    starts[name] = FrozenEstimator(classifier)

# %%
# `FrozenEstimator` hands over a fitted network: its weights are where the encoder starts from. The
# last fit takes the over-trained encoder again, at the usual learning rate.
fits = {name: {"encoder": start, "lr": 0.02} for name, start in starts.items()}
fits["60 epochs, usual lr"] = {"encoder": starts["60 epochs"]}
histories = {}
for name, params in fits.items():
    model = FlowVAE(8, n_flows=32, max_epochs=8, batch_size=32, random_state=0, **options, **params)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(X_train)
    histories[name] = model.history_
    print(f"{name}: KL at most {model.history_['kl'].max():.1f} nats")
    for warning in caught:
        print("  warning:", warning.message)

# %%
# The nats buy little: where the KL explodes, the images are reconstructed about as well as from the
# other starts. At the usual learning rate it stays down, and training gets on, if slowly. The
# better way is to stop the classifier early.
display = LossCurveDisplay.from_predictions(histories)
display.axes_[display.panels_.index("kl")].set_yscale("symlog")
plt.show()
