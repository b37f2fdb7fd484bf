"""Precision, recall and F1: of each class, and over classes."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxfer.evaluation.confusion import confusion_matrix


class FScore(NamedTuple):
    """How well each class is found.

    Attributes:
      precision: ``[classes]``, share of what was called the class that is; 0 where nothing was.
      recall: ``[classes]``, share of the class that was called so; 0 for a class without examples.
      f1: ``[classes]``, their harmonic mean.
      macro_f1: scalar, the mean of ``f1`` over the classes that occur, truly or as predicted.
      macro_precision, macro_recall: scalars, the means of the others over these classes.

    >>> FScore([1.0], [0.5], [0.667], 0.667, 1.0, 0.5).macro_f1
    0.667
    """

    precision: Array
    recall: Array
    f1: Array
    macro_f1: Array
    macro_precision: Array
    macro_recall: Array


def f_score(logits: Any, labels: Any, *, weights: Any = None) -> FScore:
    r"""Precision, recall and F1 of the most probable classes.

    .. math::
        P_k = \frac{C_{kk}}{\sum_a C_{ak}}, \quad R_k = \frac{C_{kk}}{\sum_b C_{kb}}, \quad
        F_k = \frac{2 C_{kk}}{\sum_a C_{ak} + \sum_b C_{kb}}

    for the confusion matrix :math:`C`.

    Args:
      logits: ``[n, classes]``, floating point, finite.
      labels: ``[n]``, integers from 0 to ``classes - 1``.
      weights: ``[n]``, not negative; ``None`` counts each example once.

    Returns:
      An :class:`FScore`; NaN where traced logits hold NaN.

    Raises:
      TypeError, ValueError: as :func:`jaxfer.evaluation.confusion_matrix`.

    >>> logits = jnp.array([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0]])
    >>> f_score(logits, jnp.array([0, 1, 1, 0])).recall.tolist()
    [1.0, 0.5]
    """
    matrix = confusion_matrix(logits, labels, weights=weights)
    right, true, predicted = jnp.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)

    def share(part: Array, whole: Array) -> Array:
        return part / jnp.where(whole == 0, 1, whole)

    occurs = (true + predicted) != 0
    each = (share(right, predicted), share(right, true), share(2 * right, true + predicted))
    precision, recall, f1 = (jnp.sum(one) / jnp.maximum(jnp.sum(occurs), 1) for one in each)
    return FScore(*each, f1, precision, recall)
