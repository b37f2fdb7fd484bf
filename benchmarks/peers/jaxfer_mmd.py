"""``jaxfer.mmd`` with its defaults, under ``jit``."""

from collections.abc import Callable
from functools import partial

from mmd_problem import Size

from jaxfer import mmd
from peers import Peer
from peers.accelerator import jax_device_bytes
from peers.jax_samples import jitted, start

__all__ = ["build", "device_bytes", "start"]

device_bytes = jax_device_bytes


def build(size: Size) -> dict[str, Callable[[], Peer]]:
    """One way of calling it."""
    return {"jit": partial(jitted, mmd, size)}
