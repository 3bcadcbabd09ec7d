"""What maps, clusters, scores and scalars are worth."""

from icecore_sk.metrics.clustering import clustering_accuracy
from icecore_sk.metrics.comparison import compare_clusterers
from icecore_sk.metrics.consistency import area_consistency, map_consistency
from icecore_sk.metrics.density import propose_eps
from icecore_sk.metrics.describe_groups import describe_groups
from icecore_sk.metrics.novelty import novel_class_report
from icecore_sk.metrics.scalars import scalar_importance, sufficient_scalars
from icecore_sk.metrics.stability import cluster_stability
from icecore_sk.metrics.typical_rows import typical_rows

__all__ = [
    "area_consistency",
    "cluster_stability",
    "clustering_accuracy",
    "compare_clusterers",
    "describe_groups",
    "map_consistency",
    "novel_class_report",
    "propose_eps",
    "scalar_importance",
    "sufficient_scalars",
    "typical_rows",
]
