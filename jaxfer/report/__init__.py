"""Tables and pictures: learning curves, episodes, adapted functions, shifts, comparisons.

For domain adaptation: a table of methods with its verdict in words, their curves and bars, features
of both domains, confusion matrices.
"""

from jaxfer.report.accuracy_curves import accuracy_curves
from jaxfer.report.adaptation import AdaptationRow, adaptation_summary
from jaxfer.report.adaptation_table import adaptation_table, adaptation_verdict
from jaxfer.report.compare import compare_runs, comparison_picture
from jaxfer.report.confusion import confusion_picture
from jaxfer.report.curves import learning_curve
from jaxfer.report.episodes import episode_picture
from jaxfer.report.features import feature_scatter
from jaxfer.report.functions import adaptation_curves
from jaxfer.report.method_bars import method_bars
from jaxfer.report.method_curves import MethodCurve, method_curves
from jaxfer.report.method_dots import method_dots
from jaxfer.report.null import null_distribution
from jaxfer.report.ranking import RankedAccuracies, ranking_picture
from jaxfer.report.run import Estimate, RunRecord, read_metrics, read_run, series
from jaxfer.report.saliency import (
    ImageSaliency,
    TextSaliency,
    image_saliency,
    text_saliency,
)
from jaxfer.report.table import format_estimate, table
from jaxfer.report.witness import witness_features, witness_images

__all__ = [
    "AdaptationRow",
    "Estimate",
    "ImageSaliency",
    "MethodCurve",
    "RankedAccuracies",
    "RunRecord",
    "TextSaliency",
    "accuracy_curves",
    "adaptation_curves",
    "adaptation_summary",
    "adaptation_table",
    "adaptation_verdict",
    "compare_runs",
    "comparison_picture",
    "confusion_picture",
    "episode_picture",
    "feature_scatter",
    "format_estimate",
    "image_saliency",
    "learning_curve",
    "method_bars",
    "method_curves",
    "method_dots",
    "null_distribution",
    "ranking_picture",
    "read_metrics",
    "read_run",
    "series",
    "table",
    "text_saliency",
    "witness_features",
    "witness_images",
]
