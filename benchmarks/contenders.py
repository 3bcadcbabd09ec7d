"""The ways to train and run the same networks that `speed.py` compares.

Each contender is a class with `fit(X, y)`, `transform(X)` and perhaps `score_samples(X)`, built as
`Contender(model, shape, batch_size, epochs, device)`, where `model` names one of the four
estimators. X is uint8 of shape (n, 1, H, W); what a contender needs to make of it (float32,
normalised, on the device) is part of the time that it takes.
"""

import contextlib
import io
import logging
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from plain_networks import (
    LATENT_DIM,
    LR,
    N_CLASSES,
    N_FLOWS,
    TorchvisionClassifier,
    TorchvisionEncoder,
    autoencoder_loss,
    autoencoder_net,
    plain_autoencoder_net,
    synchronize,
)
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import icecore_sk
from icecore_sk._engine import (
    MemoryOrderAdamW,
    autocast,
    autocast_dtype,
    kept_memory,
    side_by_side,
)
from icecore_sk._inference import INFERENCE_PIXELS
from icecore_sk._vae import N_ELBO_SAMPLES
from icecore_sk.nn import Decoder
from icecore_sk.nn.classifier import ClassifierNet


class Ours:
    """icecore_sk, with every setting that bears on speed left alone."""

    def __init__(self, model, shape, batch_size, epochs, device):
        options = {"max_epochs": epochs, "batch_size": batch_size, "random_state": 0}
        if model != "ResNet18Classifier":
            options.update(latent_dim=LATENT_DIM, likelihood="gaussian")
        self.estimator = getattr(icecore_sk, model)(device=str(device), **options)
        self.device = device

    def fit(self, X, y):
        self.estimator.fit(X, y)
        synchronize(self.device)

    def transform(self, X):
        return self.estimator.transform(X)

    def score_samples(self, X):
        return self.estimator.score_samples(X)


class OurClassifier(Ours):
    """Our classifier, of which an autoencoder should take no more than twice the time."""

    transform = score_samples = None

    def __init__(self, model, shape, batch_size, epochs, device):
        super().__init__("ResNet18Classifier", shape, batch_size, epochs, device)


class PlainLoop:
    """(a) float32, TensorDataset, shuffling DataLoader, Adam: what most people write."""

    def __init__(self, model, shape, batch_size, epochs, device):
        self.model, self.shape, self.device = model, shape, device
        self.batch_size, self.epochs = batch_size, epochs

    def make(self):
        if self.model == "ResNet18Classifier":
            return TorchvisionClassifier().to(self.device), nn.CrossEntropyLoss()
        net = plain_autoencoder_net(self.model, self.shape).to(self.device)
        return net, autoencoder_loss(self.model).to(self.device)

    def loss(self, image, y):
        if self.model == "ResNet18Classifier":
            return self.criterion(self.net(image), y)
        noise = torch.randn(len(image), LATENT_DIM, device=self.device)
        return self.criterion(self.net(image, noise), {"image": image})["loss"].mean()

    def optimizer(self):
        return torch.optim.Adam(self.net.parameters(), lr=LR)

    def loader(self, X, y=None, shuffle=False):
        tensors = [torch.from_numpy(X).float() / 255]
        if y is not None:
            tensors.append(torch.from_numpy(y))
        return DataLoader(TensorDataset(*tensors), batch_size=self.batch_size, shuffle=shuffle)

    def fit(self, X, y):
        self.net, self.criterion = self.make()
        optimizer = self.optimizer()
        self.net.train()
        loader = self.loader(X, y, shuffle=True)
        for _ in range(self.epochs):
            for image, target in loader:
                optimizer.zero_grad()
                loss = self.loss(image.to(self.device), target.to(self.device))
                loss.backward()
                optimizer.step()
        synchronize(self.device)

    def run(self, X, function):
        self.net.eval()
        with torch.no_grad():
            return np.concatenate(
                [function(x.to(self.device)).cpu().numpy() for (x,) in self.loader(X)]
            )

    def transform(self, X):
        if self.model == "ResNet18Classifier":
            return self.run(X, self.net.features)
        return self.run(X, self.net.encode)

    def score_samples(self, X):
        if self.model == "ResNet18Classifier":
            return self.run(X, lambda x: self.net(x).logsumexp(1))
        if self.model == "AutoEncoder":
            return self.run(X, lambda x: -self.net(x)["nll"])
        return self.run(X, lambda x: elbo_of(self.net, x))


