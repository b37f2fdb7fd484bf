"""Which classes are taken for which?"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.evaluation.examples import labelled_examples


def confusion_matrix(logits: Any, labels: Any, *, weights: Any = None) -> Array:
    r"""Counts how often each class was taken for each.

    .. math:: C_{ab} = \sum_i w_i \, 1[y_i = a] \, 1[\arg\max_k z_{ik} = b]

    Args:
      logits: :math:`z`, ``[n, classes]``, floating point, finite.
      labels: :math:`y`, ``[n]``, integers from 0 to ``classes - 1``.
      weights: :math:`w`, ``[n]``, not negative, not normalised; ``None`` counts each example once.

    Returns:
      ``[classes, classes]``, a row for each true class and a column for each predicted one, of the
      logits' type. Traced logits that hold NaN make the row of their label NaN.

    Raises:
      TypeError: for logits that are not of floating point or labels that are no integers.
      ValueError: for shapes that do not fit; where arrays are concrete also for NaN, infinity,
        labels out of range, and weights that are negative or all 0.

    >>> logits = jnp.array([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    >>> confusion_matrix(logits, jnp.array([0, 1, 1])).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    logits, labels, shares = labelled_examples(logits, labels, weights)
    counts = jnp.ones_like(shares) if weights is None else jnp.asarray(weights, logits.dtype)
    return _confusion(logits, labels, counts)


@jax.jit
def _confusion(logits: Array, labels: Array, counts: Array) -> Array:
    classes = jnp.arange(logits.shape[1])
    true = counts[:, None] * (labels[:, None] == classes)
    broken = jnp.isnan(logits).any(-1)
    predicted = jnp.argmax(logits, axis=-1)[:, None] == classes
    matrix = jnp.matmul(true.T, predicted.astype(logits.dtype), precision="highest")
    return matrix + jnp.where(jnp.any(broken & (true > 0).T, axis=-1), jnp.nan, 0)[:, None]
