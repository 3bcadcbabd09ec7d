"""What the library's models are measured against, as lines of the tables of `leave_digits_out.py`.

All get the same training images as the library's models, as floats between 0 and 1 unless said
otherwise, and are otherwise left as their authors made them.
"""

import math

import novelty_scores
import numpy as np
import torch
from contenders import PlainLoop, Pythae
from digits_data import Digits
from digits_models import CLASSIFIER_EPOCHS, VAE, Line, Looking
from plain_networks import LATENT_DIM, LR, TorchvisionClassifier
from sklearn.decomposition import PCA
from sklearn.neighbors import LocalOutlierFactor
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from icecore_sk._vae import N_ELBO_SAMPLES
from icecore_sk.nn.intermediate import intermediate_features

BATCH_SIZE = 128
N_COMPONENTS = 50
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def as_rows(X: np.ndarray) -> np.ndarray:
    return X.reshape(len(X), -1) / np.float32(255)


class RawPixels(Line):
    """No model: the map is made of pixels, and so are the neighbours.

    A learned representation that does not beat it has no reason to exist.
    """

    main_score = "rank_mean"

    def fit(self, X, y):
        return self

    def space(self, X):
        return as_rows(X)

    def scores(self, data: Digits):
        return novelty_scores.of_pixels(data.X, data.X_test)


class PCALOF(Line):
    """Local outlier factors of the first 50 principal components, with scikit-learn's defaults."""

    main_score = "lof"

    def fit(self, X, y):
        rows = as_rows(X)
        self.model = PCA(min(N_COMPONENTS, len(rows)), random_state=self.seed).fit(rows)
        self.lof = LocalOutlierFactor(novelty=True).fit(self.model.transform(rows))
        return self

    def space(self, X):
        return self.model.transform(as_rows(X))

    def scores(self, data: Digits):
        return {"lof": self.lof.score_samples(self.space(data.X_test))}


class PlainLoopOfDigits(PlainLoop):
    """A plain loop around torchvision's ResNet18 for as many classes as y has."""

    def fit(self, X, y):
        self.n_classes = len(np.unique(y))
        self.n_steps = self.epochs * math.ceil(len(X) / self.batch_size)
        super().fit(X, y)

    def make(self):
        return TorchvisionClassifier(self.n_classes).to(self.device), nn.CrossEntropyLoss()

    def optimizer(self):
        # At one rate throughout, the last batches decide what the network is like.
        optimizer = super().optimizer()
        schedule = OneCycleLR(optimizer, LR, total_steps=self.n_steps + 1)
        optimizer.register_step_post_hook(lambda *_: schedule.step())
        return optimizer


class PlainResNet18(Line):
    """torchvision's ResNet18, Adam, one cycle, float32, no augmentation, as many epochs as ours.

    Softmax and largest logit are what the literature compares with; the other scores of a
    classifier are added, so that one sees what comes from the network and what from the score.
    """

    supervised = True
    main_score = "max_logit"
    metric = "cosine"
    default_epochs = CLASSIFIER_EPOCHS

    def parameters(self):
        return super().parameters() | {"learning rate": f"one cycle up to {LR}"}

    def fit(self, X, y):
        torch.manual_seed(self.seed)
        self.classes, target = np.unique(y, return_inverse=True)
        self.model = PlainLoopOfDigits(
            "ResNet18Classifier", (1, 28, 28), BATCH_SIZE, self.epochs, DEVICE
        )
        self.model.fit(X[:, None], target)
        return self

    def space(self, X):
        return self.model.transform(X[:, None])

    def logits(self, X):
        return self.model.run(X[:, None], self.model.net)

    def predict(self, X):
        return self.classes[self.logits(X).argmax(axis=1)]

    def intermediate(self, X):
        loop = self.model
        return loop.run(
            X[:, None], lambda image: intermediate_features(loop.net.third_stage(image))
        )

    def scores(self, data: Digits):
        H, H_new = self.look(data.X), self.look(data.X_test)
        logits, logits_new = self.logits(data.X), self.logits(data.X_test)
        scores = novelty_scores.of_classifier(H, logits, data.y, H_new, logits_new, self.seed)
        return scores | novelty_scores.details(
            Looking(self), data.X, data.y, data.X_test, self.seed, ["neighbours"]
        )


class PyOD(Line):
    """A detector of PyOD: it scores and promises no more, so it has no map.

    Its standardisation of every pixel is turned off: a pixel that is always black in training would
    be divided by 1e-8, and any ink there would outweigh all else. Epochs, batches and networks are
    PyOD's defaults: these networks are small, and see more epochs than ours.
    """

    main_score = "score_samples"

    def space(self, X):
        return None

    def fit(self, X, y):
        options = {"preprocessing": False, "verbose": 0, "random_state": self.seed}
        if self.epochs:
            options["epoch_num"] = self.epochs
        self.model = self.make(options).fit(as_rows(X))
        return self

    def scores(self, data: Digits):
        return {"score_samples": -self.model.decision_function(as_rows(data.X_test))}


class PyODAutoEncoder(PyOD):
    default_epochs = 10

    def make(self, options):
        from pyod.models.auto_encoder import AutoEncoder

        return AutoEncoder(**options)


class PyODVAE(PyOD):
    """PyOD's VAE as it comes: `capacity=0` keeps the KL out of its loss."""

    default_epochs = 30

    def make(self, options):
        from pyod.models.vae import VAE

        return VAE(**options)


class PyODVAEWithKL(PyODVAE):
    """PyOD's VAE with the KL that makes it one, and as many latent dimensions as ours.

    Its reconstruction loss is a mean of squares over pixels; the KL times twice the variance of a
    pixel, over 784 of them, makes the sum an ELBO in other units. The variance is near what such
    networks leave: with 1 there, nothing would be worth keeping in the latent vector.
    """

    variance = 0.02

    def make(self, options):
        from pyod.models.vae import VAE

        beta = 2 * self.variance / 784
        return VAE(latent_dim=LATENT_DIM, capacity=np.inf, beta=beta, **options)


class PythaeFlow(Line):
    """pythae's planar-flow VAE around our encoder and decoder, with its cross-entropy.

    Its squared error fixes the spread of a pixel at 1, where pixels lie between 0 and 1: hardly
    anything is worth keeping in the latent vector then.
    """

    main_score = "neighbours_cosine"
    default_epochs = VAE.default_epochs

    def fit(self, X, y):
        torch.manual_seed(self.seed)
        self.model = Pythae("FlowVAE", (1, 28, 28), BATCH_SIZE, self.epochs, DEVICE)
        self.model.reconstruction_loss = "bce"
        self.model.seed = self.seed
        self.model.fit(X[:, None], y)
        return self

    def space(self, X):
        return self.model.transform(X[:, None])

    def scores(self, data: Digits):
        elbo = self.model.elbo(data.X_test[:, None], N_ELBO_SAMPLES)
        H, H_new = self.look(data.X), self.look(data.X_test)
        near = novelty_scores.of_space(H, H_new, self.seed)
        return {"score_samples": elbo, **near}


BASELINES = {
    "raw pixels": RawPixels,
    "PCA + LOF": PCALOF,
    "plain ResNet18": PlainResNet18,
    "PyOD AutoEncoder": PyODAutoEncoder,
    "PyOD VAE": PyODVAE,
    "PyOD VAE, with KL": PyODVAEWithKL,
    "pythae planar flows": PythaeFlow,
}
NEEDS_EXTRA = ("PyOD", "pythae")