def elbo_of(net, image):
    """The mean over as many noise vectors as `score_samples` of ours takes."""
    noise = torch.randn(N_ELBO_SAMPLES, LATENT_DIM, device=image.device)
    return net.elbo(image, noise)


class Skorch(PlainLoop):
    """(b) skorch's defaults around the same module, but Adam, a shuffle and no validation split.

    By default skorch would keep a fifth of the rows for validation: other work, not less of it.
    """

    def fit(self, X, y):
        from skorch import NeuralNet, NeuralNetClassifier

        module, criterion = self.make()
        options = {
            "optimizer": torch.optim.Adam,
            "lr": LR,
            "max_epochs": self.epochs,
            "batch_size": self.batch_size,
            "iterator_train__shuffle": True,
            "train_split": None,
            "verbose": 0,
            "device": str(self.device),
        }
        images = X.astype(np.float32) / 255
        if self.model == "ResNet18Classifier":
            net = NeuralNetClassifier(module, criterion=criterion, **options)
        else:

            class Net(NeuralNet):
                def infer(self, x, **fit_params):
                    x = x.to(self.device)
                    noise = torch.randn(len(x), LATENT_DIM, device=x.device)
                    return self.module_(x, noise)

                def get_loss(self, y_pred, y_true, X=None, training=False):
                    batch = {"image": X.to(self.device)}
                    return self.criterion_(y_pred, batch)["loss"].mean()

            net = Net(module, criterion=criterion, **options)
        net.fit(images, y)
        synchronize(self.device)
        self.net = net.module_

    def run(self, X, function):
        from skorch import NeuralNet

        # skorch runs a module's forward: one that gives what is asked for.
        net = NeuralNet(
            Forward(self.net, function),
            criterion=nn.MSELoss,
            batch_size=self.batch_size,
            device=str(self.device),
        )
        return net.initialize().predict_proba(X.astype(np.float32) / 255)


class TunedLoop(PlainLoop):
    """(f) the plain loop with what PyTorch's tuning guide says: autocast, channels_last, fused.

    bfloat16 where ours takes it. https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html
    """

    def make(self):
        net, criterion = super().make()
        self.amp = autocast_dtype("auto", self.device)
        return net.to(memory_format=torch.channels_last), criterion

    def optimizer(self):
        return torch.optim.Adam(self.net.parameters(), lr=LR, fused=True)

    def loss(self, image, y):
        image = image.to(memory_format=torch.channels_last)
        with autocast(self.amp, self.device):
            return super().loss(image, y)

    def run(self, X, function):
        def cast(image):
            image = image.contiguous(memory_format=torch.channels_last)
            with autocast(self.amp, self.device):
                return function(image).float()

        return super().run(X, cast)


class Forward(nn.Module):
    """A function of a network as a module."""

    def __init__(self, net, function):
        super().__init__()
        self.net, self.function = net, function

    def forward(self, image):
        return self.function(image)


