"""The maximum over windows, by slices."""

import jax
import jax.numpy as jnp


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """The maximum over windows of 2 x 2 that do not overlap, which differentiates twice.

    It is made of slices instead of ``lax.reduce_window``, and so batches under ``vmap`` and runs in
    a loop as fast as they do.

    Args:
      x: images ``[n, height, width, features]``; an odd last row or column is left out.

    Returns:
      ``[n, height // 2, width // 2, features]``.

    >>> max_pool_2x2(jnp.arange(20.0).reshape(1, 4, 5, 1))[0, :, :, 0]
    Array([[ 6.,  8.],
           [16., 18.]], dtype=float32)
    """
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    x = x[:, :height, :width]
    rows = jnp.maximum(x[:, 0::2], x[:, 1::2])
    return jnp.maximum(rows[:, :, 0::2], rows[:, :, 1::2])


def max_pool_3x3(x: jax.Array) -> jax.Array:
    """The maximum over windows of 3 x 3 in steps of two, one pixel beyond each edge, as ResNet's.

    Args:
      x: images ``[n, height, width, features]``.

    Returns:
      ``[n, (height + 1) // 2, (width + 1) // 2, features]``.

    >>> max_pool_3x3(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0]
    Array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    rows, columns = (x.shape[1] + 1) // 2, (x.shape[2] + 1) // 2
    margins = ((0, 0), (1, 2), (1, 2), (0, 0))
    x = jnp.pad(x, margins, constant_values=-jnp.inf)
    x = jnp.maximum(jnp.maximum(x[:, 0:-2], x[:, 1:-1]), x[:, 2:])[:, : 2 * rows : 2]
    x = jnp.maximum(jnp.maximum(x[:, :, 0:-2], x[:, :, 1:-1]), x[:, :, 2:])
    return x[:, :, : 2 * columns : 2]
