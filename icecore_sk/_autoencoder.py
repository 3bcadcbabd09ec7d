"""An autoencoder as a scikit-learn transformer."""

from numbers import Integral, Real

import numpy as np
import pandas as pd
import torch
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from icecore_sk import _images
from icecore_sk._base import BaseImageEstimator, FeaturesOutMixin
from icecore_sk._chunks import Chunk
from icecore_sk.nn import AutoEncoderNet, ReconstructionLoss


class AutoEncoder(FeaturesOutMixin, BaseImageEstimator):
    r"""Autoencoder with a ResNet18 encoder and a convolutional decoder.

    `transform` maps each image to a latent vector, `inverse_transform` maps it back. Scalars in X
    are never read by the encoder; with ``scalar_weight > 0`` they are decoded too, so that the
    latent vector must hold them.

    Parameters
    ----------
    latent_dim : int, default=32
        Length of the latent vector.
    likelihood : {"auto", "bernoulli", "gaussian"}, default="auto"
        Distribution of the pixels given the decoder. "gaussian" learns one standard deviation for
        all pixels [1]_; "bernoulli" is cross-entropy and needs pixels in [0, 1]. "auto" is
        "bernoulli" where every training pixel is black or white, else "gaussian": for grey levels
        the Bernoulli is no density [2]_, and it leaves less of the image in the latent vector.
    scalar_weight : float, default=0.0
        Weight of the squared error of the decoded scalars, in half-nats per squared unit. Scale
        scalars to unit variance in the Pipeline first.
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
        Random views of the training images, drawn anew in each epoch; each is encoded, and the
        decoder draws it as it was shown, so that losses of training are those of the views.
        Entries as in `ResNet18Classifier`. They need no labels to teach that a particle can lie in
        other ways. Under "bernoulli" there is no "brightness", which would leave the range of its
        pixels.
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
        reconstruction, scalar_loss where scalars are decoded, lr, seconds. Losses in nats per
        image. With early stopping each part again as valid_reconstruction and so on.
    likelihood_ : str
        "bernoulli" or "gaussian".
    loss_curve_ : list of float
        Training loss per epoch.
    n_iter_ : int
        Epochs done.
    image_shape_ : tuple of (int, int, int)
        Channels, height and width.
    n_features_in_ : int
        Pixels and scalars per row; for a particle table its number of columns.
    feature_names_in_ : ndarray of str
        Column names, where X was a DataFrame.
    n_scalars_ : int
        Columns of X beside the pixels.
    scalar_names_ : list of str or None
        Their names, where X was a particle table.
    input_form_ : {"grey", "images", "rows", "table"}
        How X held the images in fit.

    See Also
    --------
    VAE : Its latent space is regularised and can be sampled.
    FlowVAE : A VAE with a more flexible posterior.

    Notes
    -----
    The loss of an image :math:`x` with latent vector :math:`z(x)`, of which the decoder makes the
    pixels :math:`r_i(z)` and the scalars :math:`t_j(z)`, is, in nats,

    .. math::

        -\log p(x \mid z(x)) + \frac{w}{2} \sum_j \left(s_j - t_j(z(x))\right)^2

    The second term is there with scalars :math:`s_j` and :math:`w` = `scalar_weight` > 0 only. For
    `likelihood_` "gaussian" with the learned standard deviation :math:`\sigma`,

    .. math::

        -\log p(x \mid z) = \sum_{i} \frac{(x_i - r_i(z))^2}{2\sigma^2} + \log\sigma
        + \frac{1}{2} \log 2\pi

    over all pixels :math:`i`, so that losses may be negative; for "bernoulli" it is the
    cross-entropy :math:`-\sum_i x_i \log r_i + (1 - x_i) \log(1 - r_i)`.

    References
    ----------
    .. [1] Rybkin, Daniilidis and Levine (2021). Simple and effective VAE training with calibrated
           decoders. ICML.
    .. [2] Loaiza-Ganem and Cunningham (2019). The continuous Bernoulli: fixing a pervasive error
           in variational autoencoders. NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> from icecore_sk import AutoEncoder
    >>> from icecore_sk.datasets import load_digit_images
    >>> X = load_digit_images().data
    >>> model = AutoEncoder(latent_dim=4, max_epochs=1, random_state=0).fit(X[:100])
    >>> Z = model.transform(X[:3])
    >>> Z.shape, model.inverse_transform(Z).shape
    ((3, 4), (3, 8, 8))
    >>> np.array_equal(model.reconstruct(X[:3]), model.inverse_transform(Z))
    True
    >>> scores = model.score_samples(X[:3])
    >>> scores.shape, bool(np.isclose(model.score(X[:3]), scores.mean()))
    ((3,), True)
    """

    _parameter_constraints: dict = {
        **BaseImageEstimator._parameter_constraints,
        "latent_dim": [Interval(Integral, 1, None, closed="left")],
        "likelihood": [StrOptions({"auto", "bernoulli", "gaussian"})],
        "scalar_weight": [Interval(Real, 0, None, closed="left")],
    }
    _net_param_names = ("stem", "encoder_width", "decoder_width")
    _inputs = ("image", "noise")
    likelihood_: str

    def __init__(
        self,
        latent_dim=32,
        *,
        likelihood="auto",
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
        self.latent_dim = latent_dim
        self.likelihood = likelihood
        self.scalar_weight = scalar_weight
        self.image_shape = image_shape
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.augmentation = augmentation
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.encoder = encoder
        self.device = device
        self.precision = precision
        self.callbacks = callbacks
        self.checkpoint_dir = checkpoint_dir
        self.net_params = net_params
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y=None):
        """Train on images.

        Parameters
        ----------
        X : array of shape (n, H, W), (n, C, H, W) or (n, p), or particle table
            Images; uint8 is divided by 255 batch by batch, floats are taken as they are.
        y : array-like of shape (n,) or None
            Only read where `encoder` is a classifier to be fitted first.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            Where a parameter, X or y is unusable; the message names it and the way out.
        FloatingPointError
            Where the loss became NaN or infinite; the last finite weights are kept.
        """
        return self._fit(X, y)

    def partial_fit(self, X, y=None):
        """Train on the next chunk of images, for data larger than memory.

        Each call is one pass over the chunk, in mini-batches, and goes on from what the calls
        before, or a `fit`, have left: weights, moments of AdamW, statistics of the batch norms and
        `history_`, which gains one row. `fit` starts anew.

        Parameters
        ----------
        X : array of shape (n, H, W), (n, C, H, W) or (n, p), or particle table
            Images as in `fit`, at least 2, in the same form in every call. The first chunk sets the
            image shape, the scalars, the scale of the grey levels and `likelihood_` for all.
        y : array-like of shape (n,) or None
            Only read in the first call, where `encoder` is a classifier to be fitted first.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            Where a parameter, X or y is unusable or unlike the chunks before; the message names it
            and the way out. Then the estimator is as it was.
        FloatingPointError
            Where the loss became NaN or infinite; the estimator is as it was.

        Notes
        -----
        Rows are shuffled within a chunk only: each chunk should look like the whole, so mix the
        runs when they are written, and go over all chunks several times.

        The learning rate rises to `lr` in the first five steps and stays there, as nobody knows how
        many chunks will come; AdamW begins anew in the first call after a `fit`. `max_epochs`,
        `validation_fraction` and `warm_start` play no part, but that a `VAE` tells a collapse from
        call number `max_epochs` on. The same calls with the same integer `random_state` give
        bit-equal weights, also where the estimator was saved and loaded in between
        (`icecore_sk.save`, joblib, pickle).

        Examples
        --------
        >>> from icecore_sk import AutoEncoder
        >>> from icecore_sk.datasets import load_digit_images
        >>> X = load_digit_images().data
        >>> model = AutoEncoder(latent_dim=4, random_state=0)
        >>> for start in range(0, 200, 100):
        ...     model = model.partial_fit(X[start : start + 100])
        >>> model.n_iter_
        2
        """
        return self._fit(X, y, Chunk(self.__sklearn_is_fitted__()))

    def transform(self, X):
        """Return the latent vectors, the same at every call.

        Parameters
        ----------
        X : array or particle table
            Images as in `fit`, in any of the three forms.

        Returns
        -------
        Z : ndarray of shape (n, latent_dim), float32

        Raises
        ------
        ValueError
            Where X has other images or columns than in `fit`, or pixels that are not finite.
        """
        (latent,) = self._run(X, lambda net, batch: net.encode(batch["image"]))
        return latent

    def inverse_transform(self, Z):
        """Return the images that the decoder expects at latent vectors.

        Parameters
        ----------
        Z : array-like of shape (n, latent_dim)

        Returns
        -------
        images : ndarray, float32, or particle table
            On the scale that the network sees (uint8 divided by 255): of shape (n, H, W) or
            (n, C, H, W) as X was in `fit`, (n, C * H * W) where X had rows. A particle table gives
            (n, H, W) for grey images. With ``scalar_weight > 0`` the decoded scalars come along, as
            they did in X: in columns behind the pixels, or by name in a particle table.

        Raises
        ------
        ValueError
            Where Z has another number of columns than `latent_dim`, or is not finite.
        """
        check_is_fitted(self)
        Z = check_array(Z, dtype=np.float32, estimator=self, input_name="Z")
        if Z.shape[1] != self._latent_dim:
            raise ValueError(
                f"Z has {Z.shape[1]} columns, but {type(self).__name__} has "
                f"latent_dim={self._latent_dim}. Pass rows as transform returns them."
            )
        return self._as_fitted_form(*self._decode(Z))

    def reconstruct(self, X):
        """Return ``inverse_transform(transform(X))``.

        Parameters
        ----------
        X : array or particle table
            Images as in `fit`.

        Returns
        -------
        images : ndarray
            As `inverse_transform` returns them.
        """
        return self.inverse_transform(self.transform(X))

    def score_samples(self, X):
        """Return minus the reconstruction loss; the higher, the more normal.

        The loss grows with how much is drawn, so it ranks images by ink as much as by novelty:
        prefer neighbours in the latent space (`OutlierScorer`) for finding the unusual.

        Parameters
        ----------
        X : array or particle table
            Images as in `fit`.

        Returns
        -------
        scores : ndarray of shape (n,)
            Log-likelihood of the image given its latent vector, in nats.
        """
        (scores,) = self._run(X, lambda net, batch: -net(batch["image"])["nll"])
        return scores

    def score(self, X, y=None):
        """Return the mean of `score_samples`, for model selection.

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
        return float(self.score_samples(X).mean(dtype=np.float64))

    def _decode(self, Z: np.ndarray) -> list[np.ndarray]:
        """Return the decoded images and, where there are some, scalars."""
        size = self._inference_batch_size()

        def batch_of(start: int):
            part = Z[start : start + size]
            padded = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            return torch.from_numpy(padded).to(self._device), len(part)

        def decode(net, z):
            return (net.decode(z), *([net.decode_scalars(z)] if net.n_scalars else []))

        return self._collect(batch_of, range(0, len(Z), size), len(Z), decode)

    def _as_fitted_form(self, images: np.ndarray, scalars: np.ndarray | None = None):
        if self.input_form_ == "rows":
            flat = images.reshape(len(images), -1)
            return flat if scalars is None else np.hstack([flat, scalars])
        if self.input_form_ == "grey" or (self.input_form_ == "table" and images.shape[1] == 1):
            images = images[:, 0]
        if scalars is None:
            return images
        assert self.scalar_names_ is not None
        names = self.feature_names_in_
        columns = dict(zip(self.scalar_names_, scalars.T, strict=True))
        (image,) = set(names) - set(columns)
        columns[image] = _images.tensor_column(images)
        return pd.DataFrame({name: columns[name] for name in names})

    @property
    def _n_features_out(self) -> int:
        return self._latent_dim

    @property
    def _latent_dim(self) -> int:
        """That of the fitted network; the parameter may have been set anew since."""
        return self._net_args["latent_dim"]

    def _network(self, **net_args):
        return AutoEncoderNet(**net_args)

    def _strengths(self, measuring):
        if self.likelihood_ == "bernoulli" and (self.augmentation or {}).get("brightness"):
            raise ValueError(
                f"augmentation={self.augmentation!r} changes the brightness of images whose "
                "likelihood is 'bernoulli', which needs pixels in [0, 1]. Leave 'brightness' out, "
                "or pass likelihood='gaussian'."
            )
        return super()._strengths(measuring)

    def _net_arguments(self, rows, goes_on: bool = False) -> dict:
        chosen = self.likelihood_ if goes_on and self.likelihood == "auto" else self.likelihood
        self.likelihood_ = self._choose_likelihood(rows, chosen)
        return {
            "image_shape": rows.image_shape,
            "latent_dim": self.latent_dim,
            "likelihood": self.likelihood_,
            "n_scalars": rows.n_scalars if self.scalar_weight else 0,
        }

    def _choose_likelihood(self, rows, likelihood: str) -> str:
        if self.scalar_weight and not rows.n_scalars:
            raise ValueError(
                f"scalar_weight={self.scalar_weight} asks for decoded scalars, but X has none. "
                "Pass a particle table or rows with more columns than image_shape, or "
                "scalar_weight=0."
            )
        low, high = _images.pixel_range(rows)
        fits = low >= 0.0 and high <= 1.0
        if likelihood == "bernoulli" and not fits:
            raise ValueError(
                f"likelihood='bernoulli' needs pixels in [0, 1], but X has {low:.4g} to "
                f"{high:.4g}. Scale X (uint8 is scaled for you) or pass likelihood='gaussian'."
            )
        if likelihood != "auto":
            return likelihood
        return "bernoulli" if fits and _images.is_black_and_white(rows) else "gaussian"

    def _make_loss(self):
        return ReconstructionLoss(float(self.scalar_weight))
