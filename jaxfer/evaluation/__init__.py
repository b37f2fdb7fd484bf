"""How good is it, honestly: intervals over episodes and runs."""

from jaxfer.evaluation.intervals import Interval, mean_interval, paired_difference

__all__ = ["Interval", "mean_interval", "paired_difference"]
