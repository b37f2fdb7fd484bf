"""Do two numbers put the same things in the same order? Kendall's rank correlation."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.samples import floating


def kendall_tau(first: Any, second: Any) -> Array:
    r"""Kendall's rank correlation :math:`\tau_b` of two numbers for each of some things.

    .. math::
        \tau_b = \frac{\sum_{i<j} s_{ij} t_{ij}}
            {\sqrt{\sum_{i<j} s_{ij}^2 \, \sum_{i<j} t_{ij}^2}},
        \quad s_{ij} = \mathrm{sign}(x_i - x_j), \; t_{ij} = \mathrm{sign}(y_i - y_j)

    Args:
      first: ``[n]``, floating point, at least two: such as scores of candidates before training.
      second: ``[n]``, floating point: such as their accuracies after it.

    Returns:
      A scalar from -1, the opposite order, to 1, the same; 0 where either tells no two apart.

    Raises:
      TypeError: for numbers that are not of floating point.
      ValueError: for shapes that do not fit; for concrete numbers that are NaN or infinity.

    Source: Kendall 1945, The treatment of ties in ranking problems, section 4.

    >>> float(kendall_tau([0.1, 0.2, 0.3], [0.5, 0.9, 0.7])) > 0.3
    True
    """
    first, second = floating("first", first), floating("second", second)
    if first.ndim != 1 or first.shape != second.shape or len(first) < 2:
        raise ValueError(
            "first and second must be arrays [n] of the same at least two things; their shapes are "
            f"{first.shape} and {second.shape}."
        )
    signs = [jnp.sign(x[:, None] - x) for x in (first, second)]
    pairs = [jnp.sum(jnp.abs(sign)) for sign in signs]
    whole = jnp.sqrt(pairs[0] * pairs[1])
    return jnp.sum(signs[0] * signs[1]) / jnp.where(whole > 0, whole, 1)
