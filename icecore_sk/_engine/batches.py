"""Batches gathered by index in the data's own dtype and cast on the device."""

from itertools import pairwise

import numpy as np
import torch

from icecore_sk._engine.rows import HostRows, to_tensor


def prepare_images(images: torch.Tensor) -> torch.Tensor:
    """Return images (n, C, H, W) as float32, channels last; uint8 is divided by 255."""
    scaled = images.to(torch.float32)
    if images.dtype == torch.uint8:
        scaled = scaled.div_(255.0)
    return scaled.contiguous(memory_format=torch.channels_last)


def permutation(n: int, generator: torch.Generator) -> np.ndarray:
    return torch.randperm(n, generator=generator).numpy()


def balanced(index: np.ndarray, classes: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Draw as many rows as `index` has, equally many of each class (to within one).

    Each class is gone through without repetition before any of its rows comes again.
    """
    members = [index[classes == c] for c in np.unique(classes)]
    shares = [len(part) for part in np.array_split(index, len(members))]
    parts = []
    for rows, share in zip(members, shares, strict=True):
        rounds = [permutation(len(rows), generator) for _ in range(-(-share // len(rows)))]
        parts.append(rows[np.concatenate(rounds)[:share]] if rounds else rows[:0])
    return np.concatenate(parts)


class Batches:
    """Iterate over rows of an image set as dictionaries of tensors on the device.

    Parameters
    ----------
    rows : HostRows
        The images and scalars, from `place_rows`.
    index : ndarray of int
        The rows that belong to this set.
    batch_size : int
        Rows per batch. A last batch of one is folded into the one before, because batch norm
        cannot be trained on one row; no row is ever dropped.
    y : ndarray or None
        Targets by row of `rows` (not of `index`).
    shuffle : torch.Generator or None
        Draws a new order in each pass; None keeps the order.
    classes : ndarray of int or None
        Classes by row of `rows`. With `shuffle`, each pass then draws as many rows of every class:
        rows of rare classes recur, of common ones each pass takes others.
    noise : tuple of (int, torch.Generator) or None
        Columns of standard normal noise for each row, and the generator that draws them.
    augment : callable or None
        Maps images, the length of their batch and their places in it to images of the same shape.
    composites : Composites or None
        Maps a batch of images and its targets to further images, which come after the batch's own
        and have no target, and the rows whose scalars they take.
    repeatable : bool
        Start views, noise and composites anew in each pass, so that two passes see the same.

    Attributes
    ----------
    process : tuple of (int, int)
        Which of how many processes this is; each has its share of the rows of every batch. What
        is random is drawn for all rows, so that batches are the same over any number of them.
    """

    process = (0, 1)

    def __init__(
        self,
        rows: HostRows,
        index: np.ndarray,
        batch_size: int,
        y: np.ndarray | None = None,
        shuffle: torch.Generator | None = None,
        classes: np.ndarray | None = None,
        noise: tuple[int, torch.Generator] | None = None,
        augment=None,
        composites=None,
        repeatable: bool = False,
    ):
        self.rows, self.index, self.y, self.device = rows, index, y, rows.device
        self.batch_size, self.shuffle, self.noise = batch_size, shuffle, noise
        self.classes, self.repeatable = classes, repeatable
        self.augment, self.composites = augment, composites
        drawn = [] if noise is None else [noise[1]]
        drawn += [source.generator for source in (augment, composites) if source is not None]
        self.starts = [(generator, generator.get_state()) for generator in drawn]

    def bounds(self) -> list[int]:
        n = len(self.index)
        bounds = [*range(0, n, self.batch_size), n]
        if len(bounds) > 2 and bounds[-1] - bounds[-2] == 1:
            del bounds[-2]
        return bounds

    def __len__(self) -> int:
        return len(self.bounds()) - 1

    def __iter__(self):
        order = self.order()
        if self.repeatable:
            for generator, state in self.starts:
                generator.set_state(state)
        bounds = self.bounds()
        for start, stop in pairwise(bounds):
            yield self.batch(order[start:stop])

    def order(self) -> np.ndarray:
        """Return the rows of one pass."""
        if self.shuffle is None:
            return self.index
        order = self.index
        if self.classes is not None:
            order = balanced(order, self.classes[order], self.shuffle)
        return order[permutation(len(order), self.shuffle)]

    def share(self, n: int) -> np.ndarray:
        """Return which of n rows are this process's; the first ones have one more."""
        process, n_processes = self.process
        return np.array_split(np.arange(n), n_processes)[process]

    def batch(self, index: np.ndarray) -> tuple[dict[str, torch.Tensor], int]:
        """Return the rows at `index` in skorch's form (X, y).

        The target travels in X; y is the number of rows, those of other processes included.
        """
        n = len(index)
        own = places = self.share(n)
        mixed = None if self.composites is None else self.y
        # A composite may be made of any rows of the batch.
        taken = index[own] if mixed is None else index
        image = prepare_images(self.rows.take(taken))
        scalars = self.rows.take_scalars(taken)
        if mixed is not None:
            further, one = self.composites(image, torch.from_numpy(mixed[index]))
            image = torch.cat([image, further])
            if scalars is not None:
                scalars = torch.cat([scalars, scalars[one.to(self.device)]])
            places, n = np.concatenate([own, n + self.share(len(further))]), len(image)
            if len(places) < n:
                here = to_tensor(places, self.device)
                image = image[here].contiguous(memory_format=torch.channels_last)
                scalars = None if scalars is None else scalars[here]
        if self.augment is not None:
            # After they were joined: what resamples the others must resample the seams as well.
            image = self.augment(image, n, places)
        batch = {"image": image}
        if scalars is not None:
            batch["scalars"] = scalars
        if self.y is not None:
            batch["y"] = to_tensor(self.y[index[own]], self.device)
        if self.noise is not None:
            columns, generator = self.noise
            # Drawn on the CPU so that every device sees the same noise.
            noise = torch.randn(len(index), columns, generator=generator)[own]
            batch["noise"] = to_tensor(noise.numpy(), self.device)
        return batch, len(index)
