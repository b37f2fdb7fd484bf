"""The Euclidean norm, and rows of length 1, with derivatives everywhere."""

import jax.numpy as jnp
from jax import Array, lax


def safe_norm(x: Array, axis: int | tuple[int, ...]) -> Array:
    """Euclidean norm along an axis, with derivative 0 where it is 0."""
    largest = jnp.max(jnp.abs(lax.stop_gradient(x)), axis=axis, keepdims=True, initial=0)
    some = largest > 0
    scale = jnp.where(some, largest, 1)
    squares = jnp.sum(jnp.square(x / scale), axis=axis)
    some = jnp.squeeze(some, axis)
    root = jnp.sqrt(jnp.where(some, squares, 1))
    return jnp.where(some, jnp.squeeze(scale, axis) * root, 0)


def unit_rows(x: Array) -> Array:
    """Rows scaled to length 1, ``[..., features]``; a row of 0 stays 0, its gradient too."""
    norm = safe_norm(x, axis=-1)[..., None]
    return jnp.where(norm > 0, x / jnp.where(norm > 0, norm, 1), 0)
