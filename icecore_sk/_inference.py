"""Batched inference: rows go through a fitted network, bit-equal whatever their company."""

import math
from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from icecore_sk._engine import (
    HostRows,
    autocast,
    kept_memory,
    prepare_images,
    settle_threads,
    side_by_side,
)
from icecore_sk._input import ImageInputMixin

# Pixels in one inference batch: enough to keep a core or a GPU busy, little enough to stay in the
# tens of megabytes of activations. Each core has a batch of its own.
INFERENCE_PIXELS = {"cpu": 256 * 1024, "cuda": 1024 * 1024}


class InferenceMixin(ImageInputMixin):
    """What runs a fitted network over all rows of X."""

    net_: Any

    def intermediate_features(self, X):
        """Return what the third of the encoder's four stages sees of each image.

        The last layer of a classifier keeps what tells its classes apart, and a latent space what
        takes many pixels. The stage before still holds the parts that an image is made of, and
        where they are: neighbours there show images that are made of other parts.

        Parameters
        ----------
        X : array or particle table
            Images as in `fit`.

        Returns
        -------
        features : ndarray of shape (n, 256), float32
            The stage's maps, pooled to 2x2 where they are larger, and projected at random, by the
            same projection in every network of its width.
        """
        return self._features(X, lambda net, batch: net.intermediate_features(batch["image"]))

    def _features(self, X, function) -> np.ndarray:
        """Return `function(module, batch)` of all rows; a subclass may look at them repeatedly."""
        (features,) = self._run(X, function)
        return features

    def _run(self, X, function) -> list[np.ndarray]:
        """Apply `function(module, batch)` to all rows and return its outputs as arrays.

        Every batch has the same shape, the last one padded: convolutions pick their summation
        order by shape, so only then are a row's outputs bit-equal whatever its company. On the CPU
        each batch has one thread, so that they are bit-equal whatever the number of threads.
        """
        check_is_fitted(self)
        rows = self._read(X)
        placed = HostRows(rows, self._device)
        size = self._inference_batch_size()

        def batch_of(start: int) -> tuple[dict[str, torch.Tensor], int]:
            index = np.arange(start, min(start + size, len(rows)))
            padded = np.concatenate([index, np.full(size - len(index), index[-1])])
            batch = {"image": prepare_images(placed.take(padded)), "row": torch.from_numpy(padded)}
            scalars = placed.take_scalars(padded)
            if scalars is not None:
                batch["scalars"] = scalars
            return batch, len(index)

        return self._collect(batch_of, range(0, len(rows), size), len(rows), function)

    def _collect(self, batch_of, starts, n: int, function) -> list[np.ndarray]:
        settle_threads()
        outputs: list[np.ndarray] = []
        first = Lock()

        def work(starts) -> None:
            # Inference mode and autocast, with the weights that it has cast, are of a thread.
            with self._evaluating() as module:
                for start in starts:
                    batch, count = batch_of(start)
                    results = function(module, batch)
                    results = results if isinstance(results, tuple) else (results,)
                    arrays = [result[:count].float().cpu().numpy() for result in results]
                    with first:
                        if not outputs:
                            shapes = [(n, *array.shape[1:]) for array in arrays]
                            outputs.extend(np.empty(shape, np.float32) for shape in shapes)
                    for out, array in zip(outputs, arrays, strict=True):
                        out[start : start + count] = array

        # One batch has nothing to use again, and giving memory back takes longer than it.
        memory = kept_memory() if len(starts) > 1 else nullcontext()
        with memory:
            if self._device.type == "cpu":
                side_by_side(work, starts)
            else:
                work(starts)
        return outputs

    @contextmanager
    def _evaluating(self):
        module = self.net_.module_
        module.eval()
        with torch.inference_mode(), autocast(self.net_.amp_dtype, self._device):
            yield module

    @property
    def _device(self) -> torch.device:
        return torch.device(self.net_.device)

    def _inference_batch_size(self) -> int:
        pixels = math.prod(self.image_shape_[1:])
        at_once = INFERENCE_PIXELS[self._device.type]
        return int(2 ** np.clip(round(math.log2(at_once / pixels)), 4, 8))
