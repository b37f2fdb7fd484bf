"""Weighted means over a batch that may be spread over devices, of numbers and of exponentials."""

import jax.numpy as jnp
from jax import Array, lax


def batch_sum(x: Array, axis_name: str | None) -> Array:
    """The sum over devices of what each has summed."""
    return x if axis_name is None else lax.psum(x, axis_name)


def log_mean_exp(logs: Array, weights: Array, axis_name: str | None) -> Array:
    """``ln sum_i w_i exp(x_i)`` over the batch, ``[n, ...]`` to ``[...]``.

    Args:
      logs: ``[n, ...]``.
      weights: ``[n]``, not negative.
      axis_name: the mapped axis over which the batch is spread.

    Returns:
      ``[...]``; 0 where no weight is above 0.
    """
    weights = weights.reshape(-1, *[1] * (logs.ndim - 1))
    present = weights > 0
    top = jnp.max(jnp.where(present, lax.stop_gradient(logs), -jnp.inf), axis=0)
    if axis_name is not None:
        top = lax.pmax(top, axis_name)
    top = jnp.where(jnp.isfinite(top), top, 0)
    # Of what is absent the exponential could overflow; it counts for the weight's derivative alone.
    above = logs - top
    exponentials = jnp.exp(jnp.where(present, above, jnp.minimum(above, 0)))
    total = batch_sum(jnp.sum(weights * exponentials, axis=0), axis_name)
    some = total > 0
    return jnp.where(some, top + jnp.log(jnp.where(some, total, 1)), 0)
