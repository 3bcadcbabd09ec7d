"""What all image estimators share: parameters, training, and where its weights start."""

import hashlib
import math
import os
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    clone,
    is_classifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import ShuffleSplit
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from icecore_sk import _images
from icecore_sk._chunks import Chunk, ChunkMixin
from icecore_sk._engine import (
    NORM_ROWS,
    Batches,
    Checkpoint,
    GoOn,
    HostRows,
    ImageNet,
    MemoryOrderAdamW,
    NonFiniteLossError,
    ProgressBar,
    Split,
    autocast_dtype,
    balanced,
    fit_on_devices,
    history_rows,
    history_table,
    make_early_stopping,
    make_schedule,
    module_arrays,
    moments_of,
    permutation,
    place_rows,
    resolve_devices,
    settle_threads,
)
from icecore_sk._inference import InferenceMixin
from icecore_sk._input import read_labels
from icecore_sk._network_state import NetworkStateMixin
from icecore_sk._random import draw_seed, spawn_generators
from icecore_sk._wrapping import unchanged_on_error
from icecore_sk.nn.augment import Augment, checked
from icecore_sk.nn.encoder import STEMS, initialise

# Rows on which the batch norms are measured, for images of 32x32: a sixteenth of the rows that
# training sees, within these bounds. Mean and variance are taken over rows and map positions, so
# larger images need fewer. Measured on MNIST: 512 rows cost 4 % of the test loss against all 8,000
# rows, 1,024 2 %, 2,048 less than 1 %.
CALIBRATION_ROWS = (512, 2048)
CALIBRATION_SHARE = 1 / 16


class Streams(NamedTuple):
    """Generators of one fit, each for one purpose."""

    shuffling: torch.Generator
    splitting: torch.Generator
    augmenting: torch.Generator
    noise: torch.Generator
    valid_noise: torch.Generator
    calibration_noise: torch.Generator
    composing: torch.Generator


