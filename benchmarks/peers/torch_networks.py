"""PyTorch, one network after the other, as training code is commonly written."""

from collections.abc import Callable
from functools import partial

from amazon_problem import Problem

from peers import Peer
from peers.torch_device import device_bytes
from peers.torch_reviews import bag, dense, peer_of, start

__all__ = ["build", "device_bytes", "start"]


def build(problem: Problem) -> dict[str, Callable[[], Peer]]:
    """The first layer on words that are there, or on whole rows."""
    return {
        "embedding_bag": partial(peer_of, problem, bag, together=False),
        "sparse_gradient": partial(
            peer_of, problem, partial(bag, sparse=True), together=False
        ),
        "dense": partial(peer_of, problem, dense, together=False),
    }  # fmt: skip
