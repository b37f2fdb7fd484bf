"""How good is it, honestly: intervals over episodes and runs, and choosing without target labels.

Every validator gives a scalar of which more is better; its docstring names the raw quantity.
"""

from jaxfer.evaluation.accuracy import accuracy, source_accuracy
from jaxfer.evaluation.attention_rollout import attention_rollout
from jaxfer.evaluation.calibration import CalibrationInfo, expected_calibration_error
from jaxfer.evaluation.choosing import Choice, choose, chosen
from jaxfer.evaluation.collapse import CollapseInfo, reject_collapsed
from jaxfer.evaluation.confidence import entropy_score, information_maximization_score
from jaxfer.evaluation.confusion import confusion_matrix
from jaxfer.evaluation.density_ratio import DensityRatioInfo, domain_density_ratio
from jaxfer.evaluation.f_score import FScore, f_score
from jaxfer.evaluation.importance_weighted import (
    deep_embedded_validation,
    importance_weighted_validation,
)
from jaxfer.evaluation.integrated_gradients import AttributionInfo, integrated_gradients
from jaxfer.evaluation.intervals import Interval, mean_interval, paired_difference
from jaxfer.evaluation.mmd_score import mmd_score
from jaxfer.evaluation.neighbourhood_density import soft_neighbourhood_density
from jaxfer.evaluation.reverse_validation import (
    Fit,
    Predict,
    ReverseValidationInfo,
    reverse_validation_accuracy,
)
from jaxfer.evaluation.seeds import gap_closed, seed_difference, seed_interval

__all__ = [
    "AttributionInfo",
    "CalibrationInfo",
    "Choice",
    "CollapseInfo",
    "DensityRatioInfo",
    "FScore",
    "Fit",
    "Interval",
    "Predict",
    "ReverseValidationInfo",
    "accuracy",
    "attention_rollout",
    "choose",
    "chosen",
    "confusion_matrix",
    "deep_embedded_validation",
    "domain_density_ratio",
    "entropy_score",
    "expected_calibration_error",
    "f_score",
    "gap_closed",
    "importance_weighted_validation",
    "information_maximization_score",
    "integrated_gradients",
    "mean_interval",
    "mmd_score",
    "paired_difference",
    "reject_collapsed",
    "reverse_validation_accuracy",
    "seed_difference",
    "seed_interval",
    "soft_neighbourhood_density",
    "source_accuracy",
]