class FeaturesOutMixin(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """`transform` gives float32 columns named after the class, whatever the dtype of X."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class BaseImageEstimator(NetworkStateMixin, ChunkMixin, InferenceMixin, BaseEstimator):
    """Base of the estimators that hold a network.

    A subclass says which network and loss it wants (`_make_module`, `_make_loss`), how y is read
    (`_read_target`) and what its outputs are called; everything else is here.
    """

    _parameter_constraints: dict = {
        "image_shape": ["array-like", None],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "augmentation": [dict, None],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "encoder": [BaseEstimator, None],
        "device": [str, list],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "callbacks": [list, None],
        "checkpoint_dir": [str, os.PathLike, None],
        "net_params": [dict, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
    _net_param_names: tuple[str, ...] = ("stem", "encoder_width")
    _inputs: tuple[str, ...] = ("image",)
    _seed: int

    # ---------------------------------------------------------------- training

    def _fit(self, X, y=None, chunk: Chunk | None = None):
        """Train; where that fails, leave the estimator as it was, fitted or not.

        A `chunk` is one call of `partial_fit`: one epoch that goes on from what there is.
        """
        settle_threads()
        diverged = None
        with unchanged_on_error(self):
            net, split, previous = self._prepare(X, y, chunk)
            try:
                fit_on_devices(net, split, resolve_devices(self.device))
            except NonFiniteLossError as error:
                if chunk is not None:
                    raise self._stopped(error, "is as it was before this chunk") from error
                diverged = error
            self._finish(net, previous)
        if diverged is not None:
            kept = "keeps the finite weights of the end of the epoch before"
            raise self._stopped(diverged, kept) from diverged
        # A first few chunks are little training: no failure shows before a fit would have ended.
        if chunk is None or self.n_iter_ >= self.max_epochs:
            self._diagnose()
        return self

    def _stopped(self, error: NonFiniteLossError, kept: str) -> FloatingPointError:
        return FloatingPointError(
            f"Training of {type(self).__name__} stopped: {error}. The estimator {kept}. "
            f"{self._nonfinite_advice()}"
        )

    def _prepare(self, X, y, chunk) -> tuple[ImageNet, Split, pd.DataFrame | None]:
        """Check parameters and data and build what training needs."""
        self._validate_params()
        goes_on = chunk is not None and chunk.goes_on
        if chunk is not None:
            self._check_chunk_params()
        device, *others = resolve_devices(self.device)
        if others and self.callbacks:
            raise ValueError(
                f"callbacks={self.callbacks!r} cannot see a fit on several devices "
                f"(device={self.device!r}), which runs in other processes. Pass callbacks=None, or "
                "one device."
            )
        options = self._check_net_params()
        rows = self._read_chunk(X) if goes_on else self._read(X, reset=True)
        target = self._read_target(rows, y, chunk)
        seed = self._seed if goes_on else draw_seed(self.random_state)
        weights = spawn_generators(seed, 1)[0]
        # Each chunk draws its own, which hang on nothing but the seed and the epochs before.
        done = () if chunk is None else (self.n_iter_ if goes_on else 0,)
        streams = Streams(*spawn_generators(seed, 8, *done)[1:])
        parts = self._split(rows, target, streams.splitting)
        start = self._start_from(X, y, seed, goes_on)
        self._seed = seed

        arguments = {**options, **self._net_arguments(rows, goes_on)}
        if goes_on:
            self._check_same_network(arguments)
        else:
            mean, scale = _images.image_mean_and_scale(rows)
            self._net_args = {"image_mean": mean, "image_scale": scale, **arguments}
        module = self._make_module(self._net_args, weights)
        if start is not None:
            self._load_start(module, start)

        # With several devices each process places them on its own.
        placed = HostRows(rows, device) if others else place_rows(rows, device)
        split = self._make_split(rows, placed, target, parts, streams, chunk)
        if chunk is not None:
            split.norm_rows = NORM_ROWS if goes_on else 0
            return self._goes_on(module, device, goes_on), split, self._earlier_history(goes_on)
        net = self._make_net(module, device, len(split.train))
        if self.checkpoint_dir is not None:
            moving = [streams.shuffling, streams.noise, streams.augmenting, streams.composing]
            identity = self._identity(rows, target, module if start is not None else None)
            checkpoint = Checkpoint(self.checkpoint_dir, identity, moving)
            checkpoint.check_writable()
            net.callbacks.append(("checkpoint", checkpoint))
        return net, split, self._previous_history()

    def _make_split(self, rows, placed, target, parts, streams: Streams, chunk) -> Split:
        """Return the batches to train on, to judge by, and to measure the norms on."""
        train, valid = parts
        width = self._noise_width()

        def batches(index, generator, **kwargs) -> Batches:
            noisy = (width, generator) if width else None
            size = min(max(2, round(self.batch_size / (1 + self._further_images))), len(index))
            return Batches(placed, index, size, y=target, noise=noisy, **kwargs)

        classes = self._classes_to_balance(target)
        views = {
            "augment": self._make_augmentation(rows, streams.augmenting),
            "composites": self._make_composites(streams.composing),
            "shuffle": streams.shuffling,
            "classes": classes,
        }
        split = Split(batches(train, streams.noise, **views))
        # The norms are measured on what training sees, or they would expect another mixture.
        order = train if classes is None else balanced(train, classes[train], streams.splitting)
        n_some = self._n_calibration_rows(len(train), 1 if chunk else self.max_epochs)
        some = order[np.linspace(0, len(order) - 1, n_some).astype(int)]
        # Batches of one class each, as sorted rows would give, hide how far classes lie apart.
        some = some[permutation(len(some), streams.splitting)]
        views = {
            "augment": self._make_augmentation(rows, streams.calibration_noise, measuring=True),
            "composites": self._make_composites(streams.calibration_noise),
        }
        split.calibration = batches(some, streams.calibration_noise, repeatable=True, **views)
        if valid is not None:
            split.valid = batches(valid, streams.valid_noise, repeatable=True)
        return split

    def _finish(self, net: ImageNet, previous: pd.DataFrame | None) -> None:
        """Set the fitted attributes from a trained net."""
        history = history_table(net)
        if previous is not None:
            history["epoch"] += len(previous)
            history = pd.concat([previous, history], ignore_index=True)
        self.net_ = net
        self.history_ = history
        self.loss_curve_ = history["train_loss"].tolist()
        self.n_iter_ = len(history)

    def _make_net(
        self, module, device: torch.device, n_batches: int = 1, go_on: GoOn | None = None
    ) -> ImageNet:
        """Build the net that trains; with `go_on` for one chunk, else for `max_epochs`."""
        callbacks: list[Any] = []
        if go_on is not None:
            callbacks.append(("go_on", go_on))
        else:
            callbacks.append(("schedule", make_schedule(self.lr, self.max_epochs, n_batches)))
            if self.early_stopping:
                callbacks.append(("early_stopping", make_early_stopping(self.n_iter_no_change)))
        # Training changes callbacks, and parameters must come out of fit as they went in.
        callbacks += [clone(callback, safe=False) for callback in self.callbacks or []]
        if self.verbose:
            callbacks.append(("progress", ProgressBar(type(self).__name__)))
        return ImageNet(
            module,
            inputs=self._inputs,
            amp_dtype=autocast_dtype(self.precision, device),
            criterion=self._make_loss(),
            optimizer=MemoryOrderAdamW,
            optimizer__weight_decay=self.weight_decay,
            optimizer__fused=True,
            lr=self.lr,
            max_epochs=self.max_epochs if go_on is None else 1,
            batch_size=self.batch_size,
            callbacks=callbacks,
            device=str(device),
            verbose=0,
        )

    def _goes_on(self, module, device: torch.device, goes_on: bool) -> ImageNet:
        """Build the net of one chunk, which starts where the one that there is stopped."""
        go_on = GoOn(self.lr)
        if goes_on:
            go_on = GoOn(self.lr, history_rows(self.net_), moments_of(self.net_))
        return self._make_net(module, device, go_on=go_on)

    def _make_module(self, net_args: dict, generator: torch.Generator | None = None):
        """Build the network; with a generator also draw its weights."""
        # On the meta device no weight is drawn, so torch's global generator stays where it is.
        with torch.device("meta"):
            module = self._network(**net_args)
        # `to_empty` would do, but asks torch's compiler for strides: seconds to import, 100 MB.
        module = module._apply(lambda t: torch.empty(t.shape, dtype=t.dtype, device="cpu"))
        module = module.to(memory_format=torch.channels_last)
        if generator is not None:
            with torch.no_grad():
                initialise(module, generator)
        return module

    def _split(self, rows, target, generator: torch.Generator):
        """Return shuffled row numbers for training and validation (None without early stopping)."""
        everything = np.arange(len(rows))
        if not self.early_stopping:
            return everything, None
        seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
        n_valid = math.ceil(self.validation_fraction * len(rows))
        if n_valid >= len(rows) - 1:
            raise ValueError(
                f"validation_fraction={self.validation_fraction} of {len(rows)} samples leaves "
                f"{len(rows) - n_valid} for training; at least 2 are needed. Pass more samples, a "
                "smaller fraction, or early_stopping=False."
            )
        splitter = self._splitter(target, n_valid, seed)
        train, valid = next(splitter.split(everything, target))
        return np.sort(train), np.sort(valid)

    def _splitter(self, target, n_valid: int, seed: int):
        return ShuffleSplit(1, test_size=n_valid, random_state=seed)

    def _check_net_params(self) -> dict:
        options = dict(self.net_params or {})
        unknown = sorted(set(options) - set(self._net_param_names))
        if unknown:
            raise ValueError(
                f"net_params has unknown entries {unknown}; {type(self).__name__} knows "
                f"{list(self._net_param_names)}."
            )
        if options.get("stem", "auto") not in STEMS:
            raise ValueError(f"net_params['stem']={options['stem']!r} must be one of {STEMS}.")
        for name in set(options) - {"stem"}:
            if not isinstance(options[name], Integral) or options[name] < 1:
                raise ValueError(
                    f"net_params[{name!r}]={options[name]!r} must be a positive integer."
                )
        return options

    def _identity(self, rows, target, start: torch.nn.Module | None) -> dict[str, str]:
        """Return what a checkpoint must share with this fit to go on with it."""
        if not isinstance(self.random_state, Integral):
            raise ValueError(
                f"checkpoint_dir={str(self.checkpoint_dir)!r} needs an integer random_state (it is "
                f"{self.random_state!r}): a fit can only go on exactly where its seed is known."
            )
        params = self.get_params(deep=False)
        for name in ("checkpoint_dir", "verbose", "callbacks", "device"):
            params.pop(name)
        weights = hashlib.blake2b()
        for array in module_arrays(start).values() if start is not None else ():
            weights.update(array.tobytes())
        return {name: repr(value) for name, value in params.items()} | {
            "estimator": type(self).__name__,
            "X": _images.digest(rows),
            "y": "" if target is None else hashlib.blake2b(target.tobytes()).hexdigest(),
            "starting weights": weights.hexdigest(),
            "torch": torch.__version__,
        }

    # ---------------------------------------------------------------- starting weights

    def _previous_history(self) -> pd.DataFrame | None:
        return self.history_ if self.warm_start and hasattr(self, "net_") else None

    def _earlier_history(self, goes_on: bool) -> pd.DataFrame | None:
        """Return the epochs of fits before that of which the net has the history."""
        n = len(self.history_) - len(self.net_.history) if goes_on else 0
        return self.history_.head(n) if n else None

    def _start_from(self, X, y, seed: int, goes_on: bool):
        """Return ("all" | "encoder", weights) to start from, or None."""
        if goes_on or (self.warm_start and hasattr(self, "net_")):
            return "all", self.net_.module_.state_dict()
        if self.encoder is None:
            return None
        if isinstance(self.encoder, FrozenEstimator):
            source = self.encoder.estimator
            check_is_fitted(source)
            fitted = source
        else:
            fitted = self._fit_encoder(X, y, seed)
        if not isinstance(fitted, BaseImageEstimator):
            raise TypeError(
                f"encoder holds a {type(fitted).__name__}; expected an icecore_sk network, such "
                "as FrozenEstimator(ResNet18Classifier().fit(X, y))."
            )
        return "encoder", fitted.net_.module_.encoder.state_dict()

    def _fit_encoder(self, X, y, seed: int):
        """Fit `encoder` on the rows whose label is known."""
        encoder = clone(self.encoder)
        if not isinstance(encoder, BaseImageEstimator):
            return encoder
        if "random_state" in encoder.get_params() and encoder.random_state is None:
            encoder.set_params(random_state=seed)
        if getattr(encoder, "image_shape", True) is None and self.image_shape is not None:
            encoder.set_params(image_shape=self.image_shape)
        if y is None:
            if is_classifier(encoder):
                raise ValueError(
                    f"encoder={encoder!r} is to be fitted first and needs labels; pass y, with "
                    "-1, None or NaN for the rows without one."
                )
            return encoder.fit(X)
        known, labels = read_labels(X, y)
        if known.sum() < 2:
            raise ValueError(
                f"encoder={encoder!r} is to be fitted on the labelled rows, but y has "
                f"{int(known.sum())} label(s) (-1, None and NaN mean unlabelled)."
            )
        subset = X.iloc[np.flatnonzero(known)] if hasattr(X, "iloc") else np.asarray(X)[known]
        return encoder.fit(subset, labels)

    def _load_start(self, module, start) -> None:
        kind, weights = start
        target = module if kind == "all" else module.encoder
        try:
            target.load_state_dict(weights)
        except RuntimeError as error:
            what = "warm_start" if kind == "all" else "encoder"
            raise ValueError(
                f"{what} brings weights that do not fit this network of images {self.image_shape_}:"
                f" {str(error).splitlines()[-1].strip()} Use images of the same channels and the "
                "same net_params."
            ) from error

    def _n_calibration_rows(self, n_train: int, n_epochs: int) -> int:
        larger = max(1.0, math.prod(self.image_shape_[1:]) / 32**2)
        least, most = (
            max(bound // larger, at_least)
            for bound, at_least in zip(CALIBRATION_ROWS, (128, 256), strict=True)
        )
        # With early stopping the norms are measured in every epoch.
        seen = n_train * (1 if self.early_stopping else n_epochs)
        return int(min(np.clip(CALIBRATION_SHARE * seen, least, most), n_train))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    # ---------------------------------------------------------------- for subclasses

    def _network(self, **net_args) -> torch.nn.Module:
        raise NotImplementedError

    def _net_arguments(self, rows, goes_on: bool = False) -> dict:
        """Arguments of the network that are learned from the data, or were, where it goes on."""
        return {"image_shape": rows.image_shape}

    def _make_loss(self) -> torch.nn.Module:
        raise NotImplementedError

    def _read_target(self, rows, y, chunk: Chunk | None = None) -> np.ndarray | None:
        return None

    def _noise_width(self) -> int:
        return 0

    def _classes_to_balance(self, target) -> np.ndarray | None:
        """Classes of which every training pass is to see equally many rows."""
        return None

    def _make_augmentation(self, rows, generator: torch.Generator, measuring: bool = False):
        """What makes views of each training batch, or of those that the norms are measured on."""
        strengths = self._strengths(measuring)
        return Augment(generator, _images.edge_grey(rows), **strengths) if strengths else None

    def _strengths(self, measuring: bool) -> dict[str, Any]:
        """How far views go in training, or where the norms are measured."""
        return checked(self.augmentation)

    @property
    def _further_images(self) -> float:
        """Images of no class in each batch, as a share of its rows; `batch_size` counts both."""
        return 0.0

    def _make_composites(self, generator: torch.Generator):
        """What makes further images of each training batch, which belong to no class."""
        return None

    def _diagnose(self) -> None:
        """Look at `history_` after training and warn of what went wrong."""

    def _nonfinite_advice(self) -> str:
        return f"Lower lr (now {self.lr}) or pass precision='float32'."
