"""A ridge regression as the head: solved in closed form, and differentiated through."""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_factor, cho_solve

from jaxfer.divergences.options import check_number
from jaxfer.meta.heads import episode_features, without_absent


def ridge(
    support_features: Any,
    support_labels: Any,
    query_features: Any,
    *,
    classes: int,
    strength: float | Array = 1.0,
    scale: float | Array = 1.0,
    shift: float | Array = 0.0,
) -> Array:
    r"""Ridge regression from the support features to their labels: the head of R2-D2.

    .. math::
        W = S^\top (S S^\top + \lambda I)^{-1} Y, \qquad \mathrm{logits}(q) = \alpha \, q W + \beta

    With fewer features than examples the same :math:`W` is computed as
    :math:`(S^\top S + \lambda I)^{-1} S^\top Y`.

    Args:
      support_features: :math:`S`, ``[n, features]``, floating point.
      support_labels: :math:`Y`, ``[n]`` integers from 0, or ``[n, classes]`` probabilities.
      query_features: :math:`q`, ``[m, features]``.
      classes: how many there are, at least 2.
      strength: :math:`\lambda`, positive.
      scale: :math:`\alpha`, positive. A regression's predictions lie near 0 and 1, too near each
        other for a softmax.
      shift: :math:`\beta`; it has no part in a softmax, and is there as published.

    Returns:
      Logits ``[m, classes]``; ``-inf`` for a class that, traced, has no support.

    Raises:
      TypeError: for features that are not of floating point.
      ValueError: for shapes or numbers that do not fit; where arrays are concrete also for NaN,
        infinity, labels out of range and a class without support.

    Source: Bertinetto et al. 2019, Meta-learning with differentiable closed-form solvers, section
    3.2; the three numbers are learned there, by their logarithm or as they are.

    >>> query = jnp.array([[1.0, 0.0], [0.0, 2.0]])
    >>> print(ridge(jnp.eye(2), jnp.array([0, 1]), query, classes=2).round(2))
    [[0.5 0. ]
     [0.  1. ]]
    """
    check_number("strength", strength, above=0)
    check_number("scale", scale, above=0)
    check_number("shift", shift)
    support, labels, query = episode_features(
        support_features, support_labels, query_features, classes
    )
    n, features = support.shape
    if n <= features:
        gram = jnp.matmul(support, support.T, precision="highest")
        weights = support.T @ _solve(gram, strength, labels)
    else:
        gram = jnp.matmul(support.T, support, precision="highest")
        weights = _solve(gram, strength, support.T @ labels)
    return without_absent(scale * (query @ weights) + shift, labels)


def _solve(gram: Array, strength: float | Array, right: Array) -> Array:
    return cho_solve(cho_factor(gram + strength * jnp.eye(len(gram), dtype=gram.dtype)), right)
