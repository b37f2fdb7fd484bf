"""CMD: do two samples have the same mean and central moments, feature by feature?"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.options import check_count, check_number
from jaxfer.divergences.samples import two_samples


def central_moment_discrepancy(
    source: Any,
    target: Any,
    *,
    moments: int = 5,
    bounds: tuple[float, float] = (0.0, 1.0),
    source_weights: Any = None,
    target_weights: Any = None,
    axis_name: str | None = None,
) -> Array:
    r"""Sum of the distances of the mean and of each central moment (batch-coupled).

    .. math::
        \frac{1}{|b - a|} \| \bar x - \bar y \|_2 + \sum_{k=2}^{K} \frac{1}{|b - a|^k}
        \| c_k(x) - c_k(y) \|_2, \qquad c_k(x) = \sum_i w_i (x_i - \bar x)^k

    with weights that sum to 1 and powers taken feature by feature. The time grows as :math:`K (n +
    m) d`: no pairs, no covariances.

    Args:
      source: ``[n, d]``, floating point.
      target: ``[m, d]``, likewise.
      moments: :math:`K`, at least 1; 1 compares the means alone.
      bounds: :math:`(a, b)`, the interval that features lie in: (0, 1) for a sigmoid, (-1, 1) for
        a hyperbolic tangent. It sets the scale; features outside are neither refused nor clipped,
        but their high moments weigh much.
      source_weights: ``[n]``, not negative, on any scale; a point of weight 0 is absent, one of
        weight 2 counts as two. ``None`` weighs all points alike.
      target_weights: ``[m]``, likewise.
      axis_name: mapped axis over which the points are spread. Every device then returns the
        discrepancy of all points; average the gradients with ``lax.pmean``.

    Returns:
      A scalar, at least 0, without unit. 0 where traced weights leave a side empty. Where a moment
      of the two samples is the same, its norm adds nothing to the gradient.

    Raises:
      TypeError: for samples that are not of floating point, or ``moments`` not an integer.
      ValueError: for wrong shapes or options; where arrays are concrete also for NaN, infinity or
        negative weights.

    Source: Zellinger et al. 2017, Central moment discrepancy (CMD) for domain-invariant
    representation learning, definition 2.

    >>> source, target = jnp.array([[0.0], [1.0]]), jnp.array([[0.5], [0.5]])
    >>> central_moment_discrepancy(source, target, moments=3)  # variances 1/4 and 0
    Array(0.25, dtype=float32)
    """
    check_count("moments", moments)
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise TypeError(f"bounds must be two numbers, (least, greatest); it is {bounds!r}.")
    for bound in bounds:
        check_number("each of bounds", bound)
    width = float(bounds[1]) - float(bounds[0])
    if not (math.isfinite(width) and width > 0):
        raise ValueError(f"bounds must be (least, greatest), in this order; it is {bounds}.")
    samples = two_samples(source, target, source_weights, target_weights, axis_name=axis_name)

    def mean(x: Array, weights: Array) -> Array:
        total = jnp.sum(weights[:, None] * x, axis=0)
        return total if axis_name is None else jax.lax.psum(total, axis_name)

    # The discrepancy does not depend on the origin; near the points it loses least to rounding.
    origin = jax.lax.stop_gradient(mean(samples.source, samples.source_weights))

    def central(sample: Array, weights: Array) -> Array:
        """The mean and the central moments from the second on, ``[moments, d]``, by the width."""
        sample = (sample - origin) / width
        found = [mean(sample, weights)]
        centred = power = sample - found[0]
        for _ in range(2, moments + 1):
            power = power * centred
            found.append(mean(power, weights))
        return jnp.stack(found)

    source_moments = central(samples.source, samples.source_weights)
    target_moments = central(samples.target, samples.target_weights)
    squares = jnp.sum(jnp.square(source_moments - target_moments), axis=1)
    # A norm has no derivative at 0; here it is 0.
    apart = squares > 0
    norms = jnp.where(apart, jnp.sqrt(jnp.where(apart, squares, 1)), 0)
    present = (samples.source_count > 0) & (samples.target_count > 0)
    return jnp.where(present, jnp.sum(norms), 0)
