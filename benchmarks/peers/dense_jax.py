"""MMD as it is written in JAX without jaxfer: three kernel matrices, by a matrix product each."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from mmd_problem import SCALES, Size

from peers import Peer
from peers.accelerator import jax_device_bytes
from peers.jax_samples import jitted, start

__all__ = ["build", "device_bytes", "start"]

device_bytes = jax_device_bytes


def build(size: Size) -> dict[str, Callable[[], Peer]]:
    """One way of writing it."""
    return {"matrices": partial(jitted, dense_mmd, size)}


def dense_mmd(x: jax.Array, y: jax.Array) -> jax.Array:
    """The formula."""
    xx, yy, xy = squared_distances(x, x), squared_distances(y, y), squared_distances(x, y)
    mean = (xx.sum() + yy.sum() + 2 * xy.sum()) / (len(x) + len(y)) ** 2
    mean = jax.lax.stop_gradient(mean)

    def kernel(squares: jax.Array) -> jax.Array:
        return sum(jnp.exp(-squares / (2 * a * mean)) for a in SCALES)

    return kernel(xx).mean() + kernel(yy).mean() - 2 * kernel(xy).mean()


def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """``[n, m]``; products in full float32, as jaxfer's."""
    products = jnp.matmul(x, y.T, precision="highest")
    squares = (x * x).sum(1)[:, None] + (y * y).sum(1)[None, :] - 2 * products
    return jnp.maximum(squares, 0)
