"""A logistic regression on the support features, trained to the end: the baseline of baselines."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.linalg import cho_factor, cho_solve

from jaxfer.divergences.options import check_count, check_number
from jaxfer.meta.heads import episode_features, without_absent


def linear_probe(
    support_features: Any,
    support_labels: Any,
    query_features: Any,
    *,
    classes: int,
    strength: float | Array = 1e-2,
    steps: int = 200,
) -> Array:
    r"""Logits of a logistic regression with an L2 penalty, fitted to the support set.

    .. math::
        W, b = \arg\min \frac{1}{n} \sum_i \mathrm{CE}(s_i W + b, y_i)
            + \frac{\lambda}{2} \|W\|^2, \qquad \mathrm{logits}(q) = q W + b

    It is solved by accelerated descent in the metric of a bound on the curvature,
    :math:`\frac{1}{2n} \tilde S^\top \tilde S + \lambda I`, which makes the scale of the features
    indifferent and every step safe; the momentum starts anew where it would lead uphill.

    Args:
      support_features: :math:`s`, ``[n, features]``, floating point.
      support_labels: :math:`y`, ``[n]`` integers from 0, or ``[n, classes]`` probabilities.
      query_features: :math:`q`, ``[m, features]``.
      classes: how many there are, at least 2.
      strength: :math:`\lambda`, positive; scikit-learn's ``1 / (n C)``.
      steps: of the solver.

    Returns:
      Logits ``[m, classes]``; ``-inf`` for a class that, traced, has no support.

    Raises:
      TypeError: for features that are not of floating point.
      ValueError: for shapes or numbers that do not fit; where arrays are concrete also for NaN,
        infinity, labels out of range and a class without support.

    Source: of the bound, Böhning 1992, Multinomial logistic regression algorithm.

    >>> support = jnp.array([[1.0], [-1.0]])
    >>> logits = linear_probe(support, jnp.array([0, 1]), jnp.array([[0.0], [2.0]]), classes=2)
    >>> jax.nn.softmax(logits).round(2)
    Array([[0.5, 0.5],
           [1. , 0. ]], dtype=float32)
    """
    check_number("strength", strength, above=0)
    check_count("steps", steps)
    support, labels, query = episode_features(
        support_features, support_labels, query_features, classes
    )
    n, features = support.shape
    ones = jnp.ones((n, 1), support.dtype)
    inputs = jnp.concatenate([support, ones], axis=1)
    penalty = strength * jnp.ones(features + 1, support.dtype).at[-1].set(0.0)
    gram = jnp.matmul(inputs.T, inputs, precision="highest")
    # Largest eigenvalue of a softmax's Hessian: 1/2.
    bound = cho_factor(0.5 / n * gram + jnp.diag(penalty))

    def gradient(weights: Array) -> Array:
        error = jax.nn.softmax(inputs @ weights) - labels
        return inputs.T @ error / n + penalty[:, None] * weights

    def step(carry: tuple[Array, Array, Array], _: None) -> tuple[Any, None]:
        weights, ahead, momentum = carry
        slope = gradient(ahead)
        moved = ahead - cho_solve(bound, slope)
        # Restart by gradient: the step taken points away from where the momentum leads.
        uphill = jnp.vdot(slope, moved - weights) > 0
        momentum = jnp.where(uphill, 1.0, momentum)
        following = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        rate = jnp.where(uphill, 0.0, (momentum - 1) / following)
        return (moved, moved + rate * (moved - weights), following), None

    start = jnp.zeros((features + 1, classes), support.dtype)
    one = jnp.ones((), support.dtype)
    (weights, _, _), _ = lax.scan(step, (start, start, one), None, length=steps)
    return without_absent(query @ weights[:-1] + weights[-1], labels)
