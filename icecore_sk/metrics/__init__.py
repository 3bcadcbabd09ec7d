"""What clusters, scores and scalars are worth."""

from icecore_sk.metrics.clustering import clustering_accuracy
from icecore_sk.metrics.consistency import area_consistency, map_consistency
from icecore_sk.metrics.novelty import novel_class_report
from icecore_sk.metrics.scalars import scalar_importance, sufficient_scalars

__all__ = [
    "area_consistency",
    "clustering_accuracy",
    "map_consistency",
    "novel_class_report",
    "scalar_importance",
    "sufficient_scalars",
]
