"""The same as it is commonly written: a Python loop that calls a jitted step, differentiated."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from few_shot_problem import INNER_RATE, Problem

from jaxfer.typing import LabelledBatch, PyTree
from peers import Peer
from peers.accelerator import jax_device_bytes
from peers.jaxfer_online import gradient_by_name, make_loss, make_network, start

__all__ = ["build", "device_bytes", "start"]

device_bytes = jax_device_bytes


def build(problem: Problem) -> dict[str, Callable[[], Peer]]:
    """Compiles one step; its derivatives are compiled by JAX as they are met."""

    def loop() -> Peer:
        network = make_network(problem.row)
        params, _ = network.init(jax.random.key(0))
        loss_fn, rule = make_loss(network), optax.sgd(INNER_RATE)
        examples = [
            LabelledBatch(jnp.asarray(problem.x[i : i + 1]), jnp.asarray(problem.y[i : i + 1]))
            for i in range(problem.row.examples)
        ]
        trajectory = LabelledBatch(jnp.asarray(problem.x), jnp.asarray(problem.y))

        @jax.jit
        def take(params: PyTree, batch: LabelledBatch) -> PyTree:
            grads = jax.grad(lambda params: loss_fn(params, {}, batch, None)[0])(params)
            updates, _ = rule.update(grads, rule.init(params))
            return optax.apply_updates(params, updates)

        judge = jax.jit(lambda params, batch: loss_fn(params, {}, batch, None)[0])

        def outer(params: PyTree) -> jax.Array:
            for example in examples:
                params = take(params, example)
            return judge(params, trajectory)

        def step(_: Any) -> tuple[PyTree, jax.Array]:
            loss, gradient = jax.value_and_grad(outer)(params)
            return gradient, loss

        return Peer(params, step, jax.block_until_ready, gradient_by_name, {})

    return {"loop": loop}
