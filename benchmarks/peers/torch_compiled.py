"""PyTorch's compiler on the same three kernel matrices; on a CPU it needs a C++ compiler."""

import os
from collections.abc import Callable

import torch
from mmd_problem import Size

from peers import Peer
from peers.torch_device import device_bytes
from peers.torch_matrices import dense_mmd, differentiated
from peers.torch_matrices import start as start_torch

__all__ = ["build", "device_bytes", "start"]


def start(row: Size, threads: int) -> str:
    """Without the processes that compile ahead: nothing of it may run in others' turns."""
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    return start_torch(row, threads)


def build(size: Size) -> dict[str, Callable[[], Peer]]:
    """One way of compiling it."""

    def compiled() -> Peer:
        return differentiated(torch.compile(dense_mmd, fullgraph=True, dynamic=False), size)

    return {"compile": compiled}
