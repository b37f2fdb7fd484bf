"""Jensen-Shannon divergence of two predictions."""

import math
from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.logits import two_predictions


def jensen_shannon(
    logits: Any,
    other_logits: Any,
    *,
    axis: int | tuple[int, ...] = -1,
    where: Any = None,
) -> Array:
    r"""Jensen-Shannon divergence of the predictions of two arrays of logits (per-example).

    .. math::
        \mathrm{JS}(p, q) = \tfrac{1}{2} \mathrm{KL}(p \,\|\, m) + \tfrac{1}{2}
        \mathrm{KL}(q \,\|\, m), \qquad m = \tfrac{1}{2} (p + q)

    It is computed as :math:`\sum_k m_k (u_k \tanh u_k - \ln \cosh u_k)` with :math:`u_k = \tfrac{1}
    {2} \ln (p_k / q_k)`: the same, without differences of nearly equal numbers. At equal logits
    value and gradient are 0.

    Args:
      logits: ``[batch, classes]``, floating point, finite; :math:`p` is their softmax.
      other_logits: of the same shape; :math:`q` is their softmax.
      axis: the axis, or axes, of the classes.
      where: booleans that broadcast to the shape of the logits. A class that is left out is absent
        from both predictions, as if sliced away.

    Returns:
      ``[batch]``, in nats, between 0 and ln 2; 0 for an example with no class.

    Raises:
      TypeError: for logits that are not of floating point or a ``where`` that is not of booleans.
      ValueError: for shapes that do not fit; where arrays are concrete also for NaN or infinity.

    Source: Lin 1991, Divergence measures based on the Shannon entropy, equation 4.1, with equal
    weights.

    >>> logits = jnp.array([[100.0, 0.0], [1.0, 2.0]])
    >>> other_logits = jnp.array([[0.0, 100.0], [1.0, 2.0]])
    >>> [f"{js:.4f}" for js in jensen_shannon(logits, other_logits)]  # ln 2, 0
    ['0.6931', '0.0000']
    """
    log_p, log_q, p, q = two_predictions(logits, other_logits, axis=axis, where=where)
    return jnp.sum(0.5 * (p + q) * _gap(0.5 * (log_p - log_q)), axis=axis)


def _gap(u: Array) -> Array:
    """``u tanh(u) - ln cosh(u)``, without cancellation near 0 and without overflow far from it."""
    near = jnp.abs(u) < 1
    inner, outer = jnp.where(near, u, 0), jnp.where(near, 1, jnp.abs(u))
    tail = jnp.exp(-2 * outer)
    return jnp.where(
        near,
        inner * jnp.tanh(inner) - 0.5 * jnp.log1p(jnp.square(jnp.sinh(inner))),
        math.log(2) - jnp.log1p(tail) - 2 * outer * tail / (1 + tail),
    )