class BareLoop(PlainLoop):
    """(c) every trick of our engine in one loop without any framework: the limit."""

    def make(self):
        if self.model == "ResNet18Classifier":
            net = ClassifierNet(self.shape, N_CLASSES, image_mean=0.5, image_scale=0.3)
        else:
            net = autoencoder_net(self.model, self.shape)
        self.amp = autocast_dtype("auto", self.device)
        return net.to(self.device, memory_format=torch.channels_last), None

    def image(self, rows: torch.Tensor) -> torch.Tensor:
        scaled = rows.to(self.device).float().div_(255)
        return scaled.contiguous(memory_format=torch.channels_last)

    def fit(self, X, y):
        self.net, _ = self.make()
        on_cpu = self.device.type == "cpu"
        optimizer = MemoryOrderAdamW(
            [{"params": list(self.net.parameters())}], lr=LR, fused=True, in_backward=on_cpu
        )
        self.net.train()
        images, targets = torch.from_numpy(X).to(self.device), torch.from_numpy(y).to(self.device)
        criterion = autoencoder_loss(self.model)
        with kept_memory():
            for _ in range(self.epochs):
                for index in torch.randperm(len(X)).to(self.device).split(self.batch_size):

                    def closure(index=index):
                        optimizer.zero_grad()
                        loss = self.loss_of(images[index], targets[index], criterion)
                        loss.backward()
                        return loss

                    optimizer.step(closure)
        synchronize(self.device)

    def loss_of(self, rows, targets, criterion):
        batch = {"image": self.image(rows)}
        with autocast(self.amp, self.device):
            if self.model == "ResNet18Classifier":
                return F.cross_entropy(self.net(batch["image"])["logits"], targets)
            noise = torch.randn(len(rows), LATENT_DIM, device=self.device)
            return criterion(self.net(batch["image"], noise), batch)["loss"].mean()

    def run(self, X, function):
        self.net.eval()
        at_once = INFERENCE_PIXELS[self.device.type]
        size = int(2 ** np.clip(round(np.log2(at_once / X[0].size)), 4, 8))
        starts, parts = range(0, len(X), size), {}

        def work(starts):
            # Inference mode and autocast are of a thread.
            with torch.inference_mode(), autocast(self.amp, self.device):
                for i in starts:
                    rows = torch.from_numpy(X[i : i + size])
                    parts[i] = function(self.image(rows)).float().cpu().numpy()

        with kept_memory():
            if self.device.type == "cpu":
                side_by_side(work, starts)
            else:
                work(starts)
        return np.concatenate([parts[i] for i in starts])

    def transform(self, X):
        if self.model == "ResNet18Classifier":
            return self.run(X, self.net.embed)
        return self.run(X, self.net.encode)

    def score_samples(self, X):
        if self.model == "ResNet18Classifier":
            return self.run(X, lambda x: self.net(x)["logits"].logsumexp(1))
        return super().score_samples(X)


