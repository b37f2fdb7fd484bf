"""An online pass and its meta-gradient by ``jaxfer.meta.learn_online_mlp``, in one program."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from few_shot_problem import INNER_RATE, OnlineRow, Problem

from jaxfer import meta
from jaxfer.models import Mlp, Network, from_nnx
from jaxfer.typing import Key, LabelledBatch, PyTree
from peers import Peer
from peers.accelerator import jax_device_bytes
from peers.jaxfer_adversarial import by_name

device_bytes = jax_device_bytes


def start(row: OnlineRow, threads: int) -> str:
    """Wakes JAX's backend."""
    del row, threads
    return jnp.zeros(()).device.platform


def make_network(row: OnlineRow) -> Network:
    """The prediction network of OML."""
    return from_nnx(lambda rngs: Mlp([row.features, row.hidden, row.classes], rngs=rngs))


def make_loss(network: Network) -> meta.LossFn:
    """Cross-entropy of a batch of features."""

    def loss_fn(
        params: PyTree, state: PyTree, batch: LabelledBatch, key: Key | None
    ) -> tuple[jax.Array, tuple[PyTree, Any]]:
        logits, _ = network.apply(params, {}, batch.x, train=False)
        loss, metrics = meta.classification_loss(logits, batch.y)
        return loss, (state, metrics)

    return loss_fn


def differentiate(problem: Problem, learn: Callable[..., meta.Adapted]) -> Peer:
    """The pass and the meta-gradient through it as one program."""
    network = make_network(problem.row)
    params, _ = network.init(jax.random.key(0))
    loss_fn = make_loss(network)
    trajectory = LabelledBatch(jnp.asarray(problem.x), jnp.asarray(problem.y))

    @jax.jit
    def walk(params: PyTree, trajectory: LabelledBatch) -> tuple[jax.Array, PyTree]:
        def outer(params: PyTree) -> jax.Array:
            return loss_fn(learn(params, {}, trajectory).params, {}, trajectory, None)[0]

        return jax.value_and_grad(outer)(params)

    def step(_: Any) -> tuple[PyTree, jax.Array]:
        loss, gradient = walk(params, trajectory)  # from the same start each time
        return gradient, loss

    return Peer(params, step, jax.block_until_ready, gradient_by_name, {})


def build(problem: Problem) -> dict[str, Callable[[], Peer]]:
    """Compiles the pass, its steps kept as factors."""
    learn = functools.partial(meta.learn_online_mlp, rate=INNER_RATE)
    return {"factors": lambda: differentiate(problem, learn)}


def gradient_by_name(gradient: PyTree) -> dict[str, np.ndarray]:
    """The meta-gradient."""
    return by_name(gradient)
