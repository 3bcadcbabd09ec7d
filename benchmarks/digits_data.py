"""Which digits are left out, and how many images a run sees."""

import os
from dataclasses import dataclass
from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
os.environ.setdefault("ICECORE_DATA", str(SHARED))

import numpy as np  # noqa: E402

from icecore_sk.datasets import fetch_mnist, leave_digits_out  # noqa: E402

PAIR = (2, 6)
# Held-out digits of the five splits of MNIST that open-set papers share: Neal, Olson, Fern, Wong
# and Li (2018). Open set learning with counterfactual images. ECCV.
FIVE = ((0, 1, 6, 7), (1, 5, 7, 8), (0, 1, 7, 9), (1, 2, 6, 9), (0, 1, 5, 7))
# One digit at a time, without labels, from the first 30,000 images of the others: ten times as much
# training as another split takes would be ten times as long.
ONE = tuple((digit,) for digit in range(10))
ONE_IMAGES = 30_000
BINARISED = "binarised"
N_CHOOSING, JUDGED = 12_000, slice(50_000, 54_000)


@dataclass(frozen=True)
class Size:
    """How much a run is given.

    Parameters
    ----------
    images : int or None
        First training images and first test images to use; None is all.
    epochs : int or None
        In place of each model's own; None leaves them.
    nll_images, nll_samples : int
        Test images whose likelihood is estimated, and posterior samples for each.
    choosing : bool
        Learn from the first 12,000 training images and be judged by 4,000 of the last: settings are
        chosen so, and the test images are never met.
    """

    images: int | None = None
    epochs: int | None = None
    nll_images: int = 1000
    nll_samples: int = 1000
    choosing: bool = False


FULL = Size()
# 1,000 images hold every digit some eighty times: enough to see that all parts work.
QUICK = Size(images=1000, epochs=1, nll_images=20, nll_samples=20)


@dataclass(frozen=True)
class Digits:
    """Training images without the held-out digits, and all test images."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    held_out: tuple[int, ...]

    @property
    def known(self) -> np.ndarray:
        """Which test images are of digits that were trained on."""
        return ~np.isin(self.y_test, self.held_out)


def load(held_out: tuple[int, ...], size: Size) -> Digits:
    """Read MNIST and leave digits out of its training images."""
    X, y = (part[: size.images] for part in fetch_mnist(subset="train", return_X_y=True))
    if size.choosing:
        X_test, y_test = X[JUDGED], y[JUDGED]
        X, y = X[:N_CHOOSING], y[:N_CHOOSING]
    else:
        X_test, y_test = (
            part[: size.images] for part in fetch_mnist(subset="test", return_X_y=True)
        )
    if held_out:
        X, _, y, _ = leave_digits_out(X, y, digits=held_out)
    if held_out in ONE:
        X, y = X[:ONE_IMAGES], y[:ONE_IMAGES]
    return Digits(X, y, X_test, y_test, held_out)


def binarise(X: np.ndarray, seed: int) -> np.ndarray:
    """Draw every pixel once, white with its grey level as probability: 0 or 255.

    Static binarisation, after Salakhutdinov and Murray (2008). On the quantitative analysis of deep
    belief networks. ICML. The draw is our own, by a fixed seed, not their file.
    """
    drawn = np.random.default_rng(seed).random(X.shape, dtype=np.float32)
    return np.where(drawn * 255 < X, np.uint8(255), np.uint8(0))


def split_name(held_out: tuple[int, ...]) -> str:
    return "_".join(map(str, held_out)) or BINARISED
