"""PyTorch with jaxfer's algebra and all strengths of a seed beside each other."""

from collections.abc import Callable
from functools import partial

from amazon_problem import Problem

from peers import Peer
from peers.torch_device import device_bytes
from peers.torch_reviews import peer_of, span, start

__all__ = ["build", "device_bytes", "start"]


def build(problem: Problem) -> dict[str, Callable[[], Peer]]:
    """One way of writing it."""
    return {"products": partial(peer_of, problem, span, together=True)}
