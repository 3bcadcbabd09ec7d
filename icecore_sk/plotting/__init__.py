"""Displays: each draws one thing, `from_estimator` or `from_predictions`, as scikit-learn's do."""

from icecore_sk.plotting.particle_map import ParticleMapDisplay

__all__ = ["ParticleMapDisplay"]
