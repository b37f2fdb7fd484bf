"""CKA: how alike are two representations of the same examples?"""

from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.samples import floating


def cka(features: Any, other_features: Any, *, debiased: bool = False) -> Array:
    r"""Linear centred kernel alignment of two representations.

    .. math::
        \frac{\mathrm{HSIC}(K, L)}{\sqrt{\mathrm{HSIC}(K, K) \, \mathrm{HSIC}(L, L)}}, \qquad
        K = X X^\top, \quad L = Y Y^\top

    It knows nothing of rotations or of one scale of all features. With few examples of many
    features the plain form comes near 1 for anything; the debiased one takes an unbiased estimate
    of each HSIC, which can be below 0.

    Args:
      features: :math:`X`, ``[n, features]``, floating point.
      other_features: :math:`Y`, ``[n, other features]``, of the same examples in the same order.
      debiased: whether to take the unbiased estimates; needs at least 4 examples.

    Returns:
      A scalar: in [0, 1], 1 for equal representations; debiased at most 1. 0 where a representation
      is constant.

    Raises:
      TypeError: for features that are not of floating point.
      ValueError: for shapes that do not fit, or too few examples.

    Source: Kornblith et al. 2019, Similarity of neural network representations revisited, equation
      4 with a linear kernel; the unbiased estimator is that of Song et al. 2012, Feature selection
      via dependence maximization, equation 5.

    >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -2.0]])
    >>> f"{cka(x, 3 * x[:, ::-1] + 1):.4f}"
    '1.0000'
    """
    x, y = floating("features", features), floating("other_features", other_features)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(
            "features and other_features must be arrays [n, ...] of one n; their shapes are "
            f"{x.shape} and {y.shape}."
        )
    least = 4 if debiased else 2
    if len(x) < least:
        raise ValueError(f"features must hold at least {least} examples; their shape is {x.shape}.")
    x, y = x - jnp.mean(x, axis=0), y - jnp.mean(y, axis=0)
    if debiased:
        both, first, second = (_unbiased(a, b) for a, b in ((x, y), (x, x), (y, y)))
    else:
        both, first, second = (
            jnp.sum(jnp.square(jnp.matmul(a.T, b, precision="highest")))
            for a, b in ((x, y), (x, x), (y, y))
        )
    some = (first > 0) & (second > 0)
    # Root by root: the product of two small numbers could vanish.
    scale = jnp.sqrt(jnp.where(some, first, 1)) * jnp.sqrt(jnp.where(some, second, 1))
    return jnp.where(some, both / scale, 0)


def _unbiased(x: Array, y: Array) -> Array:
    """The unbiased estimate of HSIC, times n (n - 3), from features alone: no Gram matrix."""
    n = len(x)
    lengths, other_lengths = jnp.sum(jnp.square(x), axis=1), jnp.sum(jnp.square(y), axis=1)
    # Kernels without their diagonals: K = X X' - diag(lengths).
    product = jnp.sum(jnp.square(jnp.matmul(x.T, y, precision="highest"))) - lengths @ other_lengths
    rows = x @ jnp.sum(x, axis=0) - lengths
    other_rows = y @ jnp.sum(y, axis=0) - other_lengths
    sums = jnp.sum(rows) * jnp.sum(other_rows) / ((n - 1) * (n - 2))
    return product + sums - 2 * (rows @ other_rows) / (n - 2)
