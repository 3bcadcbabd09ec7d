"""A variational autoencoder with planar flows as a scikit-learn transformer."""

from numbers import Integral

import numpy as np
from sklearn.utils._param_validation import Interval

from icecore_sk._vae import VAE


class FlowVAE(VAE):
    r"""VAE whose posterior is bent by planar flows [1]_.

    Between encoder and decoder the Gaussian sample passes `n_flows` invertible maps
    ``z + u tanh(w . z + b)`` whose u, w and b depend on the image, so that the posterior need not
    be a Gaussian with independent dimensions. `transform` returns the flow of the Gaussian's mean.

    Parameters
    ----------
    latent_dim : int, default=32
        Length of the latent vector.
    n_flows : int, default=8
        Planar flows in the chain; 0 is the VAE of the same seed, bit for bit.
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
    net_, history_, likelihood_, loss_curve_, n_iter_, image_shape_, n_features_in_
        As in `VAE`; the kl of `history_` is a sampled estimate with flows.
    feature_names_in_, n_scalars_, scalar_names_, input_form_
        As in `AutoEncoder`.

    Notes
    -----
    The sample :math:`z_0` of the normal distribution becomes
    :math:`z_k = z_{k-1} + u_k \tanh(w_k \cdot z_{k-1} + b_k)`, and the density of :math:`z_K` is

    .. math::

        \log q(z_K \mid x) = \log q_0(z_0 \mid x)
        - \sum_{k=1}^{K} \log \left| 1 + \left(1 - \tanh^2(w_k \cdot z_{k-1} + b_k)\right)
        w_k \cdot u_k \right|

    Each flow is invertible where :math:`w_k \cdot u_k > -1`, to which u is moved along w. Unlike
    in [1]_, a product of 0 stays 0, so that the chain can start near the identity.

    References
    ----------
    .. [1] Rezende and Mohamed (2015). Variational inference with normalizing flows. ICML.

    Examples
    --------
    >>> from icecore_sk import FlowVAE
    >>> from icecore_sk.datasets import load_digit_images
    >>> X = load_digit_images().data
    >>> model = FlowVAE(latent_dim=4, n_flows=2, max_epochs=1, random_state=0).fit(X[:100])
    >>> model.transform(X[:3]).shape, model.score_samples(X[:3]).shape
    ((3, 4), (3,))
    """

    _parameter_constraints: dict = {
        **VAE._parameter_constraints,
        "n_flows": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        latent_dim=32,
        n_flows=8,
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
            beta=beta,
            kl_warmup=kl_warmup,
            free_bits=free_bits,
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
        self.n_flows = n_flows

    def _net_arguments(self, rows, goes_on: bool = False) -> dict:
        return {**super()._net_arguments(rows, goes_on), "n_flows": self.n_flows}

    def _rebuild(self, saved: dict) -> None:
        # Flows of before there was a scale read the features as they were.
        if self._net_args["n_flows"]:
            saved["weights"].setdefault("flow.feature_scale", np.ones((), np.float32))
        super()._rebuild(saved)
