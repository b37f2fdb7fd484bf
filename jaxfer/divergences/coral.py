"""CORAL: do two samples have the same covariance?"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.samples import two_samples


def coral(
    source: Any,
    target: Any,
    *,
    source_weights: Any = None,
    target_weights: Any = None,
    axis_name: str | None = None,
) -> Array:
    r"""Squared distance of the covariances of two samples (batch-coupled).

    .. math::
        \frac{1}{4 d^2} \|C_s - C_t\|_F^2, \qquad
        C = \frac{1}{1 - \sum_i w_i^2} \sum_i w_i (x_i - \bar x)(x_i - \bar x)^\top, \quad
        \bar x = \sum_i w_i x_i

    with weights that sum to 1. Equal weights give the usual factor :math:`1 / (n - 1)`. Memory is
    that of the samples and of two ``[d, d]`` matrices.

    Args:
      source: ``[n, d]``, floating point, at least 2 points.
      target: ``[m, d]``, likewise.
      source_weights: ``[n]``, not negative, on any scale; a point of weight 0 is absent. ``None``
        weighs all points alike.
      target_weights: ``[m]``, likewise.
      axis_name: mapped axis over which the points are spread. Every device then returns the
        distance of the covariances of all points; average the gradients with ``lax.pmean``.

    Returns:
      A scalar, at least 0, in features to the fourth power. 0 where traced weights leave fewer
      than 2 points on a side.

    Raises:
      TypeError: for samples that are not of floating point.
      ValueError: for wrong shapes or fewer than 2 points on a side; where arrays are concrete also
        for NaN, infinity or negative weights.

    Deviation: the paper has no weights. They are taken as reliabilities, so that a point of weight
    2 counts more than, and not as, two points; the covariance stays unbiased.

    Source: Sun and Saenko 2016, Deep CORAL, equations 1 to 3.

    >>> source = jnp.array([[0.0, 0.0], [2.0, 0.0]])  # covariance [[2, 0], [0, 0]]
    >>> target = jnp.array([[0.0, 0.0], [0.0, 4.0]])  # covariance [[0, 0], [0, 8]]
    >>> coral(source, target)  # (2^2 + 8^2) / (4 * 2^2)
    Array(4.25, dtype=float32)
    """
    samples = two_samples(
        source, target, source_weights, target_weights, axis_name=axis_name, points=2
    )
    difference = _covariance(samples.source, samples.source_weights, axis_name) - _covariance(
        samples.target, samples.target_weights, axis_name
    )
    value = jnp.sum(jnp.square(difference)) / (4 * difference.shape[0] ** 2)
    enough = (samples.source_count >= 2) & (samples.target_count >= 2)
    return jnp.where(enough, value, 0)


def _covariance(sample: Array, weights: Array, axis_name: str | None) -> Array:
    """Unbiased covariance ``[d, d]``; 0 where no spread can be seen."""

    def total(x: Array) -> Array:
        return x if axis_name is None else jax.lax.psum(x, axis_name)

    weights = weights[:, None]
    centred = sample - total(jnp.sum(weights * sample, axis=0))
    scatter = total(jnp.matmul((weights * centred).T, centred, precision="highest"))
    correction = 1 - total(jnp.sum(jnp.square(weights)))
    return scatter / jnp.where(correction > 0, correction, 1)
