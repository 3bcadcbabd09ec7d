"""Displays: each draws one thing, `from_estimator` or `from_predictions`, as scikit-learn's do."""

from icecore_sk.plotting.categories import CategoryDisplay
from icecore_sk.plotting.consistency_display import ConsistencyDisplay
from icecore_sk.plotting.loss_curve import LossCurveDisplay
from icecore_sk.plotting.map_areas import MapAreaDisplay
from icecore_sk.plotting.outliers import OutlierDisplay
from icecore_sk.plotting.particle_map import ParticleMapDisplay
from icecore_sk.plotting.predictions import PredictionDisplay
from icecore_sk.plotting.reconstruction import ReconstructionDisplay

__all__ = [
    "CategoryDisplay",
    "ConsistencyDisplay",
    "LossCurveDisplay",
    "MapAreaDisplay",
    "OutlierDisplay",
    "ParticleMapDisplay",
    "PredictionDisplay",
    "ReconstructionDisplay",
]
