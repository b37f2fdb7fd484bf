"""The floor: the product of the pooled sample with itself, ``[n + m, n + m]``, and nothing else.

Beyond ``WHOLE`` entries it is computed by blocks of rows, each of which takes the last one's place.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from mmd_problem import Size, samples

from peers import Peer
from peers.accelerator import jax_device_bytes
from peers.fixed_samples import peer_of
from peers.jax_samples import start

__all__ = ["build", "device_bytes", "start"]

WHOLE = 2**30
BY_ROWS = 2**28  # entries of such a block

device_bytes = jax_device_bytes


def build(size: Size) -> dict[str, Callable[[], Peer]]:
    """The whole product where it fits."""
    entries = (size.n + size.m) ** 2

    def product() -> Peer:
        points = jnp.concatenate([jnp.asarray(sample) for sample in samples(size)])
        blocks = 1 if entries <= WHOLE else -(-entries // BY_ROWS)
        call = jax.jit(gram, static_argnums=1)
        return peer_of(lambda: (jax.block_until_ready(call(points, blocks))[0], ()))

    return {"whole" if entries <= WHOLE else "by rows": product}


def gram(points: jax.Array, blocks: int) -> tuple[jax.Array, jax.Array]:
    """An entry of the product, and all of it, or its last block of rows."""

    def times_all(rows: jax.Array) -> jax.Array:
        return jnp.matmul(rows, points.T, precision="highest")

    if blocks == 1:
        product = times_all(points)
        return product[0, 0], product
    share = -(-len(points) // blocks)
    padded = jnp.pad(points, [(0, blocks * share - len(points)), (0, 0)])
    rows = padded.reshape(blocks, share, -1)
    empty = jnp.zeros((share, len(points)), points.dtype)
    last = jax.lax.fori_loop(0, blocks, lambda i, _: times_all(rows[i]), empty)
    return last[0, 0], last
