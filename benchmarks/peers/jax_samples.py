"""What the JAX peers of MMD share: how a function of both samples is run."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from mmd_problem import Size, samples

from peers import Peer
from peers.fixed_samples import peer_of


def start(row: Size, threads: int) -> str:
    """Wakes JAX's backend; XLA threads its operations over the cores that the process sees."""
    del row, threads
    return jnp.zeros(()).device.platform


def jitted(function: Callable[[jax.Array, jax.Array], jax.Array], size: Size) -> Peer:
    """Value and gradient of a function of both samples."""
    source, target = (jnp.asarray(sample) for sample in samples(size))
    call = jax.jit(jax.value_and_grad(function, argnums=(0, 1)))
    return peer_of(lambda: jax.block_until_ready(call(source, target)))
