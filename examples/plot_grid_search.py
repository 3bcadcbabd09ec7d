"""
How many latent dimensions?
===========================

The autoencoders are scikit-learn estimators, so `sklearn.model_selection.GridSearchCV` tries
lengths of the latent vector like any other parameter. Which is best depends on what the vector is
for. Here it should tell digits apart, and that is scored beside the autoencoder's own score.
"""

# %%
# The autoencoder learns without labels. Behind it in the Pipeline, a classifier of nearest
# neighbours finds out how well its vectors tell digits apart. The autoencoder's own ``score`` is
# minus the loss of the reconstruction, in nats per image.
import matplotlib.pyplot as plt
import pandas as pd
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from icecore_sk import AutoEncoder
from icecore_sk.datasets import load_digit_images

X, y = load_digit_images(return_X_y=True)
X, y = X[:600], y[:600]
encoder = AutoEncoder(
    max_epochs=8,
    batch_size=32,
    lr=1e-2,
    net_params={"encoder_width": 8},
    random_state=0,
)
pipeline = make_pipeline(encoder, KNeighborsClassifier(5))


def scores(fitted, X, y):
    """Return both scores of a fitted Pipeline."""
    return {"accuracy": fitted.score(X, y), "reconstruction": fitted[0].score(X)}


# %%
# The whole Pipeline is fitted for each length and each fold, so that no held-out image has a part
# in what the encoder learned. In the end the best is fitted on all images: ``search`` predicts
# digits itself.
search = GridSearchCV(
    pipeline,
    {"autoencoder__latent_dim": [1, 2, 4, 8, 16, 32]},
    scoring=scores,
    refit="accuracy",
    cv=3,
)
search.fit(X, y)
results = pd.DataFrame(search.cv_results_).set_index("param_autoencoder__latent_dim")
table = results[["mean_test_accuracy", "std_test_accuracy", "mean_test_reconstruction"]]
print(table.to_string(float_format="{:.3f}".format))
print("Best for the classifier:", search.best_params_["autoencoder__latent_dim"], "dimensions")

# %%
# Bars are standard deviations over the three folds. Beyond eight dimensions neither score gains as
# much as it did before, and what the classifier gains is less than folds differ. A shorter vector
# would then do as well.
figure, axes = plt.subplots(2, 1, figsize=(8, 5.6), sharex=True, layout="constrained")
for ax, what, unit in ((axes[0], "accuracy", "of digits"), (axes[1], "reconstruction", "in nats")):
    mean, std = results[f"mean_test_{what}"], results[f"std_test_{what}"]
    ax.errorbar(results.index, mean, std, fmt="o-", color="#332288", capsize=5)
    ax.set_ylabel(f"{what}\n{unit}", fontsize=14)
    ax.tick_params(labelsize=13)
axes[1].set_xscale("log", base=2)
axes[1].set_xticks(results.index, results.index)
axes[1].set_xlabel("latent dimensions", fontsize=14)
plt.show()
