"""Accuracy, of any labelled examples and as a validator on those of the source."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxfer.evaluation.examples import labelled_examples, nan_where_nan


def accuracy(logits: Any, labels: Any, *, weights: Any = None) -> Array:
    r"""Share of the examples whose most probable class is the right one.

    .. math:: a = \sum_i w_i \, 1[\arg\max_k z_{ik} = y_i]

    with weights that sum to 1. Of equally probable classes the first counts.

    Args:
      logits: :math:`z`, ``[n, classes]``, floating point, finite.
      labels: :math:`y`, ``[n]``, integers from 0 to ``classes - 1``.
      weights: :math:`w`, ``[n]``, not negative, on any scale; an example of weight 0 is absent.
        ``None`` weighs all alike.

    Returns:
      A scalar in [0, 1]; NaN where traced logits hold NaN, 0 where traced weights are all 0.

    Raises:
      TypeError: for logits that are not of floating point or labels that are no integers.
      ValueError: for shapes that do not fit; where arrays are concrete also for NaN, infinity,
        labels out of range, and weights that are negative or all 0.

    >>> logits = jnp.array([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0]])
    >>> float(accuracy(logits, jnp.array([0, 1, 1, 0])))
    0.75
    """
    logits, labels, weights = labelled_examples(logits, labels, weights)
    right = (jnp.argmax(logits, axis=-1) == labels) + nan_where_nan(logits)
    return weights @ right


def source_accuracy(logits: Any, labels: Any, *, weights: Any = None) -> Array:
    """Accuracy on held-out examples of the source; higher is better.

    The simplest validator, and blind to the target: it tells a classifier that alignment has
    ruined from one that still works, and cannot tell two that work apart. Raw quantity: the
    accuracy itself.

    Args:
      logits: ``[n, classes]``, of source examples that were not trained on.
      labels: ``[n]``, integers from 0 to ``classes - 1``.
      weights: as for :func:`accuracy`.

    Returns:
      A scalar in [0, 1], as :func:`accuracy`.

    Raises:
      TypeError, ValueError: as :func:`accuracy`.

    Source: Musgrave et al. 2022, Benchmarking validation methods for unsupervised domain
    adaptation, section 3.

    >>> float(source_accuracy(jnp.array([[2.0, 1.0], [0.0, 1.0]]), jnp.array([0, 0])))
    0.5
    """
    return accuracy(logits, labels, weights=weights)
