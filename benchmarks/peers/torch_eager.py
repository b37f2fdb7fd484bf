"""PyTorch as it is written: three kernel matrices, one operation after the other."""

from collections.abc import Callable
from functools import partial

from mmd_problem import Size

from peers import Peer
from peers.torch_device import device_bytes
from peers.torch_matrices import dense_mmd, differentiated, start

__all__ = ["build", "device_bytes", "start"]


def build(size: Size) -> dict[str, Callable[[], Peer]]:
    """One way of writing it."""
    return {"eager": partial(differentiated, dense_mmd, size)}
