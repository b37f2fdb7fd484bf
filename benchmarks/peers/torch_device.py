"""Where PyTorch computes, how much memory it needs there, and when it is done."""

from typing import Any

import torch


def device() -> str:
    """Where PyTorch computes."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_bytes() -> int | None:
    """The most memory that was ever allocated on the GPU; None on a CPU."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def wait(_: Any) -> None:
    """Blocks until the GPU has done what it was asked to; a CPU has already."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
