"""ResNet18 as a scikit-learn classifier and transformer."""

from numbers import Real
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions

from icecore_sk._base import BaseImageEstimator, FeaturesOutMixin
from icecore_sk._chunks import Chunk
from icecore_sk._class_target import BALANCED_SAMPLING, ClassTargetMixin
from icecore_sk.nn import ClassificationLoss, ClassifierNet
from icecore_sk.nn.augment import likely_views
from icecore_sk.nn.composites import Composites
from icecore_sk.nn.intermediate import N_INTERMEDIATE


class ResNet18Classifier(ClassTargetMixin, ClassifierMixin, FeaturesOutMixin, BaseImageEstimator):
    """ResNet18 [1]_ that classifies images, with their scalars where X has some.

    Its next-to-last layer, which `transform` returns, places classes that were never seen in
    training apart from the known ones; `score_samples` says how well a row resembles what was.

    Parameters
    ----------
    image_shape : tuple of (int, int, int) or None, default=None
        Channels, height and width of the images when X has rows of flattened images; columns
        beyond ``C * H * W`` are scalars. None reads the shape off X.
    max_epochs : int, default=10
        Passes over the training rows.
    batch_size : int, default=128
        Rows per step, at least 2; a set with fewer rows is one batch. A last batch of one row is
        joined to the one before.
    lr : float, default=1e-3
        Highest learning rate of the one-cycle schedule of AdamW.
    weight_decay : float, default=1e-2
        Decoupled weight decay of AdamW.
    class_weight : {"balanced", "balanced_sampling"}, dict or None, default=None
        Factors of the classes in the loss, as in scikit-learn. "balanced_sampling" leaves the loss
        alone and draws equally many rows of every class in each epoch instead, so that a class of
        a few rows is in every batch; with `augmentation` each of its rows is seen in many views.
    augmentation : dict or None, default=None
        Random views of the training images, drawn anew in each epoch: largest "rotate" (degrees),
        "shift" (share of the side), "scale" and "brightness" (relative change); "flip" and
        "quarter_turns" (booleans; half turns where images are not square). Empty places take the
        median grey level of the images' edges.
        ``{"rotate": 12, "shift": 0.06, "scale": 0.1}`` suits digits; particles have no up or down:
        ``{"flip": True, "quarter_turns": True, "shift": 0.05, "brightness": 0.1}``.
    average_views : bool, default=False
        Look at each image once for every "flip" and "quarter_turns" that `augmentation` has (up to
        eight views), or where it has a "shift" alone, as it is and moved by a pixel to each of four
        sides, if the shift comes to a pixel. Each view takes its time. Their mean is what
        `transform` and `intermediate_features` return, and what logits and probabilities follow
        from: they hang less on how a particle happened to lie, or where in its crop. With 3, 4, 5
        and 8 left out of MNIST's training images, one pair in 500 instead of one in 400 was ranked
        wrongly by neighbours. May be set on a fitted classifier as well.
    outlier_exposure : float, default=0.0
        Train on images of no class too, as many as this share of the rows, between 0 and 1: parts
        of two training images of different classes, joined along a random line. They are a class
        of their own in training [2]_, which teaches how the parts of a class belong together, and
        places what belongs to none further from all in `transform`. No prediction names that class.
        An epoch takes as much longer as there are more images, of which `batch_size` counts all.
        Each takes the scalars of its first part.
    early_stopping : bool, default=False
        Hold out `validation_fraction` of the rows, stratified by class, stop when their loss has
        not improved for `n_iter_no_change` epochs, and keep the best epoch's weights.
    validation_fraction : float, default=0.1
        Share of the rows held out by `early_stopping`.
    n_iter_no_change : int, default=5
        Patience of `early_stopping` in epochs.
    warm_start : bool, default=False
        Go on from the weights of the last fit.
    encoder : estimator or None, default=None
        ``FrozenEstimator(fitted)`` starts from the convolutions of a fitted icecore_sk network;
        an unfitted network is fitted first.
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
        Options of the network: "stem" and "encoder_width" (see Notes), and "scalar_width", the
        length of the scalars' branch (default 64).
    random_state : int, RandomState instance or None, default=None
        Governs initial weights, shuffling, splits, views and images of no class. The same
        integer gives bit-equal weights on the same processor.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted, of any type that scikit-learn accepts.
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` is the torch module.
    history_ : DataFrame
        One row per epoch: epoch, train_loss, valid_loss (NaN without early stopping), accuracy,
        outlier_exposure where there is any (the part of the loss that is of images of no class),
        lr, seconds. Losses in nats per row.
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

    Notes
    -----
    ``net_params={"stem": ...}`` names the network's first stage: "standard" is the published 7x7
    convolution and pooling, "plain" a 3x3 convolution without either, "pooled" and "strided" lie
    between. "auto" takes "plain" up to 16 pixels and "standard" above. "encoder_width" is the
    number of channels in the first of the four stages, 64 as published; each of the next has twice
    as many, and the next-to-last layer eight times. A narrow network is quicker by far, and enough
    for few or simple images.

    References
    ----------
    .. [1] He, Zhang, Ren and Sun (2016). Deep residual learning for image recognition. CVPR.
    .. [2] Neal, Olson, Fern, Wong and Li (2018). Open set learning with counterfactual images.
           ECCV. (Images of no class are generated by a network there.)

    Examples
    --------
    >>> from icecore_sk import ResNet18Classifier
    >>> from icecore_sk.datasets import load_digit_images
    >>> X, y = load_digit_images(return_X_y=True)
    >>> clf = ResNet18Classifier(max_epochs=1, random_state=0).fit(X[:100], y[:100])
    >>> clf.predict(X[:3]).shape, clf.transform(X[:3]).shape
    ((3,), (3, 512))
    >>> clf.predict_proba(X[:3]).shape, clf.decision_function(X[:3]).shape
    ((3, 10), (3, 10))
    >>> clf.score_samples(X[:3]).shape, clf.intermediate_features(X[:3]).shape
    ((3,), (3, 256))
    """

    _parameter_constraints: dict = {
        **BaseImageEstimator._parameter_constraints,
        "class_weight": [StrOptions({"balanced", BALANCED_SAMPLING}), dict, None],
        "average_views": ["boolean"],
        "outlier_exposure": [Interval(Real, 0, 1, closed="both")],
    }
    _net_param_names = ("stem", "encoder_width", "scalar_width")
    _inputs = ("image", "scalars")

    def __init__(
        self,
        *,
        image_shape=None,
        max_epochs=10,
        batch_size=128,
        lr=1e-3,
        weight_decay=1e-2,
        class_weight=None,
        augmentation=None,
        average_views=False,
        outlier_exposure=0.0,
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
        self.image_shape = image_shape
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.class_weight = class_weight
        self.augmentation = augmentation
        self.average_views = average_views
        self.outlier_exposure = outlier_exposure
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

    def fit(self, X, y):
        """Train on images and their labels.

        Parameters
        ----------
        X : array of shape (n, H, W), (n, C, H, W) or (n, p), or particle table
            Images; uint8 is divided by 255 batch by batch, floats are taken as they are.
        y : array-like of shape (n,)
            Labels of any type: integers with gaps, strings, booleans.

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

    def partial_fit(self, X, y, classes=None):
        """Train on the next chunk of images and labels, for data larger than memory.

        Each call is one pass over the chunk, in mini-batches, and goes on from what the calls
        before, or a `fit`, have left: weights, moments of AdamW, statistics of the batch norms and
        `history_`, which gains one row. `fit` starts anew.

        Parameters
        ----------
        X : array of shape (n, H, W), (n, C, H, W) or (n, p), or particle table
            Images as in `fit`, at least 2, in the same form in every call. The first chunk sets the
            image shape, the scalars and the scale of the grey levels for all.
        y : array-like of shape (n,)
            Labels among the classes; a chunk need not have all of them.
        classes : array-like of shape (n_classes,) or None
            All labels that will ever come. Needed in the first call; later, or after a `fit`, they
            may be left out, and must be the same.

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
        Rows are shuffled within a chunk only: each chunk should look like the whole, so mix runs
        and classes when they are written, and go over all chunks several times.

        The learning rate rises to `lr` in the first five steps and stays there, as nobody knows how
        many chunks will come; AdamW begins anew in the first call after a `fit`. `max_epochs`,
        `validation_fraction` and `warm_start` play no part. A dict as `class_weight` is taken as it
        is, while `fit` brings its mean over the rows to 1; "balanced_sampling" balances the classes
        that a chunk has; "balanced" is refused, as one chunk does not tell how often each class
        occurs. The same calls with the same integer `random_state` give bit-equal
        weights, also where the estimator was saved and loaded in between (`icecore_sk.save`,
        joblib, pickle).

        Examples
        --------
        >>> from icecore_sk import ResNet18Classifier
        >>> from icecore_sk.datasets import load_digit_images
        >>> X, y = load_digit_images(return_X_y=True)
        >>> clf = ResNet18Classifier(random_state=0)
        >>> for start in range(0, 200, 100):
        ...     chunk = slice(start, start + 100)
        ...     clf = clf.partial_fit(X[chunk], y[chunk], classes=range(10))
        >>> clf.n_iter_
        2
        """
        return self._fit(X, y, Chunk(self.__sklearn_is_fitted__(), classes))

    def predict(self, X):
        """Return the most probable class of each row.

        Parameters
        ----------
        X : array or particle table
            Images as in `fit`, in any of the three forms.

        Returns
        -------
        labels : ndarray of shape (n,)

        Raises
        ------
        ValueError
            Where X has other images or columns than in `fit`, or values that are not finite.
        """
        logits = self._logits(X)
        return self.classes_[logits.argmax(axis=1)]

    def predict_proba(self, X):
        """Return the softmax of the logits.

        Parameters
        ----------
        X : array or particle table
            Images as in `fit`.

        Returns
        -------
        probabilities : ndarray of shape (n, n_classes), float64
            Columns in the order of `classes_`.
        """
        return softmax(self._logits(X).astype(np.float64), axis=1)

    def decision_function(self, X):
        """Return the logits.

        Parameters
        ----------
        X : array or particle table
            Images as in `fit`.

        Returns
        -------
        logits : ndarray of shape (n, n_classes), or (n,) for two classes
            For two classes the second logit minus the first: positive means ``classes_[1]``.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def transform(self, X):
        """Return the next-to-last layer.

        Parameters
        ----------
        X : array or particle table
            Images as in `fit`.

        Returns
        -------
        features : ndarray of shape (n, 512) or, with scalars, (n, 512 + scalar_width), float32
            At the default "encoder_width".
        """
        return self._features(X, embed)

    def _transform_both(self, X) -> tuple[np.ndarray, np.ndarray]:
        """Return what `transform` and `intermediate_features` do, of one pass, as arrays."""
        kinds, lengths = self._kinds_of_views(), [self._n_features_out, N_INTERMEDIATE]
        features, intermediate = self._run(
            X, lambda net, batch: mean(embed_both, net, batch, kinds).split(lengths, dim=1)
        )
        return features, intermediate

    def score_samples(self, X):
        r"""Return how much each row looks like something known; the higher, the more normal.

        The log-sum-exp of the logits, which is minus the energy of [1]_, in nats.

        Parameters
        ----------
        X : array or particle table
            Images as in `fit`.

        Returns
        -------
        scores : ndarray of shape (n,)

        Notes
        -----
        With the logits :math:`l_k` of the classes the score is :math:`\log \sum_k \exp l_k`.

        References
        ----------
        .. [1] Liu, Wang, Owens and Li (2020). Energy-based out-of-distribution detection. NeurIPS.
        """
        logits = self._all_logits(X)
        return logsumexp(logits[:, : len(self.classes_)], axis=1)

    def _logits(self, X) -> np.ndarray:
        """Return the logits of the known classes."""
        return self._all_logits(X)[:, : len(self.classes_)]

    def _all_logits(self, X) -> np.ndarray:
        """Return the logits, with that of no class, where there is one, as the last."""
        # The logits are linear in the features: their mean is that of the logits of all views.
        kinds = self._kinds_of_views()
        (logits,) = self._run(X, lambda net, batch: net.classify(mean(embed, net, batch, kinds)))
        return logits

    def _features(self, X, function) -> np.ndarray:
        kinds = self._kinds_of_views()
        return super()._features(X, lambda net, batch: mean(function, net, batch, kinds))

    def _kinds_of_views(self) -> dict[str, Any]:
        """Which views of an image count as the same particle."""
        known = self.augmentation or {}
        kinds = {name: known.get(name, 0) for name in ("flip", "quarter_turns", "shift")}
        if not self.average_views:
            return {}
        if not any(kinds.values()):
            raise ValueError(
                f"average_views=True needs 'flip', 'quarter_turns' or 'shift' in augmentation, "
                f"which is {self.augmentation!r}: a network that was trained on none of these "
                "views does not know them. Pass augmentation={'flip': True, 'quarter_turns': "
                "True}, or average_views=False."
            )
        return kinds

    @property
    def _n_features_out(self) -> int:
        return self.net_.module_.n_features

    def _network(self, **net_args):
        return ClassifierNet(**net_args)

    def _net_arguments(self, rows, goes_on: bool = False) -> dict:
        return {
            "image_shape": rows.image_shape,
            "n_classes": len(self.classes_),
            "n_scalars": rows.n_scalars,
            "has_unknown": self.outlier_exposure > 0,
        }

    def _make_loss(self):
        weight = None
        if self._class_weights is not None:
            weight = torch.tensor(self._class_weights, dtype=torch.float32)
        return ClassificationLoss(weight)

    def _classes_to_balance(self, target):
        return target if self.class_weight == BALANCED_SAMPLING else None

    def _strengths(self, measuring):
        strengths = super()._strengths(measuring)
        self._kinds_of_views()  # whether there are any to average
        if measuring:
            # Turned and mirrored views are images like others; resampled ones are blurred, and the
            # norms would expect a blur that no image has when it is predicted.
            strengths = {k: v for k, v in strengths.items() if k in ("flip", "quarter_turns")}
        return strengths

    @property
    def _further_images(self):
        return self.outlier_exposure

    def _make_composites(self, generator):
        return Composites(generator, self.outlier_exposure) if self.outlier_exposure else None


def embed(net: ClassifierNet, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the next-to-last layer of a batch."""
    return net.embed(batch["image"], batch.get("scalars"))


def embed_both(net: ClassifierNet, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the next-to-last layer of a batch, and beside it what the third stage sees."""
    return torch.cat(net.embed_both(batch["image"], batch.get("scalars")), dim=1)


def mean(function, net: ClassifierNet, batch: dict[str, torch.Tensor], kinds) -> torch.Tensor:
    """Return the mean of `function(net, batch)` over the views of the batch's images."""
    views = likely_views(batch["image"], **kinds)
    return torch.stack([function(net, batch | {"image": view}).float() for view in views]).mean(0)
