"""Classifier discrepancy: where two classifiers of the same features disagree."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.logits import two_predictions


def classifier_discrepancy(
    logits: Any,
    other_logits: Any,
    *,
    axis: int | tuple[int, ...] = -1,
    where: Any = None,
) -> Array:
    r"""Mean absolute difference of two predictions (per-example).

    .. math:: d = \frac{1}{K} \sum_{k=1}^K | p_k - q_k |

    Two classifiers maximise it on target examples, and the features minimise it. Where a pair of
    probabilities is equal its derivative is 0.

    Args:
      logits: ``[batch, classes]``, floating point, finite; :math:`p` is their softmax.
      other_logits: of the same shape; :math:`q` is their softmax.
      axis: the axis, or axes, of the classes.
      where: booleans that broadcast to the shape of the logits. A class that is left out is absent
        from both predictions and from :math:`K`, as if sliced away.

    Returns:
      ``[batch]``, between 0 and :math:`2 / K`; 0 for an example with no class.

    Raises:
      TypeError: for logits that are not of floating point or a ``where`` that is not of booleans.
      ValueError: for shapes that do not fit; where arrays are concrete also for NaN or infinity.

    Source: Saito et al. 2018, Maximum classifier discrepancy for unsupervised domain adaptation,
    equation 2.

    >>> logits = jnp.array([[100.0, 0.0], [1.0, 2.0]])
    >>> other_logits = jnp.array([[0.0, 100.0], [1.0, 2.0]])
    >>> classifier_discrepancy(logits, other_logits)
    Array([1., 0.], dtype=float32)
    """
    predictions = two_predictions(logits, other_logits, axis=axis, where=where)
    difference = predictions.first - predictions.second
    # Not jnp.abs: its derivative at 0 is 1.
    distance = difference * jnp.sign(difference)
    kept = jnp.broadcast_to(True if where is None else where, distance.shape)
    return jnp.sum(distance, axis=axis) / jnp.maximum(jnp.sum(kept, axis=axis), 1)
