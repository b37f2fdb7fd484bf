"""Tables and pictures: learning curves, episodes, adapted functions, shifts, comparisons."""

from jaxfer.report.compare import compare_runs, comparison_picture
from jaxfer.report.curves import learning_curve
from jaxfer.report.episodes import episode_picture
from jaxfer.report.functions import adaptation_curves
from jaxfer.report.null import null_distribution
from jaxfer.report.run import Estimate, RunRecord, read_metrics, read_run, series
from jaxfer.report.table import format_estimate, table
from jaxfer.report.witness import witness_features, witness_images

__all__ = [
    "Estimate",
    "RunRecord",
    "adaptation_curves",
    "compare_runs",
    "comparison_picture",
    "episode_picture",
    "format_estimate",
    "learning_curve",
    "null_distribution",
    "read_metrics",
    "read_run",
    "series",
    "table",
    "witness_features",
    "witness_images",
]
