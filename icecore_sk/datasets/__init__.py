"""Particles to learn from: FlowCam and ICELEARNING exports, drawn ones, digits, MNIST."""

from icecore_sk.datasets.digits import leave_digits_out, load_digit_images
from icecore_sk.datasets.flowcam import load_flowcam
from icecore_sk.datasets.icelearning import load_icelearning
from icecore_sk.datasets.mnist import fetch_mnist
from icecore_sk.datasets.particle_table import FLOWCAM_SCALARS, load_particles, save_particles
from icecore_sk.datasets.synthetic import make_particles

__all__ = [
    "FLOWCAM_SCALARS",
    "fetch_mnist",
    "leave_digits_out",
    "load_digit_images",
    "load_flowcam",
    "load_icelearning",
    "load_particles",
    "make_particles",
    "save_particles",
]
