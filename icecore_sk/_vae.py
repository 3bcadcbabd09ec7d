"""A variational autoencoder as a scikit-learn transformer."""

import math
import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from icecore_sk._autoencoder import AutoEncoder
from icecore_sk._random import draw_seed, standard_normal
from icecore_sk.nn import ELBOLoss, VAENet
from icecore_sk.nn.vae import log_mean_exp

# Mirrored noise vectors with which the ELBO of a row is estimated.
N_ELBO_SAMPLES = 4
# A latent dimension with more bits than a float32's mantissa tells images apart by rounding.
MOST_NATS_PER_DIM = 24 * math.log(2)
# Short of that, a KL this many times that of the best epoch has broken loose; a few nats per
# dimension may come and go while the weight of the KL grows.
EXPLODED_RATIO, USUAL_NATS_PER_DIM = 10.0, 3.0


class VAE(AutoEncoder):
    r"""Variational autoencoder [1]_ with a ResNet18 encoder and a convolutional decoder.

    `transform` returns the mean of each image's posterior, `score_samples` its evidence lower
    bound (ELBO), and `sample` draws new images.

    Parameters
    ----------
    latent_dim : int, default=32
        Length of the latent vector.
    likelihood : {"auto", "bernoulli", "gaussian"}, default="auto"
        Distribution of the pixels given the decoder, as in `AutoEncoder`.
    beta : float, default=1.0
        Weight of the KL divergence in the training loss; 1 trains the ELBO.
    kl_warmup : float, default=1.0
        Epochs over which that weight grows from 0 to `beta`; a remedy against collapse.
    free_bits : float, default=0.0
        Nats per latent dimension below which the KL is not pushed down; a remedy against
        collapse.
    scalar_weight : float, default=0.0
        Weight of the squared error of the decoded scalars, as in `AutoEncoder`.
    image_shape : tuple of (int, int, int) or None, default=None
        Channels, height and width when X has rows of flattened images; columns beyond
        ``C * H * W`` are scalars. None reads the shape off X.
    max_epochs : int, default=20
        Passes over the training rows.
    batch_size : int, default=128
        Rows per step, at least 2; a set with fewer rows is one batch.
    lr : float, default=1e-3
        Highest learning rate of the one-cycle schedule of AdamW.
    weight_decay : float, default=1e-2
        Decoupled weight decay of AdamW.
    augmentation : dict or None, default=None
        Random views of the training images, as in `AutoEncoder`.
    early_stopping : bool, default=False
        Hold out `validation_fraction` of the rows, stop when their loss has not improved for
        `n_iter_no_change` epochs, and keep the best epoch's weights.
    validation_fraction : float, default=0.1
        Share of the rows held out by `early_stopping`.
    n_iter_no_change : int, default=5
        Patience of `early_stopping` in epochs.
    warm_start : bool, default=False
        Go on from the weights of the last fit.
    encoder : estimator or None, default=None
        ``FrozenEstimator(fitted)`` starts from the convolutions of a fitted icecore_sk network.
        An unfitted one, such as ``ResNet18Classifier(max_epochs=2)``, is fitted first on the rows
        whose label is known; in y, -1, None and NaN mean unlabelled.
    device : str or list of str, default="auto"
        "auto" (CUDA where there is one, else the CPU), "cpu", "cuda" or "cuda:N". A list, such as
        ``["cuda:0", "cuda:1"]``, trains on all of them, one process each, with the result of one
        device up to rounding: `batch_size` stays the rows of a step, spread over all. All else
        then runs on the first.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Number format of the convolutions; "auto" is bfloat16 where the hardware multiplies it.
    callbacks : list of skorch callbacks or None, default=None
        Cloned before each fit.
    checkpoint_dir : str, path or None, default=None
        Write a checkpoint after every epoch; the same fit started again goes on from there.
    net_params : dict or None, default=None
        Options of the network: "stem" and "encoder_width" (see `ResNet18Classifier`), and
        "decoder_width", half the channels of the decoder's map of half size (default 32).
    random_state : int, RandomState instance or None, default=None
        Governs initial weights, shuffling, splits, noise and views.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` is the torch module.
    history_ : DataFrame
        One row per epoch: epoch, train_loss, valid_loss (NaN without early stopping),
        reconstruction, kl (nats per image), active_units (latent dimensions whose posterior mean
        has a variance above 0.01 over the training rows [2]_), scalar_loss where scalars are
        decoded, lr, seconds. With early stopping each part again as valid_kl and so on.
    likelihood_, loss_curve_, n_iter_, image_shape_, n_features_in_, feature_names_in_
        As in `AutoEncoder`.
    n_scalars_, scalar_names_, input_form_
        As in `AutoEncoder`.

    Warns
    -----
    ConvergenceWarning
        Where the posterior collapsed (hardly a latent dimension is used) or the KL exploded; the
        message says what was seen and what to change.

    Notes
    -----
    The encoder gives the posterior :math:`q(z \mid x)`, a normal distribution with independent
    dimensions. Training minimises, in nats per image,

    .. math::

        -\mathbb{E}_{q(z \mid x)} \log p(x \mid z)
        + \beta \, \mathrm{KL}\left(q(z \mid x) \,\|\, \mathcal{N}(0, I)\right),
        \qquad
        \mathrm{KL} = \frac{1}{2} \sum_{j} \mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2,

    with one sample of z for each image in each step, and the scalars' error of `AutoEncoder` where
    `scalar_weight` > 0. The validation loss is taken with the full `beta` and without `free_bits`,
    so that epochs can be compared. With `beta` = 1 the loss is minus the ELBO.

    `history_` tells the two ways in which training goes wrong:

    - The posterior **collapses**: kl and active_units fall to nothing and the decoder paints the
      mean image. Lower `beta`, lengthen `kl_warmup`, or set `free_bits`.
    - The KL **explodes**: it rises to ten times what it is in the epoch of the lowest loss, or
      beyond what float32 can hold, and the reconstruction gains nothing by it. Lower `lr`. An
      `encoder` that was trained for too long, without weight decay or at a high `lr`, brings it
      about at a `lr` that is harmless otherwise, most of all in a `FlowVAE`: train it for a few
      epochs, or take fewer `n_flows`.

    References
    ----------
    .. [1] Kingma and Welling (2014). Auto-encoding variational Bayes. ICLR.
    .. [2] Burda, Grosse and Salakhutdinov (2016). Importance weighted autoencoders. ICLR.

    Examples
    --------
    >>> from icecore_sk import VAE
    >>> from icecore_sk.datasets import load_digit_images
    >>> X = load_digit_images().data
    >>> model = VAE(latent_dim=4, max_epochs=1, random_state=0).fit(X[:100])
    >>> model.transform(X[:3]).shape, model.sample(5, random_state=0).shape
    ((3, 4), (5, 8, 8))
    >>> elbo = model.score_samples(X[:3])
    >>> log_likelihood = model.log_likelihood(X[:3], n_samples=10)
    >>> elbo.shape, log_likelihood.shape
    ((3,), (3,))
    >>> model.score(X[:50]) > model.score(255 - X[:50])
    True
    """

    _parameter_constraints: dict = {
        **AutoEncoder._parameter_constraints,
        "beta": [Interval(Real, 0, None, closed="left")],
        "kl_warmup": [Interval(Real, 0, None, closed="left")],
        "free_bits": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        latent_dim=32,
        *,
        likelihood="auto",
        beta=1.0,
        kl_warmup=1.0,
        free_bits=0.0,
        scalar_weight=0.0,
        image_shape=None,
        max_epochs=20,
        batch_size=128,
        lr=1e-3,
        weight_decay=1e-2,
        augmentation=None,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        warm_start=False,
        encoder=None,
        device="auto",
        precision="auto",
        callbacks=None,
        checkpoint_dir=None,
        net_params=None,
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            latent_dim,
            likelihood=likelihood,
            scalar_weight=scalar_weight,
            image_shape=image_shape,
            max_epochs=max_epochs,
            batch_size=batch_size,
            lr=lr,
            weight_decay=weight_decay,
            augmentation=augmentation,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            warm_start=warm_start,
            encoder=encoder,
            device=device,
            precision=precision,
            callbacks=callbacks,
            checkpoint_dir=checkpoint_dir,
            net_params=net_params,
            random_state=random_state,
            verbose=verbose,
        )
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.free_bits = free_bits

    def score_samples(self, X):
        """Return the evidence lower bound of each row; the higher, the more normal.

        Estimated with the same few noise vectors for every row, so that it is the same at every
        call and does not depend on the other rows. What these vectors get wrong for all rows alike
        changes no order of rows, but their mean: compare models by `score`. It falls with how much
        is drawn: see `AutoEncoder.score_samples`.

        Parameters
        ----------
        X : array or particle table
            Images as in `fit`.

        Returns
        -------
        elbo : ndarray of shape (n,)
            In nats, with `beta` = 1 and without scalars.
        """
        check_is_fitted(self)
        noise = self._noise(N_ELBO_SAMPLES)
        (scores,) = self._run(X, lambda net, batch: net.elbo(batch["image"], noise))
        return scores

    def score(self, X, y=None):
        """Return the mean evidence lower bound, for model selection.

        Every row has noise of its own, so that its errors cancel in the mean: over 1,000 binarised
        digits that of a model with 64 latent dimensions is off by 0.1 nats, and the mean of
        `score_samples`, whose rows share their noise, by 2.

        Parameters
        ----------
        X : array or particle table
            Images as in `fit`.
        y : ignored

        Returns
        -------
        score : float
            Nats per image; higher is better. Not comparable between Bernoulli and Gaussian.
        """

        def elbo(net, batch):
            image, first = batch["image"], int(batch["row"][0])
            shape = (N_ELBO_SAMPLES, len(image), self._latent_dim)
            return net.elbo(image, standard_normal(shape, self._seed, first).to(image.device))

        (bounds,) = self._run(X, elbo)
        return float(bounds.mean(dtype=np.float64))

    def log_likelihood(self, X, n_samples=100):
        r"""Estimate log p(x) of each row by importance sampling from its posterior [1]_.

        Parameters
        ----------
        X : array or particle table
            Images as in `fit`.
        n_samples : int, default=100
            Samples per row; the estimate is a lower bound that tightens with them.

        Returns
        -------
        log_likelihood : ndarray of shape (n,)
            In nats.

        Raises
        ------
        ValueError
            Where `n_samples` is no positive integer, or X does not fit.

        Notes
        -----
        With samples :math:`z_s` from the posterior the estimate is

        .. math::

            \log \frac{1}{S} \sum_{s=1}^{S} \frac{p(x \mid z_s) \, p(z_s)}{q(z_s \mid x)}

        The samples come from the same noise for every row and at every call.

        References
        ----------
        .. [1] Burda, Grosse and Salakhutdinov (2016). Importance weighted autoencoders. ICLR.
        """
        check_is_fitted(self)
        _check_count("n_samples", n_samples)
        noise = self._noise(n_samples)
        (values,) = self._run(
            X, lambda net, batch: log_mean_exp(net.log_weights(batch["image"], noise))
        )
        return values

    def sample(self, n_samples=1, random_state=None):
        """Draw new images from the prior.

        Parameters
        ----------
        n_samples : int, default=1
            Number of images.
        random_state : int, RandomState instance or None, default=None
            Source of the latent vectors.

        Returns
        -------
        images : ndarray
            Expected pixel values, in the form of `inverse_transform`.

        Raises
        ------
        ValueError
            Where `n_samples` is no positive integer.
        """
        check_is_fitted(self)
        _check_count("n_samples", n_samples)
        seed = draw_seed(random_state)
        Z = np.random.RandomState(seed).standard_normal((n_samples, self._latent_dim))
        return self.inverse_transform(Z.astype(np.float32))

    def _noise(self, n_samples: int):
        return standard_normal((n_samples, self._latent_dim), self._seed).to(self._device)

    def _noise_width(self) -> int:
        return self._latent_dim

    def _network(self, **net_args):
        return VAENet(**net_args)

    def _make_loss(self):
        return ELBOLoss(
            float(self.beta),
            float(self.kl_warmup),
            float(self.free_bits),
            float(self.scalar_weight),
        )

    def _nonfinite_advice(self) -> str:
        encoder = "" if self.encoder is None else ", fit the encoder for fewer epochs,"
        return f"Lower lr (now {self.lr}){encoder} or pass precision='float32'."

    def _diagnose(self) -> None:
        if not self.beta:
            return
        # The epochs of this fit: a warm start has those of earlier ones before them.
        history = self.history_.tail(len(self.net_.history)).set_index("epoch")
        last = history.iloc[-1]
        if last["active_units"] <= self.latent_dim // 20:
            warnings.warn(
                f"The posterior collapsed: {int(last['active_units'])} of {self.latent_dim} latent "
                f"dimensions are active and the KL is {last['kl']:.3g} nats, so transform tells "
                f"images hardly apart. Train longer (max_epochs is {self.max_epochs}), lengthen "
                f"kl_warmup (now {self.kl_warmup}), set free_bits (now {self.free_bits}) to 0.1 or "
                f"more, or lower beta (now {self.beta}).",
                ConvergenceWarning,
                stacklevel=4,
            )
        best, worst = int(history["train_loss"].idxmin()), int(history["kl"].idxmax())
        usual = max(EXPLODED_RATIO * history["kl"][best], USUAL_NATS_PER_DIM * self.latent_dim)
        if history["kl"][worst] > min(usual, MOST_NATS_PER_DIM * self.latent_dim):
            encoder = "" if self.encoder is None else " or fit the encoder for fewer epochs"
            warnings.warn(
                f"The KL divergence exploded: {history['kl'][worst]:.4g} nats per image in epoch "
                f"{worst}, against {history['kl'][best]:.4g} in the epoch of the lowest loss "
                f"({best}). Lower lr ({self.lr}){encoder}.",
                ConvergenceWarning,
                stacklevel=4,
            )


def _check_count(name: str, value) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r} must be an integer of at least 1.")