class Pythae:
    """(d) pythae's VAE, and its VAE with planar flows, around the same encoder and decoder.

    The encoder is torchvision's. Of several GPUs it takes the first, whatever it is told.
    """

    seed = 8  # pythae's own default
    latent_dim = LATENT_DIM
    reconstruction_loss = "mse"

    def __init__(self, model, shape, batch_size, epochs, device):
        self.model, self.shape, self.device = model, shape, device
        self.batch_size, self.epochs = batch_size, epochs

    def make(self):
        from pythae.models import VAE, VAE_LinNF, VAE_LinNF_Config, VAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder

        shape, latent_dim = self.shape, self.latent_dim
        # Its cross-entropy takes probabilities, its squared error whatever comes.
        last = nn.Sigmoid() if self.reconstruction_loss == "bce" else nn.Identity()

        class Encoder(BaseEncoder):
            def __init__(self):
                super().__init__()
                self.body = TorchvisionEncoder(shape[0])
                self.mean = nn.Linear(512, latent_dim)
                self.log_var = nn.Linear(512, latent_dim)

            def forward(self, x):
                h = self.body(x)
                return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))

        class SameDecoder(BaseDecoder):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(Decoder(latent_dim, shape[0], shape[1:]), last)

            def forward(self, z):
                return ModelOutput(reconstruction=self.body(z))

        options = {
            "input_dim": shape,
            "latent_dim": latent_dim,
            "reconstruction_loss": self.reconstruction_loss,
        }
        if self.model == "VAE":
            return VAE(VAEConfig(**options), Encoder(), SameDecoder())
        config = VAE_LinNF_Config(flows=["Planar"] * N_FLOWS, **options)
        return VAE_LinNF(config, Encoder(), SameDecoder())

    def fit(self, X, y):
        from pythae.data.datasets import BaseDataset
        from pythae.trainers import BaseTrainer, BaseTrainerConfig

        logging.getLogger("pythae").setLevel(logging.ERROR)
        silent = contextlib.redirect_stderr(io.StringIO())
        with tempfile.TemporaryDirectory() as folder, silent:
            images = torch.from_numpy(X).float() / 255
            trainer = BaseTrainer(
                self.make(),
                BaseDataset(images, torch.from_numpy(y)),
                training_config=BaseTrainerConfig(
                    output_dir=folder,
                    num_epochs=self.epochs,
                    per_device_train_batch_size=self.batch_size,
                    learning_rate=LR,
                    seed=self.seed,
                    no_cuda=self.device.type == "cpu",
                ),
            )
            trainer.train()
        synchronize(self.device)
        self.net = trainer.model

    def transform(self, X):
        self.net.eval()
        images = torch.from_numpy(X).float() / 255
        with torch.no_grad():
            parts = [
                self.net.encoder(x.to(self.device)).embedding.cpu().numpy()
                for x in images.split(self.batch_size)
            ]
        return np.concatenate(parts)

    def elbo(self, X, n_draws: int) -> np.ndarray:
        """Return the ELBO of each image under its cross-entropy, as a mean over draws.

        Its own loss is a mean over the images of a batch. Terms as there: the flows move a draw
        and give the logarithm of how they stretch space.
        """
        self.net.eval()
        values = []
        with torch.no_grad():
            for part in (torch.from_numpy(X).float() / 255).split(self.batch_size):
                image = part.to(self.device)
                code = self.net.encoder(image)
                mean, log_var = code.embedding, code.log_covariance
                total = 0
                for _ in range(n_draws):
                    noise = torch.randn_like(mean)
                    z = mean + noise * (0.5 * log_var).exp()
                    log_q = -0.5 * (log_var + noise**2).sum(1)
                    for flow in getattr(self.net, "net", ()):
                        moved = flow(z)
                        z, log_q = moved.out, log_q - moved.log_abs_det_jac
                    drawn = self.net.decoder(z).reconstruction
                    error = nn.functional.binary_cross_entropy(drawn, image, reduction="none")
                    total = total - error.flatten(1).sum(1) - 0.5 * (z**2).sum(1) - log_q
                values.append((total / n_draws).cpu().numpy())
        return np.concatenate(values)


class PyOD:
    """(e) PyOD's AutoEncoder: it takes rows only and has a network of its own, 64-32-64 wide."""

    def __init__(self, model, shape, batch_size, epochs, device):
        from pyod.models.auto_encoder import AutoEncoder

        self.detector = AutoEncoder(
            epoch_num=epochs, batch_size=batch_size, lr=LR, verbose=0, device=device
        )

    def fit(self, X, y):
        self.detector.fit(X.reshape(len(X), -1).astype(np.float32) / 255)

    def score_samples(self, X):
        return -self.detector.decision_function(X.reshape(len(X), -1).astype(np.float32) / 255)


CLASSIFIER = "our classifier"
CONTENDERS = {
    "ours": Ours,
    CLASSIFIER: OurClassifier,
    "(a) plain loop": PlainLoop,
    "(b) skorch": Skorch,
    "(c) bare loop": BareLoop,
    "(d) pythae": Pythae,
    "(e) PyOD": PyOD,
    "(f) tuned loop": TunedLoop,
}


def takes_part(contender: str, model: str) -> bool:
    """Whether a contender has a counterpart of this model."""
    if contender == "(d) pythae":
        return model in ("VAE", "FlowVAE")
    if contender == CLASSIFIER:
        return model != "ResNet18Classifier"
    return contender != "(e) PyOD" or model == "AutoEncoder"
