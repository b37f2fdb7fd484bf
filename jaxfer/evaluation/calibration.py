"""Calibration: are predictions right as often as they say?"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.logits import one_prediction
from jaxfer.divergences.options import check_count
from jaxfer.evaluation.examples import labelled_examples


class CalibrationInfo(NamedTuple):
    """The bins of a reliability diagram.

    Attributes:
      confidence: ``[bins]``, the mean probability of the predicted class in a bin; NaN for one that
        holds no example.
      accuracy: ``[bins]``, the share of right answers, likewise.
      share: ``[bins]``, the share of all examples that fall into a bin.

    >>> _, info = expected_calibration_error(jnp.array([[1.0, 0.0]]), jnp.array([0]), bins=4)
    >>> info.share.tolist()
    [0.0, 0.0, 1.0, 0.0]
    """

    confidence: Array
    accuracy: Array
    share: Array


def expected_calibration_error(
    logits: Any, labels: Any, *, bins: int = 15, weights: Any = None
) -> tuple[Array, CalibrationInfo]:
    r"""Expected calibration error: how far confidence is from accuracy (ECE).

    .. math:: \mathrm{ECE} = \sum_b s_b \, | \mathrm{acc}_b - \mathrm{conf}_b |

    over bins of equal width of the greatest probability, closed to the right, with :math:`s_b` the
    share of examples in a bin. Accuracy on the target is needed: this is a figure to report, not a
    validator.

    Args:
      logits: ``[n, classes]``, floating point, finite.
      labels: ``[n]``, integers from 0 to ``classes - 1``.
      bins: at least 1.
      weights: ``[n]``, not negative, on any scale; an example of weight 0 is absent. ``None``
        weighs all alike.

    Returns:
      A scalar in [0, 1], and the :class:`CalibrationInfo`. NaN where traced logits hold NaN.

    Raises:
      TypeError: for logits that are not of floating point, labels or bins that are no integers.
      ValueError: for shapes that do not fit; where arrays are concrete also for NaN, infinity,
        labels out of range, and weights that are negative or all 0.

    Source: Guo et al. 2017, On calibration of modern neural networks, equations 1 to 3.

    >>> logits = jnp.log(jnp.array([[0.9, 0.1]] * 4))  # sure to 90%, right in 3 of 4
    >>> error, _ = expected_calibration_error(logits, jnp.array([0, 0, 0, 1]))
    >>> f"{error:.2f}"
    '0.15'
    """
    check_count("bins", bins)
    return _calibration(*labelled_examples(logits, labels, weights), bins)


@partial(jax.jit, static_argnums=3)
def _calibration(
    logits: Array, labels: Array, weights: Array, bins: int
) -> tuple[Array, CalibrationInfo]:
    _, probabilities = one_prediction(logits)
    confidence = jnp.max(probabilities, axis=-1)
    right = jnp.argmax(logits, axis=-1) == labels
    place = jnp.clip(jnp.ceil(confidence * bins) - 1, 0, bins - 1)
    members = weights[:, None] * (place[:, None] == jnp.arange(bins))
    share, hits, sure = members.sum(0), right @ members, confidence @ members
    # A prediction of NaN is in no bin, and must not go unseen.
    lost = jnp.where(jnp.isnan(confidence).any(), jnp.nan, 0)
    error = jnp.sum(jnp.abs(hits - sure)) + lost
    some = share > 0
    mean = [jnp.where(some, total / jnp.where(some, share, 1), jnp.nan) for total in (sure, hits)]
    return error, CalibrationInfo(mean[0], mean[1], share)
