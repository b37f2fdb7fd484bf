"""The same by ``jaxfer.meta.learn_online``, for any network and rule: all weights written."""

import functools
from collections.abc import Callable

import optax
from few_shot_problem import INNER_RATE, Problem

from jaxfer import meta
from peers import Peer
from peers.accelerator import jax_device_bytes
from peers.jaxfer_online import differentiate, make_loss, make_network, start

__all__ = ["build", "device_bytes", "start"]

device_bytes = jax_device_bytes


def build(problem: Problem) -> dict[str, Callable[[], Peer]]:
    """Compiles the pass, a scan."""
    learn = functools.partial(
        meta.learn_online, make_loss(make_network(problem.row)), rule=optax.sgd(INNER_RATE)
    )
    return {"scan": lambda: differentiate(problem, learn)}
