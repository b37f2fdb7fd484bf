"""Gradient reversal: the identity, with a derivative of the other sign."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxfer.divergences.options import check_number
from jaxfer.typing import PyTree


def reverse_gradient(x: PyTree, strength: float | Array = 1.0) -> PyTree:
    r"""The identity whose derivative is the negative identity, times a strength.

    .. math::
        R(x) = x, \qquad \frac{dR}{dx} = -\lambda I

    What follows it is minimised, and what leads to it maximises the same loss. It holds in reverse
    and in forward mode, and in derivatives of any order: each factor of :math:`dR / dx` is
    :math:`-\lambda`. With respect to the strength the value has the derivative 0.

    Args:
      x: any pytree. Leaves that are not of floating point (integers, booleans, keys) pass as they
        are.
      strength: :math:`\lambda`, at least 0, possibly traced, such as what a schedule of this
        package gives. 0 stops the gradient.

    Returns:
      ``x``, to the last bit.

    Raises:
      TypeError: for a strength that is not a number.
      ValueError: for one that is negative or not a scalar.

    Source: Ganin et al. 2016, Domain-adversarial training of neural networks, equations 16 and 17.

    >>> value, gradient = jax.value_and_grad(reverse_gradient)(3.0)
    >>> float(value), float(gradient)
    (3.0, -1.0)
    >>> float(jax.grad(lambda x: reverse_gradient(x, 0.5) ** 2)(3.0))  # -0.5 * 2 * 3
    -3.0
    """
    check_number("strength", strength, at_least=0)

    def reverse(leaf: Any) -> Any:
        leaf = jnp.asarray(leaf)
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        fixed = lax.stop_gradient(leaf)
        # 0 for its derivative alone; of an infinity it would be NaN.
        change = jnp.where(jnp.isfinite(fixed), leaf - fixed, 0)
        return fixed - jnp.asarray(strength, fixed.dtype) * change

    return jax.tree.map(reverse, x)
