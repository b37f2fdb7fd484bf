"""Weights of classes that are not equally frequent."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import floating, is_concrete


def class_weights(counts: Any, *, beta: float | Array = 1.0) -> Array:
    r"""Weights of classes by how few examples they have, with mean 1 over examples (of counts).

    .. math:: w_k \propto \frac{1 - \beta}{1 - \beta^{n_k}}, \qquad \sum_k n_k w_k = \sum_k n_k

    :math:`\beta = 1` is its limit :math:`1 / n_k`, balanced classes; :math:`\beta = 0` weighs all
    alike. Multiply a per-example loss by ``class_weights(counts)[labels]``: its mean keeps its
    size.

    Args:
      counts: :math:`n_k`, ``[classes]``, examples of each class, not negative. A class without any
        gets the weight 0.
      beta: :math:`\beta`, from 0 to 1.

    Returns:
      ``[classes]``.

    Raises:
      ValueError: for a shape or numbers out of range, or where concrete counts are all 0.

    Source: Cui et al. 2019, Class-balanced loss based on effective number of samples, equations 2
      and 12. Deviation: the mean over examples is 1, not the sum over classes.

    >>> class_weights(jnp.array([30, 10]))  # 40 / (2 * 30), 40 / (2 * 10)
    Array([0.6666667, 2.       ], dtype=float32)
    """
    check_number("beta", beta, at_least=0, at_most=1)
    counts = floating("counts", jnp.asarray(counts, float))
    if counts.ndim != 1:
        raise ValueError(f"counts must be an array [classes]; its shape is {counts.shape}.")
    if is_concrete(counts) and (bool(jnp.any(counts < 0)) or not bool(jnp.any(counts > 0))):
        raise ValueError("counts must not be negative, and not all 0.")
    some = counts > 0
    n = jnp.where(some, counts, 1)
    # (1 - b^n) / (1 - b), which for b = 1 is n; expm1 keeps what 1 - b^n would round away.
    below = jnp.minimum(beta, 1 - jnp.finfo(counts.dtype).eps)
    log = jnp.log(jnp.where(below > 0, below, 1))
    effective = jnp.where(below > 0, jnp.expm1(n * log) / jnp.where(log < 0, jnp.expm1(log), -1), 1)
    effective = jnp.where(jnp.asarray(beta) >= 1, n, effective)
    weights = jnp.where(some, 1 / effective, 0)
    total = jnp.sum(counts * weights)
    return weights * jnp.sum(counts) / jnp.where(total > 0, total, 1)
