"""Images to learn from: digits that ship with scikit-learn, and MNIST."""

from icecore_sk.datasets.digits import leave_digits_out, load_digit_images
from icecore_sk.datasets.mnist import fetch_mnist

__all__ = ["fetch_mnist", "leave_digits_out", "load_digit_images"]
