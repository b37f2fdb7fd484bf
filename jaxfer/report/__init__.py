"""Tables and pictures of a run: learning curves, test episodes, adapted functions, comparisons."""

from jaxfer.report.compare import compare_runs, comparison_picture
from jaxfer.report.curves import learning_curve
from jaxfer.report.episodes import episode_picture
from jaxfer.report.functions import adaptation_curves
from jaxfer.report.run import Estimate, RunRecord, read_metrics, read_run, series
from jaxfer.report.table import format_estimate, table

__all__ = [
    "Estimate",
    "RunRecord",
    "adaptation_curves",
    "compare_runs",
    "comparison_picture",
    "episode_picture",
    "format_estimate",
    "learning_curve",
    "read_metrics",
    "read_run",
    "series",
    "table",
]
