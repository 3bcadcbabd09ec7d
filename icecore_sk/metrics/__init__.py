"""What clusters, scores and scalars are worth."""

from icecore_sk.metrics.clustering import clustering_accuracy
from icecore_sk.metrics.describe_groups import describe_groups
from icecore_sk.metrics.novelty import novel_class_report
from icecore_sk.metrics.scalars import scalar_importance, sufficient_scalars
from icecore_sk.metrics.typical_rows import typical_rows

__all__ = [
    "clustering_accuracy",
    "describe_groups",
    "novel_class_report",
    "scalar_importance",
    "sufficient_scalars",
    "typical_rows",
]
